/* SPDX-License-Identifier: MIT */
/* An image to be handed to romountd: a file, what comes on standard input, or a directory that
 * is packed in memory. */
#pragma once

#include "libromfs/pack.h"

struct image {
	int fd; /* at its start; an ordinary file or sealed memory */
	uint64_t size;
	uint32_t files; /* of a directory; 0 for others */
	uint64_t bytes; /* in them */
	bool is_tree;	/* it was a directory */
};

/* "-" is standard input, which is read to its end. */
must_check int image_open(const char *path, const struct romfs_pack_options *options,
	struct image *out, struct error *err);
void image_close(struct image *image);
