/* SPDX-License-Identifier: MIT */
#include "libromfs/layout.h"

#include <errno.h>
#include <string.h>

static bool wants_notes(const struct planning *pl)
{
	return pl->options && pl->options->notes;
}

/* --- keep -------------------------------------------------------------------- */

static bool same_node(
	const struct planning *pl, uint32_t i, uint32_t j, const uint32_t *wanted_of)
{
	const struct romfs_tree *image = pl->now->image->tree;
	const struct romfs_node *a = romfs_tree_node(pl->wanted, i);
	const struct romfs_node *b = romfs_tree_node(image, j);

	if (a->type != b->type || a->name_len != b->name_len ||
		memcmp(romfs_tree_name(pl->wanted, i), romfs_tree_name(image, j),
			a->name_len) != 0)
		return false;
	if (i != ROMFS_ROOT && a->parent != wanted_of[b->parent])
		return false;
	if (wants_notes(pl) && a->mtime_ns != b->mtime_ns)
		return false;
	if (a->type == ROMFS_DIR || a->size != b->size || a->size == 0)
		return a->type == ROMFS_DIR || a->size == b->size;
	return pl->home[i] == b->data_off &&
	       pl->home[i] % romfs_pack_align(pl->options, pl->wanted, i) == 0;
}

/* 1: the image on flash is the wanted tree. */
static int same_tree(const struct planning *pl, struct error *err)
{
	const struct romfs_tree *image = pl->now->image->tree;
	uint32_t count = romfs_tree_count(pl->wanted);
	_cleanup_free_ uint32_t *order = NULL, *wanted_of = NULL;
	int r;

	if (romfs_tree_count(image) != count)
		return 0;
	wanted_of = malloc(count * sizeof(*wanted_of));
	r = wanted_of ? romfs_tree_preorder(image, &order) : -ENOMEM;
	if (r < 0)
		return error_set(err, r, "out of memory");
	for (uint32_t k = 0; k < count; k++) {
		wanted_of[order[k]] = pl->order[k];
		if (!same_node(pl, pl->order[k], order[k], wanted_of))
			return 0;
	}
	return 1;
}

/* 1: every byte of the image's metadata is known. */
static int meta_is_known(const struct planning *pl, struct error *err)
{
	const struct romfs_image *im = pl->now->image;
	const struct romfs_source *flash = &pl->now->source;
	uint8_t buf[4096];

	for (size_t k = 0; k < im->n_meta; k++)
		for (uint64_t done = 0; done < im->meta[k].len;) {
			size_t n = MIN(im->meta[k].len - done, sizeof(buf));
			int r;

			r = flash->read(flash->ctx, im->meta[k].off + done, buf, n, err);
			if (r < 0)
				return r == -ENODATA ? 0 : r;
			done += n;
		}
	return 1;
}

/* Blank flash is right for an empty tree. */
int layout_keep(const struct planning *pl, struct error *err)
{
	const struct romfs_image *im = pl->now->image;
	int r;

	if (!im || (im->status != ROMFS_VALID && im->status != ROMFS_BLANK))
		return 0;
	if (im->status == ROMFS_BLANK)
		return romfs_tree_count(pl->wanted) == 1;
	r = same_tree(pl, err);
	return r > 0 ? meta_is_known(pl, err) : r;
}

/* --- lay out ----------------------------------------------------------------- */

struct homeless {
	uint64_t size;
	uint32_t index;
};

