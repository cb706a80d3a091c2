/* SPDX-License-Identifier: MIT */
/* Plans in the append layout. Private to libromfs. */
#pragma once

#include "libromfs/append.h"

/* The wanted tree beside the old one: fills the plan, and `place` with where each file
 * stands then. 1; 0: this memory bears no append layout; -ENOSPC; -EIO where a bad block is
 * in the way of the head. */
must_check int save_plan(
	struct planning *pl, struct romfs_plan *plan, uint64_t *place, struct error *err);
/* One step of tidying up; `place` as above. */
must_check int tidy_plan(
	struct planning *pl, struct romfs_plan *plan, uint64_t *place, struct error *err);
