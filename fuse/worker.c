/* SPDX-License-Identifier: MIT */
#include "fuse/worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <time.h>

struct worker {
	struct worker_hooks hooks;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct worker_job *head, **tail;
	struct worker_job *ended; /* ran, and waits for its done() */
	bool stop;
	int event_fd;
};

static struct timespec after_ms(unsigned ms)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	ts.tv_sec += ms / 1000;
	ts.tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts.tv_nsec >= 1000000000) {
		ts.tv_sec++;
		ts.tv_nsec -= 1000000000;
	}
	return ts;
}

static bool has_work(const struct worker *w)
{
	return w->stop || (w->head && !w->ended);
}

/* Waits for a job or the end; closes what is open after a while without any. Called and
 * left with the lock held. */
static void wait_for_work(struct worker *w)
{
	struct timespec until = after_ms(w->hooks.linger_ms);
	bool open = w->hooks.wants_idle(w->hooks.ctx);

	while (!has_work(w)) {
		/* A job that waits for its done() is no idleness, and has no end in time. */
		int r = open && !w->ended ? pthread_cond_timedwait(&w->wake, &w->lock, &until)
					  : pthread_cond_wait(&w->wake, &w->lock);

		if (r != ETIMEDOUT || has_work(w) || w->ended)
			continue;
		pthread_mutex_unlock(&w->lock);
		w->hooks.idle(w->hooks.ctx);
		pthread_mutex_lock(&w->lock);
		open = w->hooks.wants_idle(w->hooks.ctx);
		until = after_ms(w->hooks.linger_ms);
	}
}

static void *work(void *data)
{
	struct worker *w = data;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct worker_job *job;

		wait_for_work(w);
		if (w->stop)
			break;
		job = w->head;
		w->head = job->next;
		if (!w->head)
			w->tail = &w->head;
		pthread_mutex_unlock(&w->lock);
		job->run(job);
		pthread_mutex_lock(&w->lock);
		w->ended = job;
		(void)!eventfd_write(w->event_fd, 1);
	}
	pthread_mutex_unlock(&w->lock);
	if (w->hooks.wants_idle(w->hooks.ctx))
		w->hooks.idle(w->hooks.ctx);
	return NULL;
}

static int start_thread(struct worker *w)
{
	sigset_t all, old;
	int r;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&w->thread, NULL, work, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

int worker_new(const struct worker_hooks *hooks, struct worker **out)
{
	struct worker *w = calloc(1, sizeof(*w));
	pthread_condattr_t attr;
	int r;

	if (!w)
		return -ENOMEM;
	w->hooks = *hooks;
	w->tail = &w->head;
	w->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->event_fd < 0) {
		r = -errno;
		free(w);
		return r;
	}
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wake, &attr);
	pthread_condattr_destroy(&attr);
	r = start_thread(w);
	if (r < 0) {
		pthread_cond_destroy(&w->wake);
		pthread_mutex_destroy(&w->lock);
		close(w->event_fd);
		free(w);
		return r;
	}
	*out = w;
	return 0;
}

void worker_free(struct worker *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	worker_dispatch(w);
	while (w->head) {
		struct worker_job *job = w->head;

		w->head = job->next;
		if (!w->head)
			w->tail = &w->head; /* `done` may submit */
		job->dropped = true;
		job->done(job);
	}
	pthread_cond_destroy(&w->wake);
	pthread_mutex_destroy(&w->lock);
	close(w->event_fd);
	free(w);
}

void worker_submit(struct worker *w, struct worker_job *job, bool first)
{
	struct worker_job **at;

	pthread_mutex_lock(&w->lock);
	at = first ? &w->head : w->tail;
	while (first && *at && (*at)->first)
		at = &(*at)->next;
	job->first = first;
	job->next = *at;
	*at = job;
	if (!job->next)
		w->tail = &job->next;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}

int worker_event_fd(const struct worker *w)
{
	return w->event_fd;
}

void worker_dispatch(struct worker *w)
{
	struct worker_job *job;
	eventfd_t value;

	(void)!eventfd_read(w->event_fd, &value);
	pthread_mutex_lock(&w->lock);
	job = w->ended;
	pthread_mutex_unlock(&w->lock);
	if (!job)
		return;
	job->done(job);
	pthread_mutex_lock(&w->lock);
	w->ended = NULL;
	pthread_cond_signal(&w->wake);
	pthread_mutex_unlock(&w->lock);
}
