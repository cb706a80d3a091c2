/* SPDX-License-Identifier: MIT */
/* Carrying out a plan on the board. */
#include <errno.h>
#include <string.h>

#include "fuse/flash_private.h"
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

static int do_check(struct flash *f, const struct romfs_op *op, int next_fd, uint8_t *buf,
	struct error *err)
{
	uint64_t off = op->off, src = op->src, len = op->len;
	uint8_t board[VERIFY_BATCH][SHA256_SIZE], host[SHA256_SIZE];

	while (len) {
		uint64_t part = MIN(len, (uint64_t)VERIFY_BATCH * VERIFY_STEP), at;
		unsigned i = 0;
		int r = dev_target_hash(f->target, off, part, VERIFY_STEP, board, err);

		if (r < 0)
			return r;
		for (at = 0; at < part; at += VERIFY_STEP, i++) {
			size_t n = (size_t)MIN((uint64_t)VERIFY_STEP, part - at);

			r = flash_hash_fd(next_fd, src + at, n, buf, host);
			if (r < 0)
				return r;
			if (memcmp(host, board[i], SHA256_SIZE) != 0)
				return error_set(err, -EIO,
					"rom%u: flash at 0x%llx (%zu bytes) does not hold what "
					"was written; it is written again at the next attempt",
					f->geometry.number, (unsigned long long)(off + at), n);
		}
		off += part;
		src += part;
		len -= part;
	}
	return 0;
}

static int do_op(struct flash *f, const struct romfs_op *op, int next_fd, uint8_t *buf,
	struct flash_progress *progress, struct error *err)
{
	int r;

	if (op->kind == ROMFS_OP_CHECK)
		return do_check(f, op, next_fd, buf, err);
	if (op->kind == ROMFS_OP_PROGRAM)
		return do_program(f, op, next_fd, buf, progress, err);
	r = dev_target_erase(f->target, op->off, op->len, err);
	if (r == 0)
		atomic_fetch_add(&progress->done, op->len);
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
	struct flash_progress *progress, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(MAX(PROGRAM_BYTES, VERIFY_STEP));
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
	flash_set_mixed(f); /* until somebody says that it is settled */
	for (i = 0; i < plan->n_ops && r == 0; i++)
		r = do_op(f, &plan->ops[i], next_fd, buf, progress, err);
	if (r == 0)
		r = dev_target_finish(f->target, err);
	return r;
}
