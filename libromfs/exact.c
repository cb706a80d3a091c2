/* SPDX-License-Identifier: MIT */
#include "libromfs/exact.h"

#include <errno.h>
#include <string.h>

#include "libromfs/diff.h"
#include "libromfs/view.h"
#include "util/io.h"

struct filler {
	struct planning *pl;
	struct layout *layout;
	struct view view;
	uint64_t len; /* of the image */
	uint32_t block, page;
	uint8_t *buf;  /* one block */
	bool *unknown; /* by page of it */
	struct error *err;
};

static int write_failed(int r, struct error *err)
{
	return error_set(err, r, "cannot write the next image: %s", strerror(-r));
}

/* The block in which the image ends keeps what is behind it, unless it has to be erased. */
static int fill_last(struct filler *w, uint64_t off, size_t len)
{
	_cleanup_free_ uint8_t *next = malloc(len);
	size_t part = (size_t)(w->len - off);
	bool erase = !w->pl->geometry->no_erase;
	int r;

	if (!next)
		return -ENOMEM;
	r = io_pread_full(w->pl->next_fd, next, part, (off_t)off);
	if (r < 0)
		return write_failed(r, w->err);
	r = view_load(&w->view, off, len, w->buf, w->unknown, w->err);
	if (r < 0)
		return r;
	if (r == 0 && memcmp(w->buf, next, part) == 0)
		erase = false;
	memcpy(w->buf, next, part);
	if (erase)
		memset(w->buf + part, 0xFF, len - part);
	r = io_pwrite_full(w->pl->next_fd, w->buf, len, (off_t)off);
	return r < 0 ? write_failed(r, w->err) : 0;
}

static int fill_block(struct filler *w, uint64_t off, size_t len)
{
	int r = view_load(&w->view, off, len, w->buf, w->unknown, w->err);

	for (size_t at = 0; r > 0 && at < len; at += w->page)
		if (w->unknown[at / w->page] &&
			spans_push(&w->layout->unknown, off + at, w->page) < 0)
			return -ENOMEM;
	if (r >= 0)
		r = io_pwrite_full(w->pl->next_fd, w->buf, len, (off_t)off);
	return r < 0 ? write_failed(r, w->err) : 0;
}

/* Behind the image `next` holds what flash does. */
static int fill_rest(struct filler *w)
{
	uint64_t size = w->pl->geometry->size, off = w->len - w->len % w->block;
	int r = view_init(&w->view, w->pl, w->err);

	for (; r == 0 && off < size; off += w->block) {
		size_t len = (size_t)MIN(size - off, w->block);

		r = off < w->len ? fill_last(w, off, len) : fill_block(w, off, len);
	}
	spans_normalize(&w->layout->unknown);
	return r;
}

static int fill(struct planning *pl, struct layout *layout, uint64_t len, struct error *err)
{
	struct filler w = {.pl = pl,
		.layout = layout,
		.len = len,
		.block = next_block(pl->geometry),
		.page = space_page(pl->geometry),
		.err = err};
	int r;

	w.buf = malloc(w.block);
	w.unknown = calloc(w.block / w.page, sizeof(*w.unknown));
	r = w.buf && w.unknown ? fill_rest(&w) : -ENOMEM;
	free(w.buf);
	free(w.unknown);
	view_done(&w.view);
	return r;
}

/* Slots that were not used must stay blank. */
static int find_head(const struct planning *pl, struct layout *layout, struct error *err)
{
	const struct romfs_source next =
		romfs_source_fd(&pl->next_fd, pl->geometry->size);
	_cleanup_free_ uint8_t *buf = malloc(HEAD_SIZE_MAX);
	struct head_state state;
	int r;

	if (!buf)
		return -ENOMEM;
	r = head_read(pl->geometry, &next, &layout->head, &state, buf, err);
	layout->kind = r > 0 ? LAYOUT_HEAD : LAYOUT_PACKED;
	return MIN(r, 0);
}

int exact_plan(struct planning *pl, uint64_t len, struct romfs_plan *plan, struct error *err)
{
	_cleanup_(layout_done) struct layout layout = {.size = len};
	int r = fill(pl, &layout, len, err);

	if (r == 0)
		r = find_head(pl, &layout, err);
	if (r == 0)
		r = diff_plan(pl, &layout, plan, err);
	if (r < 0)
		return r;
	plan->image_size = len;
	/* `next` is whole, and even where only free space differs, all of it is compared. */
	if (plan->n_ops)
		plan->way = MAX(plan->way, ROMFS_WAY_RENEW);
	return 0;
}
