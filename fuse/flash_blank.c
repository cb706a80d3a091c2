/* SPDX-License-Identifier: MIT */
/* What is asked of the board before a plan is made: what its free space holds, what it has
 * already of what is to be written, and whether it may be programmed twice. */
#include <errno.h>
#include <string.h>

#include "fuse/flash_private.h"

/* Chunks per request: a second's work for a slow board. */
#define BATCH 256u
#define STRIDE (16 * MIRROR_CHUNK)

static uint64_t chunk_count(const struct flash *f)
{
	return (f->geometry.size + MIRROR_CHUNK - 1) / MIRROR_CHUNK;
}

static void mark(uint8_t *chunks, uint64_t off, uint64_t len)
{
	for (uint64_t k = off / MIRROR_CHUNK; len && k * MIRROR_CHUNK < off + len; k++)
		chunks[k] = 1;
}

/* Chunks that the image uses: their bytes are fetched when somebody wants them. */
static void mark_used(uint8_t *chunks, const struct romfs_image *image)
{
	for (size_t i = 0; i < image->n_meta; i++)
		mark(chunks, image->meta[i].off, image->meta[i].len);
	for (uint32_t i = 0; i < romfs_tree_count(image->tree); i++) {
		const struct romfs_node *n = romfs_tree_node(image->tree, i);

		if (n->type == ROMFS_FILE)
			mark(chunks, n->data_off, n->size);
	}
}

static int store_blank(struct flash *f, uint64_t off, uint64_t len, struct error *err)
{
	uint8_t blank[MIRROR_CHUNK];
	int r = 0;

	memset(blank, 0xFF, sizeof(blank));
	f->stored = true;
	for (uint64_t at = 0; at < len && r == 0; at += MIRROR_CHUNK)
		r = mirror_store(
			f->mirror, off + at, blank, (size_t)MIN(len - at, MIRROR_CHUNK));
	return r < 0 ? error_set(err, r, "cannot keep the copy of rom%u: %s",
			       f->geometry.number, strerror(-r))
		     : 0;
}

static void hash_blank(uint64_t len, uint8_t out[SHA256_SIZE])
{
	uint8_t blank[MIRROR_CHUNK];
	struct sha256_ctx ctx;

	memset(blank, 0xFF, sizeof(blank));
	sha256_init(&ctx);
	for (uint64_t at = 0; at < len; at += sizeof(blank))
		sha256_update(&ctx, (size_t)MIN(len - at, sizeof(blank)), blank);
	sha256_digest(&ctx, SHA256_SIZE, out);
}

/* Flash that is blank over a long way is told by few digests, which counts on a slow line;
 * only where it is not is it looked at chunk by chunk. */
static int ask(struct flash *f, uint64_t off, uint64_t len, uint32_t step, struct error *err)
{
	uint8_t board[BATCH][SHA256_SIZE], want[SHA256_SIZE];
	int r = dev_target_hash(f->target, off, len, step, board, err);

	for (uint64_t at = 0, i = 0; at < len && r == 0; at += step, i++) {
		uint64_t part = MIN((uint64_t)step, len - at);

		hash_blank(part, want);
		if (memcmp(want, board[i], SHA256_SIZE) == 0)
			r = store_blank(f, off + at, part, err);
		else if (step > MIRROR_CHUNK)
			r = ask(f, off + at, part, MIRROR_CHUNK, err);
	}
	return r;
}

static int ask_chunks(struct flash *f, uint64_t k, uint64_t n, struct error *err)
{
	uint64_t off = k * MIRROR_CHUNK;

	memset(f->asked + k, 1, n);
	return ask(f, off, MIN(n * MIRROR_CHUNK, f->geometry.size - off), STRIDE, err);
}

void flash_ask_again(struct flash *f)
{
	free(f->asked);
	f->asked = NULL;
}

int flash_find_blank(struct flash *f, const struct romfs_image *image, struct error *err)
{
	uint64_t count = chunk_count(f), k = 0, end;
	_cleanup_free_ uint8_t *skip = calloc(count, 1);
	int any = 0, r = 0;

	if (!f->asked)
		f->asked = calloc(count, 1);
	if (!skip || !f->asked)
		return error_set(err, -ENOMEM, "out of memory");
	if (image)
		mark_used(skip, image);
	for (; k < count; k++)
		skip[k] |= f->asked[k] || mirror_has(f->mirror, k * MIRROR_CHUNK, 1);
	for (k = 0; k < count && r == 0; k = end) {
		while (k < count && skip[k])
			k++;
		for (end = k; end < count && end - k < BATCH && !skip[end]; end++)
			;
		if (k == end)
			break;
		if (!any)
			r = flash_connect(f, err);
		if (!any && r == 0)
			r = flash_trust(f, err);
		if (r == 0)
			r = ask_chunks(f, k, end - k, err);
		any = 1;
	}
	return r < 0 ? r : any;
}

int flash_hash(struct flash *f, const struct dev_extent *v, size_t n,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	int r = n ? flash_connect(f, err) : 0;

	if (r == 0 && n)
		r = flash_trust(f, err);
	return r < 0 || n == 0 ? r : dev_target_hash_list(f->target, v, n, out, err);
}

static bool overlaps(uint64_t off, uint64_t len, uint64_t from, uint64_t n)
{
	return n && off < from + n && from < off + len;
}

/* Blank bytes may be the end of a file. */
static bool is_needed(const struct romfs_flash *now, uint64_t off, uint64_t len)
{
	const struct romfs_image *im = now->image;

	for (size_t i = 0; i < now->n_keep; i++)
		if (overlaps(off, len, now->keep[i].off, now->keep[i].len))
			return true;
	for (size_t i = 0; im && i < im->n_meta; i++)
		if (overlaps(off, len, im->meta[i].off, im->meta[i].len))
			return true;
	for (uint32_t i = 0; im && i < romfs_tree_count(im->tree); i++) {
		const struct romfs_node *n = romfs_tree_node(im->tree, i);

		if (n->type == ROMFS_FILE && overlaps(off, len, n->data_off, n->size))
			return true;
	}
	return false;
}

int flash_probe_twice(struct flash *f, const struct romfs_flash *now, struct error *err)
{
	uint64_t off = (chunk_count(f) - 1) * MIRROR_CHUNK, len = f->geometry.size - off;
	uint8_t have[MIRROR_CHUNK], blank[MIRROR_CHUNK];
	bool twice;
	int r;

	if (!f->wear || flash_twice(f) != DEV_TWICE_UNKNOWN || f->mixed)
		return 0;
	memset(blank, 0xFF, sizeof(blank));
	if (mirror_read(f->mirror, off, have, len) < 0 || memcmp(have, blank, len) != 0 ||
		is_needed(now, off, len))
		return 0;
	r = flash_connect(f, err);
	if (r == 0)
		r = flash_trust(f, err);
	if (r < 0)
		return r;
	r = mirror_forget(f->mirror, off, len);
	if (r < 0)
		return error_set(err, r, "cannot use the state directory: %s", strerror(-r));
	r = dev_target_probe_twice(
		f->target, f->geometry.size - f->geometry.write_unit, &twice, err);
	if (r < 0)
		return r;
	wear_set_twice(f->wear, twice ? DEV_TWICE_YES : DEV_TWICE_NO);
	return 1; /* whatever it is: these bytes are not blank any more */
}
