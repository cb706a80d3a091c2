/* SPDX-License-Identifier: MIT */
#include "fuse/node.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define BUCKETS_MIN 256u

struct node_table {
	struct node *root;
	struct node **by_id, **by_name;
	size_t n_buckets; /* a power of two, the same for both */
	size_t n_nodes;
	uint64_t next_id;
};

static size_t id_bucket(const struct node_table *t, uint64_t id)
{
	return (size_t)((id * 0x9E3779B97F4A7C15ull) >> 32) & (t->n_buckets - 1);
}

static size_t name_bucket(const struct node_table *t, uint64_t dir, const char *name)
{
	uint64_t h = 0xCBF29CE484222325ull ^ dir * 0x9E3779B97F4A7C15ull; /* FNV-1a */

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001B3ull;
	return (size_t)(h ^ h >> 32) & (t->n_buckets - 1);
}

static void name_insert(struct node_table *t, struct node *n)
{
	size_t b = name_bucket(t, n->parent->id, n->name);

	n->name_chain = t->by_name[b];
	t->by_name[b] = n;
}

static void name_remove(struct node_table *t, struct node *n)
{
	struct node **p = &t->by_name[name_bucket(t, n->parent->id, n->name)];

	while (*p != n)
		p = &(*p)->name_chain;
	*p = n->name_chain;
	n->name_chain = NULL;
}

static void id_insert(struct node_table *t, struct node *n)
{
	size_t b = id_bucket(t, n->id);

	n->id_chain = t->by_id[b];
	t->by_id[b] = n;
}

static void id_remove(struct node_table *t, struct node *n)
{
	struct node **p = &t->by_id[id_bucket(t, n->id)];

	while (*p != n)
		p = &(*p)->id_chain;
	*p = n->id_chain;
}

static int set_buckets(struct node_table *t, size_t count)
{
	struct node **ids = calloc(count, sizeof(*ids));
	struct node **names = calloc(count, sizeof(*names));
	struct node **old = t->by_id;
	size_t old_count = t->n_buckets, i;

	if (!ids || !names) {
		free(ids);
		free(names);
		return -ENOMEM;
	}
	free(t->by_name);
	t->by_id = ids;
	t->by_name = names;
	t->n_buckets = count;
	for (i = 0; i < old_count; i++) {
		for (struct node *n = old[i], *after; n; n = after) {
			after = n->id_chain;
			id_insert(t, n);
			if (n->linked && n->parent)
				name_insert(t, n);
		}
	}
	free(old);
	return 0;
}

int node_table_new(struct node_table **out)
{
	_cleanup_(node_table_freep) struct node_table *t = calloc(1, sizeof(*t));
	struct node *root;
	int r;

	if (!t)
		return -ENOMEM;
	r = set_buckets(t, BUCKETS_MIN);
	if (r < 0)
		return r;
	root = calloc(1, sizeof(*root));
	if (!root)
		return -ENOMEM;
	root->name = strdup("");
	if (!root->name) {
		free(root);
		return -ENOMEM;
	}
	root->id = JOURNAL_ROOT_ID;
	root->type = ROMFS_DIR;
	root->linked = true;
	root->lookups = 1; /* the mount itself */
	t->root = root;
	t->n_nodes = 1;
	t->next_id = JOURNAL_ROOT_ID + 1;
	id_insert(t, root);
	*out = TAKE_PTR(t);
	return 0;
}

void node_table_free(struct node_table *t)
{
	size_t i;

	if (!t)
		return;
	for (i = 0; t->by_id && i < t->n_buckets; i++) {
		for (struct node *n = t->by_id[i], *after; n; n = after) {
			after = n->id_chain;
			free(n->name);
			free(n);
		}
	}
	free(t->by_id);
	free(t->by_name);
	free(t);
}

int node_table_beside(struct node_table *t, uint64_t count, struct node_table **out)
{
	int r = node_table_new(out);

	if (r < 0)
		return r;
	(*out)->next_id = t->next_id;
	t->next_id += count;
	return 0;
}

/* Short chains are of use, and nothing fails for want of them. */
static void expect_nodes(struct node_table *t, size_t n)
{
	size_t count = t->n_buckets;

	while (count < n)
		count *= 4;
	if (count > t->n_buckets)
		(void)!set_buckets(t, count);
}

static void splice_children(struct node *to, struct node *from)
{
	node_foreach_child(from, c)
		c->parent = to;
	if (to->last_child)
		to->last_child->next = from->first_child;
	else
		to->first_child = from->first_child;
	if (from->first_child) {
		from->first_child->prev = to->last_child;
		to->last_child = from->last_child;
	}
	to->n_children += from->n_children;
	from->first_child = from->last_child = NULL;
	from->n_children = 0;
}

void node_take_over(struct node_table *t, struct node_table *from)
{
	struct node *top = from->root;

	expect_nodes(t, t->n_nodes + from->n_nodes);
	for (struct node *n = node_next(top, top); n; n = node_next(top, n)) {
		id_insert(t, n);
		name_insert(t, n); /* both roots have the same id */
	}
	splice_children(t->root, top);
	t->n_nodes += from->n_nodes - 1;
	memset(from->by_id, 0, from->n_buckets * sizeof(*from->by_id));
	memset(from->by_name, 0, from->n_buckets * sizeof(*from->by_name));
	from->n_nodes = 1;
	id_insert(from, top);
}

