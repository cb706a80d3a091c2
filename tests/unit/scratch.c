/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/unit/scratch.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "util/io.h"

void scratch_make(struct scratch *s)
{
	snprintf(s->path, sizeof(s->path), "scratch.XXXXXX");
	assert_non_null(mkdtemp(s->path));
	s->dirfd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(s->dirfd >= 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void scratch_remove(struct scratch *s)
{
	close(s->dirfd);
	assert_int_equal(nftw(s->path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

void scratch_put(const struct scratch *s, const char *name, const void *buf, size_t len)
{
	int fd = openat(s->dirfd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(io_pwrite_full(fd, buf, len, 0), 0);
	close(fd);
}

void *scratch_get(const struct scratch *s, const char *name, size_t *len)
{
	int fd = openat(s->dirfd, name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *buf;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	*len = (size_t)st.st_size;
	buf = malloc(*len + 1);
	assert_non_null(buf);
	assert_int_equal(io_pread_full(fd, buf, *len, 0), 0);
	close(fd);
	return buf;
}

uint64_t scratch_seed(const char *test)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;

	print_message("%s: SEED=%llu\n", test, (unsigned long long)seed);
	return seed;
}

uint64_t scratch_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}
