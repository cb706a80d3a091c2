/* SPDX-License-Identifier: MIT */
#include "libromfs/emit.h"

#include <errno.h>
#include <string.h>

#include "libromfs/ops.h"
#include "util/io.h"

#define CHUNK (16u * 1024)
#define STEP 4096u

struct emitter {
	struct append *a; /* NULL where blocks are erased alone */
	struct planning *pl;
	struct ops ops;
	struct spans early;   /* pages that are programmed while the old tree is there */
	struct spans late;    /* those of the front */
	struct spans pieces;  /* bytes of the new image that `next` gets */
	struct spans unknown;
	struct spans later;   /* changes after the early operations have been checked */
	struct error *err;
	uint64_t spare; /* behind the partition: for bytes that flash holds for a time */
};

static int fail_io(const struct emitter *e, int r)
{
	return r < 0 ? error_set(e->err, r, "cannot write the next image: %s", strerror(-r))
		     : 0;
}

static int write_next(const struct emitter *e, const void *buf, size_t len, uint64_t off)
{
	return fail_io(e, io_pwrite_full(e->pl->next_fd, buf, len, (off_t)off));
}

static int write_blank(const struct emitter *e, uint64_t off, uint64_t len)
{
	size_t size = (size_t)MIN(len, CHUNK);
	_cleanup_free_ uint8_t *buf = malloc(size);
	int r = buf ? 0 : -ENOMEM;

	if (buf)
		memset(buf, 0xFF, size);
	for (uint64_t at = 0; r == 0 && at < len; at += size)
		r = write_next(e, buf, (size_t)MIN(len - at, size), off + at);
	return r;
}

/* --- the bytes ---------------------------------------------------------------------- */

/* The first `size` bytes of a file. */
static int write_file(
	struct emitter *e, uint32_t index, uint64_t at, uint64_t size, uint8_t *buf)
{
	int r = spans_push(&e->pieces, at, size);

	for (uint64_t done = 0; r == 0 && done < size; done += CHUNK) {
		size_t n = (size_t)MIN(size - done, CHUNK);

		r = e->pl->content(
			e->pl->content_ctx, e->pl->wanted, index, done, buf, n, e->err);
		if (r == 0)
			r = write_next(e, buf, n, at + done);
	}
	return r;
}

struct root_sink {
	struct emitter *e;
	uint64_t pos;
};

static int sink_root(void *ctx, const void *buf, size_t len, struct error *err)
{
	struct root_sink *to = ctx;
	int r = write_next(to->e, buf, len, to->pos);

	(void)err;
	to->pos += len;
	return r;
}

static int write_root(struct emitter *e)
{
	struct root_sink to = {e, e->a->root};
	struct romfs_out out = {.sink = sink_root, .ctx = &to, .err = e->err};
	int r = spans_push(&e->pieces, e->a->root, e->a->meta.size);

	return r < 0 ? r : meta_write(&e->a->meta, e->a->root, e->a->place, &out);
}

static int write_items(struct emitter *e)
{
	const struct append *a = e->a;
	_cleanup_free_ uint8_t *buf = malloc(CHUNK);
	int r = buf ? 0 : -ENOMEM;

	for (size_t k = 0; r == 0 && k < a->n_items; k++) {
		uint32_t i = a->items[k].index;

		if (i == APPEND_ROOT) {
			r = write_root(e);
			continue;
		}
		r = write_file(e, i, a->place[i], a->items[k].size, buf);
		if (e->pl->home[i] != ROMFS_NO_OFFSET)
			e->ops.plan->moved_bytes += a->items[k].size;
	}
	return r;
}

/* RENEW: what of the files that stay stands in the front, and is programmed again. Behind it
 * they are as flash holds them (write_rest): nobody needs to know their bytes. */
