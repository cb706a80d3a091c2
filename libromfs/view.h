/* SPDX-License-Identifier: MIT */
/* What flash holds, as far as anybody knows: files that are on flash by their contents, the
 * rest by reading it. Private to libromfs. */
#pragma once

#include "libromfs/layout.h"

struct view {
	const struct planning *pl;
	uint32_t *files; /* that have a home, by it */
	uint32_t n;
	uint64_t longest; /* bytes of a file */
	struct spans homes;
};

void view_done(struct view *v);
must_check int view_init(struct view *v, const struct planning *pl, struct error *err);
/* Reads whole pages. `unknown` takes a flag for each; the bytes of those are 0xFF. 1: there
 * are such; 0. */
must_check int view_load(const struct view *v, uint64_t off, size_t len, uint8_t *buf,
	bool *unknown, struct error *err);
