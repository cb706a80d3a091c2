/* SPDX-License-Identifier: MIT */
#include "fuse/tidy.h"

bool tidy_is_due(const struct romfs_usage *usage, bool under_way, bool *may_move)
{
	uint64_t free_room = usage->blank + usage->dead + usage->mixed;

	*may_move = usage->mixed && usage->blank + usage->dead < free_room / 8;
	if (!usage->append || (usage->dead == 0 && !*may_move))
		return false;
	return usage->blank < (under_way ? free_room / 2 : free_room / 4);
}

bool tidy_bears(const struct romfs_plan *plan, bool may_move)
{
	return plan->way == ROMFS_WAY_ERASE || (may_move && plan->way == ROMFS_WAY_APPEND);
}
