/* SPDX-License-Identifier: MIT */
#include "libromfs/plan.h"

#include <errno.h>
#include <string.h>

#include "libromfs/diff.h"
#include "libromfs/exact.h"
#include "libromfs/layout.h"
#include "libromfs/next.h"
#include "libromfs/record.h"
#include "libromfs/save.h"

#define CHUNK (16u * 1024)
/* An erase block is held in memory, a few times: larger than any board's. */
#define BLOCK_MAX (4u << 20)

/* --- what a plan starts from -------------------------------------------------- */

bool planning_has_image(const struct planning *pl)
{
	return pl->now->image && pl->now->image->status == ROMFS_VALID;
}

bool planning_is_bad(const struct planning *pl, uint64_t off, uint64_t len)
{
	uint32_t block = pl->geometry->erase_block;

	for (uint64_t b = off / block; pl->now->bad && b * block < off + len; b++)
		if (pl->now->bad[b])
			return true;
	return false;
}

static int check_geometry(const struct planning *pl, struct error *err)
{
	const struct romfs_geometry *g = pl->geometry;

	if (g->size == 0 || g->size > ROMFS_SIZE_MAX || g->erase_block == 0 ||
		g->erase_block > BLOCK_MAX || g->size % g->erase_block ||
		g->write_unit == 0 || g->erase_block % g->write_unit ||
		pl->now->source.size < g->size)
		return error_set(err, -EINVAL,
			"a partition of %llu bytes in blocks of %u, written by %u, is nothing that "
			"can be planned for",
			(unsigned long long)g->size, g->erase_block, g->write_unit);
	return 0;
}

/* What a board reads of the image that is on flash. */
static int find_old(struct planning *pl)
{
	const struct romfs_image *im = pl->now->image;
	int r = 0;

	if (!planning_has_image(pl))
		return 0;
	for (size_t k = 0; r == 0 && k < im->n_meta; k++)
		r = spans_push(&pl->old, im->meta[k].off, im->meta[k].len);
	for (uint32_t i = 0; r == 0 && i < romfs_tree_count(im->tree); i++) {
		const struct romfs_node *n = romfs_tree_node(im->tree, i);

		if (n->type == ROMFS_FILE)
			r = spans_push(&pl->old, n->data_off, n->size);
	}
	spans_normalize(&pl->old);
	return r;
}

/* 1: the flash holds at `off` what the file shall hold. */
static int is_there(struct planning *pl, uint32_t index, uint64_t off, struct error *err)
{
	const struct romfs_source *flash = &pl->now->source;
	uint64_t size = romfs_tree_node(pl->wanted, index)->size;
	_cleanup_free_ uint8_t *have = malloc(CHUNK), *want = malloc(CHUNK);

	if (!have || !want)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint64_t done = 0; done < size;) {
		size_t n = MIN(size - done, CHUNK);
		int r;

		r = flash->read(flash->ctx, off + done, have, n, err);
		if (r < 0)
			return r == -ENODATA ? 0 : r;
		r = pl->content(pl->content_ctx, pl->wanted, index, done, want, n, err);
		if (r < 0)
			return r;
		if (memcmp(have, want, n) != 0)
			return 0;
		done += n;
	}
	return 1;
}

/* Finds where the file stands, or stood: what was written again with the same bytes did
 * not change. `twin` is the node of the same path in the old tree. */
static int find_home(struct planning *pl, uint32_t i, uint32_t twin, struct error *err)
{
	const struct romfs_node *n = romfs_tree_node(pl->wanted, i), *old;
	int r;

	if (n->data_off != ROMFS_NO_OFFSET && n->size) {
		if (n->data_off > pl->geometry->size ||
			n->size > pl->geometry->size - n->data_off)
			return error_set(err, -EINVAL,
				"%s is said to stand outside the partition",
				romfs_tree_name(pl->wanted, i));
		pl->home[i] = n->data_off;
		return 0;
	}
	if (twin == ROMFS_NO_NODE || n->size == 0)
		return 0;
	old = romfs_tree_node(pl->now->image->tree, twin);
	if (old->type != ROMFS_FILE || old->size == 0)
		return 0;
	pl->before[i] = old->data_off;
	if (old->size != n->size)
		return 0;
	r = is_there(pl, i, old->data_off, err);
	if (r > 0)
		pl->home[i] = old->data_off;
	return MIN(r, 0);
}

