/* SPDX-License-Identifier: MIT */
#include "romfs_nor.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "romfs_bytes.h"
#include "util/io.h"

void nor_init(struct nor *f, const struct romfs_geometry *g)
{
	static FILE *file; /* one for all: plans rewrite it whole */

	if (!file)
		file = tmpfile();
	assert_non_null(file);
	*f = (struct nor){.g = *g, .next_fd = fileno(file)};
	f->b = malloc(g->size);
	f->written = calloc(g->size / g->write_unit, sizeof(bool));
	f->unknown = calloc(g->size / g->erase_block, sizeof(bool));
	f->erases = calloc(g->size / g->erase_block, sizeof(*f->erases));
	f->bad = calloc(g->size / g->erase_block, 1);
	assert_true(f->b && f->written && f->unknown && f->erases && f->bad);
	memset(f->b, 0xFF, g->size);
}

void nor_done(struct nor *f)
{
	free(f->b);
	free(f->written);
	free(f->unknown);
	free(f->erases);
	free(f->bad);
}

void nor_settle(struct nor *f)
{
	memset(f->written, 0, f->g.size / f->g.write_unit * sizeof(*f->written));
	for (uint64_t i = 0; i < f->g.size; i++)
		if (f->b[i] != 0xFF)
			f->written[i / f->g.write_unit] = true;
}

void nor_dirty(struct nor *f, struct rng *r)
{
	for (uint64_t off = 0; off < f->g.size;) {
		uint32_t n = 1 + rng_below(r, 3000);
		bool blank = rng_below(r, 3) == 0;

		for (; n && off < f->g.size; n--, off++)
			f->b[off] = blank ? 0xFF : (uint8_t)rng_next(r);
	}
	nor_settle(f);
}

void nor_know(struct nor *f, bool known)
{
	for (uint64_t k = 0; k < f->g.size / f->g.erase_block; k++)
		f->unknown[k] = !known;
}

/* --- operations ------------------------------------------------------------------------- */

static bool reaches(const struct romfs_extent *v, size_t n, uint64_t off, uint64_t len)
{
	for (size_t k = 0; k < n; k++)
		if (off < v[k].off + v[k].len && v[k].off < off + len)
			return true;
	return false;
}

static bool is_inside(const struct romfs_extent *v, size_t n, uint64_t off, uint64_t len)
{
	for (size_t k = 0; k < n; k++)
		if (off >= v[k].off && off + len <= v[k].off + v[k].len)
			return true;
	return false;
}

/* One plan on its way. */
struct run {
	struct nor *f;
	const struct romfs_plan *plan;
	uint8_t *before; /* the partition */
	struct rng *r;
};

static bool is_sparse(const struct romfs_plan *plan)
{
	return plan->way == ROMFS_WAY_APPEND || plan->way == ROMFS_WAY_ERASE ||
	       plan->way == ROMFS_WAY_NOTHING;
}

static void expect_good(const struct nor *f, const struct romfs_op *op)
{
	for (uint64_t b = op->off / f->g.erase_block;
		b * f->g.erase_block < op->off + op->len; b++)
		if (f->bad[b])
			fail_msg("block %llu is bad", (unsigned long long)b);
}

static void erase(const struct run *run, const struct romfs_op *op, uint64_t len)
{
	struct nor *f = run->f;

	assert_false(f->g.no_erase);
	assert_int_equal(op->off % f->g.erase_block, 0);
	assert_int_equal(op->len % f->g.erase_block, 0);
	if (f->g.prefix_erase)
		assert_int_equal(op->off, 0);
	memset(f->b + op->off, 0xFF, len);
	if (len < op->len)
		for (uint64_t i = 0; i < MIN(op->len - len, 64); i++)
			f->b[op->off + len + i] |= (uint8_t)rng_next(run->r);
	for (uint64_t b = 0; b < len / f->g.erase_block; b++)
		f->erases[op->off / f->g.erase_block + b]++;
	/* A torn erase must be done again before anything is programmed there. */
	for (uint64_t u = op->off / f->g.write_unit;
		u < (op->off + op->len) / f->g.write_unit; u++)
		f->written[u] = len < op->len;
}

/* The bytes that an operation speaks of. */
static uint8_t *next_bytes(const struct run *run, const struct romfs_op *op)
{
	const struct romfs_plan *plan = run->plan;
	uint8_t *buf = malloc(op->len);

	assert_non_null(buf);
	if (op->src < run->f->g.size && is_sparse(plan) &&
		!is_inside(plan->touched, plan->n_touched, op->src, op->len)) {
		assert_int_equal(op->kind, ROMFS_OP_CHECK);
		assert_int_equal(op->src, op->off);
		assert_false(reaches(plan->touched, plan->n_touched, op->off, op->len));
		memcpy(buf, run->before + op->off, op->len);
		return buf;
	}
	assert_false(reaches(plan->unknown, plan->n_unknown, op->src, op->len));
	assert_int_equal(io_pread_full(run->f->next_fd, buf, op->len, (off_t)op->src), 0);
	return buf;
}

