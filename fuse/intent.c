/* SPDX-License-Identifier: MIT */
#include "fuse/intent.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <zlib.h>

#include "util/bytes.h"
#include "util/io.h"

#define FILE_NAME "intent"
#define MAGIC "RMintent"
#define SIZE (8 + 2 * SHA256_SIZE + INTENT_NAME_MAX + 8 + 4)

static const uint8_t removed[8];

/* In the place of one that is of no use any more. Should that be torn, then before flash was
 * touched: a damaged one is as good as none. -ENOENT: there is no such place. */
static int write_over(int dirfd, const uint8_t bytes[SIZE])
{
	_cleanup_close_ int fd = openat(dirfd, FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	uint8_t old[SIZE];
	int r;

	if (fd < 0 || io_pread_full(fd, old, SIZE, 0) < 0 ||
		memcmp(old, removed, sizeof(removed)) != 0)
		return -ENOENT;
	r = io_pwrite_full(fd, bytes, SIZE, 0);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	return r;
}

int intent_write(int dirfd, const struct intent *intent)
{
	uint8_t b[SIZE] = {0};
	uint8_t *p = b;
	int r;

	memcpy(p, MAGIC, 8);
	p += 8;
	memcpy(p, intent->base, SHA256_SIZE);
	p += SHA256_SIZE;
	memcpy(p, intent->next, SHA256_SIZE);
	p += SHA256_SIZE;
	memcpy(p, intent->next_name, INTENT_NAME_MAX);
	p += INTENT_NAME_MAX;
	bytes_put_le64(p, intent->strangers);
	p += 8;
	bytes_put_le32(p, (uint32_t)crc32(0, b, SIZE - 4));
	r = write_over(dirfd, b);
	return r == -ENOENT ? io_replace_file(dirfd, FILE_NAME, b, SIZE) : r;
}

int intent_read(int dirfd, struct intent *out)
{
	_cleanup_close_ int fd = openat(dirfd, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	uint8_t b[SIZE];
	const uint8_t *p = b + 8;
	int r;

	if (fd < 0)
		return -errno;
	r = io_pread_full(fd, b, SIZE, 0);
	if (r == -ENODATA)
		return -EUCLEAN;
	if (r < 0)
		return r;
	if (memcmp(b, removed, sizeof(removed)) == 0)
		return -ENOENT;
	if (memcmp(b, MAGIC, 8) != 0 ||
		bytes_get_le32(b + SIZE - 4) != (uint32_t)crc32(0, b, SIZE - 4))
		return -EUCLEAN;
	memcpy(out->base, p, SHA256_SIZE);
	p += SHA256_SIZE;
	memcpy(out->next, p, SHA256_SIZE);
	p += SHA256_SIZE;
	memcpy(out->next_name, p, INTENT_NAME_MAX);
	out->next_name[INTENT_NAME_MAX - 1] = '\0';
	p += INTENT_NAME_MAX;
	out->strangers = bytes_get_le64(p);
	if (out->next_name[0] && (strncmp(out->next_name, "next-", 5) != 0 ||
					 strchr(out->next_name, '/')))
		return -EUCLEAN;
	return 0;
}

void intent_remove(int dirfd)
{
	_cleanup_close_ int fd = openat(dirfd, FILE_NAME, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);

	/* The file stays, so that the next one needs no new name, and one flush less. */
	if (fd < 0 || io_pwrite_full(fd, removed, sizeof(removed), 0) < 0)
		(void)!unlinkat(dirfd, FILE_NAME, 0);
}

void intent_sweep(int dirfd, const char *keep)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;

	while (d && (e = readdir(d)))
		if (strncmp(e->d_name, "next-", 5) == 0 && (!keep || strcmp(e->d_name, keep)))
			(void)!unlinkat(dirfd, e->d_name, 0);
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}
