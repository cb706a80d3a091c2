/* SPDX-License-Identifier: MIT */
/* Images that leave a partition, and come to it. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "fuse/operate_private.h"
#include "util/clock.h"
#include "util/io.h"

/* Bytes that one job fetches and writes: others who wait for the worker come in between. */
#define PIECE (128u << 10)
/* What a pipe takes at once when it says that it takes something. */
#define PIPE_PIECE 4096u
/* Nobody else can use the board while one who asked for bytes does not take or give them. */
#define STALL_MS 10000u

/* --- descriptors of others ----------------------------------------------------------------- */

/* Their flags are theirs, too: nothing is made non-blocking here. */
static int wait_for(const struct operation *op, short events)
{
	struct pollfd p[2] = {{.fd = op->o.fd, .events = events},
		{.fd = op->cancel_fd, .events = POLLIN}};
	deadline_t deadline = deadline_in(STALL_MS);

	for (;;) {
		int n = poll(p, 2, deadline_left(deadline));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		if (p[1].revents)
			return -ECANCELED;
		if (p[0].revents)
			return 0;
		if (deadline_left(deadline) == 0)
			return -ETIMEDOUT;
	}
}

static int give(const struct operation *op, const uint8_t *buf, size_t len)
{
	struct stat st;

	if (fstat(op->o.fd, &st) < 0)
		return -errno;
	while (len) {
		size_t part = S_ISREG(st.st_mode) ? len : MIN(len, (size_t)PIPE_PIECE);
		int r = wait_for(op, POLLOUT);
		ssize_t n;

		if (r < 0)
			return r;
		n = S_ISSOCK(st.st_mode)
			    ? send(op->o.fd, buf, part, MSG_DONTWAIT | MSG_NOSIGNAL)
			    : write(op->o.fd, buf, part);
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			buf += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

/* --- save ---------------------------------------------------------------------------------- */

static bool is_used(const struct romfs_image *image, uint64_t off, uint64_t len)
{
	for (size_t i = 0; i < image->n_meta; i++)
		if (image->meta[i].off < off + len &&
			image->meta[i].off + image->meta[i].len > off)
			return true;
	for (uint32_t i = 0; i < romfs_tree_count(image->tree); i++) {
		const struct romfs_node *n = romfs_tree_node(image->tree, i);

		if (n->type == ROMFS_FILE && n->size && n->data_off < off + len &&
			n->data_off + n->size > off)
			return true;
	}
	return false;
}

/* What nothing uses may be changed by anybody, and is fetched anew. */
static void on_difference(void *ctx, uint64_t off, uint64_t len)
{
	struct operation *op = ctx;

	if (is_used(op->v->attached.base.image, off, len))
		op->changed = true;
	else if (mirror_forget(flash_mirror(operation_flash(op)), off, len) < 0)
		op->changed = true;
}

static int prove(struct operation *op, uint64_t off, uint64_t end, struct error *err)
{
	struct flash *flash = operation_flash(op);
	int r = 0;

	while (off < end && r == 0) {
		uint64_t gap = end, gap_len = 0;

		if (!mirror_missing(flash_mirror(flash), off, end - off, &gap, &gap_len))
			gap = end;
		if (gap > off) {
			const struct romfs_extent known = {off, gap - off};

			r = flash_compare(flash, &known, 1, on_difference, op, err);
		}
		off = gap + gap_len;
	}
	if (r == 0 && op->changed) {
		flash_doubt(flash);
		r = flash_stale_error(flash, err);
	}
	return r;
}

static int run_save(struct operation *op, struct error *err)
{
	struct flash *flash = operation_flash(op);
	uint64_t size = flash_geometry(flash)->size;
	size_t len = (size_t)MIN((uint64_t)PIECE, size - op->at);
	_cleanup_free_ uint8_t *buf = malloc(PIECE);
	int r = buf ? flash_trust(flash, err) : -ENOMEM;

	if (r == 0)
		r = prove(op, op->at, op->at + len, err);
	if (r == 0)
		r = flash_fetch(flash, op->at, len, err);
	if (r == 0)
		r = mirror_read(flash_mirror(flash), op->at, buf, len);
	if (r < 0)
		return r;
	r = give(op, buf, len);
	if (r == -ETIMEDOUT)
		return error_set(err, r, "nobody takes the bytes of rom%u",
			flash_geometry(flash)->number);
	if (r < 0)
		return error_set(err, r, "cannot write the image: %s", strerror(-r));
	op->at += len;
	atomic_store(&op->progress.done, op->at);
	return 0;
}

static void save_on(struct operation *op)
{
	op->result.bytes = op->at;
	if (op->at < flash_geometry(operation_flash(op))->size)
		operation_submit(op, run_save, save_on);
	else
		operation_end(op, 0);
}

static void begin_save(struct operation *op)
{
	atomic_store(&op->progress.total, flash_geometry(operation_flash(op))->size);
	save_on(op);
}

const struct operation_kind operation_save = {
	.name = "save", .after_staged = true, .begin = begin_save};

/* --- restore ------------------------------------------------------------------------------- */

static ssize_t get(const struct operation *op, uint8_t *buf, size_t cap)
{
	for (;;) {
		int r = wait_for(op, POLLIN);
		ssize_t n;

		if (r < 0)
			return r;
		n = read(op->o.fd, buf, cap);
		if (n >= 0)
			return n;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
	}
}

/* An image of a larger partition may still hold a tree that fits. */
static uint64_t largest(const struct operation *op)
{
	return op->o.exact ? flash_geometry(operation_flash(op))->size : DEV_SEGMENT_MAX;
}

static int receive(struct operation *op, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(PIECE);
	ssize_t n = buf ? 0 : -ENOMEM;
	int r = 0;

	op->image_fd = openat(op->v->attached.folder->dirfd, ".",
		O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);
	if (op->image_fd < 0)
		r = -errno;
	while (r == 0 && n >= 0 && (n = get(op, buf, PIECE)) > 0) {
		if (op->image_size + (uint64_t)n > largest(op))
			return error_set(err, -EFBIG,
				"the image has more than %llu bytes: it does not fit",
				(unsigned long long)largest(op));
		r = io_pwrite_full(op->image_fd, buf, (size_t)n, (off_t)op->image_size);
		op->image_size += (uint64_t)n;
	}
	if (r == 0 && n < 0)
		return error_set(err, (int)n, "cannot read the image: %s", strerror((int)-n));
	return r < 0 ? error_set(err, r, "cannot keep the image on this computer: %s",
			       strerror(-r))
		     : 0;
}

/* What was saved of a partition that nobody has written to yet comes back as that; bytes that
 * only begin so are something else's. */
static int check_blank(const struct operation *op, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(PIECE);
	int r = buf ? 0 : -ENOMEM;

	if (!op->o.exact)
		return error_set(err, -EINVAL,
			"this image is blank: there is no file system in it; 'romount restore' "
			"makes a partition blank with it");
	for (uint64_t at = 0; r == 0 && at < op->image_size; at += PIECE) {
		size_t n = (size_t)MIN((uint64_t)PIECE, op->image_size - at);

		r = io_pread_full(op->image_fd, buf, n, (off_t)at);
		for (size_t i = 0; r == 0 && i < n; i++)
			if (buf[i] != 0xFF)
				return error_set(err, -EINVAL,
					"this is no ROMFS image: it begins blank, and is not "
					"blank at 0x%llx",
					(unsigned long long)(at + i));
	}
	return r;
}

static int parse(struct operation *op, struct error *err)
{
	const struct romfs_source source = romfs_source_fd(&op->image_fd, op->image_size);
	const struct romfs_image *image;
	int r = op->image_size ? romfs_parse(&source, &op->image, err)
			       : error_set(err, -EINVAL, "this is no ROMFS image: it is empty");

	if (r < 0)
		return r;
	image = op->image;
	if (image->status == ROMFS_BLANK)
		return check_blank(op, err);
	if (image->status == ROMFS_VALID)
		return 0;
	return error_set(err, -EINVAL, "this is no ROMFS image: %s", image->why.text);
}

/* Files may share bytes in an image; staged, each has its own. */
static int check_room(const struct operation *op, struct error *err)
{
	const struct romfs_tree *tree = op->image->tree;
	uint64_t size = flash_geometry(operation_flash(op))->size, sum = 0;

	for (uint32_t i = 0; i < romfs_tree_count(tree); i++)
		sum += romfs_tree_node(tree, i)->size;
	if (sum <= size)
		return 0;
	return error_set(err, -ENOSPC,
		"the files of the image have %llu bytes, and the partition %llu",
		(unsigned long long)sum, (unsigned long long)size);
}

static int run_receive(struct operation *op, struct error *err)
{
	int r = receive(op, err);

	if (r == 0)
		r = parse(op, err);
	if (r == 0)
		r = check_room(op, err);
	return r;
}

static void on_restored(struct operation *op)
{
	op->result.bytes = op->image_size;
	operation_verify(op);
}

static void write_image(struct operation *op)
{
	const struct committer_order order = {
		.aim = op->o.exact ? COMMIT_IMAGE : COMMIT_SAVE,
		.image_fd = op->image_fd,
		.image_size = op->image_size,
		.change = op->change,
		.linger = true,
	};

	operation_commit(op, &order, on_restored);
}

static void on_received(struct operation *op)
{
	operation_replace(op, op->image->tree, op->o.exact, write_image);
}

static void begin_restore(struct operation *op)
{
	operation_submit(op, run_receive, on_received);
}

const struct operation_kind operation_restore = {.name = "restore", .begin = begin_restore};
