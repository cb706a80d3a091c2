/* SPDX-License-Identifier: MIT */
#include "fuse/requests.h"

#include <errno.h>
#include <string.h>

#include "fuse/pending.h"
#include "fuse/status.h"

#define BLOCK 512u

static struct timespec timespec_of(int64_t ns)
{
	struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};

	if (ts.tv_nsec < 0) {
		ts.tv_nsec += 1000000000;
		ts.tv_sec--;
	}
	return ts;
}

void view_attr(const struct view *v, const struct node *n, struct stat *out)
{
	*out = (struct stat){
		.st_ino = n->id,
		/* ROMFS keeps no permissions: everything is its owner's, to write. */
		.st_mode = n->type == ROMFS_DIR ? S_IFDIR | 0755 : S_IFREG | 0644,
		.st_nlink = n->linked ? 1 : 0,
		.st_uid = v->uid,
		.st_gid = v->gid,
		.st_size = (off_t)n->size,
		.st_blksize = 4096,
		.st_blocks = (blkcnt_t)((n->size + BLOCK - 1) / BLOCK),
		.st_atim = timespec_of(n->mtime_ns),
		.st_mtim = timespec_of(n->mtime_ns),
		.st_ctim = timespec_of(n->ctime_ns),
	};
}

static void reply_attr(fuse_req_t req, const struct node *n)
{
	struct stat st;

	view_attr(view_of(req), n, &st);
	fuse_reply_attr(req, &st, KEEP_SECONDS);
}

void request_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)fi;
	reply_attr(req, node_of(req, ino));
}

static int set_times(struct view *v, struct node *n, const struct stat *attr, int to_set)
{
	struct timespec ts = attr->st_mtim;

	if (to_set & FUSE_SET_ATTR_MTIME_NOW)
		clock_gettime(CLOCK_REALTIME, &ts);
	else if (!(to_set & FUSE_SET_ATTR_MTIME))
		return 0;
	/* What 64 bits of nanoseconds hold: the years 1678 to 2261. */
	if (ts.tv_sec > INT64_MAX / 1000000000 - 1 || ts.tv_sec < INT64_MIN / 1000000000 + 1)
		return -EINVAL;
	return folder_set_mtime(
		v->folder, n, (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec);
}

static bool wants_owner(const struct view *v, const struct stat *attr, int to_set)
{
	return ((to_set & FUSE_SET_ATTR_UID) && attr->st_uid != v->uid) ||
		((to_set & FUSE_SET_ATTR_GID) && attr->st_gid != v->gid);
}

/* A truncate(2) of a file that nobody has open is a whole write: it is staged at once. */
static int set_size(struct view *v, struct node *n, uint64_t size)
{
	int r = size == n->size ? 0 : folder_truncate(v->folder, n, size);
	uint64_t seq = 0;

	if (n->opens)
		return r;
	if (r == 0 && n->dirty)
		r = folder_stage(v->folder, n, &seq);
	if (r == 0 && seq)
		r = journal_request_sync(v->folder->journal, seq);
	folder_close_scratch(v->folder, n);
	return r;
}

static void finish_setattr(struct pending *p, int result)
{
	struct view *v = p->view;
	struct node *n = p->node;
	struct romfs_extent missing;
	bool resize = p->to_set & FUSE_SET_ATTR_SIZE;

	if (result == 0 && resize && p->attr.st_size != 0 &&
		folder_has_bytes(v->folder, n, &missing) == -ENODATA) {
		pending_wait_bytes(p, &missing, finish_setattr);
		return;
	}
	if (result == 0 && resize)
		result = set_size(v, n, (uint64_t)p->attr.st_size);
	if (result == 0)
		result = set_times(v, n, &p->attr, p->to_set);
	if (result < 0)
		fuse_reply_err(p->req, -result);
	else
		reply_attr(p->req, n);
	pending_end(p);
}

void request_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
	struct fuse_file_info *fi)
{
	struct view *v = view_of(req);
	struct node *n = node_of(req, ino);
	struct pending *p;

	(void)fi;
	if (wants_owner(v, attr, to_set)) {
		fuse_reply_err(req, EPERM);
		return;
	}
	p = pending_new(v, req, n);
	if (!p)
		return;
	p->attr = *attr;
	p->to_set = to_set;
	finish_setattr(p, 0);
}

void request_statfs(fuse_req_t req, fuse_ino_t ino)
{
	const struct folder *f = view_of(req)->folder;
	uint64_t available = folder_available(f) / BLOCK;
	const struct statvfs st = {
		.f_bsize = BLOCK,
		.f_frsize = BLOCK,
		.f_blocks = f->geometry.size / BLOCK,
		.f_bfree = available,
		.f_bavail = available,
		.f_files = ROMFS_ENTRIES_MAX,
		.f_ffree = ROMFS_ENTRIES_MAX - MIN(ROMFS_ENTRIES_MAX, node_count(f->nodes)),
		.f_namemax = ROMFS_NAME_MAX,
	};

	(void)ino;
	fuse_reply_statfs(req, &st);
}

void request_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
	char value[STATUS_VALUE_MAX];
	int len;

	/* "Not supported" is an answer that tools remember, "no data" is not. */
	if (strncmp(name, "user.", 5) != 0) {
		fuse_reply_err(req, EOPNOTSUPP);
		return;
	}
	len = status_attribute(view_of(req), node_of(req, ino), name, value, sizeof(value));
	if (len < 0)
		fuse_reply_err(req, -len);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)len);
	else if ((size_t)len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, value, (size_t)len);
}

/* Listed on the root alone: a tool that copies attributes shall not carry them along with
 * every file. */
void request_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
	char names[512];
	size_t len = ino == FUSE_ROOT_ID ? status_attribute_names(names, sizeof(names)) : 0;

	if (size == 0)
		fuse_reply_xattr(req, len);
	else if (len > size)
		fuse_reply_err(req, ERANGE);
	else
		fuse_reply_buf(req, names, len);
}

void request_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
	size_t size, int flags)
{
	(void)ino;
	(void)name;
	(void)value;
	(void)size;
	(void)flags;
	fuse_reply_err(req, EOPNOTSUPP);
}

void request_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
	(void)ino;
	(void)name;
	fuse_reply_err(req, EOPNOTSUPP);
}
