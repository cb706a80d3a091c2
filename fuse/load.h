/* SPDX-License-Identifier: MIT */
/* Filling a folder's node table: from the image on flash, or from the journal. */
#pragma once

#include "fuse/folder.h"

/* One node per entry of the tree, below a directory that is empty; contents are of this kind,
 * at the places that the tree tells. */
must_check int load_tree(struct folder *f, const struct romfs_tree *tree, struct node *dir,
	enum content_kind kind);
/* The same into an empty table, from the image on flash. */
must_check int load_image(struct folder *f, const struct romfs_tree *tree);

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
