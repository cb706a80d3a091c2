/* SPDX-License-Identifier: MIT */
/* Gaining room on flash for what is to be written. */
#include <errno.h>
#include <string.h>

#include "fuse/commit_private.h"
#include "fuse/tidy.h"

/* The tree that flash shows, to be planned for once more. */
struct shown {
	struct romfs_tree *tree;
	uint64_t *places; /* by index, which is `user` too */
	struct romfs_source flash;
};

static void shown_done(struct shown *s)
{
	romfs_tree_free(s->tree);
	free(s->places);
}

static int copy_node(struct shown *s, const struct romfs_tree *from, uint32_t i, uint32_t *to)
{
	const struct romfs_node *n = romfs_tree_node(from, i);
	struct romfs_node *copy;
	int r = 0;

	to[i] = ROMFS_ROOT;
	if (i != ROMFS_ROOT)
		r = romfs_tree_add(s->tree, to[n->parent], (enum romfs_type)n->type,
			romfs_tree_name(from, i), n->name_len, &to[i]);
	if (r < 0)
		return r;
	copy = romfs_tree_node(s->tree, to[i]);
	copy->mtime_ns = n->mtime_ns;
	copy->size = n->size;
	copy->user = to[i];
	s->places[to[i]] = n->type == ROMFS_FILE && n->size ? n->data_off : ROMFS_NO_OFFSET;
	return 0;
}

static int copy_tree(struct shown *s, const struct romfs_tree *from)
{
	uint32_t i, count = romfs_tree_count(from);
	_cleanup_free_ uint32_t *order = NULL, *to = calloc(count, sizeof(*to));
	int r = romfs_tree_new(&s->tree);

	s->places = calloc(count, sizeof(*s->places));
	if (r == 0 && (!s->places || !to))
		r = -ENOMEM;
	if (r == 0)
		r = romfs_tree_preorder(from, &order);
	for (i = 0; i < count && r == 0; i++)
		r = copy_node(s, from, order[i], to);
	return r;
}

static int read_shown(void *ctx, const struct romfs_tree *tree, uint32_t index, uint64_t off,
	void *buf, size_t len, struct error *err)
{
	const struct shown *s = ctx;
	uint64_t place = s->places[romfs_tree_node(tree, index)->user];

	return s->flash.read(s->flash.ctx, place + off, buf, len, err);
}

static int note_moves(struct commit *c, const struct shown *s)
{
	int r = 0;

	for (uint32_t i = 0; i < romfs_tree_count(s->tree) && r == 0; i++) {
		const struct romfs_node *n = romfs_tree_node(s->tree, i);

		if (s->places[i] != ROMFS_NO_OFFSET)
			r = moves_add(&c->moves, s->places[i], n->data_off, n->size);
	}
	return r;
}

/* A save takes what it gets. */
static bool is_wanted(const struct commit *c, const struct romfs_plan *plan)
{
	return c->snapshot || c->aim == COMMIT_TIDY || tidy_bears(plan, c->may_move);
}

static int one_step(struct commit *c, struct shown *s, struct patch *patch, struct error *err)
{
	const struct wanted w = {
		.tree = s->tree, .places = s->places, .content = read_shown, .ctx = s};
	_cleanup_(romfs_plan_freep) struct romfs_plan *plan = NULL;
	int r = commit_plan(c, ROMFS_TIDY, &w, patch, &plan, err);

	if (r < 0)
		return r;
	if (plan->n_ops == 0 || !is_wanted(c, plan))
		return error_set(err, -ENOSPC, "no room can be gained");
	if (plan->way != ROMFS_WAY_ERASE && note_moves(c, s) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = commit_carry_out(c, &w, patch, plan, err);
	if (r < 0)
		return r;
	c->tidied = true;
	if (plan->way == ROMFS_WAY_ERASE)
		return 0;
	c->outcome = COMMIT_STEP;
	return 1;
}

int commit_tidy(struct commit *c, struct error *err)
{
	_cleanup_(shown_done) struct shown s = {.flash = flash_base_source(c->flash)};
	_cleanup_(patch_freep) struct patch *patch = NULL;
	int r;

	if (!c->image || flash_is_mixed(c->flash))
		return error_set(err, -ENOSPC, "no room can be gained");
	moves_done(&c->moves);
	r = copy_tree(&s, c->image->tree);
	if (r == 0)
		r = patch_new(c->dirfd, flash_geometry(c->flash)->size, &patch);
	if (r < 0)
		return error_set(err, r, "cannot prepare a commit: %s", strerror(-r));
	return one_step(c, &s, patch, err);
}
