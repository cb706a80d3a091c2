/* SPDX-License-Identifier: MIT */
#include "fuse/snapshot.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fuse/folder_private.h"
#include "util/io.h"

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	romfs_tree_free(s->tree);
	free(s->items);
	free(s->by_id);
	free(s->stray);
	if (s->log_fd >= 0)
		close(s->log_fd);
	free(s);
}

static int add_stray(struct snapshot *s, size_t *cap, const struct node *n)
{
	if (n->content.kind != CONTENT_BASE || (n->scratch && !n->linked))
		return 0;
	if (s->n_stray == *cap) {
		size_t want = *cap ? *cap * 2 : 8;
		void *p = reallocarray(s->stray, want, sizeof(*s->stray));

		if (!p)
			return -ENOMEM;
		s->stray = p;
		*cap = want;
	}
	s->stray[s->n_stray].off = n->content.off;
	s->stray[s->n_stray++].len = n->content.size;
	return 0;
}

static int add_strays(struct snapshot *s, struct folder *f)
{
	struct node *root = node_root(f->nodes);
	size_t cap = 0;
	int r = 0;

	for (struct node *n = node_next_orphan(f->nodes, NULL); n && r == 0;
		n = node_next_orphan(f->nodes, n))
		r = n->opens ? add_stray(s, &cap, n) : 0;
	for (struct node *n = root; n && r == 0; n = node_next(root, n))
		r = n->junk ? add_stray(s, &cap, n) : 0;
	return r;
}

static int add_node(struct snapshot *s, const struct node *n, uint32_t parent, uint32_t *index)
{
	struct romfs_node *t;
	int r;

	if (n->parent) {
		r = romfs_tree_add(
			s->tree, parent, n->type, n->name, strlen(n->name), index);
		if (r < 0)
			return r;
	} else {
		*index = ROMFS_ROOT;
	}
	t = romfs_tree_node(s->tree, *index);
	t->mtime_ns = n->note_ns;
	t->user = *index;
	t->size = n->content.size;
	t->data_off = n->content.kind == CONTENT_BASE ? n->content.off : ROMFS_NO_OFFSET;
	s->items[*index].id = n->id;
	s->items[*index].content = n->content;
	return 0;
}

/* Preorder with the parents' indexes on the way: nodes are added parents first, so a
 * parent's index is found by its id in what was added, along the current path only. */
static int add_tree(struct snapshot *s, struct folder *f)
{
	uint32_t path[ROMFS_DEPTH_MAX + 2];
	const struct node *n = node_root(f->nodes);
	unsigned depth = 0;
	int r = add_node(s, n, 0, &path[0]);

	while (r == 0) {
		const struct node *down = n->junk || n->fresh ? NULL : n->first_child;

		if (down) {
			n = down;
			depth++;
		} else {
			while (n->parent && !n->next) {
				n = n->parent;
				depth--;
			}
			if (!n->parent)
				break;
			n = n->next;
		}
		assert(depth < ARRAY_SIZE(path));
		if (!n->junk && !n->fresh)
			r = add_node(s, n, path[depth - 1], &path[depth]);
	}
	return r;
}

static int compare_ids(const void *a, const void *b, void *ctx)
{
	const struct snapshot_item *items = ctx;
	uint64_t x = items[*(const uint32_t *)a].id, y = items[*(const uint32_t *)b].id;

	return x < y ? -1 : x > y;
}

static int sort_ids(struct snapshot *s)
{
	uint32_t i, count = romfs_tree_count(s->tree);

	s->by_id = calloc(count, sizeof(*s->by_id));
	if (!s->by_id)
		return -ENOMEM;
	for (i = 0; i < count; i++)
		s->by_id[i] = i;
	qsort_r(s->by_id, count, sizeof(*s->by_id), compare_ids, s->items);
	return 0;
}

int snapshot_take(struct folder *f, struct snapshot **out)
{
	_cleanup_(snapshot_freep) struct snapshot *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return -ENOMEM;
	s->log_fd = fcntl(journal_fd(f->journal), F_DUPFD_CLOEXEC, 3);
	if (s->log_fd < 0)
		return -errno;
	s->items = calloc(node_count(f->nodes), sizeof(*s->items));
	if (!s->items)
		return -ENOMEM;
	r = romfs_tree_new(&s->tree);
	if (r == 0)
		r = add_tree(s, f);
	if (r == 0)
		r = sort_ids(s);
	if (r == 0)
		r = add_strays(s, f);
	if (r < 0)
		return r;
	s->change = f->change;
	*out = TAKE_PTR(s);
	return 0;
}

