/* SPDX-License-Identifier: MIT */
/* From what flash holds and what it shall hold to operations, in an order that leaves the
 * old tree, no file system, or the new tree. Private to libromfs. */
#pragma once

#include "libromfs/next.h"

/* Fills ops, touched, unknown, way and counts of the plan. */
must_check int diff_plan(const struct planning *pl, const struct layout *layout,
	struct romfs_plan *plan, struct error *err);
