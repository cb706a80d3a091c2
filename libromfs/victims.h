/* SPDX-License-Identifier: MIT */
/* Which live data moves, so that the blocks that it stands in can be erased. Private to
 * libromfs. */
#pragma once

#include "libromfs/append.h"

/* Places the append anew with files of the emptiest blocks, at most `budget` bytes of them,
 * where that gains an erase block or more over a->potential: 1. 0: nothing can be gained,
 * and a->moves is empty. */
must_check int victims_empty(struct append *a, uint64_t budget);
/* The same with a block whose erases lag far behind those of others, since what stands in it
 * never changes. Where `settle`, its files go only to blocks that do not lag. */
must_check int victims_cold(struct append *a, uint64_t budget, bool settle);
