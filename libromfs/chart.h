/* SPDX-License-Identifier: MIT */
/* What stands where on flash, as far as the host knows, for people. */
#pragma once

#include "libromfs/plan.h"

enum romfs_use {
	ROMFS_USE_HEAD,	   /* the front: header, our mark, what a small image has there */
	ROMFS_USE_SLOT,	   /* of the append layout: used ones, and those that are left */
	ROMFS_USE_ROOT,	   /* records: directories, names, notes */
	ROMFS_USE_FILE,
	ROMFS_USE_DEAD,	   /* what nothing refers to any more */
	ROMFS_USE_BLANK,   /* can be programmed at once */
	ROMFS_USE_UNKNOWN, /* nobody has looked */
	ROMFS_USE_BAD,	   /* has failed, and is set aside */
};

struct romfs_stretch {
	uint64_t off, len; /* bytes from the start of the partition */
	enum romfs_use use;
	uint32_t index; /* FILE: in the tree */
};

/* By offset; files may share bytes, all else does not overlap. Small gaps between files,
 * which are alignment, are left out. The caller frees. -ENOMEM. */
must_check int romfs_chart(const struct romfs_geometry *geometry,
	const struct romfs_flash *now, struct romfs_stretch **out, size_t *n,
	struct error *err);
