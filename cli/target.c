/* SPDX-License-Identifier: MIT */
#include "cli/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int target_absolute(const char *path, char **out)
{
	_cleanup_free_ char *cwd = path[0] == '/' ? strdup("") : getcwd(NULL, 0);

	if (!cwd)
		return -errno;
	return asprintf(out, "%s%s%s", cwd, path[0] == '/' ? "" : "/", path) < 0 ? -ENOMEM : 0;
}

int target_parse_number(const char *text, unsigned long max, unsigned long *out)
{
	char *end;

	errno = 0;
	*out = strtoul(text, &end, 0);
	if (errno || end == text || text[0] == '-')
		return -EINVAL;
	if (*end == 'k' || *end == 'K')
		*out *= 1024, end++;
	else if (*end == 'M')
		*out *= 1024 * 1024, end++;
	return *end || *out > max ? -EINVAL : 0;
}

int target_find(const char *path, char **out, bool *is_image, struct error *err)
{
	char *found = NULL;
	struct stat st;
	int r = 0;

	if (stat(path, &st) < 0)
		return error_set(err, -errno, "port or image %s: %s", path, strerror(errno));
	if (!S_ISCHR(st.st_mode) && !S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s is neither a serial port nor an image file",
			path);
	if (S_ISREG(st.st_mode)) {
		found = realpath(path, NULL);
		r = found ? 0 : -errno;
	} else {
		r = target_absolute(path, &found);
	}
	if (r < 0)
		return error_set(err, r, "%s: %s", path, strerror(-r));
	*out = found;
	*is_image = S_ISREG(st.st_mode);
	return 0;
}
