/* SPDX-License-Identifier: MIT */
#include "daemon/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "bus/wire.h"
#include "daemon/keeper.h"
#include "daemon/textfile.h"
#include "fuse/state.h"
#include "util/dir.h"
#include "util/io.h"

#define MEMO "board"
#define MEMO_MAX 4096u
#define IDENTS_MAX 4096u
#define LOCK_WAIT_MS 1000u /* for what a romountd that was killed was about to start */
#define KEYS_MAX 64u /* boards that were at one identity */

struct store {
	char *root;
	int fd;
	struct keeper *keeper;
	bool give_away;
	uid_t uid;
};

int store_open(const struct store_options *options, struct store **out, struct error *err)
{
	_cleanup_(store_freep) struct store *s = calloc(1, sizeof(*s));
	struct stat st;
	int r;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	s->fd = -1;
	s->give_away = options->give_away;
	s->uid = options->uid;
	s->root = strdup(options->root);
	if (!s->root)
		return error_set(err, -ENOMEM, "out of memory");
	r = io_make_dirs(s->root);
	if (r < 0)
		return error_set(err, r, "cannot make %s: %s", s->root, strerror(-r));
	s->fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st) < 0)
		return error_set(err, -errno, "cannot open %s: %m", s->root);
	if (st.st_uid != geteuid() || (st.st_mode & S_IWOTH))
		return error_set(err, -EPERM,
			"%s is not ours alone: staged files would not be safe there; choose "
			"another state directory",
			s->root);
	if (io_lock(s->fd, LOCK_WAIT_MS) < 0)
		return error_set(err, -EBUSY, "another romountd uses %s", s->root);
	r = keeper_new(options->event, options->log, &s->keeper);
	if (r < 0)
		return error_set(err, r, "cannot start a thread: %s", strerror(-r));
	/* Boards' processes of a user of their own pass through by descriptors alone. */
	*out = TAKE_PTR(s);
	return 0;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	keeper_free(s->keeper);
	closep(&s->fd);
	free(s->root);
	free(s);
}

const char *store_root(const struct store *s)
{
	return s->root;
}

/* --- one board's directory --- */

static bool is_ident(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			     "0123456789._-");

	return s[0] != '.' && s[0] != '\0' && s[n] == '\0' && n <= BOARD_NAME_MAX;
}

/* Ours as it was made, or given away already: what else has happened to it is not ours. */
static int give_away(struct store *s, int fd, const char *ident, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, -errno, "cannot look at %s/%s: %m", s->root, ident);
	if (st.st_uid != geteuid() && !(s->give_away && st.st_uid == s->uid))
		return error_set(err, -EPERM,
			"%s/%s belongs to somebody else (uid %u): move it away", s->root, ident,
			(unsigned)st.st_uid);
	if (!s->give_away || st.st_uid == s->uid)
		return 0;
	/* The mode first: without CAP_FOWNER it is ours to change only before. */
	if (fchmod(fd, 0770) < 0 || fchown(fd, s->uid, getegid()) < 0)
		return error_set(err, -errno,
			"cannot give %s/%s to the boards' user: %m", s->root, ident);
	return 0;
}

/* What is staged below it shall not be lost with it. Once for each board that was never here,
 * and before anything else about it: this one flush can be waited for. */
static int make_board_dir(struct store *s, const char *ident, struct error *err)
{
	int r = mkdirat(s->fd, ident, 0700) < 0 ? -errno : io_sync_dir(s->fd, ".");

	return r < 0 && r != -EEXIST ? error_set(err, r, "cannot make %s/%s: %s", s->root,
					       ident, strerror(-r))
				     : 0;
}

int store_open_board(
	struct store *s, const char *ident, bool make, int *out, struct error *err)
{
	_cleanup_close_ int fd = -1;
	int r = 0;

	if (!is_ident(ident))
		return error_set(err, -EINVAL, "'%s' is no name for a directory", ident);
	if (make)
		r = make_board_dir(s, ident, err);
	if (r < 0)
		return r;
	fd = openat(s->fd, ident, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_set(err, -errno, "cannot open %s/%s: %m", s->root, ident);
	r = give_away(s, fd, ident, err);
	if (r < 0)
		return r;
	*out = TAKE_FD(fd);
	return 0;
}

/* --- the memo: "key value" lines --- */

struct memo_text {
	const char *key;
	size_t at, size;
};

#define TEXT(key, member)                                                                \
	{(key), offsetof(struct store_memo, member), sizeof(((struct store_memo *)NULL)->member)}

static const struct memo_text texts[] = {
	TEXT("name", name),
	TEXT("identity", identity),
	TEXT("usb", usb),
	TEXT("serial", serial),
	TEXT("port", port),
	TEXT("id-path", id_path),
	TEXT("machine", machine),
	TEXT("firmware", firmware),
	TEXT("unique-id", unique_id),
};

static void take_line(struct store_memo *m, const char *key, const char *value)
{
	unsigned n;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].key, key) == 0)
			wire_copy_text((char *)m + texts[i].at, texts[i].size, value);
	if (strcmp(key, "interface") == 0 && sscanf(value, "%3u", &n) == 1 && n < 256)
		m->interface = (int)n;
	if (strcmp(key, "attached") == 0)
		m->attached = strcmp(value, "yes") == 0;
}

