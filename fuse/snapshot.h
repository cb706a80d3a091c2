/* SPDX-License-Identifier: MIT */
/* A snapshot: the tree that one commit shall put on flash, with its bytes, taken in an
 * instant and read by the worker while the user goes on. Nothing in it changes: staged bytes
 * stand in one generation of the journal, bytes on flash in the mirror. */
#pragma once

#include "fuse/folder.h"

struct snapshot_item {
	uint64_t id;
	struct content content;
};

struct snapshot {
	struct romfs_tree *tree; /* node.user is the index into items */
	struct snapshot_item *items;
	uint32_t *by_id; /* indexes into items, by ascending id */
	int log_fd; /* of the journal's generation then; ours */
	uint64_t change;
	/* Places on flash that must be known to the host before they are erased, although the
	 * new tree does not hold them: of deleted files that are still open, of junk. */
	struct romfs_extent *stray;
	size_t n_stray;
};

/* Loop thread. */
must_check int snapshot_take(struct folder *f, struct snapshot **out);
void snapshot_free(struct snapshot *s);
DEFINE_CLEANUP(struct snapshot *, snapshot_free);

/* Every place on flash that some node refers to, be it in a tree or not: what must not be
 * erased. The caller frees. Loop thread. */
must_check int snapshot_places(struct folder *f, struct romfs_extent **out, size_t *n);

/* Worker thread; content function for the planner. Bytes on flash come through `flash`. */
struct snapshot_reader {
	const struct snapshot *snapshot;
	const struct romfs_source *flash; /* of the base image */
};
int snapshot_content(void *reader, const struct romfs_tree *tree, uint32_t index, uint64_t off,
	void *buf, size_t len, struct error *err);

/* Loop thread, after the commit and before the mirror changes over: whatever stands in the
 * old base and not in the new one is brought to safety (scratch files, journal). */
must_check int snapshot_save_strays(struct folder *f, const struct snapshot *s);
/* Loop thread: the tree's data_off tell where everything stands in the new base. Nodes whose
 * bytes are those of the snapshot refer to the new base from now on. */
void snapshot_committed(struct folder *f, const struct snapshot *s);
/* Undoes that, when the host could not keep it. */
void snapshot_undo(struct folder *f, const struct snapshot *s, uint64_t on_flash);
