/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fuse/state.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "util/io.h"
#include "util/sha256.h"
#include "util/text.h"

struct state_dir {
	int fd, lock_fd;
	char *path;
};

/* --- names ---------------------------------------------------------------------------- */

int state_root(const char *dir, char **out, struct error *err)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	_cleanup_free_ char *cwd = NULL;
	char *path = NULL;
	int r;

	if (dir && (dir[0] == '/' || strcmp(dir, ".") == 0)) {
		r = asprintf(&path, "%s", dir);
	} else if (dir && dir[0]) {
		/* The daemon changes to / when it goes into the background. */
		cwd = getcwd(NULL, 0);
		if (!cwd)
			return error_set(err, -errno, "cannot tell where '%s' is: %m", dir);
		r = asprintf(&path, "%s/%s", cwd, dir);
	} else if (geteuid() == 0) {
		r = asprintf(&path, "/var/lib/romount");
	} else if (xdg && xdg[0] == '/') { /* the standard: relative ones are ignored */
		r = asprintf(&path, "%s/romount", xdg);
	} else if (home && home[0] == '/') {
		r = asprintf(&path, "%s/.local/state/romount", home);
	} else {
		return error_set(err, -ENOENT,
			"no place for staged files: HOME is not set; give one with --state DIR");
	}
	if (r < 0)
		return error_set(err, -ENOMEM, "out of memory");
	*out = path;
	return 0;
}

#define KEY_HASH_DIGITS 16u

/* Readable part, '-', hash. */
static void make_key(const char *text, struct sha256_ctx *ctx, char out[STATE_KEY_SIZE])
{
	const size_t room = STATE_KEY_SIZE - 1 - KEY_HASH_DIGITS - 1;
	uint8_t digest[SHA256_SIZE];
	size_t n = 0, i;

	for (; *text && n < room; text++) {
		unsigned char c = (unsigned char)*text;
		bool fine = isascii(c) && (isalnum(c) || c == '_' || c == '-' || c == '.');

		/* neither hidden, nor an option, nor "..", nor rows of underscores */
		if (n == 0 && !(isascii(c) && isalnum(c)))
			continue;
		if (fine)
			out[n++] = (char)c;
		else if (out[n - 1] != '_')
			out[n++] = '_';
	}
	if (n)
		out[n++] = '-';
	sha256_digest(ctx, sizeof(digest), digest);
	for (i = 0; i < KEY_HASH_DIGITS; i++)
		out[n++] = "0123456789abcdef"[i % 2 ? digest[i / 2] & 15 : digest[i / 2] >> 4];
	out[n] = '\0';
}

/* With its NUL, so that no two lists of strings are one row of bytes. */
static void hash_string(struct sha256_ctx *ctx, const char *s)
{
	sha256_update(ctx, strlen(s) + 1, (const uint8_t *)s);
}

void state_key_of(
	const char *readable, const char *const parts[], char out[STATE_KEY_SIZE])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	for (; *parts; parts++)
		hash_string(&ctx, *parts);
	make_key(readable, &ctx, out);
}

void state_key_board(const char *unique_id, const char *machine, const char *fallback,
	char out[STATE_KEY_SIZE])
{
	const char *const parts[] = {unique_id[0] ? "board" : "port", machine,
		unique_id[0] ? unique_id : fallback ? fallback : "", NULL};

	state_key_of(machine, parts, out);
}

void state_key_image(const char *path, char out[STATE_KEY_SIZE])
{
	const char *const parts[] = {"image", path, NULL};
	const char *slash = strrchr(path, '/');

	state_key_of(slash ? slash + 1 : path, parts, out);
}

/* --- the directory -------------------------------------------------------------------- */

/* Who can write there can make us write anywhere; the root itself may be the system's. */
static int check_owner(int fd, bool is_root, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, -errno, "cannot look at '%s': %m", path);
	if (st.st_uid != geteuid() && !(is_root && st.st_uid == 0))
		return error_set(err, -EPERM,
			"'%s' belongs to another user (uid %u): staged files would not be "
			"safe there; give another place with --state DIR",
			path, (unsigned)st.st_uid);
	if (st.st_mode & (is_root ? S_IWOTH : S_IWGRP | S_IWOTH))
		return error_set(err, -EPERM,
			"others may write to '%s': staged files would not be safe there; "
			"take that right away (chmod go-w), or give another place with "
			"--state DIR",
			path);
	return 0;
}

