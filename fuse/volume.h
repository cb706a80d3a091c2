/* SPDX-License-Identifier: MIT */
/* One partition's folder on a loop and a worker that it shares with others: attached, served
 * over FUSE, committed in the background, and ended well. plane.c has one of them, and
 * romount-board one for each partition of a board.
 *
 * Loop thread only; never waits for the board. */
#pragma once

#include <systemd/sd-event.h>

#include "fuse/attach.h"
#include "fuse/committer.h"
#include "fuse/status.h"
#include "fuse/worker.h"

struct volume;

struct volume_options {
	/* What it points at outlives the volume. */
	struct attach_options attach;
	sd_event *event;
	struct worker *worker;
	const char *mountpoint; /* for people */
	uid_t uid; /* who owns what the folder shows */
	gid_t gid;
	unsigned quiet_ms, idle_ms; /* committer.h */
	bool verify_all;	    /* likewise */
	void (*changed)(void *ctx); /* state or numbers have changed: volume_status; or NULL */
	void (*served)(void *ctx);  /* the kernel's first request was answered; or NULL */
	/* After volume_end, or when it was unmounted and what was staged has been dealt with:
	 * 0, or why it is not on flash. Perhaps before volume_end returns. */
	void (*ended)(void *ctx, int result);
	void *ctx;
};

struct volume_status {
	struct committer_status commit;
	struct status_summary summary;
	const char *job; /* what runs: "", "commit", "verify", ... */
	uint64_t done, total;
};

/* Attaches as a job of the worker; `ready` is told on the loop's thread: 0 with the notes for
 * the user (or ""), or why not: then the volume is good for volume_free only, also from within
 * `ready`. After a good one, what an earlier time has left is written when the loop runs. */
typedef void (*volume_ready_fn)(void *ctx, int result, const char *text);
must_check int volume_new(const struct volume_options *options, volume_ready_fn ready,
	void *ctx, struct volume **out);
/* Once it is attached: after worker_free, since jobs may wait that refer to it. */
void volume_free(struct volume *v);
/* Serves an opened /dev/fuse that somebody has mounted; takes the descriptor, also on
 * failure. Again after `ended`. */
must_check int volume_serve(struct volume *v, int fuse_fd, struct error *err);
/* Mounts by itself (fusermount3) and serves. */
must_check int volume_mount(struct volume *v, const char *mountpoint, struct error *err);
bool volume_is_served(const struct volume *v);
/* No request is taken any more, and those that wait end with EIO; what is staged goes to
 * flash (finish), or is kept, and what runs ends well. `ended` is told. */
void volume_end(struct volume *v, bool finish);
bool volume_is_ending(const struct volume *v);

unsigned volume_number(const struct volume *v);
const struct dev_geometry *volume_geometry(const struct volume *v);
const struct dev_board_info *volume_board(const struct volume *v);
void volume_status(const struct volume *v, struct volume_status *out);
void volume_save_status(struct volume *v); /* status.h */
void volume_sync(struct volume *v, struct committer_waiter *w);
void volume_forget(struct volume *v, struct committer_waiter *w);
void volume_kick(struct volume *v); /* what failed is tried again now */

/* For the hooks of the worker, on its thread. */
void volume_rest(struct volume *v);
bool volume_is_resting(const struct volume *v);

/* --- operations on the whole partition (operate.c) --------------------------------------
 * One at a time for each partition: -EBUSY. They run on the worker between commits; what was
 * staged goes to flash before SAVE, VERIFY and COMPACT; FORMAT and RESTORE replace it, and what
 * another program has written to flash, too. The folder goes on being served. `done` is told
 * on the loop's thread, never before volume_operate returns, with a sentence where it failed.
 *
 * Nothing is lost when it ends in the middle: a FORMAT or RESTORE that has begun to write is
 * staged, and finished by the next commit, if need be of the next mount (not in the image's
 * own layout then). */
enum volume_operation {
	VOLUME_SAVE,	/* fd: the partition's bytes go there */
	/* fd: an image; exact: flash holds these bytes afterwards, also wholly blank ones */
	VOLUME_RESTORE,
	VOLUME_VERIFY,	/* the board's hashes of all that is used are compared */
	VOLUME_LAYOUT,
	VOLUME_FORMAT,
	VOLUME_COMPACT, /* packed: as romfs_pack writes it */
};

struct volume_extent {
	uint64_t off, len;
	char kind[12];	/* head slot root file dead blank unknown bad */
	char name[256]; /* of a file, printable; else "" */
};

struct volume_result {
	int result;
	struct error err;
	uint64_t bytes; /* verified, saved, restored */
	struct volume_extent *extents; /* of VOLUME_LAYOUT; the volume's */
	size_t n_extents;
};

struct volume_order {
	enum volume_operation what;
	int fd;		    /* taken over; -1: none */
	bool exact, packed;
	void (*done)(void *ctx, const struct volume_result *result);
	void *ctx;
};

/* Takes the descriptor, also on failure. */
must_check int volume_operate(struct volume *v, const struct volume_order *order);
/* Ends what runs as soon as it can end well: -ECANCELED. */
void volume_operate_cancel(struct volume *v);
