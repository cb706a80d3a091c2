/* SPDX-License-Identifier: MIT */
/* Writes the file that holds what flash shall hold at the end. Private to libromfs. */
#pragma once

#include "libromfs/layout.h"

/* Bytes that are looked at together: an erase block, or some of them where none is ever
 * erased. Memory grows with it. */
uint32_t next_block(const struct romfs_geometry *geometry);
/* Bytes that no file and no record uses stay as they are, unless their block is erased for
 * another's sake; then they are 0xFF. What is not known of them and stays is listed in
 * layout->unknown. Sets layout->place of packed images. */
must_check int next_write(struct planning *pl, struct layout *layout, struct error *err);
