/* SPDX-License-Identifier: MIT */
/* All of the folder at once. */
#include <errno.h>
#include <string.h>

#include "fuse/folder_private.h"
#include "fuse/load.h"
#include "fuse/space.h"

/* No entry can have this name. */
#define ASIDE "/aside"

struct replacement {
	struct folder *f;
	struct node *aside; /* what comes, in a directory that nobody sees */
	int64_t note_ns;    /* of the root, then */
	int fd;
	char **names; /* of what stands right below it, for node_move */
	size_t n_names;
	struct node *at;
};

static int copy_names(struct replacement *p)
{
	p->names = calloc(p->aside->n_children + 1, sizeof(*p->names));
	if (!p->names)
		return -ENOMEM;
	node_foreach_child(p->aside, c) {
		p->names[p->n_names] = strdup(c->name);
		if (!p->names[p->n_names++])
			return -ENOMEM;
	}
	return 0;
}

static int prepare(struct replacement *p, const struct romfs_tree *tree, bool fits)
{
	struct folder *f = p->f;
	int r = node_add(f->nodes, node_root(f->nodes), ASIDE, ROMFS_DIR, 0, &p->aside);

	p->note_ns = node_root(f->nodes)->note_ns;
	if (r == 0 && tree)
		r = load_tree(f, tree, p->aside, CONTENT_LOG);
	if (r == 0 && tree)
		p->note_ns = p->aside->note_ns;
	if (r == 0)
		r = copy_names(p);
	return r < 0 || fits ? r : space_check_tree(f, p->aside);
}

static void drop_below(struct folder *f, struct node *dir)
{
	while (dir->first_child) {
		struct node *n = dir->first_child;

		while (n->first_child)
			n = n->first_child;
		node_unlink(f->nodes, n);
	}
}

static void done(struct replacement *p)
{
	if (p->aside) {
		drop_below(p->f, p->aside);
		node_unlink(p->f->nodes, p->aside);
	}
	for (size_t i = 0; i < p->n_names; i++)
		free(p->names[i]);
	free(p->names);
}

/* --- those who have a file open --------------------------------------------------------- */

/* Bytes of the journal go with its generation. */
static int keep_open_files(struct folder *f)
{
	struct node *root = node_root(f->nodes);
	int r = 0;

	for (struct node *n = root; n && r == 0; n = node_next(root, n))
		if (n->opens && n->content.kind == CONTENT_LOG && n->type == ROMFS_FILE)
			r = folder_prepare_write(f, n, false);
	for (struct node *n = node_next_orphan(f->nodes, NULL); n && r == 0;
		n = node_next_orphan(f->nodes, n))
		if (n->opens && n->content.kind == CONTENT_LOG)
			r = folder_prepare_write(f, n, false);
	return r;
}

/* They have a scratch file where somebody still reads them. */
static void let_go_of_journal(struct folder *f)
{
	for (struct node *n = node_next_orphan(f->nodes, NULL); n;
		n = node_next_orphan(f->nodes, n))
		if (n->content.kind == CONTENT_LOG)
			n->content = (struct content){.kind = CONTENT_EMPTY};
}

/* --- the journal -------------------------------------------------------------------------- */

static int next_entry(void *ctx, struct journal_entry *entry)
{
	struct replacement *p = ctx;
	struct node *root = node_root(p->f->nodes);

	p->at = !p->at ? root : node_next(p->aside, p->at == root ? p->aside : p->at);
	if (!p->at)
		return 0;
	folder_entry_of(p->at, entry);
	if (p->at == root)
		entry->mtime_ns = p->note_ns;
	if (p->at->parent == p->aside)
		entry->parent = root->id;
	if (entry->content.kind == CONTENT_LOG)
		entry->from_fd = p->fd;
	return 1;
}

static void moved(void *ctx, uint64_t id, const struct content *content)
{
	struct replacement *p = ctx;
	struct node *n = node_by_id(p->f->nodes, id);

	if (n)
		n->content = *content;
}

static int rewrite(struct replacement *p, struct error *err)
{
	struct journal_header header = p->f->header;
	int r = keep_open_files(p->f);

	if (r < 0)
		return error_set(err, r, "cannot keep files that are open: %s", strerror(-r));
	header.dirty = true;
	r = journal_rewrite(p->f->journal, &header, next_entry, moved, p, err);
	if (r == 0)
		p->f->header = header;
	return r;
}

/* --- the tree ------------------------------------------------------------------------------ */

static void take_out_old(struct replacement *p, folder_name_fn gone, void *ctx)
{
	struct node *root = node_root(p->f->nodes);

	node_foreach_child(root, c) {
		if (c != p->aside)
			gone(ctx, c->name);
	}
	while (root->first_child != p->aside || p->aside->next) {
		struct node *n = root->first_child == p->aside ? p->aside->next
								: root->first_child;

		while (n->first_child)
			n = n->first_child;
		folder_unlink_node(p->f, n);
	}
	let_go_of_journal(p->f);
}

static void put_in_new(struct replacement *p, folder_name_fn gone, void *ctx)
{
	struct node *root = node_root(p->f->nodes);

	for (size_t i = 0; i < p->n_names; i++) {
		struct node *n = p->aside->first_child;

		gone(ctx, n->name);
		node_move(p->f->nodes, n, root, TAKE_PTR(p->names[i]));
	}
}

int folder_replace(struct folder *f, const struct romfs_tree *tree, int fd, bool fits,
	folder_name_fn gone, void *ctx, struct error *err)
{
	struct replacement p = {.f = f, .fd = fd};
	struct node *root = node_root(f->nodes);
	int r = prepare(&p, tree, fits);

	if (r < 0)
		r = error_set(err, r, "the folder cannot take that tree: %s", strerror(-r));
	else
		r = rewrite(&p, err);
	if (r == 0) {
		take_out_old(&p, gone, ctx);
		put_in_new(&p, gone, ctx);
	}
	done(&p);
	if (r < 0)
		return r;
	root->mtime_ns = root->ctime_ns = folder_now();
	root->note_ns = p.note_ns;
	folder_recount(f);
	folder_note_change(f, root);
	return 0;
}
