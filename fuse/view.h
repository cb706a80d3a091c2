/* SPDX-License-Identifier: MIT */
/* The folder as the kernel sees it: FUSE's low-level requests in, answers out.
 *
 * Every request is answered exactly once: at once, or later by a `pending` when it has to
 * wait for the host's disk, the board, or a commit. Loop thread only. */
#pragma once

#define FUSE_USE_VERSION 314

#include <fuse_lowlevel.h>
#include <systemd/sd-event.h>

#include "fuse/committer.h"
#include "fuse/folder.h"
#include "fuse/readahead.h"

/* Answers that need the board come within this time, or are errors. Not for fsync: its work
 * is bounded by the deadlines of what it does, and may rightly take minutes. */
#define VIEW_DEADLINE_MS 30000u

struct pending;
struct listing;

struct view {
	struct folder *folder;
	struct flash *flash;
	struct worker *worker;
	struct readahead *readahead;
	struct committer *committer;
	struct base *base;
	sd_event *event;
	const char *port, *mountpoint; /* for people */
	void (*found_stale)(void *ctx); /* flash is not what it was */
	void *found_ctx;
	uid_t uid;
	gid_t gid;
	bool initialised; /* the kernel's first request has been answered */
	struct pending *pendings; /* all requests that are not answered yet */
	struct listing *listings; /* of directories that are open (requests_dir.c) */
	sd_event_source *journal_source;
	sd_event_source *bytes_source; /* the mirror has got something */
};

extern const struct fuse_lowlevel_ops view_ops; /* userdata: struct view */

must_check int view_start(struct view *v); /* listens to journal and flash */
void view_stop(struct view *v); /* answers what is left with EIO */
