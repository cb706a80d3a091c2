/* SPDX-License-Identifier: MIT */
/* Writes out an append: its bytes to `next`, its operations to the plan. Private to
 * libromfs. */
#pragma once

#include "libromfs/append.h"

/* Fills ops, touched, unknown, way and counts of the plan. */
must_check int emit_append(struct append *a, struct romfs_plan *plan);
/* The same for the erase of these blocks alone; nothing is written but their 0xFF. */
must_check int emit_erases(struct planning *pl, const struct spans *blocks,
	struct romfs_plan *plan, struct error *err);
