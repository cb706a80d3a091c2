/* SPDX-License-Identifier: MIT */
#include "fuse/patch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "util/io.h"

struct patch {
	int fd;
	uint64_t size;
	struct romfs_extent *known; /* bytes that the file has, sorted and merged */
	size_t n_known;
	struct romfs_extent *chunks; /* whole chunks that are touched, sorted and merged */
	size_t n_chunks;
	const struct romfs_source *under;
};

int patch_new(int dirfd, uint64_t size, struct patch **out)
{
	_cleanup_(patch_freep) struct patch *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	p->size = size;
	p->fd = openat(dirfd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (p->fd < 0)
		return -errno;
	*out = TAKE_PTR(p);
	return 0;
}

void patch_free(struct patch *p)
{
	if (!p)
		return;
	if (p->fd >= 0)
		close(p->fd);
	free(p->known);
	free(p->chunks);
	free(p);
}

int patch_fd(const struct patch *p)
{
	return p->fd;
}

/* Appends to a list that has room, in ascending order. */
static void add(struct romfs_extent *list, size_t *n, uint64_t off, uint64_t end)
{
	struct romfs_extent *last = *n ? &list[*n - 1] : NULL;

	if (off >= end)
		return;
	if (last && off <= last->off + last->len)
		last->len = MAX(last->off + last->len, end) - last->off;
	else
		list[(*n)++] = (struct romfs_extent){off, end - off};
}

static uint64_t chunk_end(const struct patch *p, uint64_t off)
{
	return MIN(p->size, (off + MIRROR_CHUNK - 1) / MIRROR_CHUNK * MIRROR_CHUNK);
}

/* The mirror's bytes of a gap inside of one chunk. */
static int fill(struct patch *p, uint64_t off, uint64_t end, const struct mirror *m)
{
	uint8_t buf[MIRROR_CHUNK];
	int r;

	if (off >= end)
		return 0;
	r = m ? mirror_read(m, off, buf, end - off) : -ENODATA;
	if (r == 0)
		r = io_pwrite_full(p->fd, buf, end - off, (off_t)off);
	if (r == 0)
		add(p->known, &p->n_known, off, end);
	return r == -ENODATA ? 0 : r;
}

/* What lies between two touched ranges and in a chunk with one of them. */
static int fill_between(struct patch *p, uint64_t from, uint64_t to, const struct mirror *m)
{
	uint64_t head = MIN(chunk_end(p, from), to), tail = to - to % MIRROR_CHUNK;
	int r = fill(p, from, head, m);

	return r < 0 || tail < head ? r : fill(p, tail, to, m);
}

int patch_complete(struct patch *p, const struct romfs_extent *touched, size_t n,
	const struct mirror *m)
{
	uint64_t at = 0;
	int r = 0;

	free(p->known);
	free(p->chunks);
	p->n_known = p->n_chunks = 0;
	p->known = calloc(3 * n + 1, sizeof(*p->known));
	p->chunks = calloc(n + 1, sizeof(*p->chunks));
	if (!p->known || !p->chunks)
		return -ENOMEM;
	for (size_t i = 0; i < n && r == 0; i++) {
		uint64_t off = touched[i].off, end = off + touched[i].len;

		r = fill_between(p, at, off, m);
		add(p->known, &p->n_known, off, end);
		add(p->chunks, &p->n_chunks, off - off % MIRROR_CHUNK, chunk_end(p, end));
		at = end;
	}
	return r < 0 || n == 0 ? r : fill_between(p, at, chunk_end(p, at), m);
}

int patch_whole(struct patch *p, const struct romfs_extent *unknown, size_t n)
{
	uint64_t at = 0;

	free(p->known);
	p->n_known = 0;
	p->known = calloc(n + 1, sizeof(*p->known));
	if (!p->known)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		add(p->known, &p->n_known, at, unknown[i].off);
		at = unknown[i].off + unknown[i].len;
	}
	add(p->known, &p->n_known, at, p->size);
	return 0;
}

/* A gap, chunk by chunk, appended to what is known then. */
static int fill_from(struct patch *p, uint64_t off, uint64_t end,
	const struct romfs_source *now, struct romfs_extent *known, size_t *n,
	struct error *err)
{
	uint8_t buf[MIRROR_CHUNK];

