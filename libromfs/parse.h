/* SPDX-License-Identifier: MIT */
/* Reads a ROMFS image of hostile bytes.
 *
 * Takes everything that the format and stock VfsRom allow: nested directories, verbatim
 * data, data pointers, padding anywhere, unknown kinds, padded varuints, any UTF-8 names,
 * and our notes (FORMAT.md). Refuses what could hurt a host: records that leave their
 * parent, pointers that leave the partition, varuints over 64 bits (but for a record's
 * kind, which then is unknown), too much of anything. Entries that no folder can show (bad
 * names, names over 255 bytes, a name that an earlier sibling has: boards find the first)
 * are left out and counted. Iterative; memory is bounded by ROMFS_ENTRIES_MAX; only record
 * headers, names and notes are looked at (up to 255 bytes behind one may share its read),
 * and never backwards. */
#pragma once

#include "libromfs/source.h"
#include "libromfs/tree.h"

enum romfs_status {
	ROMFS_VALID,
	ROMFS_BLANK,	/* the first bytes are erased flash: no file system yet */
	ROMFS_NOT_ROMFS, /* something else stands there */
	ROMFS_CORRUPT,	/* a ROMFS header, but what follows is broken */
};

struct romfs_extent {
	uint64_t off, len; /* bytes from the start of the partition */
};

struct romfs_image {
	enum romfs_status status;
	struct romfs_tree *tree; /* never NULL on success; empty unless VALID */
	uint64_t size;		 /* bytes of the image with its header; 0 unless VALID */
	uint64_t payload;	 /* offset of the payload: data pointers count from here */
	/* Bytes read while walking, as sorted, merged extents: headers, names, notes. What
	 * must be compared to know that a tree is still the one we knew. */
	struct romfs_extent *meta;
	size_t n_meta;
	unsigned records_before_root; /* records a lookup walks before the first entry */
	unsigned skipped_entries;     /* bad or doubled names: not in the tree */
	struct error why;	      /* for NOT_ROMFS and CORRUPT: offset and reason */
};

/* Parses the image at the start of `source`. Blank, foreign and corrupt contents are
 * results (status, why), not errors: -errno only when the source cannot be read (with its
 * error) or memory is short. The caller frees with romfs_image_free. */
must_check int romfs_parse(
	const struct romfs_source *source, struct romfs_image **out, struct error *err);
void romfs_image_free(struct romfs_image *image);
DEFINE_CLEANUP(struct romfs_image *, romfs_image_free);
