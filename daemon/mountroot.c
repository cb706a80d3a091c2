/* SPDX-License-Identifier: MIT */
#include "daemon/mountroot.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/emptydir.h"
#include "daemon/markdir.h"
#include "daemon/registry.h"
#include "util/dir.h"
#include "util/io.h"
#include "util/mounttable.h"

#define HELPER_SOCKET "/run/romount/mount.socket" /* of romount-mount.socket */
#define NUMBER_MAX 99u
#define LOCK_WAIT_MS 1000u /* as in store.c */
#define FUSE_TYPE "fuse.romount"

struct mount_root {
	struct mount_way way;
	const struct log_sink *log;
	char *path;
	int fd;
	struct mount_dir *dirs;
	unsigned cleaning; /* stale mounts that are on their way */
	void (*cleaned)(void *ctx);
	void *cleaned_ctx;
	void (*drained)(void *ctx);
	void *drained_ctx;
};

struct mount_dir {
	struct mount_dir *next;
	struct mount_root *root;
	int fd;
	char *name, *path;
	bool released;
	struct mountpoint *points[BOARD_PARTITIONS_MAX];
	unsigned n_points;
};

/* --- the root --- */

static int check_trusted(int fd, const char *path, bool is_root_itself, struct error *err)
{
	mode_t others = S_IWOTH;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, -errno, "cannot look at %s: %m", path);
	/* A group that nobody else is in is usual for users' own directories. */
	if (st.st_gid != getegid())
		others |= S_IWGRP;
	if (st.st_uid != geteuid() && (is_root_itself || st.st_uid != 0))
		return error_set(err, -EPERM,
			"%s belongs to another user (uid %u): boards would not be safe there; "
			"choose another mount-root",
			path, (unsigned)st.st_uid);
	if ((st.st_mode & others) && (is_root_itself || !(st.st_mode & S_ISVTX)))
		return error_set(err, -EPERM,
			"others may write to %s: boards would not be safe there; 'chmod go-w %s', "
			"or choose another mount-root",
			path, path);
	return 0;
}

/* Step by step, since a link or a directory of somebody else's on the way would decide where
 * we mount. `path` is absolute and has no links in it, unless somebody just made one. */
