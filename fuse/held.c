/* SPDX-License-Identifier: MIT */
#include "fuse/held.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "util/io.h"

#define COPY_BYTES (64u << 10)

static int copy_bytes(const struct folder *f, const struct node *n, int fd)
{
	_cleanup_free_ char *buf = malloc(COPY_BYTES);
	uint64_t done = 0;

	if (!buf)
		return -ENOMEM;
	while (done < n->content.size) {
		size_t part = (size_t)MIN((uint64_t)COPY_BYTES, n->content.size - done);
		int r = io_pread_full(journal_fd(f->journal), buf, part,
			(off_t)(n->content.off + done));

		if (r == 0)
			r = io_write_full(fd, buf, part);
		if (r < 0)
			return r;
		done += part;
	}
	return fsync(fd) < 0 ? -errno : 0;
}

static int save_file(const struct folder *f, const struct node *n, int dirfd)
{
	const struct timespec times[2] = {
		{.tv_nsec = UTIME_NOW},
		{.tv_sec = n->mtime_ns / 1000000000, .tv_nsec = n->mtime_ns % 1000000000},
	};
	_cleanup_close_ int fd = openat(
		dirfd, n->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = copy_bytes(f, n, fd);
	if (r == 0)
		(void)!futimens(fd, times); /* of use, but not worth failing for */
	return r;
}

/* The directory of a node below `top`, made on the way. Paths are short and staged files
 * few, so each walks down from the top; the names come from the node table and hold no '/'. */
static int open_dir(int top, const struct node *dir)
{
	int parent, fd;

	if (!dir->parent)
		return fcntl(top, F_DUPFD_CLOEXEC, 3);
	parent = open_dir(top, dir->parent);
	if (parent < 0)
		return parent;
	fd = mkdirat(parent, dir->name, 0700);
	if (fd == 0)
		fd = fsync(parent);
	if (fd < 0 && errno != EEXIST) {
		fd = -errno;
	} else {
		fd = openat(parent, dir->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		fd = fd < 0 ? -errno : fd;
	}
	close(parent);
	return fd;
}

static int save_all(const struct folder *f, int top, unsigned *count)
{
	struct node *root = node_root(f->nodes);

	for (struct node *n = root; n; n = node_next(root, n)) {
		_cleanup_close_ int dirfd = -1;
		int r;

		if (n->type != ROMFS_FILE || n->content.kind == CONTENT_BASE)
			continue;
		dirfd = open_dir(top, n->parent);
		if (dirfd < 0)
			return dirfd;
		r = save_file(f, n, dirfd);
		if (r == 0 && fsync(dirfd) < 0)
			r = -errno;
		if (r < 0)
			return r;
		++*count;
	}
	return fsync(top) < 0 ? -errno : 0;
}

int held_save(struct folder *f, char *name, size_t cap, unsigned *count, struct error *err)
{
	_cleanup_close_ int top = -1;
	time_t now = time(NULL);
	struct tm tm;
	char stamp[32], made[64];
	unsigned i, saved = 0;
	int r = -EEXIST;

	localtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	for (i = 0; i < 100 && r == -EEXIST; i++) {
		snprintf(made, sizeof(made), i ? "held-%s.%u" : "held-%s", stamp, i);
		r = mkdirat(f->dirfd, made, 0700) < 0 ? -errno : 0;
	}
	if (r == 0) {
		top = openat(f->dirfd, made, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		r = top < 0 ? -errno : save_all(f, top, &saved);
	}
	if (r == 0)
		r = io_sync_dir(f->dirfd, ".");
	if (r < 0)
		return error_set(err, r, "cannot lay out the staged files in %s: %s", made,
			strerror(-r));
	snprintf(name, cap, "%s", made);
	*count = saved;
	return 0;
}
