/* SPDX-License-Identifier: MIT */
#include "cli/task.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

/* How often a line on a terminal is written anew. */
#define TELL_MS 200

struct task {
	int signal_fd, cancel_fd, done_fd;
	sigset_t old_mask;
	atomic_bool ending;
	const struct task_work *work;
	struct error err;
	int result;
};

/* --- signals ------------------------------------------------------------------------ */

int task_new(struct task **out, struct error *err)
{
	_cleanup_(task_freep) struct task *t = calloc(1, sizeof(*t));
	sigset_t mask;

	if (!t)
		return error_set(err, -ENOMEM, "out of memory");
	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	sigprocmask(SIG_BLOCK, &mask, &t->old_mask);
	t->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	t->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	t->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->signal_fd < 0 || t->cancel_fd < 0 || t->done_fd < 0)
		return error_set(err, -errno, "cannot watch signals: %s", strerror(errno));
	*out = TAKE_PTR(t);
	return 0;
}

static bool take_signals(struct task *t)
{
	struct signalfd_siginfo came;
	bool any = false;

	while (read(t->signal_fd, &came, sizeof(came)) > 0)
		any = true;
	return any;
}

void task_free(struct task *t)
{
	if (!t)
		return;
	if (t->signal_fd >= 0) {
		(void)take_signals(t);
		close(t->signal_fd);
	}
	if (t->cancel_fd >= 0)
		close(t->cancel_fd);
	if (t->done_fd >= 0)
		close(t->done_fd);
	sigprocmask(SIG_SETMASK, &t->old_mask, NULL);
	free(t);
}

int task_cancel_fd(const struct task *t)
{
	return t->cancel_fd;
}

bool task_is_ending(const struct task *t)
{
	return atomic_load(&t->ending);
}

static void on_signal(struct task *t)
{
	bool first = !atomic_exchange(&t->ending, true);

	if (first && t->work->has_steps)
		fputs("\nending when this step is done; once more ends it now\n", stderr);
	else
		(void)!eventfd_write(t->cancel_fd, 1);
}

/* --- work --------------------------------------------------------------------------- */

static void *run(void *data)
{
	struct task *t = data;

	t->result = t->work->run(t->work->ctx, &t->err);
	(void)!eventfd_write(t->done_fd, 1);
	return NULL;
}

static void show(const struct task *t, bool last)
{
	char line[160] = "";

	if (!last)
		t->work->tell(t->work->ctx, line, sizeof(line));
	fprintf(stderr, "\r%s\033[K", line);
	fflush(stderr);
}

static void wait_for_end(struct task *t)
{
	bool tells = t->work->tell && isatty(STDERR_FILENO);
	struct pollfd fds[] = {
		{.fd = t->done_fd, .events = POLLIN}, {.fd = t->signal_fd, .events = POLLIN}};

	for (;;) {
		int n = poll(fds, ARRAY_SIZE(fds), tells ? TELL_MS : -1);

		if (n > 0 && fds[0].revents)
			break;
		if (n > 0 && take_signals(t))
			on_signal(t);
		if (tells)
			show(t, false);
	}
	if (tells)
		show(t, true);
}

int task_run(struct task *t, const struct task_work *work, struct error *err)
{
	pthread_t thread;
	uint64_t n;
	int r;

	t->work = work;
	error_clear(&t->err);
	r = pthread_create(&thread, NULL, run, t);
	if (r)
		return error_set(err, -r, "cannot start a thread: %s", strerror(r));
	wait_for_end(t);
	pthread_join(thread, NULL);
	(void)!eventfd_read(t->done_fd, &n);
	if (t->result < 0 && err && !err->code)
		*err = t->err;
	return t->result;
}

/* --- a question --------------------------------------------------------------------- */

int task_ask(struct task *t, const char *question, struct error *err)
{
	struct pollfd fds[] = {
		{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = t->signal_fd, .events = POLLIN}};
	char answer[64];
	ssize_t n;

	fprintf(stderr, "%s Continue? [y/N] ", question);
	fflush(stderr);
	while (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno == EINTR)
		;
	if (fds[1].revents) {
		fputs("\n", stderr);
		return error_set(err, -ECANCELED, "interrupted; nothing was changed");
	}
	n = read(STDIN_FILENO, answer, sizeof(answer));
	if (n <= 0)
		fputs("\n", stderr);
	return n > 0 && (answer[0] == 'y' || answer[0] == 'Y');
}
