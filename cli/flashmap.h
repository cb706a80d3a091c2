/* SPDX-License-Identifier: MIT */
/* What stands where in a partition, worked out once and shown as text or as JSON. */
#pragma once

#include "libdev/target.h"
#include "libromfs/parse.h"

/* Stretches between files that are shorter are alignment: counted, not listed. */
#define FLASHMAP_GAP_MIN 256u

enum flashmap_kind {
	FLASHMAP_FILE,
	FLASHMAP_RECORDS, /* headers, names, notes; only those at the start are listed */
	FLASHMAP_UNUSED, /* between other things: padding, or what older trees left behind */
	FLASHMAP_FREE, /* behind everything */
};

struct flashmap_row {
	uint64_t off, len; /* bytes from the start of the partition */
	enum flashmap_kind kind;
	uint32_t index; /* FILE: in the tree */
};

struct flashmap {
	struct flashmap_row *rows; /* by offset */
	size_t n_rows;
	uint32_t files, directories;
	uint64_t used; /* bytes that the tree needs: records and file data, each once */
	uint64_t free; /* all others */
};

/* -ENOMEM or 0. An image that is not valid has one row: all free when blank, else all
 * unused. */
must_check int flashmap_of(
	const struct romfs_image *image, uint64_t size, struct flashmap *out);
void flashmap_clear(struct flashmap *map);

const char *flashmap_kind_name(enum flashmap_kind kind);
const char *flashmap_status_name(enum romfs_status status);
