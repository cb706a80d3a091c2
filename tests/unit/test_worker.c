/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/worker.h"

int __real_pthread_cond_timedwait(
	pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);
int __wrap_pthread_cond_timedwait(
	pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until);

static atomic_uint timed_waits;

int __wrap_pthread_cond_timedwait(
	pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *until)
{
	atomic_fetch_add(&timed_waits, 1);
	return __real_pthread_cond_timedwait(c, m, until);
}

/* What happened, in order: 'a' a ran, 'A' its done, and so on; '.' idle. */
static char story[64];
static atomic_uint n_story;
static atomic_bool is_open;
static sem_t idle_seen, may_end;

static void tell(char what)
{
	story[atomic_fetch_add(&n_story, 1)] = what;
}

static bool wants_idle(void *ctx)
{
	return atomic_load(&is_open);
}

static void idle(void *ctx)
{
	tell('.');
	atomic_store(&is_open, false);
	sem_post(&idle_seen);
}

struct job {
	struct worker_job job;
	struct worker *w;
	struct job *then; /* submitted by done */
	char name;
	bool opens, blocks, dropped;
};

static void run(struct worker_job *j)
{
	struct job *job = container_of(j, struct job, job);

	tell(job->name);
	if (job->opens)
		atomic_store(&is_open, true);
	if (job->blocks)
		sem_wait(&may_end);
}

static void done(struct worker_job *j)
{
	struct job *job = container_of(j, struct job, job);

	job->dropped = j->dropped;
	tell((char)(job->name - 'a' + 'A'));
	if (job->then)
		worker_submit(job->w, &job->then->job, false);
}

static struct job job_of(struct worker *w, char name)
{
	return (struct job){.job = {.run = run, .done = done}, .w = w, .name = name};
}

static int setup(void **state)
{
	const struct worker_hooks hooks = {
		.idle = idle, .wants_idle = wants_idle, .linger_ms = 1};
	static struct worker *w;

	memset(story, 0, sizeof(story));
	atomic_store(&n_story, 0);
	atomic_store(&is_open, false);
	atomic_store(&timed_waits, 0);
	sem_init(&idle_seen, 0, 0);
	sem_init(&may_end, 0, 0);
	if (worker_new(&hooks, &w) < 0)
		return -1;
	*state = w;
	return 0;
}

static void wait_for_end(struct worker *w)
{
	struct pollfd p = {.fd = worker_event_fd(w), .events = POLLIN};

	assert_int_equal(poll(&p, 1, 20000), 1);
}

static void end_jobs(struct worker *w, unsigned n)
{
	while (n--) {
		wait_for_end(w);
		worker_dispatch(w);
	}
}

/* No job runs before the last one's done() has returned. */
static void test_in_order(void **state)
{
	struct worker *w = *state;
	struct job a = job_of(w, 'a'), b = job_of(w, 'b'), c = job_of(w, 'c');

	a.blocks = true;
	worker_submit(w, &a.job, false);
	worker_submit(w, &b.job, false);
	worker_submit(w, &c.job, true);
	worker_dispatch(w); /* nothing has ended */
	sem_post(&may_end);
	end_jobs(w, 3);
	/* c is first of those that wait, unless it was there before a began. */
	assert_true(strcmp(story, "aAcCbB") == 0 || strcmp(story, "cCaAbB") == 0);
	worker_free(w);
}

static void test_done_may_submit(void **state)
{
	struct worker *w = *state;
	struct job a = job_of(w, 'a'), b = job_of(w, 'b');

	a.then = &b;
	worker_submit(w, &a.job, false);
	end_jobs(w, 2);
	assert_string_equal(story, "aAbB");
	worker_free(w);
}

static void test_idle_once(void **state)
{
	struct worker *w = *state;
	struct job a = job_of(w, 'a');

	a.opens = true;
	worker_submit(w, &a.job, false);
	end_jobs(w, 1);
	sem_wait(&idle_seen);
	assert_string_equal(story, "aA.");
	worker_free(w);
	assert_string_equal(story, "aA.");
}

static void test_free_drops_what_waits(void **state)
{
	struct worker *w = *state;
	struct job a = job_of(w, 'a'), b = job_of(w, 'b'), c = job_of(w, 'c');

	a.opens = true;
	a.then = &c; /* submitted while everything ends */
	worker_submit(w, &a.job, false);
	worker_submit(w, &b.job, false);
	wait_for_end(w);
	worker_free(w);
	assert_string_equal(story, "a.ABC");
	assert_false(a.dropped);
	assert_true(b.dropped);
	assert_true(c.dropped);
}

/* While the loop is busy elsewhere, the worker sleeps. */
static void test_no_spinning(void **state)
{
	struct worker *w = *state;
	struct job a = job_of(w, 'a');

	a.opens = true;
	worker_submit(w, &a.job, false);
	wait_for_end(w);
	poll(NULL, 0, 50); /* many times linger_ms */
	assert_true(atomic_load(&timed_waits) <= 2);
	worker_dispatch(w);
	sem_wait(&idle_seen);
	assert_string_equal(story, "aA.");
	worker_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_in_order, setup),
		cmocka_unit_test_setup(test_done_may_submit, setup),
		cmocka_unit_test_setup(test_idle_once, setup),
		cmocka_unit_test_setup(test_free_drops_what_waits, setup),
		cmocka_unit_test_setup(test_no_spinning, setup),
	};

	return cmocka_run_group_tests_name("worker", tests, NULL, NULL);
}
