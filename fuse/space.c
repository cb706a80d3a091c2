/* SPDX-License-Identifier: MIT */
#include "fuse/space.h"

#include <errno.h>
#include <string.h>

#include "fuse/junk.h"

/* Junk stays on the host, but a runaway program must not fill the host's disk with it. */
#define JUNK_MIN (16u << 20)

/* A place that a node of a tree has, or would have: `top` stands at `name` in `dir`. */
struct place {
	const struct node *top, *dir;
	const char *name;
};

/* Patterns may ask for a path: that of `n` if its tree stood at the place. */
static uint32_t align_at(const struct folder *f, const struct place *at, const struct node *n)
{
	char path[(ROMFS_DEPTH_MAX + 2) * (ROMFS_NAME_MAX + 1)];
	char below[(ROMFS_DEPTH_MAX + 2) * (ROMFS_NAME_MAX + 1)];
	size_t len;

	if (!f->pack || !f->pack->n_aligns)
		return 1;
	if (n != at->top && node_path(n, below, sizeof(below)) >= sizeof(below))
		return 1;
	len = node_path(at->dir, path, sizeof(path));
	if (len < sizeof(path))
		snprintf(path + len, sizeof(path) - len, "%s%s%s", len ? "/" : "", at->name,
			n == at->top ? "" : below + node_path(at->top, NULL, 0));
	return romfs_pack_align_path(f->pack, path);
}

static uint64_t cost_at(
	const struct folder *f, const struct place *at, const struct node *n, uint64_t size)
{
	const char *name = n == at->top ? at->name : n->name;

	return romfs_plan_entry_bytes((enum romfs_type)n->type, strlen(name),
		MAX(size, n->content.size), align_at(f, at, n));
}

static uint64_t cost(const struct folder *f, const struct node *n, uint64_t size)
{
	const struct place here = {.top = n, .dir = n->parent, .name = n->name};

	return cost_at(f, &here, n, size);
}

static bool is_junk_at(const struct place *at, const struct node *n)
{
	for (; n != at->top; n = n->parent)
		if (junk_name(n->name))
			return true;
	return at->dir->junk || junk_name(at->name);
}

/* What flash would need for a tree at this place. */
static uint64_t tree_cost(const struct folder *f, const struct place *at)
{
	uint64_t sum = 0;

	for (const struct node *n = at->top; n; n = node_next(at->top, n))
		if (!is_junk_at(at, n))
			sum += cost_at(f, at, n, n->size);
	return sum;
}

/* What it is reckoned with now. */
static uint64_t tree_charge(const struct node *top)
{
	uint64_t sum = 0;

	for (const struct node *n = top; n; n = node_next(top, n))
		sum += n->junk ? 0 : n->charged;
	return sum;
}

static int check_room(const struct folder *f, bool junk, uint64_t old, uint64_t new)
{
	uint64_t used = junk ? f->junk_charged : f->charged;
	uint64_t cap = junk ? MAX(f->geometry.size, JUNK_MIN) : folder_capacity(f);

	if (new <= old)
		return 0;
	return used - old + new > cap ? -ENOSPC : 0;
}

static void set_charge(struct folder *f, struct node *n, uint64_t value)
{
	uint64_t *total = n->junk ? &f->junk_charged : &f->charged;

	*total = *total - n->charged + value;
	n->charged = value;
}

int space_charge(struct folder *f, struct node *n, uint64_t size)
{
	uint64_t value;
	int r;

	if (!n->linked)
		/* Its bytes never go to flash, but they fill the host's disk. */
		return size > MAX(f->geometry.size, JUNK_MIN) ? -ENOSPC : 0;
	if (!n->parent) {
		set_charge(f, n, 0); /* the root is part of romfs_plan_overhead */
		return 0;
	}
	value = cost(f, n, size);
	r = check_room(f, n->junk, n->charged, value);
	if (r < 0)
		return r;
	set_charge(f, n, value);
	return 0;
}

void space_settle(struct folder *f, struct node *n)
{
	if (n->linked)
		set_charge(f, n, n->parent ? cost(f, n, n->size) : 0);
}

void space_release(struct folder *f, struct node *n)
{
	set_charge(f, n, 0);
}

void space_recount(struct folder *f)
{
	struct node *root = node_root(f->nodes);

	f->charged = f->junk_charged = 0;
	for (struct node *n = root; n; n = node_next(root, n)) {
		n->charged = 0;
		space_settle(f, n);
	}
}

int space_check_move(const struct folder *f, const struct node *n, const struct node *over,
	const struct node *dir, const char *name)
{
	const struct place to = {.top = n, .dir = dir, .name = name};
	uint64_t old = tree_charge(n) + (over ? tree_charge(over) : 0);

	return check_room(f, false, old, tree_cost(f, &to));
}

int space_check_exchange(
	const struct folder *f, const struct node *a, const struct node *b)
{
	const struct place a_to = {.top = a, .dir = b->parent, .name = b->name};
	const struct place b_to = {.top = b, .dir = a->parent, .name = a->name};

	return check_room(f, false, tree_charge(a) + tree_charge(b),
		tree_cost(f, &a_to) + tree_cost(f, &b_to));
}

uint64_t folder_capacity(const struct folder *f)
{
	uint64_t over = romfs_plan_overhead(&f->geometry);

	return f->geometry.size > over ? f->geometry.size - over : 0;
}

uint64_t folder_available(const struct folder *f)
{
	uint64_t cap = folder_capacity(f);

	return cap > f->charged ? cap - f->charged : 0;
}

int space_check_table(const struct folder *f, const struct node_table *nodes)
{
	const struct node *root = node_root(nodes);
	uint64_t sum = 0;

	node_foreach_child(root, c) {
		const struct place at = {.top = c, .dir = root, .name = c->name};

		sum += tree_cost(f, &at);
	}
	return sum > folder_capacity(f) ? -ENOSPC : 0;
}