static int write_others(struct emitter *e)
{
	const struct planning *pl = e->pl;
	_cleanup_free_ uint8_t *buf = malloc(CHUNK);
	int r = buf ? 0 : -ENOMEM;

	for (uint32_t i = 0; r == 0 && i < romfs_tree_count(pl->wanted); i++) {
		uint64_t at = e->a->place[i], len;

		if (pl->home[i] == ROMFS_NO_OFFSET || at != pl->home[i] || at >= e->a->front)
			continue;
		len = MIN(romfs_tree_node(pl->wanted, i)->size, e->a->front - at);
		r = write_file(e, i, at, len, buf);
		if (r == 0)
			r = spans_push(&e->late, at, len);
	}
	return r;
}

static int write_head(struct emitter *e)
{
	struct append *a = e->a;
	int r;

	head_write(&a->head, e->pl->geometry, a->root, a->head_bytes);
	r = spans_push(&e->pieces, 0, a->head.size);
	return r < 0 ? r : write_next(e, a->head_bytes, a->head.size, 0);
}

/* 0xFF wherever no piece stands in this range. */
static int write_gaps(struct emitter *e, const struct romfs_extent *range)
{
	_cleanup_(spans_done) struct spans gaps = {0};
	int r = spans_gaps(&e->pieces, range->off, range->off + range->len, &gaps);

	for (size_t k = 0; r == 0 && k < gaps.n; k++)
		r = write_blank(e, gaps.v[k].off, gaps.v[k].len);
	return r;
}

/* What flash holds in a range that nothing uses, and that stays. */
static int write_rest(struct emitter *e, uint64_t off, uint64_t end)
{
	const struct romfs_source *flash = &e->pl->now->source;
	uint32_t step = MIN(STEP, e->pl->geometry->erase_block);
	uint8_t buf[STEP];
	int r = 0;

	while (r == 0 && off < end) {
		size_t n = (size_t)MIN(end - off, step - off % step);

		r = flash->read(flash->ctx, off, buf, n, e->err);
		if (r == 0)
			r = write_next(e, buf, n, off);
		else if (r == -ENODATA)
			r = spans_push(&e->unknown, off, n);
		off += n;
	}
	return r;
}

/* --- operations ---------------------------------------------------------------------- */

/* Splits into pages of the front and behind it. */
static int sort_pages(struct emitter *e, const struct spans *pages)
{
	uint64_t front = e->a->front;
	int r = 0;

	for (size_t k = 0; r == 0 && k < pages->n; k++) {
		uint64_t off = pages->v[k].off, end = off + pages->v[k].len;

		if (off < front)
			r = spans_push(&e->late, off, MIN(end, front) - off);
		if (r == 0 && end > front)
			r = spans_push(&e->early, MAX(off, front), end - MAX(off, front));
	}
	return r;
}

/* Programs what `next` has in [off, end), which starts and ends with a page, or inside of
 * one at a write unit. */
static int program_range(struct emitter *e, uint64_t off, uint64_t end, uint8_t *buf)
{
	uint32_t page = space_page(e->pl->geometry);
	int r = 0;

	while (r == 0 && off < end) {
		size_t n = (size_t)MIN(end - off, page - off % page);

		r = fail_io(e, io_pread_full(e->pl->next_fd, buf, n, (off_t)off));
		if (r == 0)
			r = ops_program_page(&e->ops, buf, off, n, false);
		off += n;
	}
	return r;
}

static int push_programs(struct emitter *e, const struct spans *pages, uint64_t from)
{
	_cleanup_free_ uint8_t *buf = malloc(space_page(e->pl->geometry));
	int r = buf ? 0 : -ENOMEM;

	for (size_t k = 0; r == 0 && k < pages->n; k++)
		r = program_range(e, MAX(pages->v[k].off, from),
			pages->v[k].off + pages->v[k].len, buf);
	return r;
}

static int push_erases(struct emitter *e, const struct spans *blocks)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < blocks->n; k++)
		r = ops_erase(&e->ops, blocks->v[k].off, blocks->v[k].len);
	return r;
}

