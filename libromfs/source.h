/* SPDX-License-Identifier: MIT */
/* Where bytes come from: an image file, a mirror that may have to ask the board, a buffer
 * in a test. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/error.h"

struct romfs_source {
	/* Reads exactly `len` bytes at `off`, both inside [0, size); may block as long as
	 * whoever made the source lets it. 0 or -errno, with `err` set. */
	int (*read)(void *ctx, uint64_t off, void *buf, size_t len, struct error *err);
	void *ctx;
	uint64_t size; /* bytes */
};

/* A source over a buffer that stays the caller's. */
struct romfs_buffer {
	const void *data;
	size_t len;
};
struct romfs_source romfs_source_buffer(const struct romfs_buffer *buffer);
/* A source over an open file, by pread; `fd` must outlive it. */
struct romfs_source romfs_source_fd(const int *fd, uint64_t size);
