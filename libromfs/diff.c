/* SPDX-License-Identifier: MIT */
#include "libromfs/diff.h"

#include <errno.h>
#include <string.h>

#include "libromfs/ops.h"
#include "libromfs/view.h"
#include "util/io.h"

#define STRIDE (64u << 10)

/* What happens to a block. */
enum fate {
	UNTOUCHED = 0,
	PROGRAMMED, /* what differs is blank now, or can be overwritten */
	ERASED,	    /* and programmed again */
};

/* Changes that the old tree survives come before its header is destroyed. Block 0, which
 * holds that header, is done at once, at the end. */
enum phase { EARLY, LATE, LAST };

struct differ {
	const struct planning *pl;
	const struct layout *layout;
	struct view view;
	struct romfs_plan *plan;
	struct error *err;
	struct ops ops;
	uint32_t block, page;
	uint32_t head; /* bytes at the start that are programmed last of all */
	uint8_t *fates;
	uint8_t *now, *next; /* one block each */
	bool *unknown; /* by page of it: must be written, whatever it holds */
	uint64_t prefix_end; /* of what a prefix erase takes */
	bool late;	     /* something must happen without the old tree */
};

/* --- what differs ------------------------------------------------------------ */

static size_t block_len(const struct differ *d, uint64_t off)
{
	return (size_t)MIN(d->pl->geometry->size - off, d->block);
}

/* Reads both sides of a block. *known: what flash holds is known wherever that matters. */
static int load(struct differ *d, uint64_t off, bool *known)
{
	size_t len = block_len(d, off);
	int r, unknown;

	unknown = view_load(&d->view, off, len, d->now, d->unknown, d->err);
	if (unknown < 0)
		return unknown;
	r = io_pread_full(d->pl->next_fd, d->next, len, (off_t)off);
	*known = true;
	for (size_t at = 0; unknown && at < len; at += d->page) {
		bool *page = &d->unknown[at / d->page];

		if (*page && spans_overlap(&d->layout->unknown, off + at, d->page)) {
			memcpy(d->now + at, d->next + at, d->page);
			*page = false;
		}
		*known &= !*page;
	}
	return r < 0 ? error_set(d->err, r, "cannot read the next image back") : 0;
}

/* The old tree does not need these bytes. Where there is none, nothing may go in front of
 * the header's end: leftovers could make a tree of it that nobody wrote. */
static bool is_unused(const struct differ *d, uint64_t off, uint64_t len)
{
	return planning_has_image(d->pl) && !spans_overlap(&d->pl->old, off, len);
}

static bool page_differs(const struct differ *d, size_t at)
{
	return d->unknown[at / d->page] || memcmp(d->now + at, d->next + at, d->page) != 0;
}

static enum fate fate_of(const struct differ *d, size_t len, bool known)
{
	if (!known)
		return d->pl->geometry->no_erase ? PROGRAMMED : ERASED;
	if (memcmp(d->now, d->next, len) == 0)
		return UNTOUCHED;
	for (size_t at = 0; !d->pl->geometry->no_erase && at < len; at += d->page)
		if (page_differs(d, at) && !space_is_blank(d->now + at, d->page))
			return ERASED;
	return PROGRAMMED;
}

static bool is_late(const struct differ *d, uint64_t off, size_t len, enum fate fate)
{
	if (fate == UNTOUCHED)
		return false;
	if (fate != PROGRAMMED)
		return !is_unused(d, off, len) ||
		       (fate == ERASED && d->pl->geometry->prefix_erase);
	for (size_t at = 0; at < len; at += d->page)
		if (page_differs(d, at) && !is_unused(d, off + at, d->page))
			return true;
	return false;
}

static int judge(struct differ *d)
{
	uint64_t size = d->pl->geometry->size;

	for (uint64_t off = 0; off < size; off += d->block) {
		size_t len = block_len(d, off);
		enum fate fate;
		bool known;
		int r;

		r = load(d, off, &known);
		if (r < 0)
			return r;
		fate = fate_of(d, len, known);
		d->fates[off / d->block] = (uint8_t)fate;
		d->late |= is_late(d, off, len, fate);
		if (fate != UNTOUCHED && planning_is_bad(d->pl, off, len))
			return error_set(d->err, -EIO,
				"what stands at %llu must change, and flash has failed there",
				(unsigned long long)off);
		if (fate == ERASED && d->pl->geometry->prefix_erase)
			d->prefix_end = off + len;
	}
	return 0;
}

/* --- one block --------------------------------------------------------------- */