static void program(const struct run *run, const struct romfs_op *op, uint64_t units)
{
	struct nor *f = run->f;
	uint32_t unit = f->g.write_unit;
	uint8_t *buf = next_bytes(run, op);

	assert_int_equal(op->off % unit, 0);
	assert_int_equal(op->len % unit, 0);
	for (uint64_t i = 0; i < units * unit; i++) {
		uint64_t off = op->off + i;

		if (f->g.no_erase) {
			f->b[off] = buf[i];
			continue;
		}
		if (f->written[off / unit] && (!f->g.twice || buf[i] & ~f->b[off]))
			fail_msg("unit at %llu is programmed twice (%02x, %02x)",
				(unsigned long long)off, f->b[off], buf[i]);
		f->b[off] &= buf[i];
	}
	for (uint64_t u = 0; u < units; u++)
		f->written[op->off / unit + u] = true;
	free(buf);
}

static void check(const struct run *run, const struct romfs_op *op)
{
	uint8_t *buf = next_bytes(run, op);

	assert_memory_equal(run->f->b + op->off, buf, op->len);
	free(buf);
}

static void run_op(const struct run *run, const struct romfs_op *op, uint64_t part)
{
	struct nor *f = run->f;

	assert_true(op->len > 0 && op->off + op->len <= f->g.size);
	if (op->kind == ROMFS_OP_CHECK) {
		check(run, op);
		return;
	}
	expect_good(f, op);
	assert_true(is_inside(run->plan->touched, run->plan->n_touched, op->off, op->len));
	if (op->kind == ROMFS_OP_ERASE)
		erase(run, op, MIN(part, op->len));
	else
		program(run, op, MIN(part, op->len / f->g.write_unit));
}

static void mark(uint8_t *map, const struct romfs_extent *v, size_t n)
{
	for (size_t k = 0; k < n; k++)
		memset(map + v[k].off, 1, v[k].len);
}

/* Flash is what the plan says. */
static void expect_done(const struct run *run)
{
	const struct romfs_plan *plan = run->plan;
	uint64_t size = run->f->g.size;
	uint8_t *next = malloc(size), *changed = calloc(1, size), *unknown = calloc(1, size);

	assert_true(next && changed && unknown);
	if (plan->way == ROMFS_WAY_NOTHING)
		assert_int_equal(plan->n_ops, 0);
	else
		assert_int_equal(io_pread_full(run->f->next_fd, next, size, 0), 0);
	mark(changed, plan->touched, plan->n_touched);
	mark(unknown, plan->unknown, plan->n_unknown);
	for (uint64_t at = 0; at < size; at++) {
		if (!changed[at] && run->f->b[at] != run->before[at])
			fail_msg("byte %llu changed", (unsigned long long)at);
		if ((is_sparse(plan) ? changed[at] : !unknown[at]) &&
			run->f->b[at] != next[at])
			fail_msg("byte %llu is not the plan's", (unsigned long long)at);
	}
	/* What was erased is known now. */
	for (uint64_t b = 0; b < size / run->f->g.erase_block; b++)
		run->f->unknown[b] &= !is_inside(plan->touched, plan->n_touched,
			b * run->f->g.erase_block, run->f->g.erase_block);
	free(next);
	free(changed);
	free(unknown);
}

void nor_run(struct nor *f, const struct romfs_plan *plan, size_t done, uint64_t torn,
	struct rng *r)
{
	struct run run = {.f = f, .plan = plan, .before = malloc(f->g.size), .r = r};
	uint64_t erased = 0, programmed = 0;

	assert_non_null(run.before);
	memcpy(run.before, f->b, f->g.size);
	for (size_t k = 0; k < plan->n_ops; k++) {
		const struct romfs_op *op = &plan->ops[k];

		if (k < done)
			run_op(&run, op, op->len);
		else if (k == done && torn)
			run_op(&run, op, torn);
		if (op->kind == ROMFS_OP_ERASE)
			erased += op->len / f->g.erase_block;
		else if (op->kind == ROMFS_OP_PROGRAM)
			programmed += op->len;
	}
	assert_int_equal(erased, plan->erase_count);
	assert_int_equal(programmed, plan->program_bytes);
	if (done >= plan->n_ops)
		expect_done(&run);
	free(run.before);
}

