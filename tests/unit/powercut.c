/* SPDX-License-Identifier: MIT */
#include "tests/unit/powercut.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/fault.h"
#include "util/io.h"

#define SECTOR 512u
#define DISK_MAX (16u << 20)

static struct {
	pthread_mutex_t lock;
	int fd;
	uint8_t *flushed;
	uint64_t flushed_size, size;
	struct pending {
		off_t off;
		size_t len;
		uint8_t *bytes;
	} pending[4096];
	size_t n;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

static void disk_apply(uint8_t *to, const struct pending *p, uint64_t from, uint64_t end)
{
	uint64_t a = MAX((uint64_t)p->off, from), b = MIN((uint64_t)p->off + p->len, end);

	if (a < b)
		memcpy(to + a, p->bytes + (a - (uint64_t)p->off), b - a);
}

static void disk_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	struct pending *p;

	pthread_mutex_lock(&disk.lock);
	if (fd == disk.fd && disk.n < ARRAY_SIZE(disk.pending) &&
		(uint64_t)off + len <= DISK_MAX) {
		p = &disk.pending[disk.n++];
		*p = (struct pending){off, len, malloc(len)};
		memcpy(p->bytes, buf, len);
		disk.size = MAX(disk.size, (uint64_t)off + len);
	}
	pthread_mutex_unlock(&disk.lock);
}

static int disk_flush(int fd)
{
	size_t i;

	pthread_mutex_lock(&disk.lock);
	if (fd == disk.fd) {
		for (i = 0; i < disk.n; i++) {
			disk_apply(disk.flushed, &disk.pending[i], 0, DISK_MAX);
			free(disk.pending[i].bytes);
		}
		disk.n = 0;
		disk.flushed_size = disk.size;
	}
	pthread_mutex_unlock(&disk.lock);
	return 0;
}

static const struct fault_watch disk_watch = {.pwrite = disk_pwrite, .flush = disk_flush};

void powercut_start(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size <= DISK_MAX);
	free(disk.flushed);
	disk.flushed = calloc(1, DISK_MAX);
	assert_non_null(disk.flushed);
	assert_int_equal(io_pread_full(fd, disk.flushed, (size_t)st.st_size, 0), 0);
	disk.size = disk.flushed_size = (uint64_t)st.st_size;
	disk.fd = fd;
	fault_watch = &disk_watch;
}

void powercut_stop(void)
{
	pthread_mutex_lock(&disk.lock);
	disk.fd = -1;
	pthread_mutex_unlock(&disk.lock);
}

void powercut_leave(const struct scratch *dir, const char *name, uint64_t *rng)
{
	uint64_t size = scratch_random(rng) % 2 ? disk.size : disk.flushed_size, at;
	size_t i, n;

	for (at = 0; at < disk.size; at += SECTOR) {
		n = (size_t)(scratch_random(rng) % (disk.n + 1));
		/* mostly all or nothing */
		if (scratch_random(rng) % 3 == 0)
			n = disk.n;
		for (i = 0; i < n; i++)
			disk_apply(disk.flushed, &disk.pending[i], at, at + SECTOR);
	}
	for (i = 0; i < disk.n; i++)
		free(disk.pending[i].bytes);
	disk.n = 0;
	scratch_put(dir, name, disk.flushed, size);
	free(disk.flushed);
	disk.flushed = NULL;
	fault_watch = NULL;
}
