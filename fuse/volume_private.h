/* SPDX-License-Identifier: MIT */
/* What the files of volume*.c and operate*.c share. */
#pragma once

#include "fuse/view.h"
#include "fuse/volume.h"

struct volume {
	struct volume_options o;
	struct attached attached;
	bool up; /* attached: all below stands */
	struct worker_job attaching;
	volume_ready_fn ready;
	void *ready_ctx;
	int result; /* of attaching */
	struct error err;
	struct readahead *readahead;
	struct committer *committer;
	struct view view;
	sd_event_source *kick; /* what an earlier time has left is written when the loop runs */
	/* While it is served. */
	struct fuse_session *session;
	struct fuse_buf buf;
	sd_event_source *fuse_source;
	bool mounted; /* by ourselves */
	bool told;    /* that the kernel has been answered */
	struct operation *operation; /* on the whole partition, or NULL (operate.c) */
	struct invalidation *invalidations; /* that the kernel is being told */
	/* The end. */
	bool ending;
	struct committer_waiter last_sync;
	struct worker_job last_job;
};

/* operate.c: ends it, when the worker is gone; NULL is fine. */
void operation_drop(struct operation *op);
void operation_tell(const struct operation *op, struct volume_status *out);