/* Whether a page is programmed in this phase. A block that is erased goes in one. */
static bool takes_page(
	const struct differ *d, uint64_t off, size_t at, enum fate fate, enum phase phase)
{
	if (fate == ERASED)
		return !space_is_blank(d->next + at, d->page);
	return page_differs(d, at) &&
	       (phase == LAST || is_unused(d, off + at, d->page) == (phase == EARLY));
}

/* The slots of a head stay blank. */
static int program_page(struct differ *d, uint64_t off, size_t at, size_t end)
{
	bool is_head = d->layout->kind == LAYOUT_HEAD && off + at < d->layout->head.size;

	return ops_program_page(&d->ops, d->next + at, off + at, end - at, is_head);
}

static int program_pages(
	struct differ *d, uint64_t off, size_t from, enum fate fate, enum phase phase)
{
	size_t len = block_len(d, off);
	int r = 0;

	for (size_t at = 0; r == 0 && at < len; at += d->page)
		if (at + d->page > from && takes_page(d, off, at, fate, phase))
			r = program_page(d, off, MAX(at, from), at + d->page);
	return r;
}

/* Whether a block is done in this phase, and how. */
static bool is_due(const struct differ *d, uint64_t off, enum phase phase, enum fate *fate)
{
	bool in_prefix = off < d->prefix_end;

	*fate = d->fates[off / d->block];
	if (in_prefix && phase == LATE)
		*fate = ERASED; /* the prefix erase has done it */
	if (*fate == UNTOUCHED || (in_prefix && phase == EARLY))
		return false;
	return *fate == PROGRAMMED || in_prefix ||
		is_unused(d, off, block_len(d, off)) == (phase == EARLY);
}

static int erase_due(struct differ *d, uint64_t off, enum phase phase)
{
	enum fate fate;

	if (!is_due(d, off, phase, &fate) || fate != ERASED || off < d->prefix_end)
		return 0;
	return ops_erase(&d->ops, off, block_len(d, off));
}

static int program_due(struct differ *d, uint64_t off, enum phase phase)
{
	enum fate fate;
	bool known;
	int r;

	if (!is_due(d, off, phase, &fate))
		return 0;
	r = load(d, off, &known);
	return r < 0 ? r : program_pages(d, off, 0, fate, phase);
}

/* Some blocks are erased, then these are programmed: to go to and fro for each costs two
 * round trips of the line for each. */
static int do_blocks(struct differ *d, uint64_t from, enum phase phase)
{
	uint64_t size = d->pl->geometry->size;
	uint64_t stride = MAX(1u, STRIDE / d->block) * (uint64_t)d->block;

	for (uint64_t start = from, end; start < size; start = end) {
		int r = 0;

		end = MIN(size, start + stride);
		for (uint64_t off = start; r == 0 && off < end; off += d->block)
			r = erase_due(d, off, phase);
		for (uint64_t off = start; r == 0 && off < end; off += d->block)
			r = program_due(d, off, phase);
		if (r < 0)
			return r;
	}
	return 0;
}

/* --- block 0 ----------------------------------------------------------------- */

/* The old header is gone: else everything behind this would build a mixed tree under it. */
static int check_invalid(struct differ *d)
{
	_cleanup_free_ uint8_t *blank = malloc(d->head);
	int r;

	if (!blank)
		return -ENOMEM;
	memset(blank, 0xFF, d->head);
	r = io_pwrite_full(
		d->pl->next_fd, blank, d->head, (off_t)d->pl->geometry->size);
	if (r < 0)
		return error_set(d->err, r, "cannot write the next image: %s", strerror(-r));
	return ops_check(&d->ops, 0, d->head, d->pl->geometry->size);
}

/* After this the flash holds no file system, whatever it held. */
static int invalidate(struct differ *d)
{
	const struct romfs_geometry *g = d->pl->geometry;
	bool known;
	int r;

	r = load(d, 0, &known);
	if (r < 0)
		return r;
	if (g->no_erase) {
		/* The image's own bytes, one off: anything but a header. */
		if (g->size <= d->head)
			return 0;
		r = ops_program(&d->ops, 0, d->head, 1);
		return r < 0 ? r : ops_check(&d->ops, 0, d->head, 1);
	}
	if (g->prefix_erase && d->prefix_end) {
		r = ops_erase(&d->ops, 0, d->prefix_end);
		return r < 0 ? r : check_invalid(d);
	}
	if (known && space_is_blank(d->now, block_len(d, 0)))
		return 0;
	if (g->prefix_erase)
		d->prefix_end = g->erase_block;
	r = ops_erase(&d->ops, 0, g->erase_block);
	return r < 0 ? r : check_invalid(d);
}

/* All of block 0 but the header, which comes behind the checks. */
static int finish(struct differ *d)
{
	enum fate fate = d->pl->geometry->no_erase ? d->fates[0] : ERASED;
	bool known;
	int r;

	r = load(d, 0, &known);
	if (r == 0 && fate != UNTOUCHED)
		r = program_pages(d, 0, d->head, fate, LAST);
	return r;
}