struct node *node_root(const struct node_table *t)
{
	return t->root;
}

size_t node_count(const struct node_table *t)
{
	return t->n_nodes;
}

struct node *node_by_id(const struct node_table *t, uint64_t id)
{
	struct node *n = t->by_id[id_bucket(t, id)];

	while (n && n->id != id)
		n = n->id_chain;
	return n;
}

struct node *node_child(const struct node_table *t, const struct node *dir, const char *name)
{
	struct node *n = t->by_name[name_bucket(t, dir->id, name)];

	while (n && (n->parent != dir || strcmp(n->name, name) != 0))
		n = n->name_chain;
	return n;
}

static void attach(struct node_table *t, struct node *n, struct node *dir)
{
	n->parent = dir;
	n->linked = true;
	n->next = NULL;
	n->prev = dir->last_child;
	if (dir->last_child)
		dir->last_child->next = n;
	else
		dir->first_child = n;
	dir->last_child = n;
	dir->n_children++;
	name_insert(t, n);
}

static void detach(struct node_table *t, struct node *n)
{
	struct node *dir = n->parent;

	name_remove(t, n);
	if (n->prev)
		n->prev->next = n->next;
	else
		dir->first_child = n->next;
	if (n->next)
		n->next->prev = n->prev;
	else
		dir->last_child = n->prev;
	n->next = n->prev = NULL;
	n->parent = NULL;
	dir->n_children--;
}

int node_add(struct node_table *t, struct node *dir, const char *name, enum romfs_type type,
	uint64_t id, struct node **out)
{
	struct node *n;

	if (node_child(t, dir, name) || (id && node_by_id(t, id)))
		return -EEXIST;
	if (t->n_nodes >= t->n_buckets && set_buckets(t, t->n_buckets * 4) < 0)
		return -ENOMEM;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->name = strdup(name);
	if (!n->name) {
		free(n);
		return -ENOMEM;
	}
	n->id = id ? id : t->next_id;
	t->next_id = MAX(t->next_id, n->id + 1);
	n->type = type;
	id_insert(t, n);
	attach(t, n, dir);
	t->n_nodes++;
	*out = n;
	return 0;
}

void node_move(struct node_table *t, struct node *n, struct node *dir, char *name)
{
	assert(!node_child(t, dir, name) || node_child(t, dir, name) == n);
	detach(t, n);
	free(n->name);
	n->name = name;
	attach(t, n, dir);
}

void node_exchange(struct node_table *t, struct node *a, struct node *b)
{
	struct node *a_dir = a->parent, *b_dir = b->parent;
	char *a_name = a->name;

	detach(t, a);
	detach(t, b);
	a->name = b->name;
	b->name = a_name;
	attach(t, a, b_dir);
	attach(t, b, a_dir);
}

void node_unlink(struct node_table *t, struct node *n)
{
	assert(n->linked && n->parent && !n->first_child);
	detach(t, n);
	n->linked = false;
	node_release(t, n);
}

void node_release(struct node_table *t, struct node *n)
{
	if (n->linked || n->lookups || n->opens)
		return;
	id_remove(t, n);
	t->n_nodes--;
	free(n->name);
	free(n);
}

unsigned node_depth(const struct node *n)
{
	unsigned depth = 0;

	for (; n->parent; n = n->parent)
		depth++;
	return depth;
}

unsigned node_height(const struct node *n)
{
	unsigned top = node_depth(n), deepest = top;

	for (const struct node *c = n; c; c = node_next(n, c))
		deepest = MAX(deepest, node_depth(c));
	return deepest - top;
}

struct node *node_next(const struct node *top, const struct node *n)
{
	if (n->first_child)
		return n->first_child;
	while (n != top) {
		if (n->next)
			return n->next;
		n = n->parent;
	}
	return NULL;
}

struct node *node_next_orphan(const struct node_table *t, const struct node *n)
{
	size_t b = n ? id_bucket(t, n->id) : 0;
	struct node *c = n ? n->id_chain : t->by_id[0];

	for (;;) {
		for (; c; c = c->id_chain)
			if (!c->linked)
				return c;
		if (++b >= t->n_buckets)
			return NULL;
		c = t->by_id[b];
	}
}

size_t node_path(const struct node *n, char *out, size_t cap)
{
	size_t len = 0, need;

	for (const struct node *p = n; p->parent; p = p->parent)
		len += strlen(p->name) + (p->parent->parent ? 1 : 0);
	need = len;
	if (cap == 0)
		return need;
	if (need >= cap) { /* too long to tell: the name alone helps more than nothing */
		snprintf(out, cap, "%s", n->name);
		return need;
	}
	out[need] = '\0';
	for (const struct node *p = n; p->parent; p = p->parent) {
		size_t l = strlen(p->name);

		len -= l;
		memcpy(out + len, p->name, l);
		if (len)
			out[--len] = '/';
	}
	return need;
}
