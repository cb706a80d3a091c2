/* SPDX-License-Identifier: MIT */
#include "daemon/emptydir.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>

#include "util/macros.h"

static void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

bool dir_holds_only(int fd, bool (*may)(const char *name, const char *entry), const char *name)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	_cleanup_(closedirp) DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!dir) {
		closep(&copy);
		return false;
	}
	rewinddir(dir); /* the place is shared with the other descriptor */
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
			!may(name, e->d_name))
			return false;
	return true;
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