static int cut_all(struct spans *s, const struct spans *cut)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < cut->n; k++)
		r = spans_cut(s, cut->v[k].off, cut->v[k].len);
	return r;
}

static int cut_bad(const struct emitter *e, struct spans *s)
{
	uint32_t block = e->pl->geometry->erase_block;
	int r = 0;

	for (uint64_t off = 0; r == 0 && e->pl->now->bad && off < e->pl->geometry->size;
		off += block)
		if (planning_is_bad(e->pl, off, 1))
			r = spans_cut(s, off, block);
	return r;
}

/* Checks what the operations from `first` on have done, and what lies beside their erases:
 * what
 * changed and what did not in operations of their own, nothing that is not known, that
 * changes later, or that has failed. */
static int push_checks(struct emitter *e, size_t first)
{
	_cleanup_(spans_done) struct spans touched = {0}, reach = {0}, beside = {0};
	int r = ops_touched(&e->ops, first, &touched);

	if (r == 0)
		r = ops_reach(&e->ops, first, false, &reach);
	for (size_t k = 0; r == 0 && k < touched.n; k++)
		r = ops_check(&e->ops, touched.v[k].off, touched.v[k].len, touched.v[k].off);
	for (size_t k = 0; r == 0 && k < reach.n; k++)
		r = spans_gaps(&touched, reach.v[k].off, reach.v[k].off + reach.v[k].len,
			&beside);
	r = r < 0 ? r : cut_all(&beside, &e->unknown);
	r = r < 0 ? r : cut_all(&beside, &e->later);
	r = r < 0 ? r : cut_bad(e, &beside);
	for (size_t k = 0; r == 0 && k < beside.n; k++)
		r = ops_check(&e->ops, beside.v[k].off, beside.v[k].len, beside.v[k].off);
	return r;
}

/* Everything that the old tree survives. */
static int push_early(struct emitter *e)
{
	size_t first = e->ops.plan->n_ops;
	int r = push_erases(e, &e->a->erases);

	if (r == 0)
		r = push_programs(e, &e->early, 0);
	return r < 0 ? r : push_checks(e, first);
}

/* One program of the slot's. Bytes that flash holds only for a time stand behind the
 * partition. */
static int push_step(struct emitter *e, const struct head_step *s, const uint8_t *bytes)
{
	const uint8_t *last = e->a->head_bytes + s->off;
	uint64_t src = s->off;
	int r = write_next(e, last, s->len, s->off);

	if (r == 0 && memcmp(bytes + s->at, last, s->len) != 0) {
		src = e->spare;
		e->spare += s->len;
		r = write_next(e, bytes + s->at, s->len, src);
	}
	if (r == 0)
		r = ops_program(&e->ops, s->off, s->len, src);
	return r < 0 ? r : ops_check(&e->ops, s->off, s->len, src);
}

/* What the old tree survives, then the slot. */
static int push_append(struct emitter *e)
{
	struct append *a = e->a;
	_cleanup_free_ uint8_t *bytes = malloc((size_t)HEAD_STEPS_MAX * HEAD_STEP_MAX);
	struct head_step steps[HEAD_STEPS_MAX];
	unsigned n = 0;
	int r = bytes ? 0 : -ENOMEM;

	if (bytes)
		head_use(&a->head, &a->state, a->root, a->head_bytes, steps, &n, bytes);
	for (unsigned k = 0; r == 0 && k < n; k++)
		r = spans_push(&e->later, steps[k].off, steps[k].len);
	spans_normalize(&e->later);
	if (r == 0)
		r = push_early(e);
	for (unsigned k = 0; r == 0 && k < n; k++)
		r = push_step(e, &steps[k], bytes);
	return r;
}

/* --- the front ----------------------------------------------------------------------- */

static uint32_t header_len(const struct emitter *e)
{
	uint32_t unit = e->pl->geometry->write_unit;

	return (ROMFS_MAGIC_LEN + unit - 1) / unit * unit;
}

