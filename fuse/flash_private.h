/* SPDX-License-Identifier: MIT */
/* What the files of flash*.c share. */
#pragma once

#include "fuse/flash.h"
#include "libdev/known.h"

/* What a unit of flash holds, the strangest last. UNSEEN: neither of what we know, but the
 * mirror never knew it. */
enum block_state { BLOCK_UNSEEN, BLOCK_BASE, BLOCK_BLANK, BLOCK_NEXT, BLOCK_UNKNOWN };

struct flash {
	struct flash_options options;
	char *path; /* of an image file; NULL: a board */
	struct dev_target *target;
	struct dev_board_info board;
	struct dev_geometry geometry;
	bool learnt;
	bool recalled;	     /* from memory, and not met yet */
	char *memo_root, *memo_identity; /* of the port; NULL: none is kept */
	atomic_bool proven, stale;
	bool has_known;
	struct dev_known known; /* of the last session */
	bool trusted; /* flash_trust has compared in this session */
	bool stored;  /* the mirror has bytes that were not flushed */
	const struct base *base; /* the caller's */
	struct mirror *mirror;
	atomic_bool read; /* by somebody, since flash_was_read was asked */
	struct wear *wear;
	unsigned set_aside; /* blocks, since this was made */
	unsigned front_refused; /* programs there, in this commit */
	uint8_t *asked; /* by chunk: whether it is blank was asked; or NULL */
	atomic_bool doubtful;	 /* an append may have happened, or not, or half */
	atomic_bool mixed;	 /* flash may hold something between two images */
	uint8_t *states; /* enum block_state of each unit after a survey, or NULL */
	uint32_t unit;	 /* bytes: a chunk of the mirror, or an erase block */
	bool unseen_holds; /* what is UNSEEN is what the base has there */
	bool given_up;	   /* flash_give_up: it is anybody's */
	uint64_t looked, look; /* end of the last look for records, and bytes of the next */
	int event_fd;	 /* of flash_event_fd */
	int next_fd;	 /* what BLOCK_NEXT refers to; -1: none */
};

/* The memo is wrong. */
void flash_drop_memo(struct flash *f);

/* SHA-256 of bytes that the host has, by a function that reads them. */
must_check int flash_hash_mirror(
	struct flash *f, uint64_t off, size_t len, uint8_t *buf, uint8_t out[SHA256_SIZE]);
must_check int flash_hash_fd(
	int fd, uint64_t off, size_t len, uint8_t *buf, uint8_t out[SHA256_SIZE]);

/* By the kind of memory, or as it was found out. */
enum dev_twice flash_twice(const struct flash *f);
