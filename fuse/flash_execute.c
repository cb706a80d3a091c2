/* SPDX-License-Identifier: MIT */
/* Carrying out a plan on the board. */
#include <errno.h>
#include <string.h>

#include "fuse/flash_private.h"
#include "util/io.h"

#define PROGRAM_BYTES (64u << 10)
#define CHECK_STEP (16u << 10)
#define CHECK_FINE 256u /* what is known in part is checked in pieces of this, at last */
#define CHECK_BATCH 64u
#define DIFFER_MAX 16u

struct execution {
	struct flash *f;
	const struct romfs_plan *plan;
	int next_fd;
	const struct romfs_source *want;
	struct flash_progress *progress;
	uint8_t *buf;
	struct error *err;
	struct romfs_extent differ[DIFFER_MAX]; /* of the check at hand, the first ones */
	size_t n_differ;
};

/* --- what has failed ------------------------------------------------------------------- */

/* What is programmed twice stands in the front. Refused for the second time, it is not
 * chance: this flash cannot, whatever is known of its kind. */
static void refuse_front(struct flash *f)
{
	if (!f->wear || flash_twice(f) != DEV_TWICE_YES || ++f->front_refused < 2)
		return;
	wear_set_twice(f->wear, DEV_TWICE_NO);
	f->set_aside++; /* another attempt is worth it */
	log_to(f->options.log, LOG_NOTICE,
		"rom%u: this flash does not let itself be programmed twice; its slots are made "
		"for that from now on",
		f->geometry.number);
}

static void set_aside(struct flash *f, uint64_t off)
{
	uint32_t block = f->geometry.erase_block;

	/* The front of the image has no other place, and memory that is not erased by the block
	 * has no blocks to go round. */
	if (!f->wear || off < block || f->geometry.no_erase || f->geometry.prefix_erase ||
		!wear_set_aside(f->wear, off))
		return;
	f->set_aside++;
	log_to(f->options.log, LOG_WARNING,
		"rom%u: the %u bytes of flash at 0x%llx do not keep what is written there; they "
		"are set aside, and the data goes elsewhere",
		f->geometry.number, block, (unsigned long long)(off - off % block));
}

static bool is_touched(const struct romfs_plan *plan, uint64_t off, uint64_t len)
{
	for (size_t i = 0; i < plan->n_touched; i++)
		if (plan->touched[i].off < off + len &&
			plan->touched[i].off + plan->touched[i].len > off)
			return true;
	return false;
}

/* --- checks ---------------------------------------------------------------------------- */

/* Ranges that differ, told one by one; each inside of one step. */
typedef void (*found_fn)(struct execution *x, uint64_t off, uint64_t len);

static int compare(struct execution *x, const struct romfs_op *op, uint32_t step,
	found_fn found);

static int compare_one(struct execution *x, const struct romfs_op *part, uint32_t step,
	const uint8_t board[SHA256_SIZE], found_fn found)
{
	uint8_t host[SHA256_SIZE];
	int r = x->want->read(x->want->ctx, part->src, x->buf, part->len, x->err);

	if (r == -ENODATA)
		return step > CHECK_FINE
			       ? compare(x, part, MAX(step / 16, CHECK_FINE), found)
			       : 0;
	if (r < 0)
		return r;
	sha256_of(x->buf, part->len, host);
	if (memcmp(host, board, SHA256_SIZE) != 0)
		found(x, part->off, part->len);
	return 0;
}

static int compare(struct execution *x, const struct romfs_op *op, uint32_t step, found_fn found)
{
	uint8_t board[CHECK_BATCH][SHA256_SIZE];
	uint64_t done = 0;
	int r = 0;

	while (done < op->len && r == 0) {
		uint64_t batch = MIN(op->len - done, (uint64_t)CHECK_BATCH * step), at = 0;

		r = dev_target_hash(x->f->target, op->off + done, batch, step, board, x->err);
		for (unsigned i = 0; at < batch && r == 0; at += step, i++) {
			const struct romfs_op part = {.off = op->off + done + at,
				.src = op->src + done + at,
				.len = MIN((uint64_t)step, batch - at)};

			r = compare_one(x, &part, step, board[i], found);
		}
		done += batch;
	}
	return r;
}

static void on_difference(struct execution *x, uint64_t off, uint64_t len)
{
	if (x->n_differ < DIFFER_MAX)
		x->differ[x->n_differ++] = (struct romfs_extent){off, len};
}

static void on_bad(struct execution *x, uint64_t off, uint64_t len)
{
	set_aside(x->f, off);
	if (!is_touched(x->plan, off, len))
		flash_set_mixed(x->f);
}

