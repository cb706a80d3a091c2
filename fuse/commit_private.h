/* SPDX-License-Identifier: MIT */
/* What the files of commit*.c share. */
#pragma once

#include "fuse/commit.h"
#include "fuse/patch.h"

/* A tree that flash shall hold: its nodes' places on flash now, by index, and its bytes; both
 * NULL where the plan has all bytes already. */
struct wanted {
	struct romfs_tree *tree;
	uint64_t *places;
	romfs_content_fn content;
	void *ctx; /* for content */
	bool blank; /* not even a file system, as before the first save */
};

/* commit.c: what the new tree does not hold and somebody still needs is known to the host. */
must_check int commit_fetch_strays(struct commit *c, struct error *err);

/* commit_look.c: finds out what flash shows (c->image), whatever has happened to the last
 * commit. 1: that one was complete, and is this job's outcome. */
must_check int commit_look(struct commit *c, bool again, struct error *err);

/* commit_twins.c: finds new content that flash has already, at the same path: `places` then
 * tells where. The bytes are compared by the board's hashes. */
must_check int commit_find_twins(struct commit *c, uint64_t *places, struct error *err);

/* commit_step.c: plans with the patch's file. What the board has to be asked for, it is. */
must_check int commit_plan(struct commit *c, enum romfs_goal goal, const struct wanted *w,
	struct patch *patch, struct romfs_plan **out, struct error *err);
/* Brings a plan to flash, and c->next with it. */
must_check int commit_carry_out(struct commit *c, const struct wanted *w, struct patch *patch,
	const struct romfs_plan *plan, struct error *err);

/* commit_tidy.c: one step that gains room, 1: by moving data; that is this job's outcome; 0:
 * by an erase; -ENOSPC: nothing can be gained. */
must_check int commit_tidy(struct commit *c, struct error *err);

/* commit_image.c: the whole of COMMIT_IMAGE. */
must_check int commit_image(struct commit *c, struct error *err);
