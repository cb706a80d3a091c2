/* SPDX-License-Identifier: MIT */
#include "cli/flashmap.h"

#include <errno.h>
#include <stdlib.h>

static int by_offset(const void *a, const void *b)
{
	const struct flashmap_row *x = a, *y = b;

	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	/* An empty file stands before what begins at the same place. */
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Everything that the tree needs, unsorted: records and files. */
static size_t collect(
	const struct romfs_image *image, struct flashmap_row *rows, struct flashmap *map)
{
	size_t n = 0;
	uint32_t i;

	for (size_t m = 0; m < image->n_meta; m++)
		rows[n++] = (struct flashmap_row){.off = image->meta[m].off,
			.len = image->meta[m].len,
			.kind = FLASHMAP_RECORDS};
	for (i = ROMFS_ROOT + 1; i < romfs_tree_count(image->tree); i++) {
		const struct romfs_node *node = romfs_tree_node(image->tree, i);

		if (node->type == ROMFS_DIR) {
			map->directories++;
			continue;
		}
		map->files++;
		rows[n++] = (struct flashmap_row){.off = node->data_off,
			.len = node->size,
			.kind = FLASHMAP_FILE,
			.index = i};
	}
	return n;
}

static void add_row(
	struct flashmap *map, uint64_t off, uint64_t len, enum flashmap_kind kind)
{
	map->rows[map->n_rows++] =
		(struct flashmap_row){.off = off, .len = len, .kind = kind};
}

/* Files may share bytes, so `end` never goes back. */
static void fill(
	struct flashmap *map, const struct flashmap_row *things, size_t n, uint64_t size)
{
	uint64_t end = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		const struct flashmap_row *t = &things[i];
		uint64_t stop = t->off + t->len;

		if (t->off > end && t->off - end >= FLASHMAP_GAP_MIN)
			add_row(map, end, t->off - end, FLASHMAP_UNUSED);
		if (t->kind == FLASHMAP_FILE || t->off == 0)
			map->rows[map->n_rows++] = *t;
		if (stop > end) {
			map->used += stop - MAX(end, t->off);
			end = stop;
		}
	}
	if (end < size)
		add_row(map, end, size - end, FLASHMAP_FREE);
	map->free = size - map->used;
}

int flashmap_of(const struct romfs_image *image, uint64_t size, struct flashmap *out)
{
	size_t most = image->n_meta + romfs_tree_count(image->tree), n;
	_cleanup_free_ struct flashmap_row *things = calloc(most + 1, sizeof(*things));
	struct flashmap map = {0};

	/* Between any two things there may be a gap, and one more row behind all. */
	map.rows = calloc(most * 2 + 2, sizeof(*map.rows));
	if (!things || !map.rows) {
		free(map.rows);
		return -ENOMEM;
	}
	if (image->status == ROMFS_VALID) {
		n = collect(image, things, &map);
		qsort(things, n, sizeof(*things), by_offset);
		fill(&map, things, n, size);
	} else {
		bool blank = image->status == ROMFS_BLANK;

		add_row(&map, 0, size, blank ? FLASHMAP_FREE : FLASHMAP_UNUSED);
		map.free = size;
	}
	*out = map;
	return 0;
}

void flashmap_clear(struct flashmap *map)
{
	free(map->rows);
	*map = (struct flashmap){0};
}

const char *flashmap_kind_name(enum flashmap_kind kind)
{
	switch (kind) {
	case FLASHMAP_FILE:
		return "file";
	case FLASHMAP_RECORDS:
		return "header";
	case FLASHMAP_UNUSED:
		return "unused";
	case FLASHMAP_FREE:
		return "free";
	}
	return "?";
}

const char *flashmap_status_name(enum romfs_status status)
{
	switch (status) {
	case ROMFS_VALID:
		return "valid";
	case ROMFS_BLANK:
		return "blank";
	case ROMFS_NOT_ROMFS:
		return "not romfs";
	case ROMFS_CORRUPT:
		return "corrupt";
	}
	return "?";
}
