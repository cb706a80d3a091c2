/* SPDX-License-Identifier: MIT */
#include "daemon/emptydir.h"

#include <fcntl.h>
#include <string.h>

#include "util/dir.h"

bool dir_is_empty(int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	_cleanup_closedir_ DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *e;

	if (!dir) {
		closep(&copy);
		return false;
	}
	rewinddir(dir); /* the place is shared with the other descriptor */
	while ((e = readdir(dir)))
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			return false;
	return true;
}
