/* SPDX-License-Identifier: MIT */
/* The metadata of an image whose data stands elsewhere (FORMAT.md): directories and files in
 * one piece, data by pointer. At the start of the partition, behind the header, they make a
 * laid-out image; anywhere else they are a ROOT of the append layout. Private to libromfs.
 *
 * Numbers have a fixed width, so that nothing moves when a file changes its place or size,
 * and the size of all follows from the names alone. */
#pragma once

#include "libromfs/plan.h"
#include "libromfs/record.h"

enum meta_kind {
	META_FRONT_ROOMY, /* with the header; what changes of an entry crosses no erase block */
	META_FRONT_TIGHT, /* with the header; no gaps */
	META_ROOT,	  /* without a header, anywhere; no gaps */
};

struct meta {
	const struct romfs_tree *tree;
	const struct romfs_geometry *geometry;
	const uint32_t *order; /* preorder of the tree */
	uint64_t *payload;     /* of each directory's record */
	uint64_t size;	       /* bytes of all metadata */
	enum meta_kind kind;
	bool notes;
};

#define META_PAYLOAD 8u /* where the image's payload begins */

/* Where the image ends that covers the partition. */
uint64_t meta_image_end(const struct romfs_geometry *geometry);
/* The image's header, alone in the first write unit where `unit` has more bytes than it:
 * META_PAYLOAD bytes, or unit + 2. */
void meta_header(const struct romfs_geometry *geometry, uint32_t unit, struct romfs_out *out);
#define META_HEADER(unit) ((unit) > META_PAYLOAD ? (unit) + 2 : META_PAYLOAD)

void meta_done(struct meta *m);
/* Measures; what is passed must stay as long as `m`. */
must_check int meta_init(struct meta *m, enum meta_kind kind, const struct romfs_tree *tree,
	const struct romfs_geometry *geometry, const uint32_t *order, bool notes,
	struct error *err);
/* Writes m->size bytes for the place `at` (0 for one with the header), which must leave that
 * much room in the image. `place` tells, by index, where each file's data stands in the
 * partition. */
must_check int meta_write(const struct meta *m, uint64_t at, const uint64_t *place,
	struct romfs_out *out);
