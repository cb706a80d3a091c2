/* SPDX-License-Identifier: MIT */
/* The list of a plan's operations, as it is made. Private to libromfs. */
#pragma once

#include "libromfs/space.h"

struct ops {
	const struct romfs_geometry *geometry;
	struct romfs_plan *plan; /* its list and counts */
	size_t cap;
};

/* Erases that touch become one operation, but for the one at 0, which takes a header away;
 * programs that touch, in flash and in `next`, do too. Nothing is done for `len` 0. */
must_check int ops_erase(struct ops *o, uint64_t off, uint64_t len);
must_check int ops_program(struct ops *o, uint64_t off, uint64_t len, uint64_t src);
must_check int ops_check(struct ops *o, uint64_t off, uint64_t len, uint64_t src);

/* Appends to `out` what the operations from the one with index `first` on change; and what
 * boards may have changed without being asked: these ranges and the erase blocks beside
 * those that are erased, or, with `all`, beside any of them. */
must_check int ops_touched(const struct ops *o, size_t first, struct spans *out);
must_check int ops_reach(const struct ops *o, size_t first, bool all, struct spans *out);