/* Which blocks it is. */
static int narrow(struct execution *x, const struct romfs_op *op, const struct romfs_extent *e)
{
	uint64_t block = x->f->geometry.erase_block, at = e->off, end = e->off + e->len;
	int r = 0;

	while (at < end && r == 0) {
		struct romfs_op part = {.off = at,
			.src = op->src + (at - op->off),
			.len = MIN(end, at - at % block + block) - at};

		r = compare(x, &part, CHECK_STEP, on_bad);
		at += part.len;
	}
	return r;
}

static int do_check(struct execution *x, const struct romfs_op *op)
{
	int r;

	x->n_differ = 0;
	r = compare(x, op, CHECK_STEP, on_difference);
	for (size_t i = 0; i < x->n_differ && r == 0; i++)
		r = narrow(x, op, &x->differ[i]);
	if (r < 0 || x->n_differ == 0)
		return r;
	return error_set(x->err, -EIO,
		"rom%u: flash at 0x%llx (%llu bytes) does not hold what was written; it is "
		"written again at the next attempt",
		x->f->geometry.number, (unsigned long long)x->differ[0].off,
		(unsigned long long)x->differ[0].len);
}

/* --- changes --------------------------------------------------------------------------- */

static int do_program(struct execution *x, const struct romfs_op *op)
{
	uint64_t done = 0;

	while (done < op->len) {
		size_t part = (size_t)MIN((uint64_t)PROGRAM_BYTES, op->len - done);
		int r = io_pread_full(x->next_fd, x->buf, part, (off_t)(op->src + done));

		if (r < 0)
			return error_set(x->err, r, "cannot read what is to be written: %s",
				strerror(-r));
		r = dev_target_program(x->f->target, op->off + done, x->buf, part, x->err);
		if (r < 0)
			return r;
		done += part;
		atomic_fetch_add(&x->progress->done, part);
	}
	return 0;
}

static int do_erase(struct execution *x, const struct romfs_op *op)
{
	int r = dev_target_erase(x->f->target, op->off, op->len, x->err);

	if (x->f->wear)
		wear_erased(x->f->wear, op->off, op->len);
	if (r == 0)
		atomic_fetch_add(&x->progress->done, op->len);
	return r;
}

static int do_op(struct execution *x, const struct romfs_op *op)
{
	int r;

	if (op->kind == ROMFS_OP_CHECK)
		return do_check(x, op);
	r = op->kind == ROMFS_OP_ERASE ? do_erase(x, op) : do_program(x, op);
	if (r == 0 || x->f->target->refused_at == DEV_NOT_REFUSED)
		return r;
	if (op->kind == ROMFS_OP_PROGRAM && op->off < x->f->geometry.erase_block)
		refuse_front(x->f);
	set_aside(x->f, x->f->target->refused_at);
	return r;
}

static uint64_t work_of(const struct romfs_plan *plan)
{
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < plan->n_ops; i++)
		if (plan->ops[i].kind != ROMFS_OP_CHECK)
			total += plan->ops[i].len;
	return total;
}

int flash_execute(struct flash *f, const struct romfs_plan *plan, int next_fd,
	const struct romfs_source *want, struct flash_progress *progress, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(MAX(PROGRAM_BYTES, CHECK_STEP));
	struct execution x = {.f = f,
		.plan = plan,
		.next_fd = next_fd,
		.want = want,
		.progress = progress,
		.buf = buf,
		.err = err};
	size_t i;
	int r;

	if (!buf)
		return -ENOMEM;
	if (plan->n_ops == 0)
		return 0;
	r = flash_connect(f, err);
	if (r < 0)
		return r;
	atomic_store(&progress->total, work_of(plan));
	atomic_store(&progress->done, 0);
	if (f->mixed || plan->way == ROMFS_WAY_RENEW || plan->way == ROMFS_WAY_REPLACE)
		flash_set_mixed(f);
	else if (plan->way == ROMFS_WAY_APPEND)
		flash_set_doubtful(f);
	for (i = 0; i < plan->n_ops && r == 0; i++)
		r = do_op(&x, &plan->ops[i]);
	if (r == 0)
		r = dev_target_finish(f->target, err);
	return r;
}

unsigned flash_set_aside(const struct flash *f)
{
	return f->set_aside;
}

void flash_settle_blocks(struct flash *f, bool keep)
{
	if (f->wear)
		wear_settle(f->wear, keep);
	f->front_refused = 0;
}

int flash_confirm(struct flash *f, const struct romfs_source *now, struct error *err)
{
	const struct romfs_geometry geometry = flash_romfs_geometry(f);
	struct romfs_extent head;
	_cleanup_free_ uint8_t *buf = NULL;
	int r = romfs_confirm(&geometry, now, &head, err);

	if (r <= 0)
		return r;
	buf = malloc((size_t)head.len);
	if (!buf)
		return -ENOMEM;
	r = now->read(now->ctx, head.off, buf, (size_t)head.len, err);
	if (r == 0)
		r = flash_connect(f, err);
	return r < 0 ? r : dev_target_program(f->target, head.off, buf, (size_t)head.len, err);
}
