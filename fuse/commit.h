/* SPDX-License-Identifier: MIT */
/* One commit, as a job for the worker: from a snapshot to flash that holds it, verified.
 *
 * Plans on the host first, so that a tree that flash holds already costs nothing, not even
 * opening the port. Writes the intent before the first flash operation. After an I/O error
 * of the board it surveys the flash and tries once more before it gives up. At its end the
 * board runs its program again and the port is closed. */
#pragma once

#include "fuse/base.h"
#include "fuse/flash.h"
#include "fuse/intent.h"
#include "fuse/snapshot.h"
#include "fuse/worker.h"

struct commit {
	struct worker_job job; /* `done` is the submitter's */
	void *job_ctx;	       /* for `done` */
	struct flash *flash;
	const struct base *base;
	int dirfd; /* state directory */
	const struct romfs_pack_options *pack;
	enum romfs_goal goal;
	bool anew; /* what flash shows is given up, and its layout with it */
	bool stays; /* the session goes on: flash_disconnect is the submitter's */
	struct flash_progress *progress;
	struct snapshot *snapshot; /* owned */
	uint64_t strangers; /* erase blocks that hold neither the base nor nothing */
	/* --- results, after run --- */
	int result;
	struct error err;
	bool rewritten;	  /* flash changed: `next` is the new base */
	struct base next; /* owned unless taken */
	char next_name[INTENT_NAME_MAX];
	uint64_t erased_blocks, programmed_bytes;
};

must_check int commit_new(struct snapshot *snapshot, struct commit **out);
void commit_free(struct commit *c);
void commit_run(struct worker_job *job);
