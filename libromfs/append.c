/* SPDX-License-Identifier: MIT */
#include "libromfs/append.h"

#include <errno.h>
#include <string.h>

#define ALIGN 8u /* of whatever is written */

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* --- what there is ------------------------------------------------------------------ */

/* The place behind what was written last. */
static uint64_t find_cursor(const struct append *a)
{
	const struct romfs_image *im = a->pl->now->image;
	const struct romfs_extent *last;

	if (!planning_has_image(a->pl) || im->n_meta == 0)
		return a->front;
	last = &im->meta[im->n_meta - 1];
	return round_up(last->off + last->len, space_page(a->pl->geometry)) %
	       a->pl->geometry->size;
}

static uint64_t front_of(const struct append *a)
{
	const struct romfs_geometry *g = a->pl->geometry;

	return round_up(a->head.size, g->no_erase ? g->write_unit : g->erase_block);
}

/* What must stay until the save is done. */
static int find_room(struct append *a)
{
	_cleanup_(spans_done) struct spans live = {0};
	const struct planning *pl = a->pl;
	int r = spans_push(&live, 0, a->renew ? a->front : a->head.size);

	for (size_t k = 0; r == 0 && k < pl->old.n; k++)
		r = spans_push(&live, pl->old.v[k].off, pl->old.v[k].len);
	for (size_t k = 0; r == 0 && k < pl->now->n_keep; k++)
		r = spans_push(&live, pl->now->keep[k].off, pl->now->keep[k].len);
	for (uint32_t i = 0; r == 0 && i < romfs_tree_count(pl->wanted); i++)
		if (pl->home[i] != ROMFS_NO_OFFSET)
			r = spans_push(
				&live, pl->home[i], romfs_tree_node(pl->wanted, i)->size);
	spans_normalize(&live);
	return r < 0 ? r : room_init(&a->room, pl->geometry, pl->now, &live, a->err);
}

static int alloc(struct append *a)
{
	uint32_t count = romfs_tree_count(a->pl->wanted);

	a->head_bytes = malloc(HEAD_SIZE_MAX);
	a->moves = calloc(count, sizeof(*a->moves));
	a->place = calloc(count, sizeof(*a->place));
	a->items = calloc((size_t)count + 1, sizeof(*a->items));
	return a->head_bytes && a->moves && a->place && a->items ? 0 : -ENOMEM;
}

static int find_head(struct append *a)
{
	const struct planning *pl = a->pl;
	int r = head_read(pl->geometry, &pl->now->source, &a->head, &a->state,
		a->head_bytes, a->err);

	if (r < 0)
		return r;
	if (r > 0 && planning_has_image(pl) && a->state.left > 0)
		return 1;
	a->renew = true;
	if (!head_choose(pl->geometry, &a->head))
		return 0;
	a->front = front_of(a);
	return a->front < pl->geometry->size;
}

void append_done(struct append *a)
{
	free(a->head_bytes);
	free(a->moves);
	free(a->place);
	free(a->items);
	meta_done(&a->meta);
	room_done(&a->room);
	spans_done(&a->taken);
	spans_done(&a->erases);
}

int append_init(struct append *a, struct planning *pl, struct error *err)
{
	const struct spans none = {0};
	int r;

	*a = (struct append){.pl = pl, .err = err};
	r = alloc(a);
	if (r == 0)
		r = find_head(a);
	if (r <= 0)
		return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
	a->cursor = find_cursor(a);
	r = find_room(a);
	if (r == 0)
		r = room_potential(&a->room, &a->room.live, &none, &a->potential);
	if (r == 0)
		r = meta_init(&a->meta, META_ROOT, pl->wanted, pl->geometry, pl->order,
			pl->options && pl->options->notes, err);
	if (r == -ENOMEM)
		error_set(err, r, "out of memory");
	return r < 0 ? r : 1;
}

/* --- what is written ---------------------------------------------------------------- */

/* `fresh`: the front shall hold nothing but the head. */
static bool stays(const struct append *a, uint32_t i, bool fresh)
{
	const struct planning *pl = a->pl;
	uint64_t home = pl->home[i];

	if (home == ROMFS_NO_OFFSET || a->moves[i] ||
		home % romfs_pack_align(pl->options, pl->wanted, i) != 0)
		return false;
	return !a->renew || home >= (fresh ? a->front : a->head.size);
}

