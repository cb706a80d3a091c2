/* SPDX-License-Identifier: MIT */
/* The request handlers, by what they are about; view.c puts them into one table. */
#pragma once

#include "fuse/view.h"

/* The kernel may keep what it knows: nobody but its own requests changes this folder. */
#define KEEP_SECONDS 86400.0

static inline struct view *view_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* The kernel only names inodes that we gave it and that it did not forget. */
static inline struct node *node_of(fuse_req_t req, fuse_ino_t ino)
{
	return node_by_id(view_of(req)->folder->nodes, ino);
}

void view_attr(const struct view *v, const struct node *n, struct stat *out);
/* Fills the entry and counts the kernel's reference. */
void view_entry(const struct view *v, struct node *n, struct fuse_entry_param *out);
/* Those of directories that nobody has closed. */
void view_free_listings(struct view *v);

/* requests_names.c */
void request_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void request_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void request_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void request_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void request_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t dev);
void request_symlink(fuse_req_t req, const char *to, fuse_ino_t parent, const char *name);
void request_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void request_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void request_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void request_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t to_parent,
	const char *to_name, unsigned flags);
/* requests_dir.c */
void request_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void request_readdir(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void request_readdirplus(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void request_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
/* requests_file.c */
void request_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void request_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
	struct fuse_file_info *fi);
void request_read(
	fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void request_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
	struct fuse_file_info *fi);
void request_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
	struct fuse_file_info *fi);
void request_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void request_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void request_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
/* requests_attr.c */
void request_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void request_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
	struct fuse_file_info *fi);
void request_statfs(fuse_req_t req, fuse_ino_t ino);
void request_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void request_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void request_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value,
	size_t size, int flags);
void request_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);
