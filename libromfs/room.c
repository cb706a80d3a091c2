/* SPDX-License-Identifier: MIT */
#include "libromfs/room.h"

#include <errno.h>
#include <string.h>

#define STEP 4096u

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

uint64_t spans_sum(const struct spans *s)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < s->n; i++)
		sum += s->v[i].len;
	return sum;
}

int room_pages(const struct room *room, const struct spans *bytes, struct spans *pages)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < bytes->n; i++) {
		uint64_t from = bytes->v[i].off / room->page * room->page;
		uint64_t to = round_up(bytes->v[i].off + bytes->v[i].len, room->page);

		r = spans_push(pages, from, to - from);
	}
	spans_normalize(pages);
	return r;
}

bool room_is_bad(const struct room *room, uint64_t off, uint64_t len)
{
	uint32_t block = room->geometry->erase_block;

	for (uint64_t b = off / block; room->now->bad && b * block < off + len; b++)
		if (room->now->bad[b])
			return true;
	return false;
}

static uint32_t wear_of(const struct room *room, uint64_t block)
{
	return room->now->erases ? room->now->erases[block] : 0;
}

/* --- what there is ------------------------------------------------------------------ */

/* The blank pages of [off, end), which lie in one erase block. */
static int find_blank(
	struct room *room, uint64_t off, uint64_t end, uint8_t *buf, struct error *err)
{
	const struct romfs_source *flash = &room->now->source;
	uint32_t page = room->page, step = MAX(STEP / page, 1u) * page;

	while (off < end) {
		/* Steps keep to a grid: what is not known comes in pieces of one. */
		size_t n = (size_t)MIN(end - off, step - off % step);
		int r;

		r = flash->read(flash->ctx, off, buf, n, err);
		if (r < 0 && r != -ENODATA)
			return r;
		for (size_t at = 0; r == 0 && at < n; at += page)
			if (space_is_blank(buf + at, page))
				r = spans_push(&room->blank, off + at, page);
		if (r == -ENOMEM)
			return r;
		off += n;
	}
	return 0;
}

static bool covers(const struct spans *s, uint64_t off, uint64_t len)
{
	size_t i = spans_after(s, off);

	return i < s->n && s->v[i].off <= off && s->v[i].off + s->v[i].len >= off + len;
}

/* One range of pages with nothing alive. */
static int classify(
	struct room *room, uint64_t off, uint64_t end, uint8_t *buf, struct error *err)
{
	uint32_t block = room->geometry->erase_block;
	int r = 0;

	for (uint64_t next; r == 0 && off < end; off = next) {
		next = MIN(end, off / block * block + block);
		if (room_is_bad(room, off, 1))
			continue;
		r = find_blank(room, off, next, buf, err);
		if (r == 0 && next - off == block && !room->geometry->prefix_erase &&
			!(room->blank.n &&
				covers(&(struct spans){.v = &room->blank.v[room->blank.n - 1],
					       .n = 1},
					off, block)))
			r = spans_push(&room->dead, off, block);
	}
	return r;
}

/* Memory that is overwritten freely is all as good as blank. */
static int take_all(struct room *room, uint64_t off, uint64_t end)
{
	uint32_t block = room->geometry->erase_block;
	int r = 0;

	if (!room->now->bad)
		return spans_push(&room->blank, off, end - off);
	for (uint64_t next; r == 0 && off < end; off = next) {
		next = MIN(end, off / block * block + block);
		if (!room_is_bad(room, off, 1))
			r = spans_push(&room->blank, off, next - off);
	}
	return r;
}

void room_done(struct room *room)
{
	spans_done(&room->live);
	spans_done(&room->blank);
	spans_done(&room->dead);
	spans_done(&room->late);
}

int room_init(struct room *room, const struct romfs_geometry *geometry,
	const struct romfs_flash *now, const struct spans *live, struct error *err)
{
	_cleanup_(spans_done) struct spans free = {0};
	_cleanup_free_ uint8_t *buf = NULL;
	int r;

	*room = (struct room){
		.geometry = geometry, .now = now, .page = space_page(geometry)};
	buf = malloc(MAX(STEP, room->page));
	r = buf ? room_pages(room, live, &room->live) : -ENOMEM;
	if (r == 0)
		r = spans_gaps(&room->live, 0, geometry->size, &free);
	for (size_t i = 0; r == 0 && i < free.n; i++) {
		uint64_t off = free.v[i].off, end = off + free.v[i].len;

		r = geometry->no_erase ? take_all(room, off, end)
				       : classify(room, off, end, buf, err);
	}
	return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
}

