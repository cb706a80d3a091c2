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
	assert_true(f->b && f->written && f->unknown);
	memset(f->b, 0xFF, g->size);
}

void nor_done(struct nor *f)
{
	free(f->b);
	free(f->written);
	free(f->unknown);
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

static void erase(struct nor *f, const struct romfs_op *op, uint64_t len, struct rng *r)
{
	assert_false(f->g.no_erase);
	assert_int_equal(op->off % f->g.erase_block, 0);
	assert_int_equal(op->len % f->g.erase_block, 0);
	if (f->g.prefix_erase)
		assert_int_equal(op->off, 0);
	memset(f->b + op->off, 0xFF, len);
	if (len < op->len)
		for (uint64_t i = 0; i < MIN(op->len - len, 64); i++)
			f->b[op->off + len + i] |= (uint8_t)rng_next(r);
	/* A torn erase must be done again before anything is programmed there. */
	for (uint64_t u = op->off / f->g.write_unit;
		u < (op->off + op->len) / f->g.write_unit; u++)
		f->written[u] = len < op->len;
}

static void program(struct nor *f, const struct romfs_op *op, uint64_t units)
{
	uint32_t unit = f->g.write_unit;
	uint8_t *buf = malloc(op->len);

	assert_non_null(buf);
	assert_int_equal(op->off % unit, 0);
	assert_int_equal(op->len % unit, 0);
	assert_int_equal(io_pread_full(f->next_fd, buf, op->len, (off_t)op->src), 0);
	for (uint64_t u = 0; u < units; u++) {
		uint64_t off = op->off + u * unit;

		if (!f->g.no_erase && f->written[off / unit])
			fail_msg("unit at %llu is programmed twice",
				(unsigned long long)off);
		f->written[off / unit] = true;
		memcpy(f->b + off, buf + u * unit, unit);
	}
	free(buf);
}

static void check(struct nor *f, const struct romfs_op *op)
{
	uint8_t *buf = malloc(op->len);

	assert_non_null(buf);
	assert_int_equal(io_pread_full(f->next_fd, buf, op->len, (off_t)op->src), 0);
	assert_memory_equal(f->b + op->off, buf, op->len);
	free(buf);
}

static void run_op(struct nor *f, const struct romfs_op *op, uint64_t part, struct rng *r)
{
	assert_true(op->len > 0 && op->off + op->len <= f->g.size);
	if (op->kind == ROMFS_OP_CHECK)
		check(f, op);
	else if (op->kind == ROMFS_OP_ERASE)
		erase(f, op, MIN(part, op->len), r);
	else
		program(f, op, MIN(part, op->len / f->g.write_unit));
}

void nor_run(struct nor *f, const struct romfs_plan *plan, size_t done, uint64_t torn,
	struct rng *r)
{
	uint64_t erased = 0, programmed = 0;

	for (size_t k = 0; k < plan->n_ops; k++) {
		const struct romfs_op *op = &plan->ops[k];

		if (k < done)
			run_op(f, op, op->len, r);
		else if (k == done && torn)
			run_op(f, op, torn, r);
		if (op->kind == ROMFS_OP_ERASE)
			erased += op->len / f->g.erase_block;
		else if (op->kind == ROMFS_OP_PROGRAM)
			programmed += op->len;
	}
	assert_int_equal(erased, plan->erase_count);
	assert_int_equal(programmed, plan->program_bytes);
}

void nor_forget(struct nor *f, const struct romfs_plan *plan)
{
	for (size_t k = 0; k < plan->n_ops; k++) {
		uint64_t first = plan->ops[k].off / f->g.erase_block;
		uint64_t end = plan->ops[k].off + plan->ops[k].len;

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
	return 0;
}

struct romfs_flash nor_flash(struct nor *f, struct romfs_image **image)
{
	struct romfs_flash flash = {
		.source = {.read = nor_read, .ctx = f, .size = f->g.size}};
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
	uint8_t *next = malloc(f->g.size);

	assert_non_null(next);
	assert_int_equal(io_pread_full(f->next_fd, next, f->g.size, 0), 0);
	assert_memory_equal(f->b, next, f->g.size);
	free(next);
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