static void list_items(struct append *a, bool fresh)
{
	const struct planning *pl = a->pl;

	a->n_items = 0;
	for (uint32_t k = 0; k < romfs_tree_count(pl->wanted); k++) {
		uint32_t i = pl->order[k];
		const struct romfs_node *n = romfs_tree_node(pl->wanted, i);

		a->place[i] = META_PAYLOAD;
		if (n->type != ROMFS_FILE || n->size == 0)
			continue;
		a->place[i] = pl->home[i];
		if (stays(a, i, fresh))
			continue;
		a->items[a->n_items++] = (struct room_item){.size = n->size,
			.align = MAX(romfs_pack_align(pl->options, pl->wanted, i), ALIGN),
			.index = i};
	}
	a->items[a->n_items++] = (struct room_item){
		.size = a->meta.size, .align = ALIGN, .index = APPEND_ROOT};
}

/* What of the front is left to data when the head and the files that stay are there. */
static int find_late(struct append *a, bool fresh)
{
	_cleanup_(spans_done) struct spans used = {0}, pages = {0};
	const struct planning *pl = a->pl;
	int r;

	a->room.late.n = 0;
	if (!a->renew || fresh)
		return 0;
	r = spans_push(&used, 0, a->head.size);
	for (uint32_t i = 0; r == 0 && i < romfs_tree_count(pl->wanted); i++)
		if (pl->home[i] != ROMFS_NO_OFFSET && pl->home[i] < a->front &&
			stays(a, i, fresh))
			r = spans_push(
				&used, pl->home[i], romfs_tree_node(pl->wanted, i)->size);
	spans_normalize(&used);
	if (r == 0)
		r = room_pages(&a->room, &used, &pages);
	return r < 0 ? r : spans_gaps(&pages, 0, a->front, &a->room.late);
}

/* What is alive when all is done, in pages. */
static int find_after(const struct append *a, struct spans *after)
{
	_cleanup_(spans_done) struct spans bytes = {0};
	const struct planning *pl = a->pl;
	int r = spans_push(&bytes, 0, a->head.size);

	for (uint32_t i = 0; r == 0 && i < romfs_tree_count(pl->wanted); i++)
		if (pl->home[i] != ROMFS_NO_OFFSET && a->place[i] == pl->home[i])
			r = spans_push(
				&bytes, pl->home[i], romfs_tree_node(pl->wanted, i)->size);
	for (size_t k = 0; r == 0 && k < pl->now->n_keep; k++)
		r = spans_push(&bytes, pl->now->keep[k].off, pl->now->keep[k].len);
	for (size_t k = 0; r == 0 && k < a->taken.n; k++)
		r = spans_push(&bytes, a->taken.v[k].off, a->taken.v[k].len);
	spans_normalize(&bytes);
	return r < 0 ? r : room_pages(&a->room, &bytes, after);
}

static int place_items(struct append *a, bool fresh)
{
	_cleanup_(spans_done) struct spans after = {0};
	int r;

	list_items(a, fresh);
	a->taken.n = a->erases.n = 0;
	r = find_late(a, fresh);
	if (r == 0)
		r = room_place(&a->room, a->cursor, a->items, a->n_items, &a->taken,
			&a->erases);
	for (size_t k = 0; r == 0 && k < a->n_items; k++)
		*(a->items[k].index == APPEND_ROOT ? &a->root : &a->place[a->items[k].index]) =
			a->items[k].at;
	if (r == 0)
		r = find_after(a, &after);
	return r < 0 ? r : room_potential(&a->room, &after, &a->taken, &a->potential);
}

static int no_room(const struct append *a)
{
	uint64_t need = 0, blank = spans_sum(&a->room.blank), dead;

	for (size_t k = 0; k < a->n_items; k++)
		need += a->items[k].size;
	dead = a->pl->geometry->size - spans_sum(&a->room.live) - blank;
	return error_set(a->err, -ENOSPC,
		"what changed needs %llu bytes beside the tree that is on flash, and there are "
		"%llu blank ones and %llu left behind by older files, which an erase does not "
		"give back as they lie",
		(unsigned long long)need, (unsigned long long)blank,
		(unsigned long long)dead);
}

int append_place(struct append *a)
{
	int r = place_items(a, true);

	if (r == -ENOSPC && a->renew)
		r = place_items(a, false);
	if (r == -ENOSPC)
		return no_room(a);
	return r == -ENOMEM ? error_set(a->err, r, "out of memory") : r;
}

int append_try(struct append *a)
{
	int r = place_items(a, true);

	return r == -ENOMEM ? error_set(a->err, r, "out of memory") : r;
}
