/* SPDX-License-Identifier: MIT */
#include "libromfs/save.h"

#include <errno.h>
#include <string.h>

#include "libromfs/emit.h"
#include "libromfs/victims.h"

#define MOVE_MIN (16u << 10)
#define MOVE_MAX (64u << 10)
#define TIDY_ERASES 16u

static int check_front(const struct append *a)
{
	if (!a->renew || !planning_is_bad(a->pl, 0, a->front))
		return 0;
	return error_set(a->err, -EIO, PLANNING_BAD_FRONT);
}

static int finish(struct append *a, struct romfs_plan *plan, uint64_t *place)
{
	memcpy(place, a->place, romfs_tree_count(a->pl->wanted) * sizeof(*place));
	plan->image_size = meta_image_end(a->pl->geometry);
	return emit_append(a, plan);
}

/* --- save --------------------------------------------------------------------------- */

static bool can_move(const struct append *a)
{
	return !a->pl->geometry->no_erase && !a->pl->geometry->prefix_erase;
}

/* A save makes room for those after it, before there is none: some live data moves along,
 * about as much as is written anyway. The same for data that never changes, and keeps its
 * blocks from their share of the wear. */
static int move_along(struct append *a)
{
	const struct romfs_geometry *g = a->pl->geometry;
	uint64_t low = g->size / 8 + 2 * a->meta.size + 2 * (uint64_t)g->erase_block;
	uint64_t budget = MIN(MAX(spans_sum(&a->taken), MOVE_MIN), MOVE_MAX);
	int r = a->potential < low ? victims_empty(a, budget) : 0;

	if (r == 0)
		r = victims_cold(a, MOVE_MAX, false);
	/* Nothing moves: the places are found again. */
	return r == 0 ? append_place(a) : MIN(r, 0);
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
	if (r == 0 && can_move(&a))
		r = move_along(&a);
	if (r == 0)
		r = finish(&a, plan, place);
	return r < 0 ? r : 1;
}

/* --- tidy --------------------------------------------------------------------------- */

static int erase_dead(struct append *a, struct romfs_plan *plan)
{
	_cleanup_(spans_done) struct spans blocks = {0};
	int r = room_least_worn(&a->room, TIDY_ERASES, &blocks);

	if (r < 0)
		return error_set(a->err, r, "out of memory");
	return emit_erases(a->pl, &blocks, plan, a->err);
}

/* Moves what pays, or what must not stay where it is for ever. */
static int move_some(struct append *a, struct romfs_plan *plan, uint64_t *place)
{
	int r = victims_empty(a, MOVE_MAX);

	if (r == 0)
		r = victims_cold(a, MOVE_MAX, true);
	return r > 0 ? finish(a, plan, place) : r;
}

int tidy_plan(
	struct planning *pl, struct romfs_plan *plan, uint64_t *place, struct error *err)
{
	_cleanup_(append_done) struct append a = {0};
	int r;

	memcpy(place, pl->home, romfs_tree_count(pl->wanted) * sizeof(*place));
	if (!planning_has_image(pl))
		return 0;
	plan->image_size = pl->now->image->size;
	r = append_init(&a, pl, err);
	if (r <= 0)
		return r;
	if (a.room.dead.n)
		return erase_dead(&a, plan);
	return a.renew || !can_move(&a) ? 0 : move_some(&a, plan, place);
}
