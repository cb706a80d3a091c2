/* SPDX-License-Identifier: MIT */
#include "fuse/space.h"

#include <errno.h>
#include <string.h>

/* Junk stays on the host, but a runaway program must not fill the host's disk with it. */
#define JUNK_MIN (16u << 20)

/* `name` and `dir`: where it is or shall be, since patterns may ask for a path. */
static uint64_t cost(const struct folder *f, const struct node *n, const struct node *dir,
	const char *name, uint64_t size)
{
	char path[(ROMFS_DEPTH_MAX + 1) * (ROMFS_NAME_MAX + 1)];
	uint32_t align = 1;

	if (f->pack && f->pack->n_aligns) {
		size_t len = node_path(dir, path, sizeof(path));

		if (len < sizeof(path))
			snprintf(path + len, sizeof(path) - len, "%s%s", len ? "/" : "", name);
		align = romfs_pack_align_path(f->pack, path);
	}
	return romfs_plan_entry_bytes(
		(enum romfs_type)n->type, strlen(name), size, align);
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
	value = cost(f, n, n->parent, n->name, size);
	r = check_room(f, n->junk, n->charged, value);
	if (r < 0)
		return r;
	set_charge(f, n, value);
	return 0;
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
		if (n->parent)
			set_charge(f, n, cost(f, n, n->parent, n->name, n->size));
	}
}

int space_check_move(const struct folder *f, const struct node *n, const struct node *over,
	const struct node *dir, const char *name, bool junk)
{
	uint64_t moved = 0, old = 0;

	if (n->junk && !junk) { /* a subtree that flash shall hold from now on */
		for (const struct node *c = n; c; c = node_next(n, c))
			moved += c->charged;
	} else if (!junk) {
		moved = cost(f, n, dir, name, n->size);
		old = n->charged;
	}
	if (over && !over->junk)
		old += over->charged;
	return junk ? 0 : check_room(f, false, old, moved);
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
