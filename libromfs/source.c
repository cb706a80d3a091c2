/* SPDX-License-Identifier: MIT */
#include "libromfs/source.h"

#include <errno.h>
#include <string.h>

#include "util/io.h"

static int buffer_read(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	const struct romfs_buffer *b = ctx;

	if (off > b->len || len > b->len - off)
		return error_set(err, -EIO,
			"read of %zu bytes at %llu leaves the image (%zu bytes)", len,
			(unsigned long long)off, b->len);
	memcpy(buf, (const char *)b->data + off, len);
	return 0;
}

static int fd_read(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	int r = io_pread_full(*(const int *)ctx, buf, len, (off_t)off);

	/* -ENODATA means "content not known" to the planner: a short file is not that. */
	if (r == -ENODATA)
		return error_set(err, -EIO, "the file ends before byte %llu",
			(unsigned long long)off + len);
	if (r < 0)
		return error_set(err, r, "cannot read %zu bytes at %llu: %s", len,
			(unsigned long long)off, strerror(-r));
	return 0;
}

/* The reader takes ctx as a plain pointer, but never writes through it. */
static void *unconst(const void *p)
{
	return (void *)(uintptr_t)p;
}

struct romfs_source romfs_source_buffer(const struct romfs_buffer *buffer)
{
	return (struct romfs_source){
		.read = buffer_read, .ctx = unconst(buffer), .size = buffer->len};
}

struct romfs_source romfs_source_fd(const int *fd, uint64_t size)
{
	return (struct romfs_source){.read = fd_read, .ctx = unconst(fd), .size = size};
}
