/* SPDX-License-Identifier: MIT */
#include "fuse/requests.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include "fuse/pending.h"

static bool is_writable(const struct fuse_file_info *fi)
{
	return (fi->flags & O_ACCMODE) != O_RDONLY;
}

static void opened(struct node *n, struct fuse_file_info *fi)
{
	n->opens++;
	fi->fh = is_writable(fi);
	fi->keep_cache = 1;
}

static void finish_open(struct pending *p, int result)
{
	struct romfs_extent missing;

	if (result == 0 && folder_has_bytes(p->view->folder, p->node, &missing) == -ENODATA) {
		pending_wait_bytes(p, &missing, finish_open);
		return;
	}
	if (result == 0)
		result = folder_prepare_write(p->view->folder, p->node, false);
	if (result < 0) {
		pending_reply_err(p, result);
		return;
	}
	opened(p->node, &p->fi);
	if (fuse_reply_open(p->req, &p->fi) == -ENOENT)
		p->node->opens--; /* interrupted: no release will come */
	pending_end(p);
}

void request_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct view *v = view_of(req);
	struct node *n = node_of(req, ino);
	struct pending *p;
	int r;

	if (fi->flags & O_TRUNC) {
		r = folder_truncate(v->folder, n, 0);
		if (r < 0) {
			fuse_reply_err(req, -r);
			return;
		}
	}
	/* Whoever may write must not have to wait for the board in the middle of it, which may
	 * be away by then. */
	r = is_writable(fi) ? folder_has_bytes(v->folder, n, NULL) : 0;
	if (r == 0 && is_writable(fi))
		r = folder_prepare_write(v->folder, n, false);
	if (r == 0) {
		opened(n, fi);
		if (fuse_reply_open(req, fi) == -ENOENT)
			n->opens--;
		return;
	}
	p = pending_new(v, req, n);
	if (!p)
		return;
	p->fi = *fi;
	finish_open(p, 0);
}

/* For what nobody waits for. */
static int stage_and_flush(struct view *v, struct node *n)
{
	uint64_t seq;
	int r;

	if (!n->dirty || !n->linked)
		return 0;
	r = folder_stage(v->folder, n, &seq);
	return r == 0 && seq ? journal_request_sync(v->folder->journal, seq) : r;
}

void request_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi)
{
	struct view *v = view_of(req);
	struct fuse_entry_param e;
	struct node *n;
	int r = folder_create(v->folder, node_of(req, parent), name, &n);

	(void)mode;
	if (r < 0) {
		fuse_reply_err(req, -r);
		return;
	}
	view_entry(v, n, &e);
	opened(n, fi);
	if (fuse_reply_create(req, &e, fi) == -ENOENT) {
		/* Interrupted: no release will come, but the file is there. */
		n->opens--;
		n->lookups--;
		(void)!stage_and_flush(v, n);
	}
}

/* 0 when it was answered; -ENODATA when bytes must be fetched first. */
static int reply_read(struct view *v, fuse_req_t req, struct node *n, size_t size, uint64_t off)
{
	const struct romfs_extent from = folder_base_range(v->folder, n, off, size);
	_cleanup_free_ char *buf = malloc(size ? size : 1);
	ssize_t len = buf ? folder_read(v->folder, n, buf, size, off) : -ENOMEM;

	if (len == -ENODATA)
		return -ENODATA;
	if (len < 0)
		fuse_reply_err(req, pending_errno((int)len));
	else
		fuse_reply_buf(req, buf, (size_t)len);
	if (len > 0 && from.len)
		readahead_note(v->readahead, from.off, from.len);
	return 0;
}

static void finish_read(struct pending *p, int result)
{
	struct romfs_extent missing;

	if (result < 0) {
		pending_reply_err(p, result);
		return;
	}
	if (folder_has_range(p->view->folder, p->node, p->off, p->size, &missing) == -ENODATA) {
		pending_wait_bytes(p, &missing, finish_read);
		return;
	}
	if (reply_read(p->view, p->req, p->node, p->size, p->off) < 0)
		fuse_reply_err(p->req, EIO);
	pending_end(p);
}

void request_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct view *v = view_of(req);
	struct node *n = node_of(req, ino);
	struct pending *p;

	(void)fi;
	if (reply_read(v, req, n, size, (uint64_t)off) == 0)
		return;
	p = pending_new(v, req, n);
	if (!p)
		return;
	p->size = size;
	p->off = (uint64_t)off;
	finish_read(p, 0);
}

void request_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi)
{
	struct node *n = node_of(req, ino);
	ssize_t len;

	(void)fi;
	len = folder_write(view_of(req)->folder, n, buf, size, (uint64_t)off);
	if (len < 0)
		fuse_reply_err(req, (int)-len);
	else
		fuse_reply_write(req, (size_t)len);
}

void request_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
	struct fuse_file_info *fi)
{
	const int known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;

	(void)fi;
	if (mode & ~known) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	fuse_reply_err(req,
		-folder_allocate(view_of(req)->folder, node_of(req, ino), (uint64_t)off,
			(uint64_t)len, mode & FALLOC_FL_KEEP_SIZE,
			mode & FALLOC_FL_PUNCH_HOLE, mode & FALLOC_FL_ZERO_RANGE));
}

/* close(2): what was written is safe on the host when this is answered, also if it was staged
 * before, by a rename or by the close of another descriptor. */
void request_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct view *v = view_of(req);
	struct node *n = node_of(req, ino);
	struct pending *p;
	uint64_t seq = 0;
	/* A reader that closes says nothing about what a writer is in the middle of. */
	int r = fi->fh ? folder_stage(v->folder, n, &seq) : 0;

	if (r < 0 || seq == 0 || !n->linked) {
		fuse_reply_err(req, pending_errno(r));
		return;
	}
	p = pending_new(v, req, n);
	if (p)
		pending_wait_journal(p, seq);
}

void request_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct view *v = view_of(req);
	struct node *n = node_of(req, ino);

	(void)fi;
	n->opens--;
	/* Pages of a mapping may have come after the last close. An error cannot be told here:
	 * the bytes stay, and the next sync tries again or tells. */
	if (n->opens == 0 && stage_and_flush(v, n) < 0)
		committer_changed(v->committer);
	folder_close_scratch(v->folder, n);
	node_release(v->folder->nodes, n);
	fuse_reply_err(req, 0);
}

/* fsync(2) of a file or a directory: everything staged so far is on flash and verified. */
void request_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct view *v = view_of(req);
	struct node *n = node_of(req, ino);
	struct pending *p;
	uint64_t seq = 0;
	int r;

	(void)datasync;
	(void)fi;
	r = n->type == ROMFS_FILE ? folder_stage(v->folder, n, &seq) : 0;
	if (r < 0) {
		fuse_reply_err(req, pending_errno(r));
		return;
	}
	p = pending_new(v, req, n);
	if (!p)
		return;
	/* Junk never goes to flash: it is as safe as it gets on the host. */
	if (n->junk && seq)
		pending_wait_journal(p, seq);
	else
		pending_wait_commit(p);
}