static int order(struct differ *d)
{
	size_t before;
	int r = do_blocks(d, d->late ? d->block : 0, EARLY);

	d->plan->way = d->plan->n_ops ? ROMFS_WAY_ERASE : ROMFS_WAY_NOTHING;
	if (r < 0 || !d->late)
		return r;
	r = invalidate(d);
	before = d->plan->n_ops;
	if (r == 0)
		r = do_blocks(d, d->block, LATE);
	d->plan->way = d->plan->n_ops > before ? ROMFS_WAY_REPLACE : ROMFS_WAY_RENEW;
	return r < 0 ? r : finish(d);
}

/* --- checks ------------------------------------------------------------------ */

static int push_checks(struct differ *d, const struct spans *checks)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < checks->n; k++)
		r = ops_check(&d->ops, checks->v[k].off, checks->v[k].len,
			checks->v[k].off);
	return r;
}

/* Everything is checked before the last operation, and that one after it. */
static int add_checks(struct differ *d, struct spans *checks)
{
	struct romfs_op last = d->plan->ops[d->plan->n_ops - 1];
	int r = spans_cut(checks, last.off, last.len);

	d->plan->n_ops--;
	if (r == 0)
		r = push_checks(d, checks);
	if (r == 0)
		r = ops_check(&d->ops, 0, 1, 0);
	if (r < 0)
		return r;
	d->plan->ops[d->plan->n_ops - 1] = last;
	return ops_check(&d->ops, last.off, last.len, last.off);
}

/* The same where the header is the last. */
static int add_header(struct differ *d, struct spans *checks)
{
	int r = spans_cut(checks, 0, d->head);

	if (r == 0)
		r = push_checks(d, checks);
	return r < 0 ? r
		     : ops_header(&d->ops, d->pl->next_fd, d->head,
			       d->pl->geometry->size + d->head, d->err);
}

/* What changes, and what is to be checked for it. */
static int find_changed(struct differ *d, struct spans *touched, struct spans *checks)
{
	int r = ops_touched(&d->ops, 0, touched);

	if (r == 0)
		r = ops_reach(&d->ops, 0, true, checks);
	if (r == 0 && d->late)
		r = spans_push(touched, 0, d->head);
	spans_normalize(touched);
	for (size_t k = 0; r == 0 && k < d->layout->unknown.n; k++)
		r = spans_cut(checks, d->layout->unknown.v[k].off,
			d->layout->unknown.v[k].len);
	return r;
}

static int seal(struct differ *d)
{
	_cleanup_(spans_done) struct spans checks = {0};
	struct spans touched = {0};
	int r;

	if (d->plan->n_ops == 0 && !d->late)
		return 0;
	r = find_changed(d, &touched, &checks);
	d->plan->touched = touched.v;
	d->plan->n_touched = touched.n;
	if (r < 0)
		return r;
	return d->late ? add_header(d, &checks) : add_checks(d, &checks);
}

static int note_unknown(struct differ *d)
{
	struct spans unknown = {0};
	int r = 0;

	for (size_t k = 0; r == 0 && k < d->layout->unknown.n; k++)
		r = spans_push(&unknown, d->layout->unknown.v[k].off,
			d->layout->unknown.v[k].len);
	d->plan->unknown = unknown.v;
	d->plan->n_unknown = unknown.n;
	return r;
}

int diff_plan(const struct planning *pl, const struct layout *layout,
	struct romfs_plan *plan, struct error *err)
{
	const struct romfs_geometry *g = pl->geometry;
	struct differ d = {.pl = pl,
		.layout = layout,
		.plan = plan,
		.err = err,
		.ops = {.geometry = g, .plan = plan}};
	int r;

	d.block = next_block(g);
	d.page = space_page(g);
	d.head = (3 + g->write_unit - 1) / g->write_unit * g->write_unit;
	d.fates = calloc((size_t)((g->size + d.block - 1) / d.block), 1);
	d.now = malloc(d.block);
	d.next = malloc(d.block);
	d.unknown = calloc(d.block / d.page, sizeof(*d.unknown));
	r = d.fates && d.now && d.next && d.unknown ? 0 : -ENOMEM;
	if (r == 0)
		r = view_init(&d.view, pl, err);
	if (r == 0)
		r = judge(&d);
	if (r == 0)
		r = note_unknown(&d);
	if (r == 0)
		r = order(&d);
	if (r == 0)
		r = seal(&d);
	free(d.fates);
	free(d.now);
	free(d.next);
	free(d.unknown);
	view_done(&d.view);
	return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
}
