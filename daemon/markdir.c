/* SPDX-License-Identifier: MIT */
#include "daemon/markdir.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/emptydir.h"

#define MADE ".made"
#define USED ".used"
#define HALF ".romount"

struct name {
	char text[NAME_MAX + 1];
};

/* ".NAME" and the ending; what is too long is no name that a file can have. */
static struct name hidden(const char *name, const char *ending)
{
	struct name out;
	int n = snprintf(out.text, sizeof(out.text), ".%s%s", name, ending);

	if (n < 0 || (size_t)n >= sizeof(out.text))
		out.text[0] = '\0';
	return out;
}

/* --- the mark --- */

static bool has(int fd, const struct name *mark)
{
	struct stat st;

	return fstatat(fd, mark->text, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size == 0 && st.st_uid == geteuid();
}

static int put(int fd, const struct name *mark)
{
	_cleanup_close_ int file = openat(fd, mark->text,
		O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);

	return file < 0 && !(errno == EEXIST && has(fd, mark)) ? -errno : 0;
}

bool markdir_is_marked(int fd, const char *name)
{
	struct name made = hidden(name, MADE), used = hidden(name, USED);

	return has(fd, &made) || has(fd, &used);
}

bool markdir_is_mark(const char *name, const char *entry)
{
	return strcmp(entry, hidden(name, MADE).text) == 0 ||
	       strcmp(entry, hidden(name, USED).text) == 0;
}

/* --- making --- */

static int open_ours(int rootfd, const char *name)
{
	_cleanup_close_ int fd =
		openat(rootfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return errno == ENOTDIR || errno == ELOOP ? -EEXIST : -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_uid == geteuid() ? TAKE_FD(fd) : -EEXIST;
}

/* Not every file system can do it in one step. There, who makes a directory of this name
 * between the two loses an empty one. */
static int rename_to_free(int rootfd, const char *from, const char *to)
{
	if (renameat2(rootfd, from, rootfd, to, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL && errno != ENOSYS)
		return -errno;
	if (faccessat(rootfd, to, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return -EEXIST;
	return renameat(rootfd, from, rootfd, to) < 0 ? -errno : 0;
}

static int make(int rootfd, const char *name, int *out)
{
	struct name half = hidden(name, HALF), mark = hidden(name, MADE);
	_cleanup_close_ int fd = -1;
	int r;

	if (mkdirat(rootfd, half.text, 0755) < 0 && errno != EEXIST)
		return -errno;
	fd = open_ours(rootfd, half.text);
	if (fd < 0)
		return fd;
	if (!dir_holds_only(fd, markdir_is_mark, name))
		return -EEXIST;
	r = put(fd, &mark);
	if (r == 0 && fchmod(fd, 0755) < 0)
		r = -errno;
	if (r == 0)
		r = rename_to_free(rootfd, half.text, name);
	if (r == 0)
		*out = TAKE_FD(fd);
	else
		markdir_remove_half(rootfd, half.text);
	return r;
}

static int use(int rootfd, const char *name, int *out)
{
	struct name mark = hidden(name, USED);
	_cleanup_close_ int fd = open_ours(rootfd, name);
	int r;

	if (fd < 0)
		return fd;
	if (!dir_is_empty(fd))
		return -EEXIST;
	r = put(fd, &mark);
	if (r == 0 && fchmod(fd, 0755) < 0)
		r = -errno;
	if (r == 0)
		*out = TAKE_FD(fd);
	return r;
}

int markdir_make(int rootfd, const char *name, int *fd)
{
	if (faccessat(rootfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return use(rootfd, name, fd);
	return make(rootfd, name, fd);
}

/* --- removing --- */

/* Not any more, if somebody has renamed it. */
static bool is_at(int rootfd, const char *name, int fd)
{
	struct stat here, there;

	return fstat(fd, &here) == 0 &&
	       fstatat(rootfd, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	       here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

/* Under its own name it is never without its mark, unless somebody has put something there
 * just now: then it is theirs. */
static int remove_made(int rootfd, int fd, const char *name, const struct name *mark)
{
	struct name half = hidden(name, HALF);
	int r = 0;

	if (renameat(rootfd, name, rootfd, half.text) < 0)
		return -errno;
	if (unlinkat(fd, mark->text, 0) < 0 ||
		unlinkat(rootfd, half.text, AT_REMOVEDIR) < 0) {
		r = -errno;
		(void)!rename_to_free(rootfd, half.text, name);
	}
	return r;
}

int markdir_remove(int rootfd, int fd, const char *name)
{
	struct name made = hidden(name, MADE), used = hidden(name, USED);
	bool is_alone = dir_holds_only(fd, markdir_is_mark, name);

	if (is_alone && has(fd, &made) && is_at(rootfd, name, fd))
		return remove_made(rootfd, fd, name, &made);
	(void)unlinkat(fd, made.text, 0);
	(void)unlinkat(fd, used.text, 0);
	return is_alone ? 0 : -ENOTEMPTY;
}

/* The name between the first dot and the ending. */
static bool take_name(const char *entry, struct name *out)
{
	size_t len = strlen(entry), ending = strlen(HALF);

	if (len <= ending + 1 || entry[0] != '.' || strcmp(entry + len - ending, HALF) != 0 ||
		len > NAME_MAX)
		return false;
	memcpy(out->text, entry + 1, len - ending - 1);
	out->text[len - ending - 1] = '\0';
	return true;
}

void markdir_remove_half(int rootfd, const char *entry)
{
	_cleanup_close_ int fd = -1;
	struct name name, mark;

	if (!take_name(entry, &name))
		return;
	mark = hidden(name.text, MADE);
	fd = open_ours(rootfd, entry);
	if (fd < 0 || !has(fd, &mark) || !dir_holds_only(fd, markdir_is_mark, name.text))
		return;
	(void)unlinkat(fd, mark.text, 0);
	(void)unlinkat(rootfd, entry, AT_REMOVEDIR);
}
