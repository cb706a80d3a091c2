/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "fuse/mirror.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "util/bytes.h"
#include "util/io.h"

#define FILE_NAME "base"
#define NEW_NAME "base.new"

#define HEAD_SIZE 32u
#define MAP_VERSION 1u
static const char head_magic[8] = "ROMOUNTB";

/* A chunk's byte on disk: this one, or it is not there. */
#define ON_DISK 0xA5u

/* What is known of a chunk, as bits. A claim outlives the bytes where taking it back has
 * failed: then it must be tried again before anything else is stored there. */
enum presence {
	ABSENT = 0,
	READABLE = 1, /* the bytes are there, for this process */
	CLAIMED = 2,  /* the map on disk says so, or may */
};

struct mirror_file {
	atomic_uint refs;
	int fd;
	uint64_t size;
	size_t n_chunks;
	/* Written after the chunk's bytes and read before them. */
	_Atomic uint8_t presence[];
};

struct mirror {
	struct mirror_file *file;
	pthread_mutex_t lock; /* one at a time changes the map */
};

/* --- the file ------------------------------------------------------------------------- */

static uint64_t head_offset(uint64_t size)
{
	return (size + MIRROR_CHUNK - 1) / MIRROR_CHUNK * MIRROR_CHUNK;
}

static uint64_t map_offset(const struct mirror_file *file)
{
	return head_offset(file->size) + HEAD_SIZE;
}

static int file_new(int fd, uint64_t size, struct mirror_file **out)
{
	size_t n = (size_t)(head_offset(size) / MIRROR_CHUNK);
	struct mirror_file *file = calloc(1, sizeof(*file) + n);

	if (!file)
		return -ENOMEM;
	atomic_init(&file->refs, 1);
	file->fd = fd;
	file->size = size;
	file->n_chunks = n;
	*out = file;
	return 0;
}

void mirror_unref(struct mirror_file *file)
{
	if (!file || atomic_fetch_sub(&file->refs, 1) != 1)
		return;
	close(file->fd);
	free(file);
}

struct mirror_file *mirror_ref(const struct mirror *m)
{
	atomic_fetch_add(&m->file->refs, 1);
	return m->file;
}

int mirror_file_fd(const struct mirror_file *file)
{
	return file->fd;
}

uint64_t mirror_file_size(const struct mirror_file *file)
{
	return file->size;
}

static void encode_head(uint8_t out[HEAD_SIZE], uint64_t size)
{
	memset(out, 0, HEAD_SIZE);
	memcpy(out, head_magic, sizeof(head_magic));
	bytes_put_le32(out + 8, MAP_VERSION);
	bytes_put_le32(out + 12, MIRROR_CHUNK);
	bytes_put_le64(out + 16, size);
	bytes_put_le32(out + 28, (uint32_t)crc32_z(0, out, 28));
}

static bool in_range(const struct mirror_file *file, uint64_t off, uint64_t len)
{
	return off <= file->size && len <= file->size - off;
}

/* The chunks [*first, *end) that touch a range; none for an empty one. */
static void chunks_of(uint64_t off, uint64_t len, size_t *first, size_t *end)
{
	*first = (size_t)(off / MIRROR_CHUNK);
	*end = len ? (size_t)((off + len - 1) / MIRROR_CHUNK + 1) : *first;
}

/* Writes head and map: `value` for all chunks but those that touch `but`. */
static int write_map(const struct mirror_file *file, uint8_t value,
	const struct romfs_extent *but, size_t n)
{
	_cleanup_free_ uint8_t *bytes = malloc(HEAD_SIZE + file->n_chunks);
	size_t i;

	if (!bytes)
		return -ENOMEM;
	encode_head(bytes, file->size);
	memset(bytes + HEAD_SIZE, value, file->n_chunks);
	for (i = 0; i < n; i++) {
		size_t first, end;

		if (!in_range(file, but[i].off, but[i].len))
			return -EINVAL;
		chunks_of(but[i].off, but[i].len, &first, &end);
		memset(bytes + HEAD_SIZE + first, 0, end - first);
	}
	return io_pwrite_full(file->fd, bytes, HEAD_SIZE + file->n_chunks,
		(off_t)head_offset(file->size));
}

