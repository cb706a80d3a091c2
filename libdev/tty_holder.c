/* SPDX-License-Identifier: MIT */
#include "libdev/tty.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/dir.h"
#include "util/text.h"

static bool process_has_open(int proc_fd, const char *pid, dev_t rdev)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *e;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%.20s/fd", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return false;
	dir = fdopendir(fd);
	if (!dir) {
		close(fd);
		return false;
	}
	while ((e = readdir(dir))) {
		struct stat st;

		if (isdigit((unsigned char)e->d_name[0]) &&
			fstatat(dirfd(dir), e->d_name, &st, 0) == 0 && S_ISCHR(st.st_mode) &&
			st.st_rdev == rdev)
			return true;
	}
	return false;
}

static void process_name(int proc_fd, const char *pid, char *out, size_t cap)
{
	_cleanup_close_ int fd = -1;
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "%.20s/comm", pid);
	fd = openat(proc_fd, path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, out, cap - 1);
	if (n <= 0) {
		snprintf(out, cap, "a process");
		return;
	}
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	text_make_printable(out);
}

bool dev_tty_holder(const char *path, char *out, size_t cap)
{
	_cleanup_closedir_ DIR *proc = opendir("/proc");
	struct dirent *e;
	struct stat st;
	size_t len = 0;

	if (!proc || cap == 0 || stat(path, &st) < 0 || !S_ISCHR(st.st_mode))
		return false;
	out[0] = '\0';
	while ((e = readdir(proc))) {
		char name[64];

		if (!isdigit((unsigned char)e->d_name[0]) ||
			strtol(e->d_name, NULL, 10) == getpid() ||
			!process_has_open(dirfd(proc), e->d_name, st.st_rdev))
			continue;
		process_name(dirfd(proc), e->d_name, name, sizeof(name));
		int n = snprintf(out + len, cap - len, "%s%s (pid %.20s)", len ? ", " : "",
			name, e->d_name);
		if (n < 0 || (size_t)n >= cap - len)
			break;
		len += (size_t)n;
	}
	return out[0] != '\0';
}
