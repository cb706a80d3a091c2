/* SPDX-License-Identifier: MIT */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static mode_t mode_for(const char *path)
{
	struct stat st;
	mode_t mask;

	if (stat(path, &st) == 0)
		return st.st_mode & 0777;
	mask = umask(0);
	umask(mask);
	return 0666 & ~mask;
}

void output_drop(struct output *o)
{
	if (o->file)
		fclose(o->file);
	if (o->temp)
		unlink(o->temp);
	free(o->temp);
	*o = (struct output){0};
}

int output_open(struct output *o, const char *path, struct error *err)
{
	_cleanup_close_ int fd = -1;

	*o = (struct output){.path = path};
	if (asprintf(&o->temp, "%s.XXXXXX", path) < 0) {
		o->temp = NULL;
		return error_set(err, -ENOMEM, "out of memory");
	}
	fd = mkostemp(o->temp, O_CLOEXEC);
	if (fd < 0) {
		int r = error_set(
			err, -errno, "cannot write beside %s: %s", path, strerror(errno));

		free(o->temp);
		o->temp = NULL;
		return r;
	}
	if (fchmod(fd, mode_for(path)) < 0 || !(o->file = fdopen(fd, "w"))) {
		int r = error_set(
			err, -errno, "cannot write %s: %s", path, strerror(errno));

		output_drop(o);
		return r;
	}
	TAKE_FD(fd);
	return 0;
}

int output_write(void *ctx, const void *buf, size_t len, struct error *err)
{
	struct output *o = ctx;

	if (fwrite(buf, 1, len, o->file) == len)
		return 0;
	return error_set(err, -errno, "cannot write %s: %s", o->path, strerror(errno));
}

int output_commit(struct output *o, struct error *err)
{
	if (fflush(o->file) != 0 || fsync(fileno(o->file)) < 0 ||
		rename(o->temp, o->path) < 0)
		return error_set(
			err, -errno, "cannot write %s: %s", o->path, strerror(errno));
	free(o->temp);
	o->temp = NULL;
	return 0;
}

int output_memory(struct output *o, struct error *err)
{
	_cleanup_close_ int fd = memfd_create("romount", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	*o = (struct output){.path = "memory"};
	if (fd < 0 || !(o->file = fdopen(fd, "w+")))
		return error_set(err, -errno, "no memory for an image: %s", strerror(errno));
	TAKE_FD(fd);
	return 0;
}

int output_seal(struct output *o, int *fd, struct error *err)
{
	static const int seals = F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_WRITE | F_SEAL_SEAL;
	int copy = fflush(o->file) == 0 ? fcntl(fileno(o->file), F_DUPFD_CLOEXEC, 3) : -1;
	int r = copy < 0 ? -errno : 0;

	if (r == 0 && (fcntl(copy, F_ADD_SEALS, seals) < 0 || lseek(copy, 0, SEEK_SET) < 0))
		r = -errno;
	if (r < 0) {
		if (copy >= 0)
			close(copy);
		return error_set(err, r, "no memory for an image: %s", strerror(-r));
	}
	*fd = copy;
	return 0;
}
