/* SPDX-License-Identifier: MIT */
#include "fuse/requests.h"

#include <errno.h>
#include <string.h>

void view_entry(const struct view *v, struct node *n, struct fuse_entry_param *out)
{
	*out = (struct fuse_entry_param){
		.ino = n->id,
		.generation = 1,
		.attr_timeout = KEEP_SECONDS,
		.entry_timeout = KEEP_SECONDS,
	};
	view_attr(v, n, &out->attr);
	n->lookups++;
}

static void reply_entry(fuse_req_t req, struct node *n)
{
	struct fuse_entry_param e;

	view_entry(view_of(req), n, &e);
	fuse_reply_entry(req, &e);
}

void request_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct view *v = view_of(req);
	struct node *n = node_child(v->folder->nodes, node_of(req, parent), name);
	const struct fuse_entry_param none = {.entry_timeout = KEEP_SECONDS};

	if (n)
		reply_entry(req, n);
	else if (strlen(name) > ROMFS_NAME_MAX)
		fuse_reply_err(req, ENAMETOOLONG);
	else
		fuse_reply_entry(req, &none); /* "not there" is kept as well */
}

static void forget(struct view *v, fuse_ino_t ino, uint64_t count)
{
	struct node *n = node_by_id(v->folder->nodes, ino);

	if (!n || n == node_root(v->folder->nodes))
		return;
	n->lookups -= MIN(count, n->lookups);
	node_release(v->folder->nodes, n);
}

void request_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	forget(view_of(req), ino, count);
	fuse_reply_none(req);
}

void request_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	size_t i;

	for (i = 0; i < count; i++)
		forget(view_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

void request_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	struct node *n;
	int r = folder_mkdir(view_of(req)->folder, node_of(req, parent), name, &n);

	(void)mode;
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_entry(req, n);
}

void request_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev)
{
	struct view *v = view_of(req);
	struct node *n;
	uint64_t seq;
	int r;

	(void)dev;
	if (!S_ISREG(mode)) {
		fuse_reply_err(req, EPERM); /* as vfat says */
		return;
	}
	r = folder_create(v->folder, node_of(req, parent), name, &n);
	if (r == 0) {
		r = folder_stage(v->folder, n, &seq);
		if (r < 0)
			(void)!folder_unlink(v->folder, node_of(req, parent), name);
	}
	if (r < 0)
		fuse_reply_err(req, -r);
	else
		reply_entry(req, n);
}

void request_symlink(fuse_req_t req, const char *to, fuse_ino_t parent, const char *name)
{
	(void)to;
	(void)parent;
	(void)name;
	fuse_reply_err(req, EPERM);
}

void request_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
	(void)ino;
	(void)parent;
	(void)name;
	fuse_reply_err(req, EPERM);
}

void request_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(
		req, -folder_unlink(view_of(req)->folder, node_of(req, parent), name));
}

void request_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	fuse_reply_err(req, -folder_rmdir(view_of(req)->folder, node_of(req, parent), name));
}

void request_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
	const char *to_name, unsigned flags)
{
	fuse_reply_err(req,
		-folder_rename(view_of(req)->folder, node_of(req, parent), name,
			node_of(req, to_parent), to_name, flags));
}