static int open_trusted(const char *path, struct error *err)
{
	_cleanup_close_ int fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	_cleanup_free_ char *copy = strdup(path);
	char *save = NULL, *part;
	int r;

	if (!copy)
		return error_set(err, -ENOMEM, "out of memory");
	for (part = strtok_r(copy, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		int next = openat(fd, part, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (next < 0)
			return error_set(err, -errno, "cannot open %s at '%s': %m", path, part);
		close(fd);
		fd = next;
		r = check_trusted(fd, path, false, err);
		if (r < 0)
			return r;
	}
	r = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return r < 0 ? error_set(err, -errno, "cannot open %s: %m", path) : r;
}

static int make_root(const char *path, char **real, struct error *err)
{
	_cleanup_free_ char *parent = strdup(path);
	char *slash;
	struct stat st;
	int r = 0;

	if (!parent)
		return error_set(err, -ENOMEM, "out of memory");
	slash = strrchr(parent, '/');
	if (path[0] != '/' || !slash[1])
		return error_set(err, -EINVAL, "mount-root '%s' is no absolute path", path);
	if (lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		return error_set(err, -ELOOP,
			"%s is a link: name the directory itself as mount-root", path);
	*slash = '\0';
	if (parent[0])
		r = io_make_dirs(parent);
	if (r == 0 && mkdir(path, 0755) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0) {
		*real = realpath(path, NULL);
		r = *real ? 0 : -errno;
	}
	return r < 0 ? error_set(err, r, "cannot make %s: %s", path, strerror(-r)) : 0;
}

/* execve(2) looks into no PATH. */
static int find_fusermount(char **out, struct error *err)
{
	const char *path = getenv("PATH");
	_cleanup_free_ char *copy = NULL;
	char *save = NULL, *dir;

	if (asprintf(&copy, "%s:/usr/bin:/bin", path ? path : "") < 0) {
		copy = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	for (dir = strtok_r(copy, ":", &save); dir; dir = strtok_r(NULL, ":", &save)) {
		_cleanup_free_ char *name = NULL;

		if (asprintf(&name, "%s/fusermount3", dir) < 0) {
			name = NULL;
			break;
		}
		if (dir[0] == '/' && access(name, X_OK) == 0) {
			*out = TAKE_PTR(name);
			return 0;
		}
	}
	return error_set(err, -ENOENT, "there is no fusermount3: install the package fuse3");
}

static int open_root(struct mount_root *r, const char *path, bool user_mode, struct error *err)
{
	int x = make_root(path, &r->path, err);

	if (x == 0)
		x = r->fd = open_trusted(r->path, err);
	if (x >= 0)
		x = check_trusted(r->fd, r->path, true, err);
	if (x >= 0 && io_lock(r->fd, LOCK_WAIT_MS) < 0)
		x = error_set(err, -EBUSY,
			"another romountd shows its boards in %s; end it, or choose another "
			"mount-root",
			r->path);
	if (x >= 0 && user_mode)
		x = find_fusermount(&r->way.fusermount, err);
	if (!user_mode)
		r->way.helper = HELPER_SOCKET;
	return MIN(x, 0);
}

int mount_root_open(sd_event *event, const char *path, bool user_mode,
	const struct log_sink *log, struct mount_root **out, struct error *err)
{
	_cleanup_(mount_root_freep) struct mount_root *r = calloc(1, sizeof(*r));
	int x;

	if (!r)
		return error_set(err, -ENOMEM, "out of memory");
	r->way.event = event;
	r->log = log;
	r->fd = -1;
	x = open_root(r, path, user_mode, err);
	if (x < 0)
		return x;
	*out = TAKE_PTR(r);
	return 0;
}

const char *mount_root_path(const struct mount_root *r)
{
	return r->path;
}

/* --- boards' directories --- */

static void dir_free(struct mount_dir *d)
{
	struct mount_dir **at = &d->root->dirs;

	while (*at != d)
		at = &(*at)->next;
	*at = d->next;
	while (d->n_points)
		mountpoint_free(d->points[--d->n_points]);
	closep(&d->fd);
	free(d->name);
	free(d->path);
	free(d);
}

void mount_root_free(struct mount_root *r)
{
	if (!r)
		return;
	while (r->dirs)
		dir_free(r->dirs);
	closep(&r->fd);
	free(r->way.fusermount);
	free(r->path);
	free(r);
}

static void check_drained(struct mount_root *r)
{
	struct mount_dir *d = r->dirs;
	void (*drained)(void *ctx) = r->drained;

	while (d && !d->released)
		d = d->next;
	if (d || !drained)
		return;
	r->drained = NULL;
	drained(r->drained_ctx);
}

void mount_root_drain(struct mount_root *r, void (*idle)(void *ctx), void *ctx)
{
	r->drained = idle;
	r->drained_ctx = ctx;
	check_drained(r);
}

static bool is_rom(const char *name)
{
	size_t n = strspn(name + MIN(strlen(name), 3u), "0123456789");

	return strncmp(name, "rom", 3) == 0 && n > 0 && n <= 2 && name[3 + n] == '\0';
}

static bool is_no_rom(const char *name, const char *entry)
{
	(void)name;
	return !is_rom(entry);
}

/* While the system goes down nothing can be unmounted any more, and mount points stay. By the
 * mark, which goes last, the next romountd knows that they are ours. */
static int remove_dir(const struct mount_dir *d)
{
	unlinkat(d->fd, MOUNT_STATUS_FILE, 0);
	if (!dir_holds_only(d->fd, is_no_rom, d->name))
		return -EBUSY;
	unlinkat(d->fd, MOUNT_BOARD_FILE, 0);
	return markdir_remove(d->root->fd, d->fd, d->name);
}

static void remove_released(struct mount_dir *d)
{
	struct mount_root *root = d->root;
	unsigned i;
	int r;

	for (i = 0; i < d->n_points; i++)
		if (!mountpoint_is_idle(d->points[i]))
			return;
	r = remove_dir(d);
	if (r < 0)
		log_to(root->log, LOG_NOTICE, "%s stays: %s", d->path, strerror(-r));
	dir_free(d);
	check_drained(root);
}

static void on_point_idle(void *ctx)
{
	struct mount_dir *d = ctx;

	if (d->released)
		remove_released(d);
}

void mount_dir_release(struct mount_dir *d)
{
	if (!d || d->released)
		return;
	mount_dir_unmount_all(d);
	d->released = true;
	remove_released(d);
}

void mount_dir_unmount_all(struct mount_dir *d)
{
	unsigned i;

	for (i = 0; i < d->n_points; i++)
		mountpoint_unmount(d->points[i]);
}

int mount_dir_fd(const struct mount_dir *d)
{
	return d->fd;
}

const char *mount_dir_name(const struct mount_dir *d)
{
	return d->name;
}

const char *mount_dir_path(const struct mount_dir *d)
{
	return d->path;
}

int mount_dir_point(struct mount_dir *d, unsigned number, struct mountpoint **out)
{
	unsigned i;
	int r;

	for (i = 0; i < d->n_points; i++)
		if (mountpoint_number(d->points[i]) == number) {
			*out = d->points[i];
			return 0;
		}
	if (number > NUMBER_MAX)
		return -EINVAL;
	if (d->n_points == ARRAY_SIZE(d->points))
		return -ENOSPC;
	r = mountpoint_new(&d->root->way, d->fd, d->path, number, on_point_idle, d,
		&d->points[d->n_points]);
	if (r < 0)
		return r;
	*out = d->points[d->n_points++];
	return 0;
}

static int dir_new(struct mount_root *r, const char *name, struct mount_dir **out,
	struct error *err)
{
	_cleanup_free_ struct mount_dir *d = calloc(1, sizeof(*d));
	_cleanup_free_ char *copy = strdup(name), *path = NULL;
	int x;

	if (asprintf(&path, "%s/%s", r->path, name) < 0)
		path = NULL;
	if (!d || !copy || !path)
		return error_set(err, -ENOMEM, "out of memory");
	/* A mount point is not even looked at, which might wait for its server. */
	if (mounttable_has("/proc", path))
		return error_set(err, -EEXIST, "something is mounted at %s", path);
	x = markdir_make(r->fd, name, &d->fd);
	if (x == -EEXIST)
		return error_set(
			err, x, "%s is there already, and no empty directory of ours", path);
	if (x < 0)
		return error_set(err, x, "cannot make %s: %s", path, strerror(-x));
	d->root = r;
	d->name = TAKE_PTR(copy);
	d->path = TAKE_PTR(path);
	d->next = r->dirs;
	r->dirs = d;
	*out = TAKE_PTR(d);
	return 0;
}

int mount_dir_claim(struct mount_root *r, const char *name, struct mount_dir **out,
	struct error *err)
{
	struct mount_dir *d = r->dirs;

	while (d && strcmp(d->name, name) != 0)
		d = d->next;
	if (!d)
		return dir_new(r, name, out, err);
	if (!d->released)
		return error_set(err, -EEXIST, "%s is another board's", d->path);
	d->released = false;
	*out = d;
	return 0;
}

/* --- what an earlier daemon has left --- */

static bool is_ours(const char *name, const char *entry)
{
	return is_rom(entry) || markdir_is_mark(name, entry) ||
		strcmp(entry, MOUNT_BOARD_FILE) == 0 ||
		strcmp(entry, MOUNT_STATUS_FILE) == 0 ||
		strcmp(entry, "." MOUNT_BOARD_FILE ".new") == 0 ||
		strcmp(entry, "." MOUNT_STATUS_FILE ".new") == 0;
}

/* What is not empty, or still mounted, refuses. */
static int remove_mount_points(int fd, DIR *dir)
{
	struct dirent *e;

	rewinddir(dir);
	while ((e = readdir(dir)))
		if (is_rom(e->d_name) && unlinkat(fd, e->d_name, AT_REMOVEDIR) < 0)
			return -errno;
	rewinddir(dir);
	return 0;
}

/* Where somebody has put something of their own, all stays, and the mark with it. */
static void remove_left(struct mount_root *r, const char *name)
{
	int fd = openat(r->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	_cleanup_closedir_ DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!dir) {
		closep(&fd);
		return;
	}
	if (!markdir_is_marked(fd, name) || !dir_holds_only(fd, is_ours, name) ||
		remove_mount_points(fd, dir) < 0)
		return;
	while ((e = readdir(dir)))
		if (is_ours(name, e->d_name) && !markdir_is_mark(name, e->d_name))
			(void)unlinkat(fd, e->d_name, 0);
	if (markdir_remove(r->fd, fd, name) < 0)
		log_to(r->log, LOG_NOTICE, "%s/%s stays", r->path, name);
}

static void remove_all_left(struct mount_root *r)
{
	int copy = openat(r->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!dir) {
		closep(&copy);
		return;
	}
	while ((e = readdir(dir))) {
		_cleanup_free_ char *path = NULL;

		if (asprintf(&path, "%s/%s", r->path, e->d_name) < 0) {
			path = NULL;
			continue;
		}
		if (e->d_name[0] == '.')
			markdir_remove_half(r->fd, e->d_name);
		else if (!mounttable_has("/proc", path))
			remove_left(r, e->d_name);
	}
}

static void check_cleaned(struct mount_root *r)
{
	if (--r->cleaning)
		return;
	remove_all_left(r);
	r->cleaned(r->cleaned_ctx);
}

static void on_stale_gone(void *ctx, const char *path)
{
	struct mount_root *r = ctx;

	log_to(r->log, LOG_INFO, "unmounted %s, which an earlier romountd has left", path);
	check_cleaned(r);
}

/* ROOT/BOARD/romN: what is elsewhere somebody has mounted by hand. */
static bool is_partition(const struct mount_root *r, const char *path)
{
	size_t len = strlen(r->path);
	const char *name;

	if (strncmp(path, r->path, len) != 0 || path[len] != '/')
		return false;
	name = strchr(path + len + 1, '/');
	return name && is_rom(name + 1);
}

static void on_mount(void *ctx, const char *path, const char *type)
{
	struct mount_root *r = ctx;
	struct error err = {0};

	if (strcmp(type, FUSE_TYPE) != 0 || !is_partition(r, path))
		return;
	r->cleaning++;
	if (mountpoint_detach_stale(&r->way, path, on_stale_gone, r, &err) < 0) {
		log_to(r->log, LOG_WARNING, "%s", err.text);
		r->cleaning--;
	}
}

void mount_root_clean(struct mount_root *r, void (*done)(void *ctx), void *ctx)
{
	int x;

	r->cleaned = done;
	r->cleaned_ctx = ctx;
	r->cleaning = 1; /* until all have been found */
	x = mounttable_each("/proc", on_mount, r);
	if (x < 0)
		log_to(r->log, LOG_WARNING, "cannot tell what is mounted: %s", strerror(-x));
	check_cleaned(r);
}
