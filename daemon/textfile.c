/* SPDX-License-Identifier: MIT */
#include "daemon/textfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "util/io.h"

static int replace(int dirfd, const char *name, mode_t mode, const char *text, bool flush)
{
	_cleanup_close_ int fd = -1;
	char temp[NAME_MAX + 1];
	int r;

	if ((size_t)snprintf(temp, sizeof(temp), ".%s.new", name) >= sizeof(temp))
		return -ENAMETOOLONG;
	/* Made anew: what is there may be a pipe, or somebody's file by a second name. */
	if (unlinkat(dirfd, temp, 0) < 0 && errno != ENOENT)
		return -errno;
	fd = openat(dirfd, temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = io_write_full(fd, text, strlen(text));
	if (r == 0 && fchmod(fd, mode) < 0)
		r = -errno;
	if (r == 0 && flush && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, temp, dirfd, name) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(dirfd, temp, 0);
	return r < 0 || !flush ? r : io_sync_dir(dirfd, ".");
}

int textfile_replace(int dirfd, const char *name, mode_t mode, const char *text)
{
	return replace(dirfd, name, mode, text, false);
}

int textfile_keep(int dirfd, const char *name, mode_t mode, const char *text)
{
	return replace(dirfd, name, mode, text, true);
}

int textfile_read(int dirfd, const char *name, char *out, size_t cap)
{
	_cleanup_close_ int fd =
		openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st;
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -ENOENT;
	n = read(fd, out, cap - 1);
	if (n < 0)
		return -errno;
	out[n] = '\0';
	return 0;
}
