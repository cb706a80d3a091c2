/* SPDX-License-Identifier: MIT */
/* When flash is tidied up while nobody waits: blocks that hold nothing any more are erased
 * ahead, so that a save needs none. Pure. */
#pragma once

#include "libromfs/plan.h"

/* Whether another step is worth it: from less than a quarter of the free room that is blank,
 * on to a half (`under_way`). `may_move`: so little is free that live data is to be moved
 * together for it. */
bool tidy_is_due(const struct romfs_usage *usage, bool under_way, bool *may_move);
/* Whether a plan for it is to be carried out: one that writes block 0 anew never is. */
bool tidy_bears(const struct romfs_plan *plan, bool may_move);
