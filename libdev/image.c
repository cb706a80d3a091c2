/* SPDX-License-Identifier: MIT */
/* An image file as a target. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "libdev/session.h"
#include "libdev/target.h"
#include "util/io.h"

#define IMAGE_BLOCK 4096u

struct image {
	struct dev_target base;
	int fd;
	bool writable;
	uint64_t have; /* bytes of the file; erased ones follow, up to the target's size */
	char *path;
};

static struct image *image_of(struct dev_target *t)
{
	return container_of(t, struct image, base);
}

static int failed(struct image *i, const char *doing, int code, struct error *err)
{
	return error_set(err, code, "%s %s: %s", doing, i->path, strerror(-code));
}

static int image_read(
	struct dev_target *t, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct image *i = image_of(t);
	size_t there = off < i->have ? (size_t)MIN((uint64_t)len, i->have - off) : 0;
	int r = io_pread_full(i->fd, buf, there, (off_t)off);

	memset((uint8_t *)buf + there, 0xFF, len - there);
	return r < 0 ? failed(i, "reading", r, err) : 0;
}

static int hash_range(
	struct image *i, uint64_t off, uint64_t len, uint8_t out[SHA256_SIZE], struct error *err)
{
	uint8_t piece[16384];
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	while (len) {
		size_t n = (size_t)MIN(len, sizeof(piece));
		int r = image_read(&i->base, off, piece, n, err);

		if (r < 0)
			return r;
		sha256_update(&ctx, n, piece);
		off += n;
		len -= n;
	}
	sha256_digest(&ctx, SHA256_SIZE, out);
	return 0;
}

static int image_hash(struct dev_target *t, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	int r = 0;

	while (len && r == 0) {
		uint64_t n = MIN(len, step);

		r = hash_range(image_of(t), off, n, *out++, err);
		off += n;
		len -= n;
	}
	return r;
}

static int blank(struct image *i, uint64_t off, uint64_t len, struct error *err)
{
	uint8_t piece[16384];

	memset(piece, 0xFF, sizeof(piece));
	while (len) {
		size_t n = (size_t)MIN(len, sizeof(piece));
		int r = io_pwrite_full(i->fd, piece, n, (off_t)off);

		if (r < 0)
			return failed(i, "writing", r, err);
		off += n;
		len -= n;
	}
	return 0;
}

static int read_only(struct image *i, struct error *err)
{
	return error_set(err, -EROFS, "%s was opened to be read only", i->path);
}

/* The file gets its whole size when it is first written, not when it is looked at. */
static int grow(struct image *i, struct error *err)
{
	uint64_t size = i->base.geometry.size;
	int r;

	if (i->have >= size)
		return 0;
	r = blank(i, i->have, size - i->have, err);
	if (r == 0)
		i->have = size;
	return r;
}

static int image_erase(struct dev_target *t, uint64_t off, uint64_t len, struct error *err)
{
	struct image *i = image_of(t);
	int r = i->writable ? grow(i, err) : read_only(i, err);

	return r < 0 ? r : blank(i, off, len, err);
}

static int image_program(
	struct dev_target *t, uint64_t off, const void *buf, size_t len, struct error *err)
{
	struct image *i = image_of(t);
	int r;

	r = i->writable ? grow(i, err) : read_only(i, err);
	if (r < 0)
		return r;
	r = io_pwrite_full(i->fd, buf, len, (off_t)off);
	return r < 0 ? failed(i, "writing", r, err) : 0;
}

static int image_finish(struct dev_target *t, struct error *err)
{
	struct image *i = image_of(t);
	struct stat st, named;

	if (!i->writable)
		return 0;
	if (fsync(i->fd) < 0 || fstat(i->fd, &st) < 0)
		return failed(i, "writing", -errno, err);
	/* What was written would be gone with our descriptor. */
	if (stat(i->path, &named) < 0 || named.st_dev != st.st_dev ||
		named.st_ino != st.st_ino)
		return error_set(err, -ESTALE,
			"%s was removed or replaced while it was mounted; copy what you need out "
			"of the folder, then unmount",
			i->path);
	return 0;
}

static void image_free(struct dev_target *t)
{
	struct image *i = image_of(t);

	if (i->fd >= 0)
		close(i->fd);
	free(i->path);
	free(i);
}

static const struct dev_target_ops image_ops = {
	.read = image_read,
	.hash = image_hash,
	.erase = image_erase,
	.program = image_program,
	.finish = image_finish,
	.free = image_free,
};

static int open_file(struct image *i, struct error *err)
{
	struct stat st;

	i->fd = open(i->path, (i->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY |
				      O_NONBLOCK);
	if (i->fd < 0)
		return error_set(err, -errno, "cannot open %s: %s", i->path, strerror(errno));
	if (fstat(i->fd, &st) < 0)
		return failed(i, "reading", -errno, err);
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s is not a file", i->path);
	/* A writer is alone; a reader may look on, as at any file. */
	if (i->writable && flock(i->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK
			       ? error_set(err, -EBUSY,
					 "%s is in use, mounted perhaps; unmount it first", i->path)
			       : failed(i, "locking", -errno, err);
	i->base.geometry.size = (uint64_t)st.st_size;
	return 0;
}

static int fit(struct image *i, uint64_t size, struct error *err)
{
	uint64_t have = i->base.geometry.size;

	if (size && size < have)
		return error_set(err, -EINVAL,
			"%s has %llu bytes already, and can only grow", i->path,
			(unsigned long long)have);
	if (size == 0)
		size = have;
	if (size == 0)
		return error_set(err, -EINVAL,
			"%s is empty; say how large the partition shall be", i->path);
	if (size > DEV_SEGMENT_MAX)
		return error_set(err, -EFBIG, "%s: %llu bytes are more than any partition has",
			i->path, (unsigned long long)size);
	/* What is written is written in whole blocks; an image that a tool has built ends
	 * where its last file ends. */
	if (i->writable)
		size = (size + IMAGE_BLOCK - 1) / IMAGE_BLOCK * IMAGE_BLOCK;
	i->base.geometry.size = size;
	i->have = have;
	return size > have && !i->writable ? read_only(i, err) : 0;
}

int dev_image_open(const char *path, uint64_t size, bool writable, struct dev_target **out,
	struct error *err)
{
	_cleanup_(dev_target_freep) struct dev_target *result = NULL;
	struct image *i = calloc(1, sizeof(*i));
	int r;

	if (!i)
		return error_set(err, -ENOMEM, "out of memory");
	result = &i->base;
	i->base.ops = &image_ops;
	i->fd = -1;
	i->writable = writable;
	i->base.geometry = (struct dev_geometry){
		.kind = DEV_TARGET_IMAGE, .erase_block = IMAGE_BLOCK, .write_unit = 1,
		.twice = DEV_TWICE_YES};
	i->path = strdup(path);
	if (!i->path)
		return error_set(err, -ENOMEM, "out of memory");
	r = open_file(i, err);
	if (r == 0)
		r = fit(i, size, err);
	if (r < 0)
		return r;
	*out = TAKE_PTR(result);
	return 0;
}
