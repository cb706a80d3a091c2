/* SPDX-License-Identifier: MIT */
#include <errno.h>

#include "libromfs/head.h"
#include "libromfs/room.h"

static int find_head(const struct romfs_geometry *geometry, const struct romfs_flash *now,
	struct spans *live, struct romfs_usage *u, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(HEAD_SIZE_MAX);
	struct head_state state;
	struct head head;
	int r;

	if (!buf)
		return -ENOMEM;
	r = head_read(geometry, &now->source, &head, &state, buf, err);
	if (r <= 0)
		return r;
	u->append = true;
	u->slots = head.slots;
	u->slots_free = state.left;
	return spans_push(live, 0, head.size);
}

/* What a board reads. */
static int find_live(const struct romfs_image *im, struct spans *live)
{
	int r = 0;

	for (size_t k = 0; r == 0 && k < im->n_meta; k++)
		r = spans_push(live, im->meta[k].off, im->meta[k].len);
	for (uint32_t i = 0; r == 0 && i < romfs_tree_count(im->tree); i++) {
		const struct romfs_node *n = romfs_tree_node(im->tree, i);

		if (n->type == ROMFS_FILE)
			r = spans_push(live, n->data_off, n->size);
	}
	return r;
}

/* Bad blocks with nothing alive in them. */
static uint64_t count_bad(const struct room *room)
{
	uint32_t block = room->geometry->erase_block;
	uint64_t sum = 0;

	for (uint64_t off = 0; room->now->bad && off < room->geometry->size; off += block)
		if (room_is_bad(room, off, 1) && !spans_overlap(&room->live, off, block))
			sum += block;
	return sum;
}

static int measure(const struct romfs_geometry *geometry, const struct romfs_flash *now,
	struct spans *live, struct romfs_usage *u, struct error *err)
{
	_cleanup_(room_done) struct room room = {0};
	_cleanup_(spans_done) struct spans good = {0};
	int r;

	spans_normalize(live);
	r = room_init(&room, geometry, now, live, err);
	/* The blank pages of a dead block can be programmed, and count as that. */
	for (size_t k = 0; r == 0 && k < room.dead.n; k++)
		r = spans_gaps(&room.blank, room.dead.v[k].off,
			room.dead.v[k].off + room.dead.v[k].len, &good);
	u->live = spans_sum(live);
	u->blank = spans_sum(&room.blank);
	u->dead = spans_sum(&good);
	u->bad = count_bad(&room);
	u->mixed = geometry->size - u->live - u->blank - u->dead - u->bad;
	return r;
}

int romfs_usage(const struct romfs_geometry *geometry, const struct romfs_flash *now,
	struct romfs_usage *out, struct error *err)
{
	_cleanup_(spans_done) struct spans live = {0};
	struct romfs_usage u = {0};
	int r = 0;

	if (now->image && now->image->status == ROMFS_VALID) {
		u.walk = now->image->records_before_root;
		r = find_head(geometry, now, &live, &u, err);
		if (r == 0)
			r = find_live(now->image, &live);
	}
	if (r == 0)
		r = measure(geometry, now, &live, &u, err);
	if (r == -ENOMEM)
		error_set(err, r, "out of memory");
	if (r == 0)
		*out = u;
	return r;
}

/* Virgin units of the head are programmed with what leaves them as they are. */
int romfs_confirm(const struct romfs_geometry *geometry, const struct romfs_source *now,
	struct romfs_extent *out, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(HEAD_SIZE_MAX);
	struct head_state state;
	struct head head;
	int r;

	if (!buf)
		return error_set(err, -ENOMEM, "out of memory");
	r = head_read(geometry, now, &head, &state, buf, err);
	if (r <= 0 || head.form != HEAD_TWICE)
		return MIN(r, 0);
	*out = (struct romfs_extent){0, head.size};
	return 1;
}
