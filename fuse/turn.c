/* SPDX-License-Identifier: MIT */
#include "fuse/turn.h"

#include <errno.h>
#include <fcntl.h>

#define LOCK "lock"
/* The kernel tells nobody that a lock is free but who sleeps for it, and sandbox.h leaves no
 * way to watch the other process. */
#define AGAIN_MIN_USEC 20000u
#define AGAIN_MAX_USEC 1000000u

struct turn {
	int fd;
	bool ours;
	sd_event_source *timer;
	uint64_t again_usec;
	void (*taken)(void *ctx);
	void *ctx;
};

static int try_lock(struct turn *t)
{
	const struct flock whole_file = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(t->fd, F_OFD_SETLK, &whole_file) == 0)
		return 1;
	return errno == EAGAIN || errno == EACCES ? 0 : -errno;
}

static int on_time(sd_event_source *s, uint64_t usec, void *data)
{
	struct turn *t = data;
	int r;

	(void)usec;
	/* What cannot be locked cannot be waited for either: each partition has a lock too. */
	t->ours = try_lock(t) != 0;
	if (t->ours) {
		t->taken(t->ctx);
		return 0;
	}
	t->again_usec = MIN(t->again_usec * 2, (uint64_t)AGAIN_MAX_USEC);
	r = sd_event_source_set_time_relative(s, t->again_usec);
	return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int turn_wait(sd_event *event, void (*taken)(void *ctx), void *ctx, struct turn **out)
{
	struct turn *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return -ENOMEM;
	t->taken = taken;
	t->ctx = ctx;
	t->again_usec = AGAIN_MIN_USEC;
	t->fd = open(LOCK, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = t->fd < 0 ? -errno
		      : sd_event_add_time_relative(
				event, &t->timer, CLOCK_MONOTONIC, 0, 1, on_time, t);
	if (r < 0) {
		turn_free(t);
		return r;
	}
	*out = t;
	return 0;
}

bool turn_has_come(const struct turn *t)
{
	return t && t->ours;
}

void turn_free(struct turn *t)
{
	if (!t)
		return;
	sd_event_source_disable_unref(t->timer);
	closep(&t->fd);
	free(t);
}