static int open_root(const char *root, bool make, struct error *err)
{
	_cleanup_close_ int fd = -1;
	int r = make ? io_make_dirs(root) : 0;

	if (r == 0) {
		fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0)
			r = -errno;
	}
	if (r < 0)
		return error_set(err, r, "cannot open the state directory '%s': %s", root,
			strerror(-r));
	r = check_owner(fd, true, root, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int open_below(int parent, const char *name, bool make, const char *path,
	struct error *err)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (make && mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
		r = -errno;
	if (r == 0) {
		fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			r = -errno;
	}
	if (r == -ELOOP || r == -ENOTDIR)
		return error_set(err, r,
			"'%s' in the state directory '%s' is no directory: move it away", name,
			path);
	if (r < 0)
		return error_set(err, r, "cannot open '%s' in the state directory '%s': %s",
			name, path, strerror(-r));
	r = check_owner(fd, false, path, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int open_path(const char *root, const char *key, unsigned partition, bool make,
	struct error *err)
{
	_cleanup_close_ int root_fd = -1, key_fd = -1;
	_cleanup_free_ char *path = NULL;
	char rom[16];

	if (key[0] == '\0' || key[0] == '.' || strchr(key, '/'))
		return error_set(err, -EINVAL, "no name for a directory: '%s'", key);
	snprintf(rom, sizeof(rom), "rom%u", partition);
	if (asprintf(&path, "%s/%s/%s", root, key, rom) < 0) {
		path = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	root_fd = open_root(root, make, err);
	if (root_fd < 0)
		return root_fd;
	key_fd = open_below(root_fd, key, make, path, err);
	if (key_fd < 0)
		return key_fd;
	return open_below(key_fd, rom, make, path, err);
}

/* 0 where the file tells none. */
static pid_t read_pid(int fd)
{
	char text[16];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
	unsigned long pid;
	char *end;

	if (n <= 0 || !isdigit((unsigned char)text[0]))
		return 0;
	text[n] = '\0';
	errno = 0;
	pid = strtoul(text, &end, 10);
	return errno || *end != '\n' || pid > INT_MAX ? 0 : (pid_t)pid;
}

int state_claim(struct state_dir *dir)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	if (ftruncate(dir->lock_fd, 0) < 0)
		return -errno;
	return io_pwrite_full(dir->lock_fd, text, (size_t)n, 0);
}

/* A lock of the open file (not of the process: it outlives a fork) that can be asked about
 * without being taken for a moment, as flock(2) would have to be. */
static const struct flock whole_file = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

static int take_lock(struct state_dir *dir, struct error *err)
{
	char who[32] = "another process";
	pid_t pid;
	int r;

	dir->lock_fd =
		openat(dir->fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (dir->lock_fd < 0)
		return error_set(err, -errno, "cannot lock '%s': %m", dir->path);
	if (fcntl(dir->lock_fd, F_OFD_SETLK, &whole_file) < 0) {
		if (errno != EAGAIN && errno != EACCES)
			return error_set(err, -errno, "cannot lock '%s': %m", dir->path);
		pid = read_pid(dir->lock_fd);
		if (pid)
			snprintf(who, sizeof(who), "pid %d", (int)pid);
		return error_set(err, -EBUSY,
			"romount is at work on this partition already (%s): unmount it there "
			"first",
			who);
	}
	r = state_claim(dir);
	if (r < 0)
		return error_set(err, r, "cannot write to '%s': %s", dir->path, strerror(-r));
	return 0;
}

int state_open(const char *root, const char *key, unsigned partition,
	struct state_dir **out, struct error *err)
{
	_cleanup_(state_closep) struct state_dir *dir = calloc(1, sizeof(*dir));
	_cleanup_free_ char *cwd = NULL; /* people want to find it */
	int r;

	if (!dir)
		return error_set(err, -ENOMEM, "out of memory");
	dir->fd = dir->lock_fd = -1;
	if (strcmp(root, ".") == 0)
		cwd = getcwd(NULL, 0);
	if (asprintf(&dir->path, "%s/%s/rom%u", cwd ? cwd : root, key, partition) < 0) {
		dir->path = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = open_path(root, key, partition, true, err);
	if (r < 0)
		return r;
	dir->fd = r;
	r = take_lock(dir, err);
	if (r < 0)
		return r;
	*out = TAKE_PTR(dir);
	return 0;
}

void state_close(struct state_dir *dir)
{
	if (!dir)
		return;
	/* `lock` stays: removing it would let two processes lock two files of that name. */
	closep(&dir->lock_fd);
	closep(&dir->fd);
	free(dir->path);
	free(dir);
}

int state_fd(const struct state_dir *dir)
{
	return dir->fd;
}

const char *state_path(const struct state_dir *dir)
{
	return dir->path;
}

int state_peek(const char *root, const char *key, unsigned partition, int *fd,
	pid_t *holder, struct error *err)
{
	_cleanup_close_ int dir = -1, lock = -1;
	struct flock query = whole_file;
	pid_t pid = 0;

	dir = open_path(root, key, partition, false, err);
	if (dir < 0)
		return dir;
	lock = openat(dir, "lock", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (lock >= 0 && fcntl(lock, F_OFD_GETLK, &query) == 0 && query.l_type != F_UNLCK)
		pid = read_pid(lock);
	*fd = TAKE_FD(dir);
	*holder = pid;
	return 0;
}

int state_open_folder(
	const char *root, const char *name, bool make, int *fd, struct error *err)
{
	_cleanup_close_ int root_fd = open_root(root, make, err);
	int dir;

	if (root_fd < 0)
		return root_fd;
	dir = open_below(root_fd, name, make, root, err);
	if (dir < 0)
		return dir;
	*fd = dir;
	return 0;
}

/* --- status --------------------------------------------------------------------------- */

static bool key_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

#define STATUS_MAX (STATE_LINES_MAX * sizeof(struct state_line))

int state_write_status(int dirfd, const struct state_line *lines, size_t n)
{
	_cleanup_free_ char *text = malloc(STATUS_MAX);
	_cleanup_close_ int fd = -1;
	size_t len = 0, i;
	int r;

	if (!text)
		return -ENOMEM;
	if (n > STATE_LINES_MAX)
		return -E2BIG;
	for (i = 0; i < n; i++) {
		struct state_line l = lines[i];

		l.key[sizeof(l.key) - 1] = l.value[sizeof(l.value) - 1] = '\0';
		text_make_printable(l.value);
		len += (size_t)snprintf(text + len, STATUS_MAX - len, "%s %s\n", l.key, l.value);
	}
	fd = openat(dirfd, "status.new",
		O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = io_write_full(fd, text, len);
	if (r == 0 && renameat(dirfd, "status.new", dirfd, "status") < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, "status.new", 0);
	return r;
}

static bool parse_line(char *text, struct state_line *line)
{
	size_t n = 0;

	while (key_char(text[n]))
		n++;
	if (n == 0 || n >= sizeof(line->key) || text[n] != ' ')
		return false;
	memcpy(line->key, text, n);
	line->key[n] = '\0';
	snprintf(line->value, sizeof(line->value), "%s", text + n + 1);
	text_make_printable(line->value);
	return true;
}

int state_read_status(int dirfd, struct state_line *lines, size_t cap, size_t *n)
{
	_cleanup_free_ char *text = malloc(STATUS_MAX + 1);
	_cleanup_close_ int fd = -1;
	size_t count = 0;
	char *at, *next;
	struct stat st;
	ssize_t len;

	if (!text)
		return -ENOMEM;
	fd = openat(dirfd, "status", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	len = pread(fd, text, STATUS_MAX, 0);
	if (len < 0)
		return -errno;
	text[len] = '\0';
	for (at = text; at < text + len && count < cap; at = next) {
		char *end = memchr(at, '\n', (size_t)(text + len - at));

		next = end ? end + 1 : text + len;
		if (end)
			*end = '\0';
		count += parse_line(at, &lines[count]);
	}
	*n = count;
	return 0;
}

const char *state_status_get(const struct state_line *lines, size_t n, const char *key)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(lines[i].key, key) == 0)
			return lines[i].value;
	return NULL;
}
