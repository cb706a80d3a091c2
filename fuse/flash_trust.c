/* SPDX-License-Identifier: MIT */
/* Comparing what is on the board with what the host knows, by the board's own hashes. */
#include <errno.h>
#include <string.h>

#include "fuse/flash_private.h"

/* Bytes per digest where everything is expected to be equal: the larger, the fewer bytes
 * over the line; a mismatch makes that much of the mirror unknown. */
#define STEP_BYTES (64u << 10)
/* Digests per request: 2 KiB on the line, and a reply that fits any board's buffers. */
#define BATCH 64u
/* Metadata is looked at in few pieces: those that are nearer to each other than this, and
 * than twice as much where there are still too many, are one. */
#define META_GAP 64u

/* --- extents --------------------------------------------------------------------------- */

struct extents {
	struct romfs_extent *v;
	size_t n, cap;
};

static int add(struct extents *x, uint64_t off, uint64_t len)
{
	if (x->n == x->cap) {
		size_t cap = x->cap ? 2 * x->cap : 16;
		struct romfs_extent *v = reallocarray(x->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		x->v = v;
		x->cap = cap;
	}
	x->v[x->n++] = (struct romfs_extent){off, len};
	return 0;
}

/* All that the mirror knows of [off, end). */
static int add_known(
	struct flash *f, struct extents *x, uint64_t off, uint64_t end)
{
	int r = 0;

	while (off < end && r == 0) {
		uint64_t gap = end, gap_len = 0;

		if (!mirror_missing(f->mirror, off, end - off, &gap, &gap_len))
			gap = end;
		if (gap > off)
			r = add(x, off, gap - off);
		off = gap + gap_len;
	}
	return r;
}

/* Sorted ones, as a parsed image has them. */
static void join_near(struct extents *x, uint64_t gap)
{
	size_t i, n = 0;

	for (i = 0; i < x->n; i++) {
		struct romfs_extent e = x->v[i], *last = n ? &x->v[n - 1] : NULL;

		if (last && e.off <= last->off + last->len + gap)
			last->len = e.off + e.len - last->off;
		else
			x->v[n++] = e;
	}
	x->n = n;
}

/* --- comparing ------------------------------------------------------------------------- */

struct comparison {
	struct flash *f;
	uint8_t *buf; /* STEP_BYTES */
	flash_differs_fn differs;
	void *ctx;
};

static void compare_one(struct comparison *c, uint64_t off, uint64_t len,
	const uint8_t board[SHA256_SIZE])
{
	uint8_t host[SHA256_SIZE];
	int r = flash_hash_mirror(c->f, off, (size_t)len, c->buf, host);

	if (r < 0 || memcmp(host, board, SHA256_SIZE) != 0)
		c->differs(c->ctx, off, len);
}

static int compare_long(
	struct comparison *c, uint64_t off, uint64_t len, struct error *err)
{
	uint8_t board[BATCH][SHA256_SIZE];

	while (len) {
		uint64_t part = MIN(len, (uint64_t)BATCH * STEP_BYTES), at;
		unsigned i = 0;
		int r = dev_target_hash(c->f->target, off, part, STEP_BYTES, board, err);

		if (r < 0)
			return r;
		for (at = 0; at < part; at += STEP_BYTES, i++)
			compare_one(c, off + at, MIN((uint64_t)STEP_BYTES, part - at), board[i]);
		off += part;
		len -= part;
	}
	return 0;
}

static int compare_list(struct comparison *c, const struct dev_extent *v, size_t n,
	struct error *err)
{
	uint8_t board[BATCH][SHA256_SIZE];
	int r = dev_target_hash_list(c->f->target, v, n, board, err);

	for (size_t i = 0; i < n && r == 0; i++)
		compare_one(c, v[i].off, v[i].len, board[i]);
	return r;
}

int flash_compare(struct flash *f, const struct romfs_extent *extents, size_t n,
	flash_differs_fn differs, void *ctx, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(STEP_BYTES);
	struct comparison c = {.f = f, .buf = buf, .differs = differs, .ctx = ctx};
	struct dev_extent list[BATCH];
	size_t i, count = 0;
	int r;

	if (!buf)
		return -ENOMEM;
	r = flash_connect(f, err);
	for (i = 0; i < n && r == 0; i++) {
		if (extents[i].len > STEP_BYTES)
			r = compare_long(&c, extents[i].off, extents[i].len, err);
		else if (extents[i].len)
			list[count++] = (struct dev_extent){extents[i].off, extents[i].len};
		if (r == 0 && count == BATCH) {
			r = compare_list(&c, list, count, err);
			count = 0;
		}
	}
	return r < 0 ? r : compare_list(&c, list, count, err);
}

int flash_compare_known(struct flash *f, uint64_t end, flash_differs_fn differs, void *ctx,
	struct error *err)
{
	struct extents x = {0};
	int r = add_known(f, &x, 0, end);

	if (r == 0 && x.n)
		r = flash_compare(f, x.v, x.n, differs, ctx, err);
	free(x.v);
	return r;
}

/* Where there is no image, the bytes that say so are all that can be looked at. */
static uint64_t head_end(const struct flash *f)
{
	return MIN(f->geometry.size, (uint64_t)MIRROR_CHUNK);
}

uint64_t flash_used_end(const struct flash *f, const struct base *base)
{
	/* The front may lead anywhere, so anything may be to blame. */
	if (base->image->status == ROMFS_CORRUPT)
		return f->geometry.size;
	return MAX(base_used_end(base), head_end(f));
}

/* All records, and what little lies between them. */
static int compare_meta(struct flash *f, flash_differs_fn differs, void *ctx, struct error *err)
{
	const struct romfs_image *image = f->base->image;
	struct extents x = {0}, known = {0};
	uint64_t gap;
	size_t i;
	int r = image->n_meta ? 0 : add(&x, 0, head_end(f));

	for (i = 0; i < image->n_meta && r == 0; i++)
		r = add(&x, image->meta[i].off, image->meta[i].len);
	for (gap = META_GAP; r == 0 && gap < f->geometry.size; gap *= 2) {
		join_near(&x, gap);
		if (x.n <= BATCH)
			break;
	}
	for (i = 0; i < x.n && r == 0; i++)
		r = add_known(f, &known, x.v[i].off, x.v[i].off + x.v[i].len);
	if (r == 0)
		r = flash_compare(f, known.v, known.n, differs, ctx, err);
	free(x.v);
	free(known.v);
	return r;
}

/* --- trust ----------------------------------------------------------------------------- */

static void count_difference(void *ctx, uint64_t off, uint64_t len)
{
	(void)off;
	(void)len;
	++*(unsigned *)ctx;
}

static int compare_for_trust(struct flash *f, unsigned *differs, struct error *err)
{
	int r;

	/* While it is in doubt what flash shows, what the mirror knows is all there is to tell
	 * ours from another's. */
	if (!f->doubtful && f->options.link &&
		link_alone(f->options.link, f->options.partition))
		return compare_meta(f, count_difference, differs, err);
	r = flash_compare_known(f,
		f->doubtful ? f->geometry.size : flash_used_end(f, f->base),
		count_difference, differs, err);
	if (r == 0 && *differs == 0)
		flash_vouch(f);
	return r;
}

int flash_stale_error(const struct flash *f, struct error *err)
{
	return error_set(err, -ESTALE,
		"another program has changed rom%u; what you staged is kept: to see what is "
		"there now, unmount and mount again, or 'romount eject' and 'romount attach'",
		f->geometry.number);
}

static int changed(struct flash *f, struct error *err)
{
	atomic_store(&f->stale, true);
	flash_drop_memo(f);
	return flash_stale_error(f, err);
}

int flash_trust(struct flash *f, struct error *err)
{
	unsigned differs = 0;
	int r;

	if (f->trusted || f->mixed || !f->base)
		return 0;
	r = flash_connect(f, err);
	if (r == 0)
		r = compare_for_trust(f, &differs, err);
	if (r == 0 && differs)
		r = changed(f, err);
	if (r < 0)
		return r;
	f->trusted = true;
	atomic_store(&f->stale, false);
	atomic_store(&f->proven, true);
	return 0;
}

bool flash_is_stale(const struct flash *f)
{
	return atomic_load(&f->stale);
}

void flash_vouch(struct flash *f)
{
	if (f->options.link)
		link_vouch(f->options.link, f->options.partition);
}

void flash_give_up(struct flash *f)
{
	flash_set_mixed(f);
	f->given_up = true;
	atomic_store(&f->stale, false);
	atomic_store(&f->proven, true);
}

void flash_doubt(struct flash *f)
{
	f->trusted = false;
	if (f->options.link)
		link_doubt(f->options.link, f->options.partition);
	atomic_store(&f->stale, true);
	flash_drop_memo(f);
}

void flash_doubt_no_more(struct flash *f)
{
	atomic_store(&f->stale, false);
}

void flash_set_base(struct flash *f, const struct base *base)
{
	f->base = base;
}
