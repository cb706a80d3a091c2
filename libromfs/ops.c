/* SPDX-License-Identifier: MIT */
#include "libromfs/ops.h"

#include <errno.h>
#include <string.h>

#include "util/io.h"

static struct romfs_op *last_op(const struct ops *o, enum romfs_op_kind kind)
{
	const struct romfs_plan *plan = o->plan;
	struct romfs_op *last = plan->n_ops ? &plan->ops[plan->n_ops - 1] : NULL;

	return last && last->kind == kind ? last : NULL;
}

static int push(
	struct ops *o, enum romfs_op_kind kind, uint64_t off, uint64_t len, uint64_t src)
{
	struct romfs_plan *plan = o->plan;

	if (plan->n_ops == o->cap) {
		size_t cap = o->cap ? o->cap * 2 : 64;
		struct romfs_op *ops = realloc(plan->ops, cap * sizeof(*ops));

		if (!ops)
			return -ENOMEM;
		plan->ops = ops;
		o->cap = cap;
	}
	plan->ops[plan->n_ops++] =
		(struct romfs_op){.off = off, .len = len, .src = src, .kind = kind};
	return 0;
}

int ops_erase(struct ops *o, uint64_t off, uint64_t len)
{
	struct romfs_op *last = last_op(o, ROMFS_OP_ERASE);

	if (len == 0)
		return 0;
	o->plan->erase_count += len / o->geometry->erase_block;
	if (!last || last->off == 0 || last->off + last->len != off)
		return push(o, ROMFS_OP_ERASE, off, len, 0);
	last->len += len;
	return 0;
}

/* Runs go on over the borders of blocks: where they are of 16 bytes, an operation for each
 * would cost a statement on the line for each. */
int ops_program(struct ops *o, uint64_t off, uint64_t len, uint64_t src)
{
	struct romfs_op *last = last_op(o, ROMFS_OP_PROGRAM);

	if (len == 0)
		return 0;
	o->plan->program_bytes += len;
	if (!last || last->off + last->len != off || last->src + last->len != src)
		return push(o, ROMFS_OP_PROGRAM, off, len, src);
	last->len += len;
	return 0;
}

int ops_program_page(
	struct ops *o, const uint8_t *bytes, uint64_t off, size_t len, bool by_units)
{
	uint32_t unit = o->geometry->write_unit;
	bool skip = !o->geometry->no_erase;
	int r = 0;

	for (size_t at = 0; r == 0 && at < len; at += unit) {
		if (skip && space_is_blank(bytes + at, unit))
			continue;
		skip = skip && by_units;
		r = ops_program(o, off + at, skip ? unit : len - at, off + at);
		if (!skip)
			return r;
	}
	return r;
}

int ops_check(struct ops *o, uint64_t off, uint64_t len, uint64_t src)
{
	return len ? push(o, ROMFS_OP_CHECK, off, len, src) : 0;
}

/* The whole header but for one bit of its first byte, which is no file system. */
static int program_almost(
	struct ops *o, int next_fd, uint32_t len, uint64_t spare, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(len);
	int r;

	if (!buf)
		return -ENOMEM;
	r = io_pread_full(next_fd, buf, len, 0);
	buf[0] |= 1;
	if (r == 0)
		r = io_pwrite_full(next_fd, buf, len, (off_t)spare);
	if (r < 0)
		return error_set(err, r, "cannot write the next image: %s", strerror(-r));
	r = ops_program(o, 0, len, spare);
	return r < 0 ? r : ops_check(o, 0, len, spare);
}

/* Without ECC a cut leaves any bits of a unit: also a magic that is whole, and a length that
 * is not, which in 32 bits can be any. So the last program clears a single bit. */
int ops_header(
	struct ops *o, int next_fd, uint32_t len, uint64_t spare, struct error *err)
{
	const struct romfs_geometry *g = o->geometry;
	uint32_t last = len;
	int r = 0;

	if (g->twice && !g->no_erase && g->write_unit > 1) {
		r = program_almost(o, next_fd, len, spare, err);
		last = g->write_unit;
	}
	if (r == 0)
		r = ops_program(o, 0, last, 0);
	return r < 0 ? r : ops_check(o, 0, len, 0);
}

int ops_touched(const struct ops *o, size_t first, struct spans *out)
{
	const struct romfs_plan *plan = o->plan;
	int r = 0;

	for (size_t k = first; r == 0 && k < plan->n_ops; k++)
		if (plan->ops[k].kind != ROMFS_OP_CHECK)
			r = spans_push(out, plan->ops[k].off, plan->ops[k].len);
	spans_normalize(out);
	return r;
}

int ops_reach(const struct ops *o, size_t first, bool all, struct spans *out)
{
	uint64_t block = o->geometry->erase_block, size = o->geometry->size;
	const struct romfs_plan *plan = o->plan;
	int r = 0;

	for (size_t k = first; r == 0 && k < plan->n_ops; k++) {
		const struct romfs_op *op = &plan->ops[k];
		uint64_t from = op->off, to = op->off + op->len;

		if (op->kind == ROMFS_OP_CHECK)
			continue;
		if (all || op->kind == ROMFS_OP_ERASE) {
			from = from / block * block;
			from -= MIN(from, block);
			to = MIN((to + block - 1) / block * block + block, size);
		}
		r = spans_push(out, from, to - from);
	}
	spans_normalize(out);
	return r;
}
