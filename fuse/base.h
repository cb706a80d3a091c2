/* SPDX-License-Identifier: MIT */
/* The base: the image that flash holds, parsed, with a fingerprint that says which one it
 * is. */
#pragma once

#include "libromfs/parse.h"
#include "util/sha256.h"

struct base {
	struct romfs_image *image;
	uint8_t fingerprint[SHA256_SIZE];
};

/* Parses the image and takes the fingerprint (FORMAT.md): of its tree, with names, sizes,
 * places and modification times, not of how the records say so. So two images of one
 * partition with the same fingerprint show the same files at the same places, wherever
 * their records stand. Bytes of files take no part. -ENODATA where the source does not know
 * bytes that tell. */
must_check int base_read(
	const struct romfs_source *source, struct base *out, struct error *err);
void base_clear(struct base *b);

/* Where the last byte that the image uses ends, from the start of the partition. */
uint64_t base_used_end(const struct base *b);
