/* SPDX-License-Identifier: MIT */
#include "fuse/wear.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "util/bytes.h"
#include "util/io.h"

#define FILE_NAME "wear"
#define NEW_NAME "wear.new"
#define MAGIC "RomWear1"
#define HEAD_SIZE 40u

/* Of a block; 0 where it is well. */
#define SET_ASIDE 1u
#define ON_TRIAL 2u

struct wear {
	int dirfd;
	uint64_t size;
	uint32_t block;
	size_t n;
	uint32_t *erases;
	uint8_t *bad;
	enum dev_twice twice;
	bool changed;
};

static size_t file_size(const struct wear *w)
{
	return HEAD_SIZE + w->n * 5;
}

static uint32_t sum(const uint8_t *b, size_t len)
{
	return (uint32_t)crc32_z(crc32_z(0, b, HEAD_SIZE - 4), b + HEAD_SIZE, len - HEAD_SIZE);
}

static void encode(const struct wear *w, uint8_t *b)
{
	size_t i;

	memset(b, 0, HEAD_SIZE);
	memcpy(b, MAGIC, 8);
	bytes_put_le64(b + 8, w->size);
	bytes_put_le32(b + 16, w->block);
	b[20] = (uint8_t)w->twice;
	for (i = 0; i < w->n; i++)
		bytes_put_le32(b + HEAD_SIZE + 4 * i, w->erases[i]);
	for (i = 0; i < w->n; i++)
		b[HEAD_SIZE + 4 * w->n + i] = w->bad[i] == SET_ASIDE;
	bytes_put_le32(b + HEAD_SIZE - 4, sum(b, file_size(w)));
}

static void decode(struct wear *w, const uint8_t *b)
{
	size_t i;

	if (memcmp(b, MAGIC, 8) != 0 || bytes_get_le64(b + 8) != w->size ||
		bytes_get_le32(b + 16) != w->block || b[20] > DEV_TWICE_YES ||
		bytes_get_le32(b + HEAD_SIZE - 4) != sum(b, file_size(w)))
		return;
	w->twice = b[20];
	for (i = 0; i < w->n; i++)
		w->erases[i] = bytes_get_le32(b + HEAD_SIZE + 4 * i);
	memcpy(w->bad, b + HEAD_SIZE + 4 * w->n, w->n);
}

static void load(struct wear *w, uint8_t *buf)
{
	_cleanup_close_ int fd = openat(
		w->dirfd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd >= 0 && io_pread_full(fd, buf, file_size(w), 0) == 0)
		decode(w, buf);
}

int wear_open(int dirfd, uint64_t size, uint32_t erase_block, struct wear **out)
{
	_cleanup_(wear_freep) struct wear *w = calloc(1, sizeof(*w));
	_cleanup_free_ uint8_t *buf = NULL;

	if (!w)
		return -ENOMEM;
	w->dirfd = dirfd;
	w->size = size;
	w->block = erase_block;
	w->n = (size_t)(size / erase_block);
	w->erases = calloc(w->n, sizeof(*w->erases));
	w->bad = calloc(w->n, 1);
	buf = malloc(file_size(w));
	if (!w->erases || !w->bad || !buf)
		return -ENOMEM;
	load(w, buf);
	*out = TAKE_PTR(w);
	return 0;
}

void wear_free(struct wear *w)
{
	if (!w)
		return;
	free(w->erases);
	free(w->bad);
	free(w);
}

void wear_save(struct wear *w)
{
	_cleanup_free_ uint8_t *buf = NULL;
	_cleanup_close_ int fd = -1;

	if (!w->changed)
		return;
	buf = malloc(file_size(w));
	fd = openat(w->dirfd, NEW_NAME,
		O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (!buf || fd < 0)
		return;
	encode(w, buf);
	/* A power cut may leave a part of it, which its sum tells. */
	if (io_write_full(fd, buf, file_size(w)) == 0 &&
		renameat(w->dirfd, NEW_NAME, w->dirfd, FILE_NAME) == 0)
		w->changed = false;
	else
		(void)!unlinkat(w->dirfd, NEW_NAME, 0);
}

void wear_erased(struct wear *w, uint64_t off, uint64_t len)
{
	for (uint64_t k = off / w->block; k < w->n && k * w->block < off + len; k++)
		w->erases[k] += w->erases[k] < UINT32_MAX;
	w->changed = true;
}

bool wear_set_aside(struct wear *w, uint64_t off)
{
	uint64_t k = off / w->block;

	if (k >= w->n || w->bad[k])
		return false;
	w->bad[k] = ON_TRIAL;
	return true;
}

void wear_forgive(struct wear *w)
{
	memset(w->bad, 0, w->n);
	w->changed = true;
}

void wear_settle(struct wear *w, bool keep)
{
	for (size_t k = 0; k < w->n; k++) {
		if (w->bad[k] != ON_TRIAL)
			continue;
		w->bad[k] = keep ? SET_ASIDE : 0;
		w->changed |= keep;
	}
}

const uint32_t *wear_erases(const struct wear *w)
{
	return w->erases;
}

const uint8_t *wear_bad(const struct wear *w)
{
	return w->bad;
}

enum dev_twice wear_twice(const struct wear *w)
{
	return w->twice;
}

void wear_set_twice(struct wear *w, enum dev_twice twice)
{
	w->changed |= w->twice != twice;
	w->twice = twice;
}
