/* SPDX-License-Identifier: MIT */
#include "daemon/chore.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#define STACK_SIZE (256u * 1024u) /* getaddrinfo(3) wants some */

struct chore {
	chore_fn work, done;
	void *ctx;
	int fd; /* readable when the work is done */
};

static void *run(void *data)
{
	struct chore *c = data;
	int fd = c->fd;

	c->work(c->ctx);
	(void)!eventfd_write(fd, 1); /* fails at 2^64 only; from here on `c` is the loop's */
	return NULL;
}

static int on_done(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct chore *c = data;

	(void)fd;
	(void)events;
	sd_event_source_disable_unref(s);
	c->done(c->ctx);
	close(c->fd);
	free(c);
	return 0;
}

/* Signals are for the loop's thread. */
static int start_thread(struct chore *c)
{
	pthread_attr_t attr;
	sigset_t all, before;
	pthread_t thread;
	int r = pthread_attr_init(&attr);

	if (r != 0)
		return -r;
	sigfillset(&all);
	r = pthread_attr_setstacksize(&attr, STACK_SIZE);
	if (r == 0)
		r = pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	if (r == 0)
		r = pthread_sigmask(SIG_SETMASK, &all, &before);
	if (r == 0) {
		r = pthread_create(&thread, &attr, run, c);
		(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	pthread_attr_destroy(&attr);
	return -r;
}

int chore_start(sd_event *event, chore_fn work, chore_fn done, void *ctx)
{
	_cleanup_close_ int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	_cleanup_free_ struct chore *c = calloc(1, sizeof(*c));
	sd_event_source *source;
	int r;

	if (!c)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	*c = (struct chore){.work = work, .done = done, .ctx = ctx, .fd = fd};
	r = sd_event_add_io(event, &source, fd, EPOLLIN, on_done, c);
	if (r < 0)
		return r;
	r = start_thread(c);
	if (r < 0) {
		sd_event_source_disable_unref(source);
		return r;
	}
	(void)TAKE_FD(fd);
	(void)TAKE_PTR(c);
	return 0;
}
