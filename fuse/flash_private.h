/* SPDX-License-Identifier: MIT */
/* What the files of flash*.c share. */
#pragma once

#include "fuse/flash.h"
#include "fuse/portguard.h"

enum block_state { BLOCK_BASE, BLOCK_NEXT, BLOCK_BLANK, BLOCK_UNKNOWN };

struct flash {
	struct flash_options options;
	char *path;
	struct portguard *guard;     /* NULL: an image file */
	struct dev_session *session; /* NULL: closed, or an image file */
	struct dev_target *target;
	struct dev_board_info board;
	struct dev_geometry geometry;
	bool learnt;
	bool recalled;	     /* from memory, and not met yet */
	char *memo_root, *memo_identity; /* of the port; NULL: none is kept */
	atomic_bool proven, stale;
	bool trusted; /* flash_trust has compared in this session */
	bool stored;  /* the mirror has bytes that were not flushed */
	const struct base *base; /* the caller's */
	struct mirror *mirror;
	bool mixed;	 /* flash may hold something between two images */
	uint8_t *states; /* enum block_state of each erase block after a survey, or NULL */
	int next_fd;	 /* what BLOCK_NEXT refers to; -1: none */
};

/* The memo is wrong. */
void flash_drop_memo(struct flash *f);

/* SHA-256 of bytes that the host has, by a function that reads them. */
must_check int flash_hash_mirror(
	struct flash *f, uint64_t off, size_t len, uint8_t *buf, uint8_t out[SHA256_SIZE]);
must_check int flash_hash_fd(
	int fd, uint64_t off, size_t len, uint8_t *buf, uint8_t out[SHA256_SIZE]);