static int find_homes(struct planning *pl, struct error *err)
{
	uint32_t count = romfs_tree_count(pl->wanted);
	_cleanup_free_ uint32_t *twin = malloc(count * sizeof(*twin));
	int r;

	if (!twin)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t k = 0; k < count; k++) {
		uint32_t i = pl->order[k];
		const struct romfs_node *n = romfs_tree_node(pl->wanted, i);

		pl->home[i] = pl->before[i] = ROMFS_NO_OFFSET;
		twin[i] = planning_has_image(pl) ? ROMFS_ROOT : ROMFS_NO_NODE;
		if (i != ROMFS_ROOT && twin[i] != ROMFS_NO_NODE)
			twin[i] = twin[n->parent] == ROMFS_NO_NODE
					  ? ROMFS_NO_NODE
					  : romfs_tree_find(pl->now->image->tree,
						    twin[n->parent],
						    romfs_tree_name(pl->wanted, i),
						    n->name_len);
		if (n->type != ROMFS_FILE)
			continue;
		r = find_home(pl, i, twin[i], err);
		if (r < 0)
			return r;
	}
	return 0;
}

void planning_done(struct planning *pl)
{
	free(pl->order);
	free(pl->home);
	free(pl->before);
	spans_done(&pl->old);
}

int planning_init(struct planning *pl, struct error *err)
{
	uint32_t count = romfs_tree_count(pl->wanted);
	int r;

	r = check_geometry(pl, err);
	if (r < 0)
		return r;
	pl->home = malloc(count * sizeof(*pl->home));
	pl->before = malloc(count * sizeof(*pl->before));
	r = pl->home && pl->before ? romfs_tree_sort(pl->wanted) : -ENOMEM;
	if (r == 0)
		r = romfs_tree_preorder(pl->wanted, &pl->order);
	if (r == 0)
		r = find_old(pl);
	if (r < 0)
		return error_set(err, r, "out of memory");
	return find_homes(pl, err);
}

/* --- the plan ------------------------------------------------------------------ */

void romfs_plan_free(struct romfs_plan *plan)
{
	if (!plan)
		return;
	free(plan->ops);
	free(plan->touched);
	free(plan->unknown);
	free(plan);
}

/* The old tree is given up first, where it has to be. */
static int replace(struct planning *pl, bool packed, struct romfs_plan *plan,
	uint64_t *place, struct error *err)
{
	_cleanup_(layout_done) struct layout layout = {0};
	int r = packed ? layout_pack(pl, &layout, err) : layout_choose(pl, &layout, err);

	if (r == 0)
		r = next_write(pl, &layout, err);
	if (r == 0)
		r = diff_plan(pl, &layout, plan, err);
	if (r < 0)
		return r;
	memcpy(place, layout.place, romfs_tree_count(pl->wanted) * sizeof(*place));
	plan->image_size = layout.size;
	return 0;
}

static int keep(const struct planning *pl, struct romfs_plan *plan, uint64_t *place)
{
	memcpy(place, pl->home, romfs_tree_count(pl->wanted) * sizeof(*place));
	plan->image_size = pl->now->image->size;
	return 0;
}

static int save(struct planning *pl, enum romfs_goal goal, struct romfs_plan *plan,
	uint64_t *place, struct error *err)
{
	struct error why = {0};
	int r = layout_keep(pl, err);

	if (r != 0)
		return r < 0 ? r : keep(pl, plan, place);
	r = save_plan(pl, plan, place, &why);
	if (r > 0)
		return 0;
	if (r < 0 && (r != -ENOSPC || goal != ROMFS_REWRITE))
		return error_set(err, r, "%s", why.text);
	r = replace(pl, false, plan, place, err);
	if (r == 0 && goal == ROMFS_SAVE && plan->way == ROMFS_WAY_REPLACE)
		return error_set(err, -ENOSPC,
			"what changed does not fit beside the tree that is on flash");
	return r;
}

static int plan_goal(struct planning *pl, enum romfs_goal goal, struct romfs_plan *plan,
	uint64_t *place, struct error *err)
{
	if (goal == ROMFS_TIDY)
		return tidy_plan(pl, plan, place, err);
	if (goal == ROMFS_PACK)
		return replace(pl, true, plan, place, err);
	return save(pl, goal, plan, place, err);
}

