/* SPDX-License-Identifier: MIT */
/* The bytes of the journal: its header, its frames and the changes in them (FORMAT.md
 * tells the layout). Pure encoding and checking: no files, no memory kept.
 *
 * Decoding takes hostile bytes: whatever a damaged file holds, the result is a checked
 * structure or -EUCLEAN, and nothing outside the given bytes is looked at. */
#pragma once

#include "fuse/journal.h"

#define JOURNAL_HEADER_SIZE 256u /* bytes; frames follow */
#define JOURNAL_VERSION 1u
#define JOURNAL_FRAME_SIZE 48u	   /* head of a frame */
#define JOURNAL_META_MAX (1u << 20) /* bytes of changes in one frame */
#define JOURNAL_ALIGN 8u	   /* frames start at multiples of it */
#define JOURNAL_FRAME_MAGIC 0x464a4d52u /* "RMJF" */

/* What the file's header holds beside what its user wants to know. */
struct journal_generation {
	uint64_t id;	     /* random: frames of another file never fit in */
	uint64_t first_seq;  /* of the first frame */
	uint64_t checkpoint; /* where the checkpoint ends: all before it must be whole */
};

enum frame_kind {
	FRAME_CHANGES = 1,
	FRAME_MARK = 2, /* stands at the tail, overwritten by the next frame */
};

struct frame {
	enum frame_kind kind;
	uint32_t crc;	   /* of everything after it, content and padding included */
	uint64_t length;   /* whole frame, a multiple of JOURNAL_ALIGN */
	uint64_t generation;
	uint64_t seq;
	uint64_t durable;  /* every frame up to here was on disk when this was written */
	uint32_t meta_len; /* bytes of changes after the head */
};

/* Bytes that the CRC does not cover: the magic and the CRC. */
#define JOURNAL_CRC_FROM 8u

uint32_t journal_crc(uint32_t crc, const void *buf, size_t len);

void journal_header_encode(uint8_t out[JOURNAL_HEADER_SIZE],
	const struct journal_header *header, const struct journal_generation *generation);
/* -EUCLEAN; -EPROTONOSUPPORT for a version that is not ours. */
must_check int journal_header_decode(const uint8_t in[JOURNAL_HEADER_SIZE],
	struct journal_header *header, struct journal_generation *generation);

void frame_encode(uint8_t out[JOURNAL_FRAME_SIZE], const struct frame *frame);
/* Checks all that can be checked without the rest of the frame. -EUCLEAN: no frame. */
must_check int frame_decode(const uint8_t in[JOURNAL_FRAME_SIZE], struct frame *frame);

static inline uint64_t journal_pad(uint64_t n)
{
	return (n + JOURNAL_ALIGN - 1) & ~(uint64_t)(JOURNAL_ALIGN - 1);
}

size_t change_size(const struct journal_change *change);
/* Writes change_size() bytes. */
void change_encode(uint8_t *out, const struct journal_change *change);

/* Takes one change from the front of [*p, *p + *left). Strings point into it. Contents must
 * lie in [JOURNAL_HEADER_SIZE, log_end) of the journal or in [0, base_size) of the base. */
must_check int change_decode(const uint8_t **p, size_t *left, uint64_t log_end,
	uint64_t base_size, struct journal_change *change);
