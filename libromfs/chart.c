/* SPDX-License-Identifier: MIT */
#include "libromfs/chart.h"

#include <errno.h>
#include <string.h>

#include "libromfs/head.h"
#include "libromfs/space.h"

#define GAP_MIN 16u /* bytes */
#define PIECE 4096u

struct chart {
	const struct romfs_geometry *geometry;
	const struct romfs_flash *now;
	struct romfs_stretch *v;
	size_t n, cap;
	struct error *err;
};

static int add(struct chart *c, uint64_t off, uint64_t len, enum romfs_use use, uint32_t index)
{
	struct romfs_stretch *last = c->n ? &c->v[c->n - 1] : NULL;

	if (last && last->use == use && use >= ROMFS_USE_DEAD && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	if (c->n == c->cap) {
		size_t cap = c->cap ? 2 * c->cap : 64;
		struct romfs_stretch *v = reallocarray(c->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		c->v = v;
		c->cap = cap;
	}
	c->v[c->n++] = (struct romfs_stretch){off, len, use, index};
	return 0;
}

/* --- what is in use -------------------------------------------------------------------- */

/* Where the front ends. */
static int add_head(struct chart *c, uint64_t *end)
{
	_cleanup_free_ uint8_t *buf = malloc(HEAD_SIZE_MAX);
	struct head_state state;
	struct head head;
	int r;

	if (!buf)
		return -ENOMEM;
	r = head_read(c->geometry, &c->now->source, &head, &state, buf, c->err);
	if (r <= 0)
		return r;
	*end = head.size;
	r = add(c, 0, head.first, ROMFS_USE_HEAD, 0);
	return r < 0 ? r : add(c, head.first, head.size - head.first, ROMFS_USE_SLOT, 0);
}

static int add_records(struct chart *c, uint64_t head_end)
{
	const struct romfs_image *image = c->now->image;
	int r = 0;

	for (size_t i = 0; i < image->n_meta && r == 0; i++) {
		uint64_t off = MAX(image->meta[i].off, head_end);
		uint64_t end = image->meta[i].off + image->meta[i].len;

		if (off < end)
			r = add(c, off, end - off,
				off == 0 ? ROMFS_USE_HEAD : ROMFS_USE_ROOT, 0);
	}
	return r;
}

static int add_files(struct chart *c)
{
	const struct romfs_tree *tree = c->now->image->tree;
	int r = 0;

	for (uint32_t i = 0; i < romfs_tree_count(tree) && r == 0; i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		if (n->type == ROMFS_FILE && n->size)
			r = add(c, n->data_off, n->size, ROMFS_USE_FILE, i);
	}
	return r;
}

static int by_offset(const void *a, const void *b)
{
	const struct romfs_stretch *x = a, *y = b;

	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* --- what is not ----------------------------------------------------------------------- */

static bool is_bad(const struct chart *c, uint64_t off)
{
	return c->now->bad && c->now->bad[off / c->geometry->erase_block];
}

/* Up to where one answer holds. */
static uint64_t piece_end(const struct chart *c, uint64_t off, uint64_t end)
{
	uint32_t block = c->geometry->erase_block, page = space_page(c->geometry);
	uint64_t in_block = off - off % block + block;

	if (is_bad(c, off))
		return MIN(end, in_block);
	page = MIN(page, PIECE);
	return MIN(MIN(end, in_block), off - off % page + page);
}

static int add_piece(struct chart *c, uint64_t off, uint64_t len)
{
	uint8_t buf[PIECE];
	int r;

	if (is_bad(c, off))
		return add(c, off, len, ROMFS_USE_BAD, 0);
	r = c->now->source.read(c->now->source.ctx, off, buf, len, c->err);
	if (r < 0 && r != -ENODATA)
		return r;
	return add(c, off, len,
		r < 0				 ? ROMFS_USE_UNKNOWN
			: space_is_blank(buf, len) ? ROMFS_USE_BLANK
						   : ROMFS_USE_DEAD,
		0);
}

static int add_gap(struct chart *c, uint64_t off, uint64_t end)
{
	int r = 0;

	while (off < end && r == 0) {
		uint64_t next = piece_end(c, off, end);

		r = add_piece(c, off, next - off);
		off = next;
	}
	return r;
}

static int add_gaps(struct chart *c)
{
	size_t used = c->n;
	uint64_t end = 0;
	int r = 0;

	for (size_t i = 0; i < used && r == 0; i++) {
		uint64_t off = c->v[i].off, stop = off + c->v[i].len;

		if (off >= end + GAP_MIN)
			r = add_gap(c, end, off);
		end = MAX(end, stop);
	}
	return r < 0 ? r : add_gap(c, end, c->geometry->size);
}

static int collect(struct chart *c)
{
	uint64_t head_end = 0;
	int r = 0;

	if (c->now->image && c->now->image->status == ROMFS_VALID) {
		r = add_head(c, &head_end);
		if (r == 0)
			r = add_records(c, head_end);
		if (r == 0)
			r = add_files(c);
	}
	if (r < 0)
		return r;
	if (c->n)
		qsort(c->v, c->n, sizeof(*c->v), by_offset);
	r = add_gaps(c);
	if (r == 0)
		qsort(c->v, c->n, sizeof(*c->v), by_offset);
	return r;
}

int romfs_chart(const struct romfs_geometry *geometry, const struct romfs_flash *now,
	struct romfs_stretch **out, size_t *n, struct error *err)
{
	struct chart c = {.geometry = geometry, .now = now, .err = err};
	int r = collect(&c);

	if (r < 0) {
		free(c.v);
		return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
	}
	*out = c.v;
	*n = c.n;
	return 0;
}