/* 1: no board would find a file system, and all of it can be programmed. */
static int front_is_blank(struct emitter *e)
{
	const struct romfs_source *flash = &e->pl->now->source;
	uint32_t step = MIN(STEP, e->pl->geometry->erase_block);
	uint8_t buf[STEP];

	if (planning_has_image(e->pl) || e->pl->geometry->no_erase)
		return 0;
	for (uint64_t off = 0; off < e->a->front; off += step) {
		size_t n = (size_t)MIN(e->a->front - off, step);
		int r = flash->read(flash->ctx, off, buf, n, e->err);

		if (r < 0)
			return r == -ENODATA ? 0 : r;
		if (!space_is_blank(buf, n))
			return 0;
	}
	return 1;
}

/* After this the flash holds no file system, whatever it held, and a check has said so. */
static int push_invalidation(struct emitter *e)
{
	const struct romfs_geometry *g = e->pl->geometry;
	uint32_t len = header_len(e);
	int r;

	if (g->no_erase) {
		/* The image's own bytes, one off: anything but a header. */
		r = ops_program(&e->ops, 0, len, 1);
		return r < 0 ? r : ops_check(&e->ops, 0, len, 1);
	}
	r = ops_erase(&e->ops, 0, g->erase_block);
	if (r == 0)
		r = ops_erase(&e->ops, g->erase_block, e->a->front - g->erase_block);
	if (r == 0)
		r = write_blank(e, e->spare, e->a->front);
	if (r == 0)
		r = ops_check(&e->ops, 0, e->a->front, e->spare);
	return r;
}

/* All of the front but the header, then that. */
static int push_front(struct emitter *e)
{
	const struct romfs_geometry *g = e->pl->geometry;
	uint32_t len = header_len(e);
	uint64_t reach = MIN(g->size, e->a->front + (g->no_erase ? 0 : g->erase_block));
	_cleanup_(spans_done) struct spans known = {0};
	int r = push_programs(e, &e->late, len);

	if (r == 0)
		r = spans_gaps(&e->unknown, len, reach, &known);
	for (size_t k = 0; r == 0 && k < known.n; k++)
		r = ops_check(&e->ops, known.v[k].off, known.v[k].len, known.v[k].off);
	return r < 0 ? r
		     : ops_header(&e->ops, e->pl->next_fd, len,
			       e->spare + e->a->front, e->err);
}

/* --- a whole append ------------------------------------------------------------------- */

static int write_all(struct emitter *e)
{
	const struct append *a = e->a;
	int r = write_items(e);

	if (r == 0 && a->renew)
		r = write_others(e);
	if (r == 0 && a->renew)
		r = write_head(e);
	if (r == 0)
		r = sort_pages(e, &a->taken);
	spans_normalize(&e->pieces);
	spans_normalize(&e->early);
	return r;
}

/* What of the front is programmed: pages with bytes of files, and of the head the write
 * units that are not blank. The others are its slots. */
static int find_late(struct emitter *e)
{
	const struct append *a = e->a;
	uint32_t unit = e->pl->geometry->write_unit;
	struct spans pages = {0};
	int r;

	spans_normalize(&e->late);
	r = room_pages(&a->room, &e->late, &pages);
	spans_done(&e->late);
	e->late = pages;
	if (r == 0 && a->renew)
		r = spans_cut(&e->late, 0, a->head.size);
	for (uint32_t at = 0; r == 0 && a->renew && at < a->head.size; at += unit)
		if (!space_is_blank(a->head_bytes + at, unit) || e->pl->geometry->no_erase)
			r = spans_push(&e->late, at, unit);
	spans_normalize(&e->late);
	return r;
}

/* What is erased or programmed, and holds no piece, is blank; with RENEW the rest is what
 * flash holds. */
