/* SPDX-License-Identifier: MIT */
#include "cli/hosttree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/ui.h"
#include "util/io.h"
#include "util/text.h"

/* A directory that is being read, and those it lies in. */
struct level {
	const struct level *up;
	dev_t dev;
	ino_t ino;
	uint32_t index;
	int fd;
};

struct walk {
	struct hosttree *t;
	dev_t avoid_dev;
	ino_t avoid_ino;
	struct error *err;
};

/* "DIR/some/file: " in front of the reason. */
static int refuse(const struct walk *w, const struct level *at, const char *name,
	int code, const char *why)
{
	size_t len = romfs_tree_path(w->t->tree, at->index, NULL, 0);
	_cleanup_free_ char *path = malloc(len + 1);

	if (!path)
		return error_set(w->err, -ENOMEM, "out of memory");
	romfs_tree_path(w->t->tree, at->index, path, len + 1);
	return error_set(w->err, code, "%s/%s%s%s: %s", w->t->path, path, len ? "/" : "",
		name, why);
}

static const char *add_problem(int r)
{
	switch (r) {
	case -ENAMETOOLONG:
		return "the name is longer than 255 bytes";
	case -ELOOP:
		return "directories are nested too deep: 64 levels are what can be packed";
	case -EOVERFLOW:
		return "too many files: 65536 are what can be packed";
	case -EINVAL:
		return "this is no name for a file";
	default:
		return strerror(-r);
	}
}

static int read_directory(struct walk *w, struct level *at);

static int enter_directory(struct walk *w, const struct level *up, const char *name,
	uint32_t index, const struct stat *st)
{
	struct level at = {
		.up = up, .dev = st->st_dev, .ino = st->st_ino, .index = index};
	const struct level *above;

	for (above = up; above; above = above->up)
		if (above->dev == st->st_dev && above->ino == st->st_ino)
			return refuse(w, up, name, -ELOOP,
				"this link leads back to a directory above it");
	at.fd = openat(up->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (at.fd < 0)
		return refuse(w, up, name, -errno, strerror(errno));
	return read_directory(w, &at);
}

static int64_t stat_mtime(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static int add_entry(struct walk *w, const struct level *at, const char *name)
{
	struct romfs_node *node;
	struct stat st;
	uint32_t index;
	int r;

	if (fstatat(at->fd, name, &st, 0) < 0)
		return refuse(w, at, name, -errno,
			errno == ENOENT ? "this link leads nowhere" : strerror(errno));
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
		return refuse(w, at, name, -EINVAL,
			"neither a file nor a directory: ROMFS holds nothing else");
	if (w->avoid_ino && st.st_ino == w->avoid_ino && st.st_dev == w->avoid_dev)
		return refuse(w, at, name, -EINVAL,
			"the image would be packed into itself; write it elsewhere with -o");
	if (!text_is_utf8(name, strlen(name)))
		return refuse(w, at, name, -EILSEQ,
			"the name is not UTF-8, and MicroPython could not open it; rename it");
	r = romfs_tree_add(w->t->tree, at->index,
		S_ISDIR(st.st_mode) ? ROMFS_DIR : ROMFS_FILE, name, strlen(name), &index);
	if (r < 0)
		return refuse(w, at, name, r, add_problem(r));
	node = romfs_tree_node(w->t->tree, index);
	node->mtime_ns = stat_mtime(&st);
	if (S_ISDIR(st.st_mode))
		return enter_directory(w, at, name, index, &st);
	node->size = (uint64_t)st.st_size;
	node->data_off = ROMFS_NO_OFFSET;
	return 0;
}

/* Takes over at->fd. Recursion ends at ROMFS_DEPTH_MAX, where romfs_tree_add refuses. */
static int read_directory(struct walk *w, struct level *at)
{
	DIR *dir = fdopendir(at->fd);
	struct dirent *entry;
	int r = 0;

	if (!dir) {
		r = -errno;
		close(at->fd);
		return refuse(w, at, "", r, strerror(-r));
	}
	while (r == 0) {
		errno = 0;
		entry = readdir(dir);
		if (!entry && errno)
			r = refuse(w, at, "", -errno, strerror(errno));
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = add_entry(w, at, entry->d_name);
	}
	closedir(dir);
	return r;
}

int hosttree_open(const char *path, dev_t avoid_dev, ino_t avoid_ino,
	struct hosttree *out, struct error *err)
{
	struct hosttree t = {.root_fd = -1, .path = path, .file_fd = -1};
	struct walk w = {
		.t = &t, .avoid_dev = avoid_dev, .avoid_ino = avoid_ino, .err = err};
	struct level root = {.index = ROMFS_ROOT};
	struct stat st;
	int r = romfs_tree_new(&t.tree);

	if (r < 0)
		return error_set(err, r, "out of memory");
	t.root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (t.root_fd < 0 || fstat(t.root_fd, &st) < 0) {
		r = error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
		hosttree_close(&t);
		return r;
	}
	root.dev = st.st_dev;
	root.ino = st.st_ino;
	root.fd = openat(t.root_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root.fd < 0)
		r = error_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	else
		r = read_directory(&w, &root);
	if (r < 0) {
		hosttree_close(&t);
		return r;
	}
	*out = t;
	return 0;
}

void hosttree_close(struct hosttree *t)
{
	romfs_tree_free(t->tree);
	if (t->root_fd >= 0)
		close(t->root_fd);
	if (t->file_fd >= 0)
		close(t->file_fd);
	*t = (struct hosttree){.root_fd = -1, .file_fd = -1};
}

/* --- contents ----------------------------------------------------------------------- */

static int file_error(const struct hosttree *t, uint32_t index, int code, const char *why,
	struct error *err)
{
	size_t len = romfs_tree_path(t->tree, index, NULL, 0);
	_cleanup_free_ char *path = malloc(len + 1);

	if (!path)
		return error_set(err, -ENOMEM, "out of memory");
	romfs_tree_path(t->tree, index, path, len + 1);
	return error_set(err, code, "%s/%s: %s", t->path, path, why);
}

static int open_file(struct hosttree *t, uint32_t index, struct error *err)
{
	size_t len = romfs_tree_path(t->tree, index, NULL, 0);
	_cleanup_free_ char *path = malloc(len + 1);
	struct stat st;

	if (!path)
		return error_set(err, -ENOMEM, "out of memory");
	romfs_tree_path(t->tree, index, path, len + 1);
	if (t->file_fd >= 0)
		close(t->file_fd);
	/* Not to hang on a pipe that took the file's place. */
	t->file_fd = openat(t->root_fd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	t->file_index = index;
	if (t->file_fd < 0 || fstat(t->file_fd, &st) < 0)
		return file_error(t, index, -errno, strerror(errno), err);
	if (!S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size != romfs_tree_node(t->tree, index)->size)
		return file_error(
			t, index, -ESTALE, "it changed while it was being packed", err);
	return 0;
}

int hosttree_content(void *ctx, const struct romfs_tree *tree, uint32_t index,
	uint64_t off, void *buf, size_t len, struct error *err)
{
	struct hosttree *t = ctx;
	int r = 0;

	if (t->file_fd < 0 || t->file_index != index)
		r = open_file(t, index, err);
	if (r < 0)
		return r;
	r = io_pread_full(t->file_fd, buf, len, (off_t)off);
	if (r == -ENODATA)
		return file_error(
			t, index, -ESTALE, "it changed while it was being packed", err);
	return r < 0 ? file_error(t, index, r, strerror(-r), err) : 0;
}
