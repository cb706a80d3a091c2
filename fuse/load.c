/* SPDX-License-Identifier: MIT */
#include "fuse/load.h"

#include <errno.h>
#include <string.h>

#include "fuse/folder_private.h"
#include "fuse/junk.h"

static void set_times(struct node *n, int64_t note_ns)
{
	n->note_ns = note_ns;
	n->mtime_ns = n->ctime_ns = note_ns == ROMFS_NO_MTIME ? folder_now() : note_ns;
}

static int load_entry(struct node_table *nodes, const struct romfs_tree *tree, uint32_t index,
	enum content_kind kind, struct node *dir, struct node **out)
{
	const struct romfs_node *t = romfs_tree_node(tree, index);
	struct node *n;
	int r = node_add(nodes, dir, romfs_tree_name(tree, index),
		(enum romfs_type)t->type, 0, &n);

	if (r < 0)
		return r;
	set_times(n, t->mtime_ns);
	n->size = t->size;
	if (t->size)
		n->content = (struct content){kind, t->data_off, t->size};
	*out = n;
	return 0;
}

int load_tree(
	struct node_table *nodes, const struct romfs_tree *tree, enum content_kind kind)
{
	struct node *dir = node_root(nodes);
	uint32_t i = romfs_tree_node(tree, ROMFS_ROOT)->first_child;

	set_times(dir, romfs_tree_node(tree, ROMFS_ROOT)->mtime_ns);
	while (i != ROMFS_NO_NODE) {
		const struct romfs_node *t = romfs_tree_node(tree, i);
		struct node *n;
		int r = load_entry(nodes, tree, i, kind, dir, &n);

		if (r < 0)
			return r;
		if (t->first_child != ROMFS_NO_NODE) {
			dir = n;
			i = t->first_child;
			continue;
		}
		while (i != ROMFS_ROOT && romfs_tree_node(tree, i)->next_sibling == ROMFS_NO_NODE) {
			i = romfs_tree_node(tree, i)->parent;
			if (i != ROMFS_ROOT)
				dir = dir->parent;
		}
		if (i == ROMFS_ROOT)
			break;
		i = romfs_tree_node(tree, i)->next_sibling;
	}
	return 0;
}

/* Makes room for a name that another change of the same frame gives up. No entry can have
 * the name that is taken instead, so load_check finds what stayed there. */
static int move_aside(struct folder *f, struct node *n)
{
	char *name;

	if (asprintf(&name, "/%llu", (unsigned long long)n->id) < 0)
		return -ENOMEM;
	node_move(f->nodes, n, n->parent, name);
	return 0;
}

static int move(struct folder *f, struct node *n, struct node *dir, const char *name)
{
	char *copy = strdup(name);

	if (!copy)
		return -ENOMEM;
	node_move(f->nodes, n, dir, copy);
	return 0;
}

static bool is_below(const struct node *n, const struct node *top)
{
	while (n && n != top)
		n = n->parent;
	return n == top;
}

static int put(struct folder *f, const struct journal_entry *e, struct error *err)
{
	struct node *n = node_by_id(f->nodes, e->id);
	struct node *dir = node_by_id(f->nodes, e->parent), *there;
	int r = 0;

	if (e->id == JOURNAL_ROOT_ID) {
		set_times(node_root(f->nodes), e->mtime_ns);
		return 0;
	}
	if (!dir || dir->type != ROMFS_DIR || (n && n->type != e->type))
		return error_set(err, -EUCLEAN, "the journal puts node %llu below %llu, which "
			"is no directory",
			(unsigned long long)e->id, (unsigned long long)e->parent);
	if (n && is_below(dir, n))
		return error_set(err, -EUCLEAN, "the journal puts node %llu below itself",
			(unsigned long long)e->id);
	there = node_child(f->nodes, dir, e->name);
	if (there && there != n)
		r = move_aside(f, there);
	if (r == 0 && !n)
		r = node_add(f->nodes, dir, e->name, (enum romfs_type)e->type, e->id, &n);
	else if (r == 0 && there != n)
		r = move(f, n, dir, e->name);
	if (r < 0)
		return error_set(err, r, "loading the journal: %s", strerror(-r));
	n->content = e->content;
	n->size = e->content.size;
	set_times(n, e->mtime_ns);
	return 0;
}

int load_change(void *ctx, const struct journal_change *change)
{
	struct load_replay *load = ctx;
	struct node *n;

	if (change->kind == JOURNAL_PUT)
		return put(load->f, &change->entry, load->err);
	n = node_by_id(load->f->nodes, change->entry.id);
	if (!n || !n->parent || n->first_child)
		return error_set(load->err, -EUCLEAN, "the journal drops node %llu, which %s",
			(unsigned long long)change->entry.id,
			n ? "is not empty" : "is not there");
	node_unlink(load->f->nodes, n);
	return 0;
}

int load_check(struct folder *f, struct error *err)
{
	struct node *root = node_root(f->nodes);

	for (struct node *n = root; n; n = node_next(root, n)) {
		if (n->name[0] == '/')
			return error_set(err, -EUCLEAN, "the journal has two nodes of one name");
		if (n->content.kind == CONTENT_BASE &&
			(n->content.off > f->geometry.size ||
				n->content.size > f->geometry.size - n->content.off))
			return error_set(err, -EUCLEAN,
				"the journal places %s outside the partition", n->name);
	}
	return 0;
}

static bool is_entry(const struct node *n, const struct romfs_node *t)
{
	if (n->type != t->type || n->note_ns != t->mtime_ns || n->content.size != t->size)
		return false;
	return t->size == 0 ||
		(n->content.kind == CONTENT_BASE && n->content.off == t->data_off);
}

static bool is_junk(const struct romfs_tree *tree, uint32_t i)
{
	for (; i != ROMFS_ROOT; i = romfs_tree_node(tree, i)->parent)
		if (junk_name(romfs_tree_name(tree, i)))
			return true;
	return false;
}

bool load_is_image(const struct folder *f, const struct romfs_tree *tree)
{
	uint32_t path[ROMFS_DEPTH_MAX + 2] = {ROMFS_ROOT}, found = 0, want = 0, i;
	struct node *root = node_root(f->nodes);

	if (!is_entry(root, romfs_tree_node(tree, ROMFS_ROOT)))
		return false;
	for (struct node *n = node_next(root, root); n; n = node_next(root, n)) {
		unsigned depth = node_depth(n);

		if (n->junk)
			continue;
		i = romfs_tree_find(tree, path[depth - 1], n->name, strlen(n->name));
		if (i == ROMFS_NO_NODE || !is_entry(n, romfs_tree_node(tree, i)))
			return false;
		path[depth] = i;
		found++;
	}
	for (i = 1; i < romfs_tree_count(tree); i++)
		want += !is_junk(tree, i);
	return found == want;
}