/* What is on its way to the file, else what the file has. */
static int read_text(struct store *s, const char *ident, char *text, size_t cap)
{
	const char *put = keeper_get(s->keeper, ident);
	_cleanup_close_ int fd = -1;
	int r;

	if (put) {
		snprintf(text, cap, "%s", put);
		return 0;
	}
	r = store_open_board(s, ident, false, &fd, NULL);
	return r < 0 ? r : textfile_read(fd, MEMO, text, cap);
}

int store_read_memo(struct store *s, const char *ident, struct store_memo *out)
{
	struct store_memo m = {.interface = -1};
	char text[MEMO_MAX], *save = NULL, *line;
	int r = read_text(s, ident, text, sizeof(text));

	if (r < 0)
		return r;
	for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = '\0';
		take_line(&m, line, value);
	}
	/* It becomes the name of a directory. */
	if (!is_ident(m.name))
		m.name[0] = '\0';
	*out = m;
	return 0;
}

static int write_text(const struct store_memo *m, char *text, size_t cap)
{
	size_t used = 0;

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		const char *value = (const char *)m + texts[i].at;

		if (value[0])
			used += (size_t)snprintf(
				text + used, cap - used, "%s %s\n", texts[i].key, value);
		if (used >= cap)
			return -E2BIG;
	}
	snprintf(text + used, cap - used, m->interface < 0 ? "%s" : "%sinterface %d\n",
		m->attached ? "attached yes\n" : "", m->interface);
	return 0;
}

int store_write_memo(
	struct store *s, const char *ident, const struct store_memo *m, struct error *err)
{
	char text[MEMO_MAX], before[MEMO_MAX];
	int fd, r = store_open_board(s, ident, true, &fd, err);

	if (r < 0)
		return r;
	r = write_text(m, text, sizeof(text));
	if (r < 0 || (read_text(s, ident, before, sizeof(before)) == 0 &&
			     strcmp(before, text) == 0))
		close(fd);
	else
		r = keeper_put(s->keeper, ident, fd, MEMO, 0640, text);
	return r < 0 ? error_set(err, r, "cannot keep what is known of it: %s", strerror(-r)) : 0;
}

/* --- what is staged --- */

static DIR *open_dir(int parent, const char *name)
{
	int fd = openat(parent, name,
		O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);

	if (!dir)
		closep(&fd);
	return dir;
}

static uint64_t number_of(const struct state_line *lines, size_t n, const char *key)
{
	const char *text = state_status_get(lines, n, key);
	unsigned long long value;

	return text && sscanf(text, "%19llu", &value) == 1 ? value : 0;
}

static void read_partition(int key_fd, const char *name, struct board *b)
{
	_cleanup_free_ struct state_line *lines = calloc(STATE_LINES_MAX, sizeof(*lines));
	_cleanup_close_ int fd =
		openat(key_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct board_partition *p;
	unsigned number;
	size_t n;

	if (!lines || fd < 0 || sscanf(name, "rom%2u", &number) != 1 ||
		b->n_partitions == BOARD_PARTITIONS_MAX || registry_partition(b, number) ||
		state_read_status(fd, lines, STATE_LINES_MAX, &n) < 0 ||
		number_of(lines, n, "pending-files") + number_of(lines, n, "pending") == 0)
		return;
	p = &b->partitions[b->n_partitions++];
	*p = (struct board_partition){
		.number = number,
		.size = number_of(lines, n, "size"),
		.used = number_of(lines, n, "used"),
		.free = number_of(lines, n, "free"),
		.pending = number_of(lines, n, "pending"),
		.pending_files = (unsigned)number_of(lines, n, "pending-files"),
		.state = "staged",
	};
}

static void read_key(int parent, const char *name, struct board *b)
{
	_cleanup_closedir_ DIR *dir = open_dir(parent, name);
	struct dirent *e;

	while (dir && (e = readdir(dir)))
		if (strncmp(e->d_name, "rom", 3) == 0)
			read_partition(dirfd(dir), e->d_name, b);
}

void store_read_staged(int fd, struct board *b)
{
	_cleanup_closedir_ DIR *dir = open_dir(fd, ".");
	struct dirent *e;
	unsigned n = 0;

	while (dir && (e = readdir(dir)) && n < KEYS_MAX) {
		if (!is_ident(e->d_name) || strcmp(e->d_name, MEMO) == 0)
			continue;
		read_key(fd, e->d_name, b);
		n++;
	}
}

void store_each(struct store *s, void (*each)(void *ctx, const char *ident), void *ctx)
{
	_cleanup_closedir_ DIR *dir = open_dir(s->fd, ".");
	struct dirent *e;
	unsigned n = 0;

	while (dir && (e = readdir(dir)) && n++ < IDENTS_MAX)
		if (is_ident(e->d_name))
			each(ctx, e->d_name);
}
