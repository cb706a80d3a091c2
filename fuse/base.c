/* SPDX-License-Identifier: MIT */
#include "fuse/base.h"

#include <errno.h>
#include <string.h>

#include "util/bytes.h"

#define PIECE 4096u

static int add_extent(struct sha256_ctx *hash, const struct romfs_source *source,
	const struct romfs_extent *e, struct error *err)
{
	uint8_t buf[PIECE];
	uint64_t done = 0;

	bytes_put_le64(buf, e->off);
	bytes_put_le64(buf + 8, e->len);
	sha256_update(hash, 16, buf);
	while (done < e->len) {
		size_t part = (size_t)MIN((uint64_t)PIECE, e->len - done);
		int r = source->read(source->ctx, e->off + done, buf, part, err);

		if (r < 0)
			return r;
		sha256_update(hash, part, buf);
		done += part;
	}
	return 0;
}

int base_read(const struct romfs_source *source, struct base *out, struct error *err)
{
	struct base b = {0};
	struct sha256_ctx hash;
	uint8_t head[16];
	size_t i;
	int r = romfs_parse(source, &b.image, err);

	if (r < 0)
		return r;
	sha256_init(&hash);
	bytes_put_le64(head, b.image->size);
	bytes_put_le64(head + 8, (uint64_t)b.image->status);
	sha256_update(&hash, sizeof(head), head);
	for (i = 0; i < b.image->n_meta && r == 0; i++)
		r = add_extent(&hash, source, &b.image->meta[i], err);
	if (r < 0) {
		base_clear(&b);
		return r;
	}
	sha256_digest(&hash, SHA256_SIZE, b.fingerprint);
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
