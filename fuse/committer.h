/* SPDX-License-Identifier: MIT */
/* When commits happen, and who waits for them.
 *
 * A commit starts when the tree has been quiet for a while, or at once when somebody syncs.
 * One runs at a time. After a failure it is tried again: when the port is closed by whoever
 * held it, when the board is plugged in again, and from time to time. While nobody wants
 * anything, what commits have left behind is tidied up (tidy.h), in short steps: at once after
 * a commit that nobody waited for, else after a while. Loop thread only. */
#pragma once

#include <systemd/sd-event.h>

#include "fuse/commit.h"
#include "fuse/flash.h"
#include "fuse/folder.h"
#include "fuse/worker.h"

struct committer_options {
	struct folder *folder;
	struct flash *flash;
	struct base *base; /* replaced after each commit */
	struct worker *worker;
	sd_event *event;
	struct port *port;   /* NULL for an image file */
	unsigned quiet_ms;   /* commit after this long without a change */
	unsigned quiet_max_ms; /* or this long after the first one */
	unsigned idle_ms; /* blocks are erased ahead after this long without one; 0: never */
	/* After each commit, all that the image uses is compared by the board's hashes; without
	 * it, what was written is. */
	bool verify_all;
	void (*notify)(void *ctx); /* the state has changed */
	void *ctx;
	const struct log_sink *log;
};

/* Told when the change that was waited for is on flash and verified (0), or why not. */
typedef void (*committer_done_fn)(void *ctx, int result);

struct committer_waiter { /* the caller's, until done or committer_forget */
	committer_done_fn done;
	void *ctx;
	uint64_t change;
	struct committer_waiter *next;
};

enum committer_state {
	COMMITTER_CLEAN,   /* flash holds what the folder shows */
	COMMITTER_STAGED,  /* something waits for the tree to be quiet */
	COMMITTER_WRITING, /* flash is being written */
	COMMITTER_FAILED,  /* the last attempt failed; `error` tells */
};

struct committer_status {
	enum committer_state state;
	uint64_t done, total; /* while WRITING: bytes of flash */
	const char *error;    /* of the last attempt, or "" */
	uint64_t commits, erased_blocks, programmed_bytes; /* since the mount */
};

struct committer;

must_check int committer_new(const struct committer_options *options, struct committer **out);
void committer_free(struct committer *c); /* waiters are told -ECANCELED */
DEFINE_CLEANUP(struct committer *, committer_free);

/* The folder has changed (folder.changed). */
void committer_changed(void *committer);
/* Everything staged so far shall be on flash: starts at once; `done` may be called before
 * this returns. */
void committer_sync(struct committer *c, struct committer_waiter *w);
void committer_forget(struct committer *c, struct committer_waiter *w);
/* Heals what a cut has left, or writes what an earlier mount has staged. */
void committer_kick(struct committer *c);
/* A commit is running: the journal's generation must not change under it. */
bool committer_is_busy(const struct committer *c);
void committer_status(const struct committer *c, struct committer_status *out);

/* --- turns: somebody else's work with flash, between commits -------------------------------
 * From `begin` until committer_end_turn nothing is committed or tidied up but what
 * committer_commit says; whoever syncs waits. */
struct committer_turn { /* the caller's, until it is ended or given up */
	void (*begin)(void *ctx); /* perhaps before committer_take_turn returns */
	void *ctx;
};

/* As soon as nothing runs and nobody waits for a commit. -EBUSY: another has it, or waits. */
must_check int committer_take_turn(struct committer *c, struct committer_turn *t);
/* Also one that has not begun. */
void committer_end_turn(struct committer *c, struct committer_turn *t);

struct committer_order {
	enum commit_aim aim;
	const struct romfs_pack_options *pack; /* NULL: the folder's */
	int image_fd; /* COMMIT_IMAGE */
	uint64_t image_size;
	uint64_t change; /* COMMIT_IMAGE: the folder's, when it was the image's tree */
	bool linger; /* more will follow: the port may stay open */
	/* `changed`: flash was. An error is the committer's state, too, and what the folder
	 * holds is committed later then. */
	void (*done)(void *ctx, int result, bool changed, const struct error *err);
	void *ctx;
};
/* In a turn, and from the done() of a worker's job (worker.h), so that the worker is at rest. */
void committer_commit(struct committer *c, const struct committer_order *order);
/* Bytes of flash that the commit under way has done, and has to do. */
const struct flash_progress *committer_progress(const struct committer *c);
