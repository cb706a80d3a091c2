/* SPDX-License-Identifier: MIT */
/* Carrying out a plan on the board. */
#include <errno.h>
#include <string.h>

#include "fuse/flash_private.h"
#include "libromfs/record.h"
#include "util/io.h"

#define PROGRAM_BYTES (64u << 10)
#define VERIFY_STEP (16u << 10)
#define VERIFY_BATCH 64u

static int do_program(struct flash *f, const struct romfs_op *op, int next_fd, uint8_t *buf,
	struct flash_progress *progress, struct error *err)
{
	uint64_t done = 0;

	while (done < op->len) {
		size_t part = (size_t)MIN((uint64_t)PROGRAM_BYTES, op->len - done);
		int r = io_pread_full(next_fd, buf, part, (off_t)(op->src + done));

		if (r < 0)
			return error_set(err, r, "cannot read the image to write: %s",
				strerror(-r));
		r = dev_target_program(f->target, op->off + done, buf, part, err);
		if (r < 0)
			return r;
		done += part;
		atomic_fetch_add(&progress->done, part);
	}
	return 0;
}

/* Where the first step, which takes the old header away, has had no effect, all the others
 * would build a mixed tree under it. */
static int check_invalid(struct flash *f, struct error *err)
{
	uint8_t head[ROMFS_MAGIC_LEN];
	int r = dev_target_read(f->target, 0, head, sizeof(head), err);

	if (r == 0 && memcmp(head, romfs_magic, sizeof(head)) == 0)
		r = error_set(err, -EIO,
			"rom%u: its first block is as it was after it has been erased; the old "
			"files are there still",
			f->geometry.number);
	return r;
}

static bool is_invalidation(const struct romfs_op *op)
{
	return op->off == 0 && (op->kind == ROMFS_OP_ERASE || op->src != 0);
}

static int do_op(struct flash *f, const struct romfs_op *op, int next_fd, uint8_t *buf,
	struct flash_progress *progress, struct error *err)
{
	int r;

	if (op->kind == ROMFS_OP_PROGRAM)
		return do_program(f, op, next_fd, buf, progress, err);
	r = dev_target_erase(f->target, op->off, op->len, err);
	if (r == 0)
		atomic_fetch_add(&progress->done, op->len);
	return r;
}

static int verify_range(struct flash *f, uint64_t off, uint64_t len, int next_fd, uint8_t *buf,
	struct error *err)
{
	uint8_t board[VERIFY_BATCH][SHA256_SIZE], host[SHA256_SIZE];

	while (len) {
		uint64_t part = MIN(len, (uint64_t)VERIFY_BATCH * VERIFY_STEP), at;
		unsigned i = 0;
		int r = dev_target_hash(f->target, off, part, VERIFY_STEP, board, err);

		if (r < 0)
			return r;
		for (at = 0; at < part; at += VERIFY_STEP, i++) {
			size_t n = (size_t)MIN((uint64_t)VERIFY_STEP, part - at);

			r = flash_hash_fd(next_fd, off + at, n, buf, host);
			if (r < 0)
				return r;
			if (memcmp(host, board[i], SHA256_SIZE) != 0)
				return error_set(err, -EIO,
					"rom%u: flash at 0x%llx (%zu bytes) does not hold what "
					"was written; it is written again at the next attempt",
					f->geometry.number, (unsigned long long)(off + at), n);
		}
		off += part;
		len -= part;
	}
	return 0;
}

/* All that the plan wants compared, without [skip, skip_end). */
static int verify(struct flash *f, const struct romfs_plan *plan, int next_fd, uint64_t skip,
	uint64_t skip_end, uint8_t *buf, struct error *err)
{
	size_t i;
	int r = 0;

	for (i = 0; i < plan->n_verify && r == 0; i++) {
		uint64_t off = plan->verify[i].off, end = off + plan->verify[i].len;

		if (off < skip)
			r = verify_range(f, off, MIN(end, skip) - off, next_fd, buf, err);
		off = MAX(off, skip_end);
		if (r == 0 && off < end)
			r = verify_range(f, off, end - off, next_fd, buf, err);
	}
	return r;
}

static uint64_t work_of(const struct romfs_plan *plan)
{
	uint64_t total = 0;
	size_t i;

	for (i = 0; i < plan->n_ops; i++)
		total += plan->ops[i].len;
	return total;
}

int flash_execute(struct flash *f, const struct romfs_plan *plan, int next_fd,
	struct flash_progress *progress, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(MAX(PROGRAM_BYTES, VERIFY_STEP));
	const struct romfs_op *last;
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
	last = &plan->ops[plan->n_ops - 1];
	flash_set_mixed(f); /* until somebody says that it is settled */
	for (i = 0; i + 1 < plan->n_ops && r == 0; i++) {
		r = do_op(f, &plan->ops[i], next_fd, buf, progress, err);
		if (r == 0 && is_invalidation(&plan->ops[i]))
			r = check_invalid(f, err);
	}
	if (r == 0)
		r = verify(f, plan, next_fd, last->off, last->off + last->len, buf, err);
	if (r == 0)
		r = do_op(f, last, next_fd, buf, progress, err);
	if (r == 0)
		r = verify_range(f, last->off, last->len, next_fd, buf, err);
	if (r == 0)
		r = dev_target_finish(f->target, err);
	return r;
}