/* -EUCLEAN where it is no mirror of this size. */
static int read_map(struct mirror_file *file)
{
	_cleanup_free_ uint8_t *map = malloc(file->n_chunks + 1);
	uint8_t head[HEAD_SIZE], want[HEAD_SIZE];
	struct stat st;
	size_t i;
	int r;

	if (!map)
		return -ENOMEM;
	if (fstat(file->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) ||
		(uint64_t)st.st_size != map_offset(file) + file->n_chunks)
		return -EUCLEAN;
	r = io_pread_full(file->fd, head, sizeof(head), (off_t)head_offset(file->size));
	if (r == 0)
		r = io_pread_full(file->fd, map, file->n_chunks, (off_t)map_offset(file));
	if (r < 0)
		return r;
	encode_head(want, file->size);
	if (memcmp(head, want, sizeof(head)) != 0)
		return -EUCLEAN;
	for (i = 0; i < file->n_chunks; i++)
		atomic_init(&file->presence[i], map[i] == ON_DISK ? READABLE | CLAIMED : ABSENT);
	return 0;
}

static int open_file(
	int dirfd, const char *name, int flags, uint64_t size, struct mirror_file **out)
{
	_cleanup_close_ int fd = openat(
		dirfd, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | flags, 0600);
	int r;

	if (fd < 0)
		return -errno;
	r = file_new(fd, size, out);
	if (r == 0)
		TAKE_FD(fd);
	return r;
}

