/* SPDX-License-Identifier: MIT */
#include "fuse/requests.h"

#include <errno.h>

/* What a reader of a directory goes through: the entries that were there when it was opened
 * or rewound. Removed ones are left out when their turn comes, new ones are not seen. */
struct listing {
	uint64_t *ids;
	size_t n;
	struct listing *next, **prev; /* of all that are open */
};

static void listing_link(struct view *v, struct listing *l)
{
	l->next = v->listings;
	l->prev = &v->listings;
	if (l->next)
		l->next->prev = &l->next;
	v->listings = l;
}

static void listing_free(struct listing *l)
{
	if (l->prev) {
		*l->prev = l->next;
		if (l->next)
			l->next->prev = l->prev;
	}
	free(l->ids);
	free(l);
}

void view_free_listings(struct view *v)
{
	while (v->listings)
		listing_free(v->listings);
}

static int listing_fill(struct listing *l, const struct node *dir)
{
	uint64_t *ids = calloc((size_t)dir->n_children + 1, sizeof(*ids));

	if (!ids)
		return -ENOMEM;
	free(l->ids);
	l->ids = ids;
	l->n = 0;
	node_foreach_child(dir, c)
		l->ids[l->n++] = c->id;
	return 0;
}

void request_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node *dir = node_of(req, ino);
	struct listing *l = calloc(1, sizeof(*l));

	if (!l || listing_fill(l, dir) < 0) {
		free(l);
		fuse_reply_err(req, ENOMEM);
		return;
	}
	listing_link(view_of(req), l);
	dir->opens++;
	fi->fh = (uintptr_t)l;
	if (fuse_reply_open(req, fi) == -ENOENT) { /* interrupted: no release will come */
		listing_free(l);
		dir->opens--;
	}
}

void request_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct node *dir = node_of(req, ino);

	listing_free((struct listing *)(uintptr_t)fi->fh);
	dir->opens--;
	node_release(view_of(req)->folder->nodes, dir);
	fuse_reply_err(req, 0);
}

struct reply {
	fuse_req_t req;
	char *buf;
	size_t size, used;
	bool plus;
};

/* false: the buffer is full. `next` is the offset that goes on behind this entry. */
static bool add(struct reply *r, const char *name, struct node *n, bool dot, off_t next)
{
	struct view *v = view_of(r->req);
	struct fuse_entry_param e = {.ino = n->id};
	size_t need, left = r->size - r->used;

	if (r->plus && !dot) {
		view_entry(v, n, &e);
	} else {
		view_attr(v, n, &e.attr);
		e.ino = r->plus ? 0 : n->id; /* no reference is counted for "." and ".." */
	}
	need = r->plus ? fuse_add_direntry_plus(r->req, r->buf + r->used, left, name, &e, next)
		       : fuse_add_direntry(
				 r->req, r->buf + r->used, left, name, &e.attr, next);
	if (need > left) {
		if (r->plus && !dot)
			n->lookups--;
		return false;
	}
	r->used += need;
	return true;
}

static void list(struct reply *r, struct node *dir, const struct listing *l, off_t off)
{
	const struct node_table *nodes = view_of(r->req)->folder->nodes;

	if (off == 0 && !add(r, ".", dir, true, ++off))
		return;
	if (off == 1 && !add(r, "..", dir->parent ? dir->parent : dir, true, ++off))
		return;
	for (size_t i = (size_t)off - 2; i < l->n; i++) {
		struct node *n = node_by_id(nodes, l->ids[i]);

		if (n && n->parent == dir && !add(r, n->name, n, false, (off_t)i + 3))
			return;
	}
}

static void read_listing(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
	struct fuse_file_info *fi, bool plus)
{
	struct listing *l = (struct listing *)(uintptr_t)fi->fh;
	struct node *dir = node_of(req, ino);
	_cleanup_free_ char *buf = malloc(size);
	struct reply r = {.req = req, .buf = buf, .size = size, .plus = plus};

	if (!buf || (off == 0 && listing_fill(l, dir) < 0)) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	list(&r, dir, l, off);
	fuse_reply_buf(req, buf, r.used);
}

void request_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_listing(req, ino, size, off, fi, false);
}

void request_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	read_listing(req, ino, size, off, fi, true);
}
