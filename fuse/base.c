/* SPDX-License-Identifier: MIT */
#include "fuse/base.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"

static void add_number(struct sha256_ctx *hash, uint64_t value)
{
	uint8_t b[8];

	bytes_put_le64(b, value);
	sha256_update(hash, sizeof(b), b);
}

static void add_node(struct sha256_ctx *hash, const struct romfs_tree *tree, uint32_t i)
{
	const struct romfs_node *n = romfs_tree_node(tree, i);

	add_number(hash, n->type);
	add_number(hash, n->name_len);
	sha256_update(hash, n->name_len, (const uint8_t *)romfs_tree_name(tree, i));
	add_number(hash, n->size);
	/* An empty file stands nowhere, whatever its record says. */
	add_number(hash, n->size ? n->data_off : ROMFS_NO_OFFSET);
	add_number(hash, (uint64_t)n->mtime_ns);
}

static int take_print(const struct romfs_image *image, uint8_t out[SHA256_SIZE])
{
	_cleanup_free_ uint32_t *order = NULL;
	struct sha256_ctx hash;
	uint32_t i;
	int r = romfs_tree_preorder(image->tree, &order);

	if (r < 0)
		return r;
	sha256_init(&hash);
	add_number(&hash, (uint64_t)image->status);
	for (i = 0; i < romfs_tree_count(image->tree); i++)
		add_node(&hash, image->tree, order[i]);
	sha256_digest(&hash, SHA256_SIZE, out);
	return 0;
}

/* The parser reads a little more than it looks at: bytes that are not known read as blank, and
 * whether it was one of them that counted is found out afterwards. */
struct lenient {
	const struct romfs_source *source;
	bool missed;
};

static int read_lenient(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct lenient *l = ctx;
	uint8_t *to = buf;
	int r = l->source->read(l->source->ctx, off, buf, len, err);

	if (r != -ENODATA)
		return r;
	l->missed = true;
	if (len <= 1) {
		memset(to, 0xFF, len);
		return 0;
	}
	r = read_lenient(ctx, off, to, len / 2, err);
	return r < 0 ? r : read_lenient(ctx, off + len / 2, to + len / 2, len - len / 2, err);
}

static int check_known(
	const struct romfs_image *image, const struct romfs_source *source, struct error *err)
{
	uint8_t buf[4096];
	int r = image->n_meta ? 0 : source->read(source->ctx, 0, buf, 4, err);

	for (size_t i = 0; i < image->n_meta && r == 0; i++) {
		const struct romfs_extent *e = &image->meta[i];

		for (uint64_t at = 0; at < e->len && r == 0; at += sizeof(buf))
			r = source->read(source->ctx, e->off + at, buf,
				MIN(sizeof(buf), e->len - at), err);
	}
	return r;
}

int base_read(const struct romfs_source *source, struct base *out, struct error *err)
{
	struct lenient l = {.source = source};
	const struct romfs_source lenient = {
		.read = read_lenient, .ctx = &l, .size = source->size};
	struct base b = {0};
	int r = romfs_parse(&lenient, &b.image, err);

	if (r < 0)
		return r;
	if (l.missed)
		r = check_known(b.image, source, err);
	if (r == 0 && take_print(b.image, b.fingerprint) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r < 0) {
		base_clear(&b);
		return r;
	}
	*out = b;
	return 0;
}

void base_clear(struct base *b)
{
	romfs_image_free(b->image);
	memset(b, 0, sizeof(*b));
}

uint64_t base_used_end(const struct base *b)
{
	const struct romfs_image *image = b->image;
	uint64_t end = 0;
	uint32_t i;

	for (i = 0; i < image->n_meta; i++)
		end = MAX(end, image->meta[i].off + image->meta[i].len);
	for (i = 0; i < romfs_tree_count(image->tree); i++) {
		const struct romfs_node *n = romfs_tree_node(image->tree, i);

		if (n->type == ROMFS_FILE && n->data_off != ROMFS_NO_OFFSET)
			end = MAX(end, n->data_off + n->size);
	}
	return end;
}
