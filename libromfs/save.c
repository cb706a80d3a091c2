/* SPDX-License-Identifier: MIT */
#include "libromfs/save.h"

#include <errno.h>
#include <string.h>

#include "libromfs/emit.h"

static int check_front(const struct append *a)
{
	if (!a->renew || !room_is_bad(&a->room, 0, a->front))
		return 0;
	return error_set(a->err, -EIO,
		"the start of the partition must be written anew, and flash fails there: save "
		"the files elsewhere, this memory is worn out");
}

static int finish(struct append *a, struct romfs_plan *plan, uint64_t *place)
{
	memcpy(place, a->place, romfs_tree_count(a->pl->wanted) * sizeof(*place));
	plan->image_size = meta_image_end(a->pl->geometry);
	return emit_append(a, plan);
}

int save_plan(
	struct planning *pl, struct romfs_plan *plan, uint64_t *place, struct error *err)
{
	_cleanup_(append_done) struct append a = {0};
	int r = append_init(&a, pl, err);

	if (r <= 0)
		return r;
	r = check_front(&a);
	if (r == 0)
		r = append_place(&a);
	if (r == 0)
		r = finish(&a, plan, place);
	return r < 0 ? r : 1;
}

int tidy_plan(
	struct planning *pl, struct romfs_plan *plan, uint64_t *place, struct error *err)
{
	(void)pl;
	(void)plan;
	(void)place;
	(void)err;
	return 0;
}
