/* SPDX-License-Identifier: MIT */
/* Bytes of files: reading them from wherever they are, writing them to a scratch file. */
#include "fuse/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fuse/folder_private.h"
#include "fuse/space.h"
#include "util/io.h"

#define COPY_BYTES (128u << 10)

static bool is_proven(const struct folder *f)
{
	return !f->proven || atomic_load(f->proven);
}

int folder_read_content(const struct folder *f, const struct content *c, uint64_t off,
	void *buf, size_t len)
{
	switch (c->kind) {
	case CONTENT_BASE:
		if (f->base_away)
			return -EIO;
		if (!is_proven(f))
			return -ENODATA;
		return mirror_read(f->mirror, c->off + off, buf, len);
	case CONTENT_LOG:
		return io_pread_full(journal_fd(f->journal), buf, len, (off_t)(c->off + off));
	case CONTENT_EMPTY:
		break;
	}
	return len ? -EIO : 0;
}

ssize_t folder_read(struct folder *f, struct node *n, void *buf, size_t len, uint64_t off)
{
	int r;

	if (off >= n->size)
		return 0;
	len = (size_t)MIN((uint64_t)len, n->size - off);
	if (n->scratch)
		r = io_pread_full(n->scratch->fd, buf, len, (off_t)off);
	else
		r = folder_read_content(f, &n->content, off, buf, len);
	return r < 0 ? r : (ssize_t)len;
}

struct romfs_extent folder_base_range(
	const struct folder *f, const struct node *n, uint64_t off, uint64_t len)
{
	if (n->scratch || n->content.kind != CONTENT_BASE || off >= n->content.size ||
		f->base_away)
		return (struct romfs_extent){0};
	return (struct romfs_extent){
		n->content.off + off, MIN(len, n->content.size - off)};
}

bool folder_is_known(const struct folder *f, const struct romfs_extent *base)
{
	uint64_t run, run_len;

	return is_proven(f) && !mirror_missing(f->mirror, base->off, base->len, &run, &run_len);
}

int folder_has_range(const struct folder *f, const struct node *n, uint64_t off, uint64_t len,
	struct romfs_extent *missing)
{
	const struct romfs_extent range = folder_base_range(f, n, off, len);

	if (range.len == 0 || folder_is_known(f, &range))
		return 0;
	if (missing)
		*missing = range;
	return -ENODATA;
}

int folder_has_bytes(const struct folder *f, const struct node *n, struct romfs_extent *missing)
{
	return folder_has_range(f, n, 0, n->content.size, missing);
}

int folder_copy_content(const struct folder *f, const struct content *c, int fd)
{
	_cleanup_free_ char *buf = malloc(COPY_BYTES);
	uint64_t done = 0;

	if (!buf)
		return -ENOMEM;
	while (done < c->size) {
		size_t part = (size_t)MIN((uint64_t)COPY_BYTES, c->size - done);
		int r = folder_read_content(f, c, done, buf, part);

		if (r == 0)
			r = io_pwrite_full(fd, buf, part, (off_t)done);
		if (r < 0)
			return r;
		done += part;
	}
	return 0;
}

int folder_prepare_write(struct folder *f, struct node *n, bool truncate)
{
	struct scratch *s;
	int r;

	if (n->scratch)
		return 0;
	r = scratch_get(f->pool, &s);
	if (r < 0)
		return r;
	if (!truncate)
		r = folder_copy_content(f, &n->content, s->fd);
	if (r < 0) {
		scratch_put(f->pool, s);
		return r;
	}
	n->scratch = s;
	return 0;
}

static void wrote(struct node *n, uint64_t size)
{
	n->size = size;
	n->dirty = true;
	n->mtime_set = false;
	n->mtime_ns = n->ctime_ns = folder_now();
}

/* The disk may have taken a part: nothing may be seen or reckoned behind the end, and what
 * came before it was changed. */
static void write_failed(struct folder *f, struct node *n)
{
	(void)!ftruncate(n->scratch->fd, (off_t)n->size);
	wrote(n, n->size);
	space_settle(f, n);
}

ssize_t folder_write(
	struct folder *f, struct node *n, const void *buf, size_t len, uint64_t off)
{
	uint64_t end = off + len;
	int r;

	if (end < off || end > ROMFS_SIZE_MAX)
		return -EFBIG;
	if (len == 0)
		return 0;
	r = folder_prepare_write(f, n, false);
	if (r == 0 && end > n->size)
		r = space_charge(f, n, end);
	if (r < 0)
		return r;
	r = io_pwrite_full(n->scratch->fd, buf, len, (off_t)off);
	if (r < 0) {
		write_failed(f, n);
		return r;
	}
	wrote(n, MAX(n->size, end));
	return (ssize_t)len;
}

int folder_truncate(struct folder *f, struct node *n, uint64_t size)
{
	int r;

	if (size > ROMFS_SIZE_MAX)
		return -EFBIG;
	r = folder_prepare_write(f, n, size == 0);
	if (r == 0)
		r = space_charge(f, n, size);
	if (r < 0)
		return r;
	if (ftruncate(n->scratch->fd, (off_t)size) < 0) {
		r = -errno;
		space_settle(f, n);
		return r;
	}
	wrote(n, size);
	return 0;
}

int folder_allocate(struct folder *f, struct node *n, uint64_t off, uint64_t len,
	bool keep_size, bool punch, bool zero)
{
	uint64_t end = off + len;
	int mode = FALLOC_FL_KEEP_SIZE, r;

	if (end < off || end > ROMFS_SIZE_MAX)
		return -EFBIG;
	if (punch || zero)
		mode |= punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE;
	if (keep_size && !punch && !zero)
		return 0; /* nothing to see, and flash reserves nothing */
	r = folder_prepare_write(f, n, false);
	if (r == 0 && !keep_size && end > n->size)
		r = space_charge(f, n, end);
	if (r < 0)
		return r;
	if ((punch || zero) && off < n->size &&
		fallocate(n->scratch->fd, mode, (off_t)off,
			(off_t)(MIN(end, n->size) - off)) < 0)
		r = -errno;
	if (r == 0 && !keep_size && end > n->size &&
		ftruncate(n->scratch->fd, (off_t)end) < 0)
		r = -errno;
	if (r < 0) {
		write_failed(f, n);
		return r;
	}
	wrote(n, keep_size ? n->size : MAX(n->size, end));
	return 0;
}
