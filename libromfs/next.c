/* SPDX-License-Identifier: MIT */
#include "libromfs/next.h"

#include <errno.h>
#include <string.h>

#include "libromfs/view.h"
#include "util/io.h"

/* Pieces of the image that are not a file's data. */
#define PIECE_META UINT32_MAX /* written to the file beforehand */

struct piece {
	uint64_t off, len;
	uint32_t index;
};

struct writer {
	struct planning *pl;
	struct layout *layout;
	struct view view;
	struct piece *pieces; /* by offset */
	size_t n_pieces;
	size_t first; /* the first piece that may reach into the present block */
	uint64_t longest;
	uint32_t block, page;
	uint8_t *now, *next; /* one block each */
	bool *unknown; /* by page of the block */
	struct error *err;
};

uint32_t next_block(const struct romfs_geometry *geometry)
{
	uint32_t block = geometry->erase_block;

	return geometry->no_erase && block < 4096 ? 4096 / block * block : block;
}

/* --- pieces ------------------------------------------------------------------ */

static int compare_pieces(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

static void add_piece(struct writer *w, uint64_t off, uint64_t len, uint32_t index)
{
	if (len == 0)
		return;
	w->pieces[w->n_pieces++] = (struct piece){off, len, index};
	w->longest = MAX(w->longest, len);
}

static int list_pieces(struct writer *w)
{
	const struct romfs_tree *tree = w->pl->wanted;
	const struct layout *l = w->layout;

	w->pieces = malloc(((size_t)romfs_tree_count(tree) + 2) * sizeof(*w->pieces));
	if (!w->pieces)
		return -ENOMEM;
	if (l->kind == LAYOUT_HEAD) {
		add_piece(w, 0, l->head.size, PIECE_META);
		add_piece(w, l->root, l->meta.size, PIECE_META);
	} else {
		add_piece(w, 0, l->kind == LAYOUT_LAID ? l->meta.size : l->size, PIECE_META);
	}
	for (uint32_t i = 0;
		w->layout->kind != LAYOUT_PACKED && i < romfs_tree_count(tree); i++)
		if (romfs_tree_node(tree, i)->type == ROMFS_FILE)
			add_piece(w, w->layout->place[i], romfs_tree_node(tree, i)->size,
				i);
	qsort(w->pieces, w->n_pieces, sizeof(*w->pieces), compare_pieces);
	return 0;
}

/* The bytes [at, at+len) of the partition, which lie in the piece. `known`: w->now holds
 * what the flash holds of the block at `block_off`. */
static int fetch(struct writer *w, const struct piece *p, uint64_t at, size_t len,
	uint64_t block_off, bool known, uint8_t *buf)
{
	const struct planning *pl = w->pl;
	bool stays = p->index != PIECE_META && pl->home[p->index] == p->off;

	if (stays && known) {
		memcpy(buf, w->now + (at - block_off), len);
		return 0;
	}
	if (p->index == PIECE_META)
		return io_pread_full(pl->next_fd, buf, len, (off_t)at);
	return pl->content(
		pl->content_ctx, pl->wanted, p->index, at - p->off, buf, len, w->err);
}

static int overlay(struct writer *w, uint64_t off, size_t len, bool known)
{
	while (w->first < w->n_pieces && w->pieces[w->first].off + w->longest <= off)
		w->first++;
	for (size_t k = w->first; k < w->n_pieces && w->pieces[k].off < off + len; k++) {
		const struct piece *p = &w->pieces[k];
		uint64_t from = MAX(p->off, off), to = MIN(p->off + p->len, off + len);
		int r;

		if (from >= to)
			continue;
		r = fetch(w, p, from, (size_t)(to - from), off, known,
			w->next + (from - off));
		if (r < 0)
			return r;
	}
	return 0;
}

/* Blanks what no piece uses. */
static void wipe_rest(struct writer *w, uint64_t off, size_t len)
{
	uint64_t used = off;

	for (size_t k = w->first; k < w->n_pieces && w->pieces[k].off < off + len; k++) {
		const struct piece *p = &w->pieces[k];

		if (p->off > used)
			memset(w->next + (used - off), 0xFF, (size_t)(p->off - used));
		used = MAX(used, p->off + p->len);
	}
	if (used < off + len)
		memset(w->next + (used - off), 0xFF, (size_t)(off + len - used));
}

static bool is_used(const struct writer *w, uint64_t off, uint64_t len)
{
	for (size_t k = w->first; k < w->n_pieces && w->pieces[k].off < off + len; k++)
		if (w->pieces[k].off + w->pieces[k].len > off)
			return true;
	return false;
}

/* Some page would have to change that is not blank: none may be programmed twice. */
static bool needs_erase(const struct writer *w, uint64_t off, size_t len)
{
	for (size_t at = 0; at < len; at += w->page) {
		if (w->unknown[at / w->page]) {
			if (is_used(w, off + at, w->page))
				return true;
			continue;
		}
		if (memcmp(w->now + at, w->next + at, w->page) != 0 &&
			!space_is_blank(w->now + at, w->page))
			return true;
	}
	return false;
}

/* Makes w->next of one block. *erase: it can only be reached by erasing. */
static int build(struct writer *w, uint64_t off, size_t len, bool clean, bool *erase)
{
	int r, unknown;

	unknown = view_load(&w->view, off, len, w->now, w->unknown, w->err);
	if (unknown < 0)
		return unknown;
	if (!clean)
		memcpy(w->next, w->now, len);
	else
		memset(w->next, 0xFF, len);
	r = overlay(w, off, len, !unknown);
	if (r < 0)
		return r;
	*erase = needs_erase(w, off, len) && !w->pl->geometry->no_erase;
	if (*erase && !clean)
		wipe_rest(w, off, len);
	return 0;
}

/* What is not known, not used and not erased stays so. */
static int note_unknown(struct writer *w, uint64_t off, size_t len, bool erased)
{
	int r = 0;

	for (size_t at = 0; r == 0 && !erased && at < len; at += w->page)
		if (w->unknown[at / w->page] && !is_used(w, off + at, w->page))
			r = spans_push(&w->layout->unknown, off + at, w->page);
	return r;
}

/* --- the file ---------------------------------------------------------------- */

struct next_file {
	int fd;
	uint64_t pos;
};

static int sink_to_next(void *ctx, const void *buf, size_t len, struct error *err)
{
	struct next_file *to = ctx;
	int r;

	r = io_pwrite_full(to->fd, buf, len, (off_t)to->pos);
	to->pos += len;
	return r < 0 ? error_set(err, r, "cannot write the next image: %s", strerror(-r))
		     : 0;
}

/* The packer tells places by data_off, which our caller shall see only if all goes well. */
static int pack_aside(struct planning *pl, struct layout *l, romfs_sink_fn sink,
	void *ctx, struct error *err)
{
	uint32_t count = romfs_tree_count(pl->wanted);
	_cleanup_free_ uint64_t *given = malloc(count * sizeof(*given));
	uint64_t size;
	int r;

	if (!given)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < count; i++)
		given[i] = romfs_tree_node(pl->wanted, i)->data_off;
	r = romfs_pack(pl->wanted, &l->pack, pl->content, pl->content_ctx, sink, ctx, &size, err);
	for (uint32_t i = 0; i < count; i++) {
		l->place[i] = romfs_tree_node(pl->wanted, i)->data_off;
		romfs_tree_node(pl->wanted, i)->data_off = given[i];
	}
	return r;
}

