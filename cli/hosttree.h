/* SPDX-License-Identifier: MIT */
/* A directory of this computer as a tree to pack.
 *
 * Symbolic links are followed, as mpremote does, so that a project may share modules; a
 * link that leads back into a directory above it is refused. Devices, sockets and pipes
 * are refused, as are names that ROMFS and MicroPython cannot hold. */
#pragma once

#include <sys/types.h>

#include "libromfs/pack.h"

struct hosttree {
	int root_fd;
	const char *path; /* as the user wrote it; for messages */
	struct romfs_tree *tree;
	/* The file that was read last stays open: the packer reads in order. */
	int file_fd;
	uint32_t file_index;
};

/* `avoid_dev` and `avoid_ino` name the file that is going to be written (0, 0: none yet):
 * meeting it inside the directory is an error, since it would be packed into itself. */
must_check int hosttree_open(const char *path, dev_t avoid_dev, ino_t avoid_ino,
	struct hosttree *out, struct error *err);
void hosttree_close(struct hosttree *t);

/* A romfs_content_fn with the hosttree as its context. A file whose size is no longer what
 * it was is an error. */
int hosttree_content(void *ctx, const struct romfs_tree *tree, uint32_t index,
	uint64_t off, void *buf, size_t len, struct error *err);
