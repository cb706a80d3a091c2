/* SPDX-License-Identifier: MIT */
/* Plans for an image that somebody else has laid out. Private to libromfs. */
#pragma once

#include "libromfs/layout.h"

/* pl->next_fd holds the image's bytes, and takes those behind them. */
must_check int exact_plan(
	struct planning *pl, uint64_t len, struct romfs_plan *plan, struct error *err);
