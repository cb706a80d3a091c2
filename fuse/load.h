/* SPDX-License-Identifier: MIT */
/* Filling a folder's node table: from the image on flash, or from the journal. */
#pragma once

#include "fuse/folder.h"

/* One node per entry of the tree, into an empty table; contents are of this kind, at the places
 * that the tree tells. The thread that has the table. */
must_check int load_tree(
	struct node_table *nodes, const struct romfs_tree *tree, enum content_kind kind);

struct load_replay {
	struct folder *f;
	struct error *err;
};
/* journal_replay_fn; ctx is a struct load_replay. -EUCLEAN where changes do not fit together,
 * with the reason. */
int load_change(void *ctx, const struct journal_change *change);
/* After the last change: whether everything has its place. */
must_check int load_check(struct folder *f, struct error *err);
/* Whether the folder, but for its junk, is what the image holds: nothing waits to be written. */
bool load_is_image(const struct folder *f, const struct romfs_tree *tree);
