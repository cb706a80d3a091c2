/* SPDX-License-Identifier: MIT */
/* The bytes of ROMFS records, and of our notes (FORMAT.md). Private to libromfs. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "libromfs/source.h"
#include "libromfs/tree.h"

enum romfs_kind {
	ROMFS_KIND_UNUSED = 0, /* never written: found, it means corruption */
	ROMFS_KIND_PADDING = 1,
	ROMFS_KIND_VERBATIM = 2,
	ROMFS_KIND_POINTER = 3,
	ROMFS_KIND_DIR = 4,
	ROMFS_KIND_FILE = 5,
};

#define ROMFS_MAGIC_LEN 3u
extern const uint8_t romfs_magic[ROMFS_MAGIC_LEN];

/* What our padding records begin with, and their type, the byte behind it. 0xF5 stands in no
 * UTF-8 text, so that no comment in a padding record is taken for a note; it is neither
 * erased flash nor zero. */
#define ROMFS_NOTE_MAGIC_LEN 2u
extern const uint8_t romfs_note_magic[ROMFS_NOTE_MAGIC_LEN];
enum romfs_note_type {
	ROMFS_NOTE_PLACE = 0, /* of a modification time that is not known */
	ROMFS_NOTE_MTIME = 1,
	ROMFS_NOTE_HEAD = 2, /* the mark of the append layout's head; longer than a note */
};

#define ROMFS_NOTE_LEN 11u /* payload of a modification time note */
#define ROMFS_NOTE_RECORD (2u + ROMFS_NOTE_LEN)

/* Digits that `value` needs as a varuint: 1 to 10. */
unsigned romfs_varuint_width(uint64_t value);

/* `value` in exactly `width` digits, which must do. */
void romfs_varuint_put(uint8_t *p, uint64_t value, unsigned width);

/* A jump: a padding record at `at`, its length of `width` digits, that ends at `to`. Takes
 * 1 + width bytes. */
#define ROMFS_JUMP_DIGITS 5u /* enough for 32 GiB */
#define ROMFS_JUMP (1u + ROMFS_JUMP_DIGITS)
void romfs_jump_put(uint8_t *p, uint64_t at, uint64_t to, unsigned width);

/* Writes the note's payload; false where `payload` holds none. ROMFS_NO_MTIME gives a
 * payload that keeps the place, but tells nothing. */
void romfs_note_encode(int64_t mtime_ns, uint8_t payload[ROMFS_NOTE_LEN]);
bool romfs_note_decode(const uint8_t payload[ROMFS_NOTE_LEN], int64_t *mtime_ns);

/* Collects small writes on their way into a sink, and counts. Without a sink it only
 * counts. The first error stays, and later writes do nothing, so that a series of them is
 * checked once, by romfs_out_flush. */
struct romfs_out {
	int (*sink)(void *ctx, const void *buf, size_t len, struct error *err);
	void *ctx;
	struct error *err;
	uint64_t pos; /* bytes taken */
	int failed;
	size_t fill;
	uint8_t buf[4096];
};

void romfs_out_bytes(struct romfs_out *out, const void *buf, size_t len);
void romfs_out_fill(struct romfs_out *out, uint8_t byte, uint64_t len);
/* At least `width` digits, with leading zeros (0x80) as needed. */
void romfs_out_varuint(struct romfs_out *out, uint64_t value, unsigned width);
/* Exactly `total` bytes, >= 2, that every reader skips. */
void romfs_out_padding(struct romfs_out *out, uint64_t total);
void romfs_out_note(struct romfs_out *out, int64_t mtime_ns);
must_check int romfs_out_flush(struct romfs_out *out);
