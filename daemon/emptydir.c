/* SPDX-License-Identifier: MIT */
#include "daemon/emptydir.h"

#include <fcntl.h>
#include <string.h>

#include "util/dir.h"

bool dir_holds_only(int fd, bool (*may)(const char *name, const char *entry), const char *name)
{
	int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_closedir_ DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!dir)
		closep(&copy);
	while (dir && (e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
			!may(name, e->d_name))
			return false;
	return dir != NULL;
}

static bool may_not(const char *name, const char *entry)
{
	(void)name;
	(void)entry;
	return false;
}

bool dir_is_empty(int fd)
{
	return dir_holds_only(fd, may_not, "");
}