static int open_next(const struct planning *pl, struct error *err)
{
	int r;

	if (ftruncate(pl->next_fd, 0) == 0 &&
		ftruncate(pl->next_fd, (off_t)pl->geometry->size) == 0)
		return 0;
	r = -errno;
	return error_set(err, r, "cannot write the next image: %s", strerror(-r));
}

int romfs_plan(const struct romfs_geometry *geometry, const struct romfs_flash *now,
	enum romfs_goal goal, struct romfs_tree *wanted, const struct romfs_pack_options *options,
	romfs_content_fn content, void *content_ctx, int next_fd, struct romfs_plan **out,
	struct error *err)
{
	_cleanup_(planning_done) struct planning pl = {.geometry = geometry,
		.now = now,
		.wanted = wanted,
		.options = options,
		.content = content,
		.content_ctx = content_ctx,
		.next_fd = next_fd};
	_cleanup_(romfs_plan_freep) struct romfs_plan *plan = calloc(1, sizeof(*plan));
	_cleanup_free_ uint64_t *place =
		calloc(romfs_tree_count(wanted), sizeof(*place));
	int r;

	if (!plan || !place)
		return error_set(err, -ENOMEM, "out of memory");
	r = planning_init(&pl, err);
	if (r == 0)
		r = open_next(&pl, err);
	if (r == 0)
		r = plan_goal(&pl, goal, plan, place, err);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < romfs_tree_count(wanted); i++)
		if (romfs_tree_node(wanted, i)->type == ROMFS_FILE)
			romfs_tree_node(wanted, i)->data_off = place[i];
	*out = TAKE_PTR(plan);
	return 0;
}

/* Every byte comes from the image: no file has a home of its own. */
static int take_image(struct planning *pl, struct error *err)
{
	uint32_t count = romfs_tree_count(pl->wanted);
	int r = check_geometry(pl, err);

	if (r < 0)
		return r;
	pl->home = malloc(count * sizeof(*pl->home));
	if (!pl->home || find_old(pl) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < count; i++)
		pl->home[i] = ROMFS_NO_OFFSET;
	return 0;
}

int romfs_plan_image(const struct romfs_geometry *geometry, const struct romfs_flash *now,
	const struct romfs_image *image, uint64_t len, int next_fd, struct romfs_plan **out,
	struct error *err)
{
	_cleanup_(planning_done) struct planning pl = {
		.geometry = geometry, .now = now, .wanted = image->tree, .next_fd = next_fd};
	_cleanup_(romfs_plan_freep) struct romfs_plan *plan = calloc(1, sizeof(*plan));
	int r;

	if (!plan)
		return error_set(err, -ENOMEM, "out of memory");
	if (len > geometry->size)
		return error_set(err, -ENOSPC,
			"an image of %llu bytes does not fit into %llu",
			(unsigned long long)len, (unsigned long long)geometry->size);
	r = take_image(&pl, err);
	if (r == 0)
		r = exact_plan(&pl, len, plan, err);
	if (r == -ENOMEM)
		error_set(err, r, "out of memory");
	if (r < 0)
		return r;
	*out = TAKE_PTR(plan);
	return 0;
}

/* --- what df reckons with ------------------------------------------------------- */

/* Digits of the length of a directory, or of the whole image, of up to ROMFS_SIZE_MAX. */
#define LENGTH_DIGITS 5u

/* The packed image with notes, which is the last that the planner tries before it drops
 * them: what it needs bounds what a tree needs. */
uint64_t romfs_plan_entry_bytes(
	enum romfs_type type, size_t name_len, uint64_t size, uint32_t align)
{
	uint64_t front = romfs_varuint_width(name_len) + name_len + ROMFS_NOTE_RECORD;
	uint64_t gap = align > 1 ? align - 1 : 0, payload;

	if (type == ROMFS_DIR)
		return 1 + LENGTH_DIGITS + front;
	payload = front + gap + 1 + romfs_varuint_width(size) + size;
	return 1 + romfs_varuint_width(payload) + payload;
}

uint64_t romfs_plan_overhead(const struct romfs_geometry *geometry)
{
	uint64_t odd = geometry->size & 1; /* an image's size is even */

	return ROMFS_MAGIC_LEN + LENGTH_DIGITS + ROMFS_NOTE_RECORD + 3 + odd;
}