	while (off < end) {
		uint64_t part = MIN(end, off - off % MIRROR_CHUNK + MIRROR_CHUNK) - off;
		int r = now->read(now->ctx, off, buf, part, err);

		if (r == 0)
			r = io_pwrite_full(p->fd, buf, part, (off_t)off);
		if (r == 0)
			add(known, n, off, off + part);
		else if (r != -ENODATA)
			return error_set(err, r, "cannot keep what is to be written: %s",
				strerror(-r));
		off += part;
	}
	return 0;
}

int patch_fill(struct patch *p, const struct romfs_source *now, struct error *err)
{
	size_t n = 0, cap = 2 * p->n_known + (size_t)(p->size / MIRROR_CHUNK) + 2;
	struct romfs_extent *known = calloc(cap, sizeof(*known));
	uint64_t at = 0;
	int r = known ? 0 : -ENOMEM;

	for (size_t i = 0; i <= p->n_known && r == 0; i++) {
		const struct romfs_extent *e = i < p->n_known ? &p->known[i] : NULL;

		r = fill_from(p, at, e ? e->off : p->size, now, known, &n, err);
		if (e)
			add(known, &n, e->off, e->off + e->len);
		at = e ? e->off + e->len : p->size;
	}
	if (r < 0) {
		free(known);
		return error_set(err, r, "out of memory");
	}
	free(p->known);
	p->known = known;
	p->n_known = n;
	return 0;
}

int patch_keep(struct patch *p, int dirfd, const char *name)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", p->fd);
	if (linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ||
		fdatasync(p->fd) < 0)
		return -errno;
	return 0;
}

int patch_seal(struct patch *p)
{
	_cleanup_free_ struct romfs_extent *gaps = calloc(p->n_known + 1, sizeof(*gaps));
	uint64_t at = 0;
	size_t n = 0;

	if (!gaps)
		return -ENOMEM;
	for (size_t i = 0; i < p->n_known; i++) {
		add(gaps, &n, at, p->known[i].off);
		at = p->known[i].off + p->known[i].len;
	}
	add(gaps, &n, at, p->size);
	/* What flash held only for a time stands behind the image. */
	if (ftruncate(p->fd, (off_t)p->size) < 0)
		return -errno;
	return mirror_seal(p->fd, p->size, gaps, n);
}

/* The first range that ends behind `off`, or NULL. */
static const struct romfs_extent *after(const struct patch *p, uint64_t off)
{
	size_t low = 0, high = p->n_known;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (p->known[mid].off + p->known[mid].len > off)
			high = mid;
		else
			low = mid + 1;
	}
	return low < p->n_known ? &p->known[low] : NULL;
}

static int read_patch(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	const struct patch *p = ctx;
	uint8_t *to = buf;
	int r = 0;

	while (len && r == 0) {
		const struct romfs_extent *e = after(p, off);
		uint64_t part = len;

		if (off >= p->size) {
			r = io_pread_full(p->fd, to, len, (off_t)off);
		} else if (e && e->off <= off) {
			part = MIN(part, e->off + e->len - off);
			r = io_pread_full(p->fd, to, part, (off_t)off);
		} else {
			part = MIN(part, (e ? e->off : p->size) - off);
			r = p->under->read(p->under->ctx, off, to, part, err);
			if (r < 0)
				return r;
		}
		to += part;
		off += part;
		len -= part;
	}
	return r < 0 ? error_set(err, r, "cannot read what is to be written: %s", strerror(-r))
		     : 0;
}

struct romfs_source patch_source(struct patch *p, const struct romfs_source *under)
{
	p->under = under;
	return (struct romfs_source){.read = read_patch, .ctx = p, .size = p->size};
}

int patch_forget(const struct patch *p, struct mirror *m)
{
	return mirror_forget_list(m, p->chunks, p->n_chunks);
}

static bool is_known(const struct patch *p, uint64_t off, uint64_t end)
{
	const struct romfs_extent *e = after(p, off);

	return e && e->off <= off && e->off + e->len >= end;
}

void patch_apply(const struct patch *p, struct mirror *m)
{
	uint8_t buf[MIRROR_CHUNK];

	for (size_t i = 0; i < p->n_chunks; i++) {
		const struct romfs_extent *e = &p->chunks[i];

		for (uint64_t at = e->off; at < e->off + e->len; at += MIRROR_CHUNK) {
			uint64_t end = MIN(at + MIRROR_CHUNK, p->size);

			if (is_known(p, at, end) &&
				io_pread_full(p->fd, buf, end - at, (off_t)at) == 0)
				(void)!mirror_store(m, at, buf, end - at);
		}
	}
}
