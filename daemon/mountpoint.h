/* SPDX-License-Identifier: MIT */
/* One partition's mount point in a board's directory: made, mounted, unmounted, removed. By
 * romount-mount in system mode, or by mount(2) where systemd has no such unit; by fusermount3 in
 * user mode. What is mounted is never looked at: that would wait for whoever serves it.
 *
 * Loop thread only; never waits. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "util/error.h"

struct mount_way {
	sd_event *event;
	char *fusermount;   /* absolute; NULL: mount(2) */
	const char *helper; /* the socket of romount-mount; NULL: none */
};

struct mountpoint;

/* `fuse_fd` is the callee's; -1 where result < 0, and `text` says why. */
typedef void (*mountpoint_done_fn)(void *ctx, int result, int fuse_fd, const char *text);

/* "romN" below `dirfd`, which must stay open, and is `dir` for people. `idle` is told when
 * the last thing asked for has been done, and nothing is mounted; the mount point may be freed
 * there. */
must_check int mountpoint_new(const struct mount_way *way, int dirfd, const char *dir,
	unsigned number, void (*idle)(void *ctx), void *ctx, struct mountpoint **out);
/* Only when idle, or when the daemon ends and nobody waits. */
void mountpoint_free(struct mountpoint *m);

unsigned mountpoint_number(const struct mountpoint *m);
const char *mountpoint_path(const struct mountpoint *m);
bool mountpoint_is_idle(const struct mountpoint *m);
bool mountpoint_is_mounted(const struct mountpoint *m);

struct mountpoint_request {
	uid_t uid; /* whose files they are; nobody else gets in */
	gid_t gid;
	const char *source; /* what mount(8) shows: the board's name */
	mountpoint_done_fn done;
	void *ctx;
};
/* `done` is told once, maybe before this returns. After an unmount that is under way; -EBUSY
 * where it is mounted already. */
void mountpoint_mount(struct mountpoint *m, const struct mountpoint_request *request);
/* At once for new users; those who have files open keep them until whoever serves it ends.
 * Somebody who waits for the mount gets -ECANCELED. */
void mountpoint_unmount(struct mountpoint *m);

/* A mount that an earlier daemon has left, by its path. `done` once, maybe at once. */
must_check int mountpoint_detach_stale(const struct mount_way *way, const char *path,
	void (*done)(void *ctx, const char *path), void *ctx, struct error *err);