static int write_head(struct planning *pl, struct layout *l, struct romfs_out *out)
{
	_cleanup_free_ uint8_t *buf = malloc(l->head.size);
	struct next_file *to = out->ctx;
	int r;

	if (!buf)
		return -ENOMEM;
	head_write(&l->head, pl->geometry, l->root, buf);
	r = io_pwrite_full(pl->next_fd, buf, l->head.size, 0);
	to->pos = l->root;
	return r < 0 ? r : meta_write(&l->meta, l->root, l->place, out);
}

static int write_meta(struct planning *pl, struct layout *l, struct error *err)
{
	struct next_file to = {pl->next_fd, 0};
	struct romfs_out out = {.sink = sink_to_next, .ctx = &to, .err = err};

	if (l->kind == LAYOUT_HEAD)
		return write_head(pl, l, &out);
	if (l->kind == LAYOUT_LAID)
		return meta_write(&l->meta, 0, l->place, &out);
	if (l->kind == LAYOUT_PACKED)
		return pack_aside(pl, l, sink_to_next, &to, err);
	return 0;
}

/* Where only a prefix can be erased, all of it that is not blank is: what is appended later
 * goes behind it, and there is no other way to get the room back. */
static int find_prefix(struct writer *w, uint64_t *end)
{
	uint64_t size = w->pl->geometry->size;

	for (uint64_t off = 0; off < size; off += w->block) {
		size_t len = (size_t)MIN(size - off, w->block);
		int r = view_load(&w->view, off, len, w->now, w->unknown, w->err);

		if (r < 0)
			return r;
		if (r > 0 || !space_is_blank(w->now, len))
			*end = MAX(*end, off + len);
	}
	return 0;
}

static int write_blocks(struct writer *w)
{
	uint64_t size = w->pl->geometry->size;
	/* Block 0 is erased whenever anything changes: it carries no leftovers. */
	uint64_t clean = w->block;
	int r = 0;

	if (w->pl->geometry->prefix_erase)
		r = find_prefix(w, &clean);
	for (uint64_t off = 0; r == 0 && off < size; off += w->block) {
		size_t len = (size_t)MIN(size - off, w->block);
		bool erase;

		r = build(w, off, len, off < clean, &erase);
		if (r == 0)
			r = io_pwrite_full(w->pl->next_fd, w->next, len, (off_t)off);
		if (r == 0)
			r = note_unknown(w, off, len,
				erase || (off < clean && !w->pl->geometry->no_erase));
	}
	return r;
}

int next_write(struct planning *pl, struct layout *layout, struct error *err)
{
	struct writer w = {.pl = pl,
		.layout = layout,
		.block = next_block(pl->geometry),
		.page = space_page(pl->geometry),
		.err = err};
	int r;

	r = write_meta(pl, layout, err);
	w.now = malloc(w.block);
	w.next = malloc(w.block);
	w.unknown = calloc(w.block / w.page, sizeof(*w.unknown));
	if (r == 0)
		r = w.now && w.next && w.unknown ? list_pieces(&w) : -ENOMEM;
	if (r == 0)
		r = view_init(&w.view, pl, err);
	if (r == 0)
		r = write_blocks(&w);
	free(w.now);
	free(w.next);
	free(w.unknown);
	view_done(&w.view);
	free(w.pieces);
	return r < 0 ? error_set(err, r, "cannot write the next image: %s", strerror(-r))
		     : 0;
}
