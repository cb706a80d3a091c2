/* SPDX-License-Identifier: MIT */
/* Writes a tree as one packed ROMFS image: files back to back as verbatim data.
 *
 * With no options the bytes are those of `mpremote romfs build --no-mpy` for the same
 * tree (sorted by name). Streams: memory does not grow with file data. */
#pragma once

#include "libromfs/source.h"
#include "libromfs/tree.h"

struct romfs_align {
	const char *pattern; /* fnmatch(3) of the name, or of the path if it has a '/' */
	uint32_t align;	     /* bytes, a power of two up to 64 KiB */
};

struct romfs_pack_options {
	const struct romfs_align *aligns; /* first match wins */
	size_t n_aligns;
	bool notes; /* write modification times as note records */
};

/* Gives the bytes of file `index` of the tree: exactly `len` at `off` within the file. */
typedef int (*romfs_content_fn)(void *ctx, const struct romfs_tree *tree, uint32_t index,
	uint64_t off, void *buf, size_t len, struct error *err);
/* Takes the image's bytes, in order. */
typedef int (*romfs_sink_fn)(void *ctx, const void *buf, size_t len, struct error *err);

/* Size in bytes of the image that romfs_pack would write. */
must_check int romfs_pack_size(const struct romfs_tree *tree,
	const struct romfs_pack_options *options, uint64_t *size, struct error *err);

/* Sorts the tree, writes the image. On success data_off of every file tells where in the
 * image its data stands. */
must_check int romfs_pack(struct romfs_tree *tree, const struct romfs_pack_options *options,
	romfs_content_fn content, void *content_ctx, romfs_sink_fn sink, void *sink_ctx,
	uint64_t *size, struct error *err);

/* The alignment that the options ask for this file's data; 1 where no pattern matches. */
uint32_t romfs_pack_align_path(const struct romfs_pack_options *options, const char *path);
uint32_t romfs_pack_align(
	const struct romfs_pack_options *options, const struct romfs_tree *tree, uint32_t index);

/* "PATTERN=N" from a command line or a configuration file. -EINVAL with a clear text. The
 * pattern points into `text`, which is cut at the '='. */
must_check int romfs_align_parse(char *text, struct romfs_align *out, struct error *err);
