/* SPDX-License-Identifier: MIT */
/* The metadata of a laid-out image (FORMAT.md): header, directories and files in one piece
 * at the start of the partition, data by pointer. Private to libromfs.
 *
 * Made so that a file that changes alters few bytes: numbers have a fixed width, every
 * entry has room for its note, and what changes of an entry crosses no erase block. */
#pragma once

#include "libromfs/plan.h"
#include "libromfs/record.h"

struct meta {
	const struct romfs_tree *tree;
	const struct romfs_geometry *geometry;
	const uint32_t *order; /* preorder of the tree */
	uint64_t *payload;     /* of each directory's record */
	uint64_t size;	       /* bytes of all metadata */
	bool notes, roomy;
};

#define META_PAYLOAD 8u /* where the image's payload begins */

void meta_done(struct meta *m);
must_check int meta_init(struct meta *m, const struct romfs_tree *tree,
	const struct romfs_geometry *geometry, const uint32_t *order, bool notes, bool roomy,
	struct error *err);
/* `place` tells, by index, where each file's data stands in the partition. */
must_check int meta_write(
	const struct meta *m, const uint64_t *place, struct romfs_out *out);
