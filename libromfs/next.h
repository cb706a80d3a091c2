/* SPDX-License-Identifier: MIT */
/* Writes the file that holds what flash shall hold at the end. Private to libromfs. */
#pragma once

#include "libromfs/layout.h"

/* Bytes that are looked at together: an erase block, or some of them where none is ever
 * erased. Memory grows with it. */
uint32_t next_block(const struct romfs_geometry *geometry);
/* Some byte that is not blank would have to change: no page may be programmed twice. */
bool next_needs_erase(const struct romfs_geometry *geometry, const uint8_t *now,
	const uint8_t *next, size_t len);

/* Bytes that no file and no record uses stay as they are, unless their block is erased for
 * another's sake; then they are 0xFF. Sets layout->place of packed images. */
must_check int next_write(struct planning *pl, struct layout *layout, struct error *err);
