/* SPDX-License-Identifier: MIT */
/* ROMFS for tests, written from the format's description alone, with nothing of libromfs:
 * a writer of images, sound and broken ones, and a reader that does what a board does. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* --- writer: bytes in memory that grow; an error of the test's own aborts ------------ */

struct bytes {
	uint8_t *p;
	size_t n;
};

void bytes_done(struct bytes *b);
struct bytes *bytes_add(struct bytes *b, const void *p, size_t n);
struct bytes *bytes_fill(struct bytes *b, int value, size_t n);
/* At least `width` digits. */
struct bytes *bytes_varuint(struct bytes *b, uint64_t value, unsigned width);
/* kind, length, payload; empties `payload`. */
struct bytes *bytes_record(struct bytes *b, unsigned kind, struct bytes *payload);
/* name length, name */
struct bytes *bytes_name(struct bytes *b, const char *name);
struct bytes *bytes_mtime_note(struct bytes *b, int64_t mtime_ns);
/* A file with verbatim data; a file by pointer (offset counts from the payload). */
struct bytes *bytes_file(struct bytes *b, const char *name, const void *data, size_t len);
struct bytes *bytes_pointer_file(
	struct bytes *b, const char *name, uint64_t size, uint64_t offset, unsigned width);
/* A directory that holds the records of `inside`, which is emptied. */
struct bytes *bytes_dir(struct bytes *b, const char *name, struct bytes *inside);
/* The whole image around `payload`, which is emptied, of even size. */
struct bytes *bytes_image(struct bytes *b, struct bytes *payload);

/* --- reader --------------------------------------------------------------------------- */

/* Called for every entry that a board lists; data is NULL for a directory. */
typedef void (*board_entry_fn)(void *ctx, const char *path, const uint8_t *data, size_t len);

/* False where a board would not mount the partition. A listing that breaks off, or that
 * would have the board read outside of the partition, is told by *broken. */
bool board_mount(const uint8_t *flash, size_t size, board_entry_fn entry, void *ctx,
	bool *broken);

/* Where a board's walk through the image's records comes to first at or behind `from`, and
 * how many records it walked to be there. False where it finds an entry before, or breaks off. */
bool board_walk(const uint8_t *flash, size_t size, size_t from, size_t *at, unsigned *walked);
