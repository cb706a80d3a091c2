/* SPDX-License-Identifier: MIT */
/* What the files of operate*.c share: one operation on a whole partition, from its order to
 * what is told of it. It is made of jobs of the worker and commits, one after another; each
 * ends by calling what comes next, or operation_end. Loop thread but for the jobs. */
#pragma once

#include "fuse/volume_private.h"

struct operation;
/* On the worker's thread; the error is the operation's. */
typedef int (*operation_run_fn)(struct operation *op, struct error *err);
typedef void (*operation_next_fn)(struct operation *op);

struct operation {
	struct volume *v;
	struct volume_order o;
	const struct operation_kind *kind;
	sd_event_source *start;
	struct committer_waiter waiter; /* for what was staged before */
	struct committer_turn turn;
	bool waits, has_turn;
	struct worker_job job;
	operation_run_fn run;
	operation_next_fn next;
	int job_result;
	bool committing; /* progress is the committer's */
	struct flash_progress progress;
	int cancel_fd;	    /* readable: end as soon as it can end well */
	atomic_bool cancel; /* the same */
	struct volume_result result;
	/* What the kinds keep. */
	uint64_t at;		   /* SAVE: bytes written */
	bool changed;		   /* SAVE: something that the image uses differs */
	int image_fd;		   /* RESTORE: our own copy; -1 */
	uint64_t image_size;
	struct romfs_image *image;
	/* FORMAT, RESTORE: what comes. */
	const struct romfs_tree *tree; /* NULL: nothing */
	bool fits;
	struct folder_replacement *replacement;
	operation_next_fn replaced;
	bool stale;	 /* another program was at flash: given up with the old folder */
	bool switched;	 /* the old folder is gone: the rest is done, wanted or not */
	uint64_t change; /* the folder's, right then */
	char **names; /* that the kernel has to forget */
	size_t n_names, cap_names;
	unsigned steps; /* COMPACT: that are left */
	bool pack;	/* COMPACT: before them */
};

struct operation_kind {
	const char *name; /* for volume_status */
	bool after_staged; /* what was staged goes to flash first */
	operation_next_fn begin;
};

extern const struct operation_kind operation_save, operation_restore, operation_layout;

struct flash *operation_flash(const struct operation *op);
/* `run` on the worker, then `next`; an error ends the operation. */
void operation_submit(struct operation *op, operation_run_fn run, operation_next_fn next);
/* A commit (its done and ctx are set here), then `next`: op->job_result tells whether flash
 * has changed. From a `next` alone. */
void operation_commit(struct operation *op, const struct committer_order *order,
	operation_next_fn next);
/* Compares everything, then ends. */
void operation_verify(struct operation *op);
/* Gives the board back, tells how it was, and frees the operation. */
void operation_end(struct operation *op, int result);
/* The folder gives way to this tree (NULL: to nothing), whose bytes stand in image_fd, and
 * flash is ours to replace: what another program wrote there is no reason to stop. Then
 * `replaced`, when that is durable. */
void operation_replace(struct operation *op, const struct romfs_tree *tree, bool fits,
	operation_next_fn replaced);
