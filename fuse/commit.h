/* SPDX-License-Identifier: MIT */
/* One commit, as a job for the worker: from a snapshot to flash that holds it, verified.
 *
 * Plans on the host first, so that a tree that flash holds already costs nothing, not even
 * opening the port. A plan that appends is carried out by a patch (patch.h); one that writes
 * the front of flash anew, with a whole image beside the mirror. Writes the intent before the
 * first flash operation that changes the tree. Where room is short, live data is moved first:
 * each such step is a commit of its own, after which the loop changes over and submits the
 * next one. After an I/O error of the board it looks at flash again and tries once more before
 * it gives up; blocks that have failed are planned around. At its end the board runs its
 * program again and the port is closed, unless it was a step. */
#pragma once

#include "fuse/base.h"
#include "fuse/flash.h"
#include "fuse/intent.h"
#include "fuse/moves.h"
#include "fuse/snapshot.h"
#include "fuse/worker.h"

enum commit_outcome {
	COMMIT_NOTHING, /* flash is right as it is */
	COMMIT_DONE,	/* flash holds the snapshot; `next` is the new base */
	COMMIT_STEP,	/* flash holds `next`, but not the snapshot: commit again */
};

enum commit_aim {
	COMMIT_SAVE, /* the snapshot, as gently as there is room for */
	COMMIT_ANEW, /* the snapshot; what flash shows is given up, and its layout with it */
	COMMIT_PACK, /* the snapshot, as romfs_pack writes it */
	COMMIT_IMAGE, /* the snapshot, as image_fd holds it, byte by byte */
	/* Without a snapshot, one step, `tidied` where it was made: */
	COMMIT_ERASE, /* dead blocks are erased, however many there are */
	COMMIT_TIDY,  /* the same, and live data is moved where that gains room */
};

struct commit {
	struct worker_job job; /* `done` is the submitter's */
	void *job_ctx;	       /* for `done` */
	struct flash *flash;
	const struct base *base;
	int dirfd; /* state directory */
	const struct romfs_pack_options *pack;
	enum commit_aim aim;
	int image_fd; /* COMMIT_IMAGE: the caller's */
	uint64_t image_size;
	uint64_t change; /* COMMIT_IMAGE: -EBUSY if the snapshot has another */
	struct flash_progress *progress;
	uint64_t crowd; /* bytes that the snapshot is reckoned with, where flash has fewer; or 0 */
	struct snapshot *snapshot; /* owned; NULL: nothing is to be written, only tidied up,
				    * with COMMIT_SAVE where tidy.h says that it is due */
	struct romfs_extent *keep; /* owned: places on flash that the folder refers to */
	size_t n_keep;
	atomic_bool linger; /* nobody waits: the port may stay open for what follows */
	bool tidying; /* of those: tidying is under way, and goes on to its end */
	unsigned steps; /* that came right before, for the same purpose */
	/* --- the worker's --- */
	const struct romfs_image *image; /* what flash shows now; NULL: nothing to keep */
	bool may_move; /* where only tidying is wanted */
	struct romfs_image *parsed; /* owned: `image`, where it is not the base's */
	uint64_t strangers; /* erase blocks that hold neither the base nor nothing */
	/* --- results, after run --- */
	int result;
	struct error err;
	enum commit_outcome outcome;
	struct base next; /* owned unless taken; where the outcome is not NOTHING */
	char next_name[INTENT_NAME_MAX]; /* its image, to be adopted; "": the mirror has it */
	struct moves moves; /* of a step: BASE contents have other places in `next` */
	bool tidied; /* blank room was gained */
	uint64_t erased_blocks, programmed_bytes;
};

/* Takes the snapshot, or NULL. Loop thread. */
must_check int commit_new(
	struct folder *f, struct snapshot *snapshot, struct commit **out);
/* Flash as the planner gets it: what the mirror knows, what it shows, what must stay. */
struct romfs_flash commit_flash_now(const struct commit *c);
void commit_free(struct commit *c);
void commit_run(struct worker_job *job);