/* --- places ------------------------------------------------------------------------- */

/* All items one behind the other from `at` on; false where they reach over `end`. */
static bool fits_run(struct room_item *items, size_t n, uint64_t at, uint64_t end)
{
	for (size_t k = 0; k < n; k++) {
		at = round_up(at, items[k].align);
		if (at > end || items[k].size > end - at)
			return false;
		items[k].at = at;
		at += items[k].size;
	}
	return true;
}

/* The append point moves round the partition, so that all of it wears. */
static bool place_run(
	const struct spans *avail, uint64_t cursor, struct room_item *items, size_t n)
{
	size_t first = spans_after(avail, cursor);

	for (size_t k = 0; k <= avail->n && avail->n; k++) {
		const struct romfs_extent *e = &avail->v[(first + k) % avail->n];
		uint64_t at = k == 0 && e->off < cursor && cursor < e->off + e->len
				      ? cursor
				      : e->off;

		if (fits_run(items, n, at, e->off + e->len))
			return true;
	}
	return false;
}

static int compare_sizes(const void *a, const void *b)
{
	const struct room_item *x = a, *y = b;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

static uint64_t best_fit(const struct spans *avail, const struct room_item *item)
{
	uint64_t best = ROMFS_NO_OFFSET, best_left = UINT64_MAX;

	for (size_t i = 0; i < avail->n; i++) {
		const struct romfs_extent *e = &avail->v[i];
		uint64_t at = round_up(e->off, item->align), end = e->off + e->len;

		if (at > end || item->size > end - at || e->len - item->size >= best_left)
			continue;
		best = at;
		best_left = e->len - item->size;
	}
	return best;
}

/* The order of `items` changes. */
static int place_each(struct spans *avail, struct room_item *items, size_t n)
{
	int r = 0;

	qsort(items, n, sizeof(*items), compare_sizes);
	for (size_t k = 0; r == 0 && k < n; k++) {
		items[k].at = best_fit(avail, &items[k]);
		r = items[k].at == ROMFS_NO_OFFSET
			    ? -ENOSPC
			    : spans_cut(avail, items[k].at, items[k].size);
	}
	return r;
}

/* Blank pages and these blocks, which will be. */
static int unite(const struct room *room, const struct spans *blocks, bool late,
	struct spans *out)
{
	const struct spans *all[] = {&room->blank, blocks, late ? &room->late : NULL};
	int r = 0;

	out->n = 0;
	for (size_t k = 0; k < ARRAY_SIZE(all); k++)
		for (size_t i = 0; r == 0 && all[k] && i < all[k]->n; i++)
			r = spans_push(out, all[k]->v[i].off, all[k]->v[i].len);
	spans_normalize(out);
	return r;
}

static int attempt(const struct room *room, const struct spans *blocks, bool late,
	uint64_t cursor, struct room_item *items, size_t n)
{
	_cleanup_(spans_done) struct spans avail = {0};
	int r = unite(room, blocks, late, &avail);

	if (r < 0 || place_run(&avail, cursor, items, n))
		return r;
	return place_each(&avail, items, n);
}

/* What was taken, and which blocks must be erased for it. */
static int account(const struct room *room, const struct room_item *items, size_t n,
	struct spans *taken, struct spans *erases)
{
	_cleanup_(spans_done) struct spans bytes = {0}, ready = {0};
	_cleanup_(spans_done) struct spans none = {0}, dirty = {0};
	uint32_t block = room->geometry->erase_block;
	int r = 0;

	for (size_t k = 0; r == 0 && k < n; k++)
		r = spans_push(&bytes, items[k].at, items[k].size);
	spans_normalize(&bytes);
	if (r == 0)
		r = room_pages(room, &bytes, taken);
	if (r == 0)
		r = unite(room, &none, true, &ready);
	for (size_t k = 0; r == 0 && k < taken->n; k++)
		r = spans_gaps(&ready, taken->v[k].off, taken->v[k].off + taken->v[k].len,
			&dirty);
	for (size_t k = 0; r == 0 && k < dirty.n; k++) {
		uint64_t from = dirty.v[k].off / block * block;
		uint64_t to = round_up(dirty.v[k].off + dirty.v[k].len, block);

		r = spans_push(erases, from, to - from);
	}
	spans_normalize(erases);
	return r;
}

struct worn {
	uint64_t off;
	uint32_t erases;
};

static int compare_worn(const void *a, const void *b)
{
	const struct worn *x = a, *y = b;

	if (x->erases != y->erases)
		return x->erases < y->erases ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

/* All dead blocks, the least worn first; of equals those behind `cursor`. */
static int sort_dead(
	const struct room *room, uint64_t cursor, struct worn **out, size_t *n)
{
	uint32_t block = room->geometry->erase_block;
	size_t all = (size_t)(spans_sum(&room->dead) / block), k = 0;
	uint64_t size = room->geometry->size;
	struct worn *list = malloc((all + 1) * sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < room->dead.n; i++)
		for (uint64_t at = 0; at < room->dead.v[i].len; at += block) {
			uint64_t off = room->dead.v[i].off + at;

			/* Sorted by how far ahead it lies, and told apart later. */
			list[k++] = (struct worn){(off + size - cursor % size) % size,
				wear_of(room, off / block)};
		}
	qsort(list, k, sizeof(*list), compare_worn);
	for (size_t i = 0; i < k; i++)
		list[i].off = (list[i].off + cursor % size) % size;
	*out = list;
	*n = k;
	return 0;
}

int room_least_worn(const struct room *room, size_t max, struct spans *out)
{
	_cleanup_free_ struct worn *list = NULL;
	size_t n;
	int r = sort_dead(room, 0, &list, &n);

	for (size_t k = 0; r == 0 && k < n && k < max; k++)
		r = spans_push(out, list[k].off, room->geometry->erase_block);
	spans_normalize(out);
	return r;
}

/* How many more blocks are tried: what is missing at least, then ever more. */
static size_t more_blocks(const struct room *room, const struct room_item *items, size_t n,
	size_t have)
{
	uint64_t need = 0, avail = spans_sum(&room->blank) + spans_sum(&room->late);

	for (size_t k = 0; k < n; k++)
		need += items[k].size;
	avail += have * (uint64_t)room->geometry->erase_block;
	if (need > avail)
		return (size_t)((need - avail - 1) / room->geometry->erase_block + 1);
	return have / 4 + 1;
}

int room_place(const struct room *room, uint64_t cursor, struct room_item *items, size_t n,
	struct spans *taken, struct spans *erases)
{
	_cleanup_(spans_done) struct spans blocks = {0};
	_cleanup_free_ struct worn *list = NULL;
	size_t n_dead, have = 0;
	int r = sort_dead(room, cursor, &list, &n_dead);

	while (r == 0) {
		size_t more;

		for (unsigned late = 0; late <= (room->late.n ? 1u : 0u); late++) {
			r = attempt(room, &blocks, late, cursor, items, n);
			if (r == 0)
				return account(room, items, n, taken, erases);
			if (r != -ENOSPC)
				return r;
		}
		if (have == n_dead)
			return r;
		more = MIN(more_blocks(room, items, n, have), n_dead - have);
		for (r = 0; r == 0 && more; more--, have++)
			r = spans_push(&blocks, list[have].off, room->geometry->erase_block);
	}
	return r;
}

int room_potential(const struct room *room, const struct spans *live,
	const struct spans *taken, uint64_t *bytes)
{
	_cleanup_(spans_done) struct spans free = {0}, rest = {0}, gain = {0};
	uint32_t block = room->geometry->erase_block;
	uint64_t run = 0;
	int r = spans_gaps(live, 0, room->geometry->size, &free);

	for (size_t i = 0; r == 0 && i < room->blank.n; i++)
		r = spans_gaps(taken, room->blank.v[i].off,
			room->blank.v[i].off + room->blank.v[i].len, &rest);
	for (size_t i = 0; r == 0 && i < rest.n; i++)
		r = spans_push(&gain, rest.v[i].off, rest.v[i].len);
	for (size_t i = 0; r == 0 && i < free.n; i++) {
		uint64_t from = round_up(free.v[i].off, block);
		uint64_t to = (free.v[i].off + free.v[i].len) / block * block;

		for (; r == 0 && from < to && !room->geometry->prefix_erase; from += block)
			if (!room_is_bad(room, from, 1))
				r = spans_push(&gain, from, block);
	}
	spans_normalize(&gain);
	*bytes = spans_sum(&gain);
	for (size_t i = 0; i < gain.n; i++)
		run = MAX(run, gain.v[i].len);
	*bytes += MIN(run, room->geometry->size / 8);
	return r;
}
