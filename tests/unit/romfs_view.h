/* SPDX-License-Identifier: MIT */
/* What a board sees of a partition: ROMFS read as MicroPython's extmod/vfs_rom.c reads it,
 * written from that and with nothing of libromfs.
 *
 * Addresses and numbers have 32 or 64 bits, and wrap as they do there. Every entry that
 * ilistdir() lists is looked up by its path as well, as open() and import do: what one of
 * them shows and the other does not is found. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct view {
	bool mounted;	   /* VfsRom() takes the memory */
	const char *wrong; /* what no sound image has; NULL: the tree is sound */
	unsigned n;	   /* entries */
	uint64_t digest;   /* of all entries, whatever their order */
	unsigned walk;	   /* records of the root that every lookup passes first */
};

/* As a board with words of 64 bits (`wide`) or of 32. `read`, if not NULL, takes a mark for
 * each byte that was looked at: what is seen depends on no other one. */
void view_flash(
	const uint8_t *flash, size_t size, bool wide, uint8_t *read, struct view *out);

/* What an entry adds to a digest; data is NULL for a directory. */
uint64_t view_entry(const char *path, const uint8_t *data, size_t size);
