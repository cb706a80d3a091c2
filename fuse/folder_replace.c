/* SPDX-License-Identifier: MIT */
/* All of the folder at once. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "fuse/folder_private.h"
#include "fuse/load.h"
#include "fuse/space.h"

struct folder_replacement {
	struct folder *f;
	struct node_table *nodes; /* what comes */
	struct journal_header header;
	struct journal_draft *draft;
	uint64_t seq; /* of the draft's last frame, once the journal is that */
	/* While it is made. */
	int fd;
	struct node *at;
};

int folder_replacement_new(struct folder *f, struct folder_replacement **out, struct error *err)
{
	_cleanup_(folder_replacement_freep) struct folder_replacement *p =
		calloc(1, sizeof(*p));
	int r = p ? node_table_beside(f->nodes, ROMFS_ENTRIES_MAX, &p->nodes) : -ENOMEM;

	if (r < 0)
		return error_set(err, r, "out of memory");
	p->f = f;
	node_root(p->nodes)->note_ns = node_root(f->nodes)->note_ns;
	p->header = f->header;
	p->header.dirty = true;
	r = journal_draft_new(f->journal, &p->header, &p->draft, err);
	if (r == 0)
		*out = TAKE_PTR(p);
	return r;
}

void folder_replacement_free(struct folder_replacement *p)
{
	if (!p)
		return;
	node_table_free(p->nodes);
	journal_draft_free(p->draft);
	free(p);
}

/* --- what comes, on another thread ------------------------------------------------------ */

static int next_entry(void *ctx, struct journal_entry *entry)
{
	struct folder_replacement *p = ctx;
	struct node *root = node_root(p->nodes);

	p->at = p->at ? node_next(root, p->at) : root;
	if (!p->at)
		return 0;
	folder_entry_of(p->at, entry);
	if (entry->content.kind == CONTENT_LOG)
		entry->from_fd = p->fd;
	return 1;
}

static void moved(void *ctx, uint64_t id, const struct content *content)
{
	struct folder_replacement *p = ctx;

	node_by_id(p->nodes, id)->content = *content;
}

int folder_replacement_make(struct folder_replacement *p, const struct romfs_tree *tree, int fd,
	bool fits, struct error *err)
{
	int r = tree ? load_tree(p->nodes, tree, CONTENT_LOG) : 0;

	if (r == 0 && !fits)
		r = space_check_table(p->f, p->nodes);
	if (r < 0)
		return error_set(err, r, "the folder cannot take that tree: %s", strerror(-r));
	p->fd = fd;
	return journal_draft_write(p->draft, next_entry, moved, p, err);
}

int folder_replacement_wait(struct folder_replacement *p, struct error *err)
{
	return journal_wait(p->f->journal, p->seq, err);
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

/* --- the tree ------------------------------------------------------------------------------ */

static void tell_names(const struct node *root, folder_name_fn gone, void *ctx)
{
	node_foreach_child(root, c)
		gone(ctx, c->name);
}

static void take_out_old(struct folder *f)
{
	struct node *root = node_root(f->nodes);

	while (root->first_child) {
		struct node *n = root->first_child;

		while (n->first_child)
			n = n->first_child;
		folder_unlink_node(f, n);
	}
	let_go_of_journal(f);
}

int folder_replacement_switch(
	struct folder_replacement *p, folder_name_fn gone, void *ctx, struct error *err)
{
	struct folder *f = p->f;
	struct node *root = node_root(f->nodes);
	int r = keep_open_files(f);

	/* Nobody commits meanwhile. */
	assert(memcmp(p->header.base, f->header.base, sizeof(p->header.base)) == 0);
	if (r < 0)
		return error_set(err, r, "cannot keep files that are open: %s", strerror(-r));
	r = journal_draft_adopt(f->journal, p->draft, &p->seq, err);
	if (r < 0)
		return r;
	f->header = p->header;
	tell_names(root, gone, ctx);
	take_out_old(f);
	tell_names(node_root(p->nodes), gone, ctx);
	node_take_over(f->nodes, p->nodes);
	root->mtime_ns = root->ctime_ns = folder_now();
	root->note_ns = node_root(p->nodes)->note_ns;
	folder_recount(f);
	folder_note_change(f, root);
	return 0;
}