static int write_between(struct emitter *e, bool front_erased)
{
	_cleanup_(spans_done) struct spans changed = {0}, used = {0}, rest = {0};
	const struct append *a = e->a;
	const struct spans *all[] = {&a->erases, &e->early, &e->late};
	int r = front_erased ? spans_push(&changed, 0, a->front) : 0;

	for (size_t k = 0; k < ARRAY_SIZE(all); k++)
		for (size_t i = 0; r == 0 && i < all[k]->n; i++)
			r = spans_push(&changed, all[k]->v[i].off, all[k]->v[i].len);
	spans_normalize(&changed);
	for (size_t i = 0; r == 0 && i < changed.n; i++)
		r = write_gaps(e, &changed.v[i]);
	if (r < 0 || !a->renew)
		return r;
	for (size_t i = 0; r == 0 && i < changed.n; i++)
		r = spans_push(&used, changed.v[i].off, changed.v[i].len);
	for (size_t i = 0; r == 0 && i < e->pieces.n; i++)
		r = spans_push(&used, e->pieces.v[i].off, e->pieces.v[i].len);
	spans_normalize(&used);
	if (r == 0)
		r = spans_gaps(&used, 0, e->pl->geometry->size, &rest);
	for (size_t i = 0; r == 0 && i < rest.n; i++)
		r = write_rest(e, rest.v[i].off, rest.v[i].off + rest.v[i].len);
	return r;
}

static int renew(struct emitter *e)
{
	int blank = front_is_blank(e), r;
	bool first = !planning_has_image(e->pl);

	if (blank < 0)
		return blank;
	r = write_between(e, !blank && !e->pl->geometry->no_erase);
	if (r == 0)
		r = spans_push(&e->later, 0, e->a->front);
	/* Where there is no tree, nothing goes in front of the header's end: leftovers could
	 * make a tree of it that nobody wrote. */
	if (r == 0 && first && !blank)
		r = push_invalidation(e);
	if (r == 0)
		r = push_early(e);
	if (r == 0 && !first)
		r = push_invalidation(e);
	return r < 0 ? r : push_front(e);
}

static int append(struct emitter *e)
{
	int r = write_between(e, false);

	return r < 0 ? r : push_append(e);
}

static int finish(struct emitter *e, int r)
{
	struct romfs_plan *plan = e->ops.plan;
	struct spans touched = {0};

	if (r == 0)
		r = ops_touched(&e->ops, 0, &touched);
	plan->touched = touched.v;
	plan->n_touched = touched.n;
	spans_normalize(&e->unknown);
	plan->unknown = e->unknown.v;
	plan->n_unknown = e->unknown.n;
	spans_done(&e->early);
	spans_done(&e->late);
	spans_done(&e->pieces);
	spans_done(&e->later);
	return r == -ENOMEM ? error_set(e->err, r, "out of memory") : r;
}

int emit_append(struct append *a, struct romfs_plan *plan)
{
	struct emitter e = {.a = a,
		.pl = a->pl,
		.err = a->err,
		.spare = a->pl->geometry->size,
		.ops = {.geometry = a->pl->geometry, .plan = plan}};
	int r = write_all(&e);

	if (r == 0)
		r = find_late(&e);
	if (r == 0)
		r = a->renew ? renew(&e) : append(&e);
	plan->way = a->renew ? ROMFS_WAY_RENEW : ROMFS_WAY_APPEND;
	return finish(&e, r);
}

int emit_erases(struct planning *pl, const struct spans *blocks, struct romfs_plan *plan,
	struct error *err)
{
	struct emitter e = {.pl = pl,
		.err = err,
		.ops = {.geometry = pl->geometry, .plan = plan}};
	int r = 0;

	for (size_t k = 0; r == 0 && k < blocks->n; k++)
		r = write_blank(&e, blocks->v[k].off, blocks->v[k].len);
	if (r == 0)
		r = push_erases(&e, blocks);
	if (r == 0)
		r = push_checks(&e, 0);
	plan->way = plan->n_ops ? ROMFS_WAY_ERASE : ROMFS_WAY_NOTHING;
	return finish(&e, r);
}