static int compare_homeless(const void *a, const void *b)
{
	const struct homeless *x = a, *y = b;

	if (x->size != y->size)
		return x->size > y->size ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Files that stay become part of `live`; the others are listed. */
static int sort_out(const struct planning *pl, struct layout *l, bool keep,
	uint64_t floor, struct spans *live, struct homeless *list, uint32_t *n)
{
	*n = 0;
	for (uint32_t i = 0; i < romfs_tree_count(pl->wanted); i++) {
		const struct romfs_node *node = romfs_tree_node(pl->wanted, i);
		uint64_t home = pl->home[i];
		int r;

		l->place[i] = META_PAYLOAD;
		if (node->type == ROMFS_DIR || node->size == 0)
			continue;
		if (!keep || home == ROMFS_NO_OFFSET || home < floor ||
			home % romfs_pack_align(pl->options, pl->wanted, i) != 0) {
			list[(*n)++] = (struct homeless){node->size, i};
			continue;
		}
		l->place[i] = home;
		r = spans_push(live, home, node->size);
		if (r < 0)
			return r;
	}
	return 0;
}

#define ROOT UINT32_MAX /* in the list of what wants a place */

/* A way to lay an image out. */
struct manner {
	enum layout_kind kind;
	bool keep; /* files stay where they are, unless the front needs their place */
	enum comfort comfort;
};

static enum meta_kind meta_kind_of(const struct manner *how)
{
	if (how->kind == LAYOUT_HEAD)
		return META_ROOT;
	return how->comfort == ROOMY ? META_FRONT_ROOMY : META_FRONT_TIGHT;
}

/* What stands at the start, in *front; metadata that begins there may grow up to *reserved
 * before a file has to make room. */
static void find_front(const struct planning *pl, const struct layout *l,
	const struct manner *how, uint64_t *front, uint64_t *reserved)
{
	uint64_t unit = how->kind == LAYOUT_HEAD ? space_page(pl->geometry)
						 : pl->geometry->erase_block;

	*front = how->kind == LAYOUT_HEAD ? l->head.size : l->meta.size;
	*reserved = *front;
	if (how->kind == LAYOUT_LAID && how->comfort == ROOMY)
		*reserved += *front / 4 + 512;
	if (how->kind == LAYOUT_HEAD || how->comfort == ROOMY)
		*reserved = (*reserved + unit - 1) / unit * unit;
	if (how->kind == LAYOUT_HEAD)
		*front = *reserved;
}

static int place_all(const struct planning *pl, struct layout *l, struct space *space,
	struct homeless *list, uint32_t n, const struct manner *how)
{
	int r = 0;

	qsort(list, n, sizeof(*list), compare_homeless);
	for (uint32_t k = 0; r == 0 && k < n; k++) {
		uint32_t i = list[k].index;

		if (i == ROOT)
			r = space_take(space, list[k].size, 1, ROMFS_NO_OFFSET, how->comfort,
				&l->root);
		else
			r = space_take(space, list[k].size,
				romfs_pack_align(pl->options, pl->wanted, i),
				how->keep ? pl->before[i] : ROMFS_NO_OFFSET, how->comfort,
				&l->place[i]);
	}
	return r;
}

/* Nothing new goes to blocks that have failed. */
static int avoid_bad(const struct planning *pl, struct spans *live)
{
	uint32_t block = pl->geometry->erase_block;
	int r = 0;

	for (uint64_t off = 0; r == 0 && pl->now->bad && off < pl->geometry->size; off += block)
		if (planning_is_bad(pl, off, 1))
			r = spans_push(live, off, block);
	return r;
}

/* -ENOSPC where it does not fit. */
static int lay_out(const struct planning *pl, struct layout *l, const struct manner *how,
	struct homeless *list, struct error *err)
{
	_cleanup_(spans_done) struct spans live = {0};
	_cleanup_(space_done) struct space space = {0};
	uint64_t front, reserved;
	uint32_t n = 0;
	int r;

	find_front(pl, l, how, &front, &reserved);
	if (reserved > pl->geometry->size || planning_is_bad(pl, 0, reserved))
		return -ENOSPC;
	r = spans_push(&live, 0, reserved);
	if (r == 0)
		r = avoid_bad(pl, &live);
	if (r == 0)
		r = sort_out(pl, l, how->keep, front, &live, list, &n);
	if (r < 0)
		return error_set(err, r, "out of memory");
	if (how->kind == LAYOUT_HEAD)
		list[n++] = (struct homeless){l->meta.size, ROOT};
	spans_normalize(&live);
	r = space_init(&space, pl->geometry, &pl->now->source, &live, &pl->old,
		how->keep ? how->comfort : TIGHT, err);
	if (r < 0)
		return r;
	r = place_all(pl, l, &space, list, n, how);
	return r == -ENOMEM ? error_set(err, r, "out of memory") : r;
}

static int try_manner(const struct planning *pl, struct layout *l,
	const struct manner *how, struct error *err)
{
	_cleanup_free_ struct homeless *list =
		malloc(((size_t)romfs_tree_count(pl->wanted) + 1) * sizeof(*list));
	int r;

	if (!list)
		return error_set(err, -ENOMEM, "out of memory");
	if (how->kind == LAYOUT_HEAD && !head_choose(pl->geometry, &l->head))
		return -ENOSPC;
	meta_done(&l->meta);
	l->kind = how->kind;
	l->size = meta_image_end(pl->geometry);
	r = meta_init(&l->meta, meta_kind_of(how), pl->wanted, pl->geometry, pl->order,
		wants_notes(pl), err);
	return r < 0 ? r : lay_out(pl, l, how, list, err);
}

/* --- pack -------------------------------------------------------------------- */

static int try_packed(const struct planning *pl, struct layout *l, bool notes,
	uint64_t *need, struct error *err)
{
	int r;

	l->kind = LAYOUT_PACKED;
	l->pack = pl->options ? *pl->options : (struct romfs_pack_options){0};
	l->pack.notes = notes;
	r = romfs_pack_size(pl->wanted, &l->pack, &l->size, err);
	if (r < 0)
		return r;
	*need = l->size;
	return l->size > pl->geometry->size || planning_is_bad(pl, 0, l->size) ? -ENOSPC : 0;
}

static int no_room(const struct planning *pl, uint64_t need, struct error *err)
{
	if (need <= pl->geometry->size)
		return error_set(err, -ENOSPC,
			"the files need %llu bytes in one piece, and erase blocks have failed in "
			"between: remove some",
			(unsigned long long)need);
	return error_set(err, -ENOSPC,
		"the files need %llu bytes, and the partition holds %llu: remove or shrink "
		"some (%llu bytes at least)",
		(unsigned long long)need, (unsigned long long)pl->geometry->size,
		(unsigned long long)(need - pl->geometry->size));
}

/* --- choose ------------------------------------------------------------------ */

static int start(const struct planning *pl, struct layout *l, struct error *err)
{
	*l = (struct layout){
		.place = malloc(romfs_tree_count(pl->wanted) * sizeof(*l->place))};
	return l->place ? 0 : error_set(err, -ENOMEM, "out of memory");
}

void layout_done(struct layout *l)
{
	free(l->place);
	meta_done(&l->meta);
	spans_done(&l->unknown);
}

int layout_pack(const struct planning *pl, struct layout *l, struct error *err)
{
	uint64_t need = 0;
	int r = start(pl, l, err);

	if (r == 0)
		r = planning_is_bad(pl, 0, 1)
			    ? error_set(err, -EIO, PLANNING_BAD_FRONT)
			    : try_packed(pl, l, wants_notes(pl), &need, err);
	return r == -ENOSPC ? no_room(pl, need, err) : r;
}

int layout_choose(const struct planning *pl, struct layout *l, struct error *err)
{
	static const struct manner manners[] = {
		{LAYOUT_HEAD, true, ROOMY}, {LAYOUT_HEAD, true, TIGHT},
		{LAYOUT_HEAD, false, ROOMY}, {LAYOUT_HEAD, false, TIGHT},
		{LAYOUT_LAID, true, ROOMY}, {LAYOUT_LAID, true, TIGHT},
		{LAYOUT_LAID, false, ROOMY}, {LAYOUT_LAID, false, TIGHT}};
	uint64_t need = 0;
	int r = start(pl, l, err);

	if (r == 0 && planning_is_bad(pl, 0, 1))
		r = error_set(err, -EIO, PLANNING_BAD_FRONT);
	if (r < 0)
		return r;
	for (size_t k = 0; k < ARRAY_SIZE(manners); k++) {
		/* A prefix erase takes everything: it pays to begin anew. */
		if (manners[k].keep && pl->geometry->prefix_erase)
			continue;
		r = try_manner(pl, l, &manners[k], err);
		if (r != -ENOSPC)
			return r;
	}
	r = wants_notes(pl) ? try_packed(pl, l, true, &need, err) : -ENOSPC;
	if (r == -ENOSPC)
		r = try_packed(pl, l, false, &need, err);
	return r == -ENOSPC ? no_room(pl, need, err) : r;
}