void nor_after(const struct nor *f, const struct romfs_plan *plan, uint64_t off, void *buf,
	size_t len)
{
	uint8_t *p = buf;

	if (plan->way != ROMFS_WAY_NOTHING)
		assert_int_equal(io_pread_full(f->next_fd, buf, len, (off_t)off), 0);
	for (size_t i = 0; is_sparse(plan) && i < len; i++)
		if (!reaches(plan->touched, plan->n_touched, off + i, 1))
			p[i] = f->b[off + i];
}

void nor_forget(struct nor *f, const struct romfs_plan *plan)
{
	for (size_t k = 0; k < plan->n_touched; k++) {
		uint64_t first = plan->touched[k].off / f->g.erase_block;
		uint64_t end = plan->touched[k].off + plan->touched[k].len;

		for (uint64_t i = first; i * f->g.erase_block < end; i++)
			f->unknown[i] = true;
	}
}

/* --- what is there ------------------------------------------------------------------------ */

static int nor_read(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct nor *f = ctx;

	assert_true(off + len <= f->g.size);
	for (uint64_t k = off / f->g.erase_block; k * f->g.erase_block < off + len; k++)
		if (f->unknown[k])
			return -ENODATA;
	memcpy(buf, f->b + off, len);
	f->peeks += f->hidden && memchr(f->hidden + off, 1, len);
	return 0;
}

struct romfs_flash nor_flash(struct nor *f, struct romfs_image **image)
{
	struct romfs_flash flash = {
		.source = {.read = nor_read, .ctx = f, .size = f->g.size},
		.erases = f->erases,
		.bad = f->bad};
	int r;

	*image = NULL;
	r = romfs_parse(&flash.source, image, NULL);
	assert_true(r == 0 || r == -ENODATA);
	flash.image = *image;
	return flash;
}

struct seen {
	const struct model *m;
	unsigned n;
	bool other;
};

static void see(void *ctx, const char *path, const uint8_t *data, size_t len)
{
	struct seen *s = ctx;
	const struct model_entry *e = model_find(s->m, path);
	uint8_t *want;

	s->n++;
	if (!e || e->dir != (data == NULL) || (!e->dir && e->size != len)) {
		s->other = true;
		return;
	}
	if (e->dir)
		return;
	want = malloc(len + 1);
	assert_non_null(want);
	model_bytes(e, 0, want, len);
	s->other |= memcmp(want, data, len) != 0;
	free(want);
}

enum nor_sees nor_sees(const struct nor *f, const struct model *m)
{
	struct seen s = {.m = m};
	bool broken;

	if (!board_mount(f->b, f->g.size, see, &s, &broken))
		return SEES_NOTHING;
	return broken || s.other || s.n != m->n ? SEES_OTHER : SEES_TREE;
}

static void expect_parsed(const struct nor *f, const struct model *m, bool notes)
{
	struct romfs_buffer buffer = {f->b, f->g.size};
	struct romfs_source source = romfs_source_buffer(&buffer);
	struct romfs_image *image;

	assert_int_equal(romfs_parse(&source, &image, NULL), 0);
	if (m->n == 0 && image->status == ROMFS_BLANK) {
		romfs_image_free(image);
		return;
	}
	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(romfs_tree_count(image->tree), m->n + 1);
	for (unsigned i = 0; i < m->n; i++) {
		uint32_t k = romfs_tree_lookup(image->tree, m->v[i].path);

		assert_int_not_equal(k, ROMFS_NO_NODE);
		if (notes)
			assert_int_equal(romfs_tree_node(image->tree, k)->mtime_ns,
				m->v[i].mtime_ns);
	}
	if (notes)
		assert_int_equal(
			romfs_tree_node(image->tree, 0)->mtime_ns, m->root_mtime_ns);
	romfs_image_free(image);
}

void nor_expect(const struct nor *f, const struct model *m, bool notes)
{
	expect_parsed(f, m, notes);
	if (m->n)
		assert_int_equal(nor_sees(f, m), SEES_TREE);
}

struct romfs_tree *nor_wanted(
	const struct model *m, const struct model *old, const struct romfs_image *image)
{
	struct romfs_tree *tree = model_tree(m);

	for (uint32_t i = 1; i < romfs_tree_count(tree); i++) {
		struct romfs_node *n = romfs_tree_node(tree, i);
		const struct model_entry *e = &m->v[n->user];

		/* Also from another path: a rename. */
		for (unsigned k = 0; old && image && !e->dir && k < old->n; k++) {
			uint32_t there = romfs_tree_lookup(image->tree, old->v[k].path);

			if (there != ROMFS_NO_NODE && !old->v[k].dir &&
				old->v[k].seed == e->seed && old->v[k].size == e->size)
				n->data_off =
					romfs_tree_node(image->tree, there)->data_off;
		}
	}
	return tree;
}
