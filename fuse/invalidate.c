/* SPDX-License-Identifier: MIT */
#include "fuse/invalidate.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

/* When the connection is gone nobody holds a lock for long. */
#define GONE_MS 5000

struct invalidation {
	struct fuse_session *session;
	pthread_t thread;
	char **names;
	size_t n;
	int done_fd;
	struct invalidation *next;
};

static void invalidation_free(struct invalidation *i)
{
	for (size_t k = 0; k < i->n; k++)
		free(i->names[k]);
	free(i->names);
	if (i->done_fd >= 0)
		close(i->done_fd);
	free(i);
}

/* A name that the kernel does not know is no error to speak of. */
static void *work(void *data)
{
	struct invalidation *i = data;

	for (size_t k = 0; k < i->n; k++)
		(void)!fuse_lowlevel_notify_inval_entry(
			i->session, FUSE_ROOT_ID, i->names[k], strlen(i->names[k]));
	(void)!fuse_lowlevel_notify_inval_inode(i->session, FUSE_ROOT_ID, -1, 0);
	(void)!eventfd_write(i->done_fd, 1);
	return NULL;
}

static int start_thread(struct invalidation *i)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&i->thread, NULL, work, i);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static bool is_over(const struct invalidation *i)
{
	struct pollfd p = {.fd = i->done_fd, .events = POLLIN};

	return poll(&p, 1, 0) > 0;
}

static void end(struct invalidation *i)
{
	pthread_join(i->thread, NULL);
	invalidation_free(i);
}

static void reap(struct invalidation **list)
{
	while (*list) {
		struct invalidation *i = *list;

		if (is_over(i)) {
			*list = i->next;
			end(i);
		} else {
			list = &i->next;
		}
	}
}

int invalidation_start(
	struct fuse_session *session, char **names, size_t n, struct invalidation **list)
{
	struct invalidation *i = calloc(1, sizeof(*i));
	int r;

	reap(list);
	if (!i) {
		for (size_t k = 0; k < n; k++)
			free(names[k]);
		free(names);
		return -ENOMEM;
	}
	*i = (struct invalidation){.session = session, .names = names, .n = n, .next = *list};
	i->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = i->done_fd < 0 ? -errno : start_thread(i);
	if (r < 0) {
		invalidation_free(i);
		return r;
	}
	*list = i;
	return 0;
}

/* False: it goes on for ever, as far as anybody can tell. */
static bool wait_for(
	struct invalidation *i, bool *gone, int (*serve)(void *ctx), void *ctx)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = i->done_fd, .events = POLLIN},
			{.fd = *gone ? -1 : fuse_session_fd(i->session), .events = POLLIN}};
		int n = poll(p, 2, *gone ? GONE_MS : -1);

		if (n < 0 && errno == EINTR)
			continue;
		if (p[0].revents)
			return true;
		if (n < 0 || *gone)
			return false;
		*gone = serve(ctx) < 0;
	}
}

void invalidation_finish(struct invalidation **list, int (*serve)(void *ctx), void *ctx)
{
	bool gone = false;

	while (*list) {
		struct invalidation *i = *list;

		*list = i->next;
		if (wait_for(i, &gone, serve, ctx))
			end(i);
		else /* the kernel's own affair; the thread keeps what it uses */
			pthread_detach(i->thread);
	}
}