int snapshot_places(struct folder *f, struct romfs_extent **out, size_t *n)
{
	struct node *root = node_root(f->nodes), *o = NULL;
	size_t count = 0, cap = node_count(f->nodes);
	struct romfs_extent *v = NULL;

	while ((o = node_next_orphan(f->nodes, o)))
		cap++;
	v = calloc(cap + 1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	while ((o = node_next_orphan(f->nodes, o)))
		if (o->content.kind == CONTENT_BASE)
			v[count++] = (struct romfs_extent){o->content.off, o->content.size};
	for (const struct node *i = root; i; i = node_next(root, i))
		if (i->content.kind == CONTENT_BASE)
			v[count++] = (struct romfs_extent){i->content.off, i->content.size};
	*out = v;
	*n = count;
	return 0;
}

int snapshot_content(void *ctx, const struct romfs_tree *tree, uint32_t index, uint64_t off,
	void *buf, size_t len, struct error *err)
{
	const struct snapshot_reader *reader = ctx;
	const struct romfs_node *n = romfs_tree_node(tree, index);
	const struct content *c = &reader->snapshot->items[n->user].content;
	int r;

	if (c->kind == CONTENT_BASE)
		return reader->flash->read(reader->flash->ctx, c->off + off, buf, len, err);
	if (c->kind == CONTENT_EMPTY)
		return len ? error_set(err, -EIO, "an empty file has no bytes") : 0;
	r = io_pread_full(reader->snapshot->log_fd, buf, len, (off_t)(c->off + off));
	if (r < 0)
		return error_set(err, r, "cannot read staged bytes of %s: %s",
			romfs_tree_name(tree, index), strerror(-r));
	return 0;
}

static bool is_same_place(const struct content *a, const struct content *b)
{
	return a->kind == b->kind && a->size == b->size && a->off == b->off;
}

/* Whether the snapshot, and so the new base, has what the node refers to. */
static bool holds(const struct snapshot *s, const struct node *n)
{
	uint32_t low = 0, high = romfs_tree_count(s->tree);

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;
		const struct snapshot_item *item = &s->items[s->by_id[mid]];

		if (item->id == n->id)
			return is_same_place(&item->content, &n->content);
		if (item->id < n->id)
			low = mid + 1;
		else
			high = mid;
	}
	return false;
}

/* Junk, and what was junk when the snapshot was taken: into the journal. What is open and
 * unlinked: into a scratch file. What nobody has open and nobody can open: nowhere. */
static int save(struct folder *f, struct node *n)
{
	int r = 0;

	if (n->linked)
		r = folder_keep_content(f, n);
	else if (n->opens)
		r = folder_prepare_write(f, n, false);
	/* -ENODATA: junk of another program's, which flash lost in a cut before we had read
	 * it. */
	if (r == -ENODATA || (r == 0 && !n->linked)) {
		n->content = (struct content){.kind = CONTENT_EMPTY};
		if (n->linked && !n->scratch)
			n->size = 0;
		r = 0;
	}
	return r;
}

int snapshot_save_strays(struct folder *f, const struct snapshot *s)
{
	struct node *root = node_root(f->nodes);
	int r = 0;

	for (struct node *n = node_next_orphan(f->nodes, NULL); n && r == 0;
		n = node_next_orphan(f->nodes, n))
		if (n->content.kind == CONTENT_BASE && !holds(s, n))
			r = save(f, n);
	for (struct node *n = root; n && r == 0; n = node_next(root, n))
		if (n->content.kind == CONTENT_BASE && !holds(s, n))
			r = save(f, n);
	return r;
}

/* Nodes that hold `from` of an item get `to`. */
typedef void (*place_fn)(
	const struct romfs_node *t, const struct snapshot_item *item, struct content *out);

static void place_before(
	const struct romfs_node *t, const struct snapshot_item *item, struct content *out)
{
	(void)t;
	*out = item->content;
}

static void place_after(
	const struct romfs_node *t, const struct snapshot_item *item, struct content *out)
{
	(void)item;
	*out = (struct content){CONTENT_BASE, t->data_off, t->size};
}

static void replace(struct folder *f, const struct snapshot *s, place_fn from, place_fn to)
{
	uint32_t i, count = romfs_tree_count(s->tree);

	for (i = 0; i < count; i++) {
		const struct romfs_node *t = romfs_tree_node(s->tree, i);
		const struct snapshot_item *item = &s->items[t->user];
		struct node *n = node_by_id(f->nodes, item->id);
		struct content old;

		if (!n || n->type != ROMFS_FILE || t->size == 0)
			continue;
		from(t, item, &old);
		if (is_same_place(&n->content, &old))
			to(t, item, &n->content);
	}
}

void snapshot_committed(struct folder *f, const struct snapshot *s)
{
	replace(f, s, place_before, place_after);
	f->on_flash = s->change;
}

void snapshot_undo(struct folder *f, const struct snapshot *s, uint64_t on_flash)
{
	replace(f, s, place_after, place_before);
	f->on_flash = on_flash;
}
