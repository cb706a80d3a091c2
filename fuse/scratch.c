/* SPDX-License-Identifier: MIT */
#include "fuse/scratch.h"

#include <errno.h>
#include <fcntl.h>

#define KEEP 16u /* idle files; more than that many writers at once is rare */

struct scratch_pool {
	int dirfd;
	struct scratch *idle;
	unsigned n_idle;
};

int scratch_pool_new(int dirfd, struct scratch_pool **out)
{
	struct scratch_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	if (p->dirfd < 0) {
		int r = -errno;

		free(p);
		return r;
	}
	*out = p;
	return 0;
}

static void scratch_free(struct scratch *s)
{
	close(s->fd);
	free(s);
}

void scratch_pool_free(struct scratch_pool *p)
{
	if (!p)
		return;
	while (p->idle) {
		struct scratch *s = p->idle;

		p->idle = s->next;
		scratch_free(s);
	}
	close(p->dirfd);
	free(p);
}

int scratch_get(struct scratch_pool *p, struct scratch **out)
{
	struct scratch *s = p->idle;

	if (s) {
		p->idle = s->next;
		p->n_idle--;
		*out = s;
		return 0;
	}
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->fd = openat(p->dirfd, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (s->fd < 0) {
		int r = -errno;

		free(s);
		return r;
	}
	*out = s;
	return 0;
}

void scratch_put(struct scratch_pool *p, struct scratch *s)
{
	if (!s)
		return;
	if (p->n_idle >= KEEP || ftruncate(s->fd, 0) < 0) {
		scratch_free(s);
		return;
	}
	s->next = p->idle;
	p->idle = s;
	p->n_idle++;
}