static int make_file(int dirfd, uint64_t size, struct mirror_file **out)
{
	_cleanup_(mirror_unrefp) struct mirror_file *file = NULL;
	int r;

	if (unlinkat(dirfd, NEW_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	r = open_file(dirfd, NEW_NAME, O_CREAT | O_EXCL, size, &file);
	if (r == 0)
		r = write_map(file, 0, NULL, 0);
	/* Before it has its name: a crash leaves a whole one or the old one. */
	if (r == 0 && fdatasync(file->fd) < 0)
		r = -errno;
	if (r == 0 && renameat(dirfd, NEW_NAME, dirfd, FILE_NAME) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dirfd, NEW_NAME, 0);
		return r;
	}
	*out = TAKE_PTR(file);
	return 0;
}

/* -EUCLEAN where it is no mirror of this size. */
static int open_whole(int dirfd, const char *name, uint64_t size, struct mirror_file **out)
{
	_cleanup_(mirror_unrefp) struct mirror_file *file = NULL;
	int r = open_file(dirfd, name, 0, size, &file);

	if (r < 0)
		return r;
	assert(file);
	r = read_map(file);
	if (r == 0)
		*out = TAKE_PTR(file);
	return r;
}

static int open_or_make(int dirfd, uint64_t size, struct mirror_file **out)
{
	int r = open_whole(dirfd, FILE_NAME, size, out);

	if (r != -ENOENT && r != -EUCLEAN && r != -ELOOP)
		return r;
	return make_file(dirfd, size, out);
}

int mirror_open(int dirfd, uint64_t size, struct mirror **out, struct error *err)
{
	_cleanup_free_ struct mirror *m = calloc(1, sizeof(*m));
	int r = -ENOMEM;

	if (m && (size == 0 || size > INT64_MAX / 4))
		r = -EINVAL;
	else if (m)
		r = open_or_make(dirfd, size, &m->file);
	/* A name that a later power cut takes back would bring back an older map. */
	if (r == 0) {
		r = io_sync_dir(dirfd, ".");
		if (r < 0)
			mirror_unref(m->file);
	}
	if (r < 0)
		return error_set(err, r, "cannot open the copy of the flash ('%s'): %s",
			FILE_NAME, strerror(-r));
	pthread_mutex_init(&m->lock, NULL);
	*out = TAKE_PTR(m);
	return 0;
}

void mirror_free(struct mirror *m)
{
	if (!m)
		return;
	mirror_unref(m->file);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

uint64_t mirror_size(const struct mirror *m)
{
	return m->file->size;
}

/* --- asking --------------------------------------------------------------------------- */

static bool has(const struct mirror_file *file, size_t i, enum presence bit)
{
	return atomic_load_explicit(&file->presence[i], memory_order_acquire) & bit;
}

bool mirror_missing(const struct mirror *m, uint64_t off, uint64_t len, uint64_t *run_off,
	uint64_t *run_len)
{
	const struct mirror_file *file = m->file;
	size_t i, end, first;

	if (!in_range(file, off, len))
		return false;
	chunks_of(off, len, &i, &end);
	while (i < end && has(file, i, READABLE))
		i++;
	if (i == end)
		return false;
	for (first = i; i < end && !has(file, i, READABLE); i++)
		;
	*run_off = (uint64_t)first * MIRROR_CHUNK;
	*run_len = MIN((uint64_t)i * MIRROR_CHUNK, file->size) - *run_off;
	return true;
}

bool mirror_has(const struct mirror *m, uint64_t off, uint64_t len)
{
	uint64_t run_off, run_len;

	return in_range(m->file, off, len) &&
	       !mirror_missing(m, off, len, &run_off, &run_len);
}

int mirror_read(const struct mirror *m, uint64_t off, void *buf, size_t len)
{
	if (!in_range(m->file, off, len))
		return -EINVAL;
	if (!mirror_has(m, off, len))
		return -ENODATA;
	return io_pread_full(m->file->fd, buf, len, (off_t)off);
}

/* --- changing ------------------------------------------------------------------------- */

/* Writes the map's bytes of [first, end) as `value`. */
static int write_presence(
	const struct mirror_file *file, size_t first, size_t end, uint8_t value)
{
	uint8_t bytes[512];

	memset(bytes, value, sizeof(bytes));
	while (first < end) {
		size_t n = MIN(end - first, sizeof(bytes));
		int r = io_pwrite_full(
			file->fd, bytes, n, (off_t)(map_offset(file) + first));

		if (r < 0)
			return r;
		first += n;
	}
	return 0;
}

/* Takes the chunks away; `claimed` where the map on disk has to learn of it, and be
 * flushed. */
static int unclaim(struct mirror_file *file, size_t first, size_t end, bool *claimed)
{
	bool any = false;
	size_t i;

	for (i = first; i < end; i++) {
		any |= has(file, i, CLAIMED);
		atomic_fetch_and(&file->presence[i], (uint8_t)~READABLE);
	}
	*claimed |= any;
	return any ? write_presence(file, first, end, 0) : 0;
}

static void set_absent(struct mirror_file *file, size_t first, size_t end)
{
	size_t i;

	for (i = first; i < end; i++)
		atomic_store(&file->presence[i], ABSENT);
}

static int forget_list(struct mirror_file *file, const struct romfs_extent *list, size_t n)
{
	size_t first, end, i;
	bool claimed = false;
	int r = 0;

	for (i = 0; i < n && r == 0; i++) {
		chunks_of(list[i].off, list[i].len, &first, &end);
		r = in_range(file, list[i].off, list[i].len)
			    ? unclaim(file, first, end, &claimed)
			    : -EINVAL;
	}
	if (r == 0 && claimed && fdatasync(file->fd) < 0)
		r = -errno;
	for (i = 0; i < n && r == 0; i++) {
		chunks_of(list[i].off, list[i].len, &first, &end);
		set_absent(file, first, end);
	}
	return r;
}

int mirror_forget_list(struct mirror *m, const struct romfs_extent *list, size_t n)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = forget_list(m->file, list, n);
	pthread_mutex_unlock(&m->lock);
	return r;
}

int mirror_forget(struct mirror *m, uint64_t off, uint64_t len)
{
	const struct romfs_extent one = {off, len};

	return mirror_forget_list(m, &one, 1);
}

/* 1: all of it is there with these very bytes. */
static int holds_already(
	const struct mirror_file *file, uint64_t off, const uint8_t *buf, size_t len)
{
	uint8_t old[MIRROR_CHUNK];
	size_t n;

	for (; len; buf += n, off += n, len -= n) {
		int r;

		n = MIN(len, sizeof(old));
		if (!has(file, (size_t)(off / MIRROR_CHUNK), READABLE))
			return 0;
		r = io_pread_full(file->fd, old, n, (off_t)off);
		if (r < 0)
			return r;
		if (memcmp(old, buf, n) != 0)
			return 0;
	}
	return 1;
}

static int store_chunks(struct mirror_file *file, uint64_t off, const void *buf, size_t len)
{
	size_t first, end, i;
	int r = holds_already(file, off, buf, len);

	if (r != 0)
		return r < 0 ? r : 0;
	chunks_of(off, len, &first, &end);
	r = forget_list(file, &(struct romfs_extent){off, len}, 1);
	if (r == 0)
		r = io_pwrite_full(file->fd, buf, len, (off_t)off);
	for (i = first; r == 0 && i < end; i++)
		atomic_fetch_or_explicit(
			&file->presence[i], READABLE, memory_order_release);
	return r;
}

int mirror_store(struct mirror *m, uint64_t off, const void *buf, size_t len)
{
	const struct mirror_file *file = m->file;
	int r;

	if (!in_range(file, off, len) || off % MIRROR_CHUNK ||
		(len % MIRROR_CHUNK && off + len != file->size))
		return -EINVAL;
	pthread_mutex_lock(&m->lock);
	r = store_chunks(m->file, off, buf, len);
	pthread_mutex_unlock(&m->lock);
	return r;
}

/* The next row of chunks from *i on that are there and not claimed. */
static bool next_unclaimed(const struct mirror_file *file, size_t *i, size_t *end)
{
	size_t n = *i;

	while (n < file->n_chunks && (!has(file, n, READABLE) || has(file, n, CLAIMED)))
		n++;
	*i = n;
	while (n < file->n_chunks && has(file, n, READABLE) && !has(file, n, CLAIMED))
		n++;
	*end = n;
	return *i < n;
}

static int flush_file(struct mirror_file *file)
{
	size_t i = 0, end, k;
	int r = 0;

	if (!next_unclaimed(file, &i, &end))
		return 0;
	if (fdatasync(file->fd) < 0)
		return -errno;
	for (; r == 0 && next_unclaimed(file, &i, &end); i = end) {
		for (k = i; k < end; k++)
			atomic_fetch_or(&file->presence[k], CLAIMED);
		r = write_presence(file, i, end, ON_DISK);
	}
	return r;
}

int mirror_flush(struct mirror *m)
{
	int r;

	pthread_mutex_lock(&m->lock);
	r = flush_file(m->file);
	pthread_mutex_unlock(&m->lock);
	return r;
}

/* --- another file takes its place ----------------------------------------------------- */

int mirror_seal(int fd, uint64_t size, const struct romfs_extent *unknown, size_t n)
{
	_cleanup_free_ struct mirror_file *file = NULL; /* the descriptor is the caller's */
	int r = file_new(fd, size, &file);

	if (r == 0)
		r = write_map(file, ON_DISK, unknown, n);
	if (r == 0 && fdatasync(fd) < 0)
		r = -errno;
	return r;
}

int mirror_adopt(struct mirror *m, int dirfd, const char *name, struct error *err)
{
	_cleanup_(mirror_unrefp) struct mirror_file *next = NULL;
	struct mirror_file *old = m->file;
	int r = open_whole(dirfd, name, old->size, &next);

	if (r == 0 && renameat(dirfd, name, dirfd, FILE_NAME) < 0)
		r = -errno;
	if (r < 0)
		return error_set(err, r, "cannot keep the copy of the flash ('%s'): %s", name,
			strerror(-r));
	m->file = TAKE_PTR(next);
	r = io_sync_dir(dirfd, ".");
	/* A power cut may bring the old file back, which from now on learns nothing of what
	 * happens to the flash: it must not claim anything. */
	if (r < 0 && write_map(old, 0, NULL, 0) == 0)
		(void)!fdatasync(old->fd);
	mirror_unref(old);
	if (r < 0)
		return error_set(err, r, "cannot keep the copy of the flash ('%s'): %s", name,
			strerror(-r));
	return 0;
}
