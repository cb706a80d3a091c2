/* SPDX-License-Identifier: MIT */
/* After a cut: what every part of flash holds, by the board's own hashes. */
#include <errno.h>
#include <string.h>

#include "fuse/flash_private.h"
#include "util/io.h"

/* Digests per request: 2 KiB on the line, and a reply that fits any board's buffers. */
#define BATCH 64u

int flash_hash_mirror(
	struct flash *f, uint64_t off, size_t len, uint8_t *buf, uint8_t out[SHA256_SIZE])
{
	int r = mirror_read(f->mirror, off, buf, len);

	if (r == 0)
		sha256_of(buf, len, out);
	return r;
}

int flash_hash_fd(int fd, uint64_t off, size_t len, uint8_t *buf, uint8_t out[SHA256_SIZE])
{
	int r = io_pread_full(fd, buf, len, (off_t)off);

	if (r == 0)
		sha256_of(buf, len, out);
	return r;
}

static bool matches(int r, const uint8_t a[SHA256_SIZE], const uint8_t b[SHA256_SIZE])
{
	return r == 0 && memcmp(a, b, SHA256_SIZE) == 0;
}

static enum block_state classify(struct flash *f, uint64_t off, size_t len, uint8_t *buf,
	const uint8_t board[SHA256_SIZE], const uint8_t blank[SHA256_SIZE])
{
	uint8_t host[SHA256_SIZE];
	int known = flash_hash_mirror(f, off, len, buf, host), r;

	/* Blank in the base too: then it is the base's. */
	if (matches(known, host, board))
		return BLOCK_BASE;
	if (memcmp(board, blank, SHA256_SIZE) == 0)
		return BLOCK_BLANK;
	r = f->next_fd >= 0 ? flash_hash_fd(f->next_fd, off, len, buf, host) : -ENODATA;
	if (matches(r, host, board))
		return BLOCK_NEXT;
	return known == -ENODATA ? BLOCK_UNSEEN : BLOCK_UNKNOWN;
}

static int survey(struct flash *f, uint8_t *buf, struct error *err)
{
	uint32_t unit = f->unit;
	uint64_t count = f->geometry.size / unit, k = 0;
	uint8_t board[BATCH][SHA256_SIZE], blank[SHA256_SIZE];

	memset(buf, 0xFF, unit);
	sha256_of(buf, unit, blank);
	while (k < count) {
		uint64_t n = MIN((uint64_t)BATCH, count - k), i;
		int r = dev_target_hash(f->target, k * unit, n * unit, unit, board, err);

		if (r < 0)
			return r;
		for (i = 0; i < n; i++)
			f->states[k + i] = (uint8_t)classify(
				f, (k + i) * unit, unit, buf, board[i], blank);
		k += n;
	}
	return 0;
}

/* An erase block is as strange as the strangest of its units. */
static void take_census(const struct flash *f, struct flash_census *census)
{
	uint64_t per = f->geometry.erase_block / f->unit, k, i;
	uint64_t *const counters[] = {
		[BLOCK_UNSEEN] = &census->unseen,
		[BLOCK_BASE] = &census->base,
		[BLOCK_BLANK] = &census->blank,
		[BLOCK_NEXT] = &census->next,
		[BLOCK_UNKNOWN] = &census->unknown,
	};

	*census = (struct flash_census){0};
	for (k = 0; k < f->geometry.size / f->unit; k += per) {
		uint8_t strangest = BLOCK_UNSEEN;

		for (i = 0; i < per; i++)
			strangest = MAX(strangest, f->states[k + i]);
		++*counters[strangest];
	}
}

int flash_survey(struct flash *f, int fd, bool unseen_holds, struct flash_census *census,
	struct error *err)
{
	_cleanup_close_ int next_fd = fd;
	uint64_t count;
	_cleanup_free_ uint8_t *buf = NULL;
	bool given_up;
	int r = flash_connect(f, err);

	if (r < 0)
		return r;
	given_up = f->given_up;
	flash_set_mixed(f);
	f->given_up = given_up;
	f->unit = f->geometry.erase_block % MIRROR_CHUNK ? f->geometry.erase_block
							  : MIRROR_CHUNK;
	count = f->geometry.size / f->unit;
	buf = malloc(f->unit);
	f->next_fd = TAKE_FD(next_fd);
	f->unseen_holds = unseen_holds && !given_up;
	f->states = malloc(count);
	if (!buf || !f->states)
		return -ENOMEM;
	memset(f->states, BLOCK_UNKNOWN, count);
	r = survey(f, buf, err);
	if (r == 0)
		take_census(f, census);
	return r;
}

bool flash_is_mixed(const struct flash *f)
{
	return f->mixed;
}

bool flash_is_doubtful(const struct flash *f)
{
	return f->doubtful;
}

static bool holds(const struct flash *f, uint8_t state)
{
	return state == BLOCK_BASE || (state == BLOCK_UNSEEN && f->unseen_holds);
}

bool flash_holds_base(const struct flash *f, uint64_t off, uint64_t len)
{
	uint64_t k;

	if (!f->mixed || len == 0)
		return true;
	if (!f->states)
		return false;
	for (k = off / f->unit; k * f->unit < off + len; k++)
		if (!holds(f, f->states[k]))
			return false;
	return true;
}

void flash_set_mixed(struct flash *f)
{
	flash_settled(f);
	f->mixed = true;
}

void flash_set_doubtful(struct flash *f)
{
	f->doubtful = true;
}

void flash_settled(struct flash *f)
{
	free(f->states);
	f->states = NULL;
	f->mixed = f->doubtful = f->given_up = false;
	if (f->next_fd >= 0)
		close(f->next_fd);
	f->next_fd = -1;
}

/* What is asked for is known, or it is not: nothing is fetched to plan by. */
static int read_known(struct flash *f, uint64_t off, void *buf, size_t len, struct error *err)
{
	int r = mirror_read(f->mirror, off, buf, len);

	return r < 0 && r != -ENODATA
		? error_set(err, r, "the copy of rom%u on this computer: %s",
			  f->geometry.number, strerror(-r))
		: r;
}

static int read_now(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct flash *f = ctx;
	uint8_t *p = buf;

	if (!f->mixed)
		return read_known(f, off, buf, len, err);
	if (!f->states)
		return -ENODATA;
	while (len) {
		uint64_t k = off / f->unit;
		size_t part = (size_t)MIN((uint64_t)len, (k + 1) * f->unit - off);
		int r = 0;

		if (f->states[k] == BLOCK_UNKNOWN || f->states[k] == BLOCK_UNSEEN)
			return -ENODATA;
		if (f->states[k] == BLOCK_BLANK)
			memset(p, 0xFF, part);
		else if (f->states[k] == BLOCK_NEXT)
			r = io_pread_full(f->next_fd, p, part, (off_t)off);
		else
			r = read_known(f, off, p, part, err);
		if (r < 0)
			return r;
		p += part;
		off += part;
		len -= part;
	}
	return 0;
}

struct romfs_source flash_now_source(struct flash *f)
{
	return (struct romfs_source){.read = read_now, .ctx = f, .size = f->geometry.size};
}
