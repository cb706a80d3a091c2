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
/* `bytes` of one page, or of the rest of one, each from its own place in `next`. Blank write
 * units at its start are left out, all of it if it is blank: a program that a cut has torn,
 * or one of 0xFF, must not leave a page that looks blank and is used up (ECC). With
 * `by_units` no blank unit is programmed at all. */
must_check int ops_program_page(
	struct ops *o, const uint8_t *bytes, uint64_t off, size_t len, bool by_units);
must_check int ops_check(struct ops *o, uint64_t off, uint64_t len, uint64_t src);
/* Programs and checks the header, which is the first `len` bytes of `next`: after that, and
 * not before, there is a file system. Bytes for the time between may be written to `next`
 * at `spare`. */
must_check int ops_header(
	struct ops *o, int next_fd, uint32_t len, uint64_t spare, struct error *err);

/* Appends to `out` what the operations from the one with index `first` on change; and what
 * boards may have changed without being asked: these ranges and the erase blocks beside
 * those that are erased, or, with `all`, beside any of them. */
must_check int ops_touched(const struct ops *o, size_t first, struct spans *out);
must_check int ops_reach(const struct ops *o, size_t first, bool all, struct spans *out);
