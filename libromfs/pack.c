/* SPDX-License-Identifier: MIT */
#include "libromfs/pack.h"

#include <errno.h>
#include <string.h>

#include "libromfs/record.h"

/* Where everything stands in a packed image. Lengths come in front of what they measure,
 * and padding for alignment depends on where that stands, so the positions are computed
 * again until no length needs more digits than it was given. Digits are only ever added (a
 * varuint may have leading zeros), so this ends; without alignment the first round is
 * right, with no digit too many. */
struct packing {
	const struct romfs_tree *tree;
	const struct romfs_pack_options *options;
	uint32_t *order;
	struct entry {
		uint64_t payload; /* bytes of the record's payload */
		uint64_t data;	  /* where the data stands in the image */
		uint32_t gap;	  /* bytes in front of the data record, for alignment */
		uint32_t align;
		uint8_t width; /* digits of the record's length */
	} * entries;	       /* by index; [ROMFS_ROOT] is the image */
	uint64_t tail;	       /* bytes of padding at the end, for an even size */
	uint64_t size;
	bool aligned;
};

static void packing_done(struct packing *pk)
{
	free(pk->order);
	free(pk->entries);
}

static bool has_note(const struct packing *pk, const struct romfs_node *n)
{
	return pk->options && pk->options->notes && n->mtime_ns != ROMFS_NO_MTIME;
}

/* Bytes of an entry's record from its kind up to where its data record or its children
 * begin, without padding. */
static uint64_t front_bytes(const struct packing *pk, uint32_t i)
{
	const struct romfs_node *n = romfs_tree_node(pk->tree, i);
	uint64_t note = has_note(pk, n) ? ROMFS_NOTE_RECORD : 0;

	if (i == ROMFS_ROOT)
		return ROMFS_MAGIC_LEN + pk->entries[i].width + note;
	return 1u + pk->entries[i].width + romfs_varuint_width(n->name_len) +
	       n->name_len + note;
}

/* Gives every file its place and every record its length, for the present widths. */
static void packing_place(struct packing *pk)
{
	uint32_t count = romfs_tree_count(pk->tree);
	uint64_t pos = 0;

	for (uint32_t k = 0; k < count; k++) {
		uint32_t i = pk->order[k];
		const struct romfs_node *n = romfs_tree_node(pk->tree, i);
		struct entry *e = &pk->entries[i];
		uint64_t front = front_bytes(pk, i);

		pos += front;
		e->payload = front - (i == ROMFS_ROOT ? ROMFS_MAGIC_LEN : 1u) - e->width;
		if (n->type == ROMFS_DIR)
			continue;
		e->data = pos + 1 + romfs_varuint_width(n->size);
		e->gap = n->size ? (uint32_t)(-e->data & (e->align - 1)) : 0;
		e->data += e->gap;
		e->payload += e->data - pos + n->size;
		pos = e->data + n->size;
	}
	for (uint32_t k = count; --k > 0;) {
		const struct entry *e = &pk->entries[pk->order[k]];
		uint32_t parent = romfs_tree_node(pk->tree, pk->order[k])->parent;

		pk->entries[parent].payload += 1u + e->width + e->payload;
	}
	/* The size of an image must be even. Where nothing is aligned, a digit more in the
	 * header does it, as mpremote has it; else that would move what is aligned. */
	pk->tail = pk->aligned && pos % 2 ? 3 : 0;
	pk->entries[ROMFS_ROOT].payload += pk->tail;
	pk->size = pos + pk->tail;
}

static bool packing_widen(struct packing *pk)
{
	bool widened = false;

	for (uint32_t i = 0; i < romfs_tree_count(pk->tree); i++) {
		unsigned need = romfs_varuint_width(pk->entries[i].payload);

		if (need > pk->entries[i].width) {
			pk->entries[i].width = (uint8_t)need;
			widened = true;
		}
	}
	return widened;
}

static int packing_compute(struct packing *pk, const struct romfs_tree *tree,
	const struct romfs_pack_options *options, struct error *err)
{
	uint32_t count = romfs_tree_count(tree);
	struct entry *root;
	int r;

	pk->tree = tree;
	pk->options = options;
	pk->entries = calloc(count, sizeof(*pk->entries));
	r = pk->entries ? romfs_tree_preorder(tree, &pk->order) : -ENOMEM;
	if (r < 0)
		return error_set(err, r, "out of memory");
	for (uint32_t i = 0; i < count; i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		pk->entries[i].width = 1;
		pk->entries[i].align = 1;
		if (n->type != ROMFS_FILE)
			continue;
		pk->entries[i].align = romfs_pack_align(options, tree, i);
		pk->aligned |= pk->entries[i].align > 1;
	}
	do
		packing_place(pk);
	while (packing_widen(pk));

	root = &pk->entries[ROMFS_ROOT];
	if (pk->size % 2) {
		root->width++;
		packing_place(pk);
	}
	return 0;
}

int romfs_pack_size(const struct romfs_tree *tree,
	const struct romfs_pack_options *options, uint64_t *size, struct error *err)
{
	_cleanup_(packing_done) struct packing pk = {0};
	int r;

	r = packing_compute(&pk, tree, options, err);
	if (r == 0)
		*size = pk.size;
	return r;
}

static void put_front(struct romfs_out *out, const struct packing *pk, uint32_t i)
{
	const struct romfs_node *n = romfs_tree_node(pk->tree, i);
	const struct entry *e = &pk->entries[i];

	if (i == ROMFS_ROOT) {
		romfs_out_bytes(out, romfs_magic, sizeof(romfs_magic));
		romfs_out_varuint(out, e->payload, e->width);
	} else {
		romfs_out_varuint(
			out, n->type == ROMFS_DIR ? ROMFS_KIND_DIR : ROMFS_KIND_FILE, 1);
		romfs_out_varuint(out, e->payload, e->width);
		romfs_out_varuint(out, n->name_len, 1);
		romfs_out_bytes(out, romfs_tree_name(pk->tree, i), n->name_len);
	}
	if (has_note(pk, n))
		romfs_out_note(out, n->mtime_ns);
}

static int put_data(struct romfs_out *out, const struct packing *pk, uint32_t i,
	romfs_content_fn content, void *ctx, void *buf, size_t cap, struct error *err)
{
	const struct romfs_node *n = romfs_tree_node(pk->tree, i);
	uint32_t gap = pk->entries[i].gap;

	/* The shortest padding record has two bytes: one byte is a digit more. */
	if (gap >= 2)
		romfs_out_padding(out, gap);
	romfs_out_varuint(out, ROMFS_KIND_VERBATIM, 1);
	romfs_out_varuint(
		out, n->size, romfs_varuint_width(n->size) + (gap == 1 ? 1u : 0u));
	for (uint64_t off = 0; off < n->size && !out->failed;) {
		size_t len = MIN(n->size - off, cap);
		int r;

		r = content(ctx, pk->tree, i, off, buf, len, err);
		if (r < 0)
			return r;
		romfs_out_bytes(out, buf, len);
		off += len;
	}
	return 0;
}

int romfs_pack(struct romfs_tree *tree, const struct romfs_pack_options *options,
	romfs_content_fn content, void *content_ctx, romfs_sink_fn sink, void *sink_ctx,
	uint64_t *size, struct error *err)
{
	_cleanup_(packing_done) struct packing pk = {0};
	struct romfs_out out = {.sink = sink, .ctx = sink_ctx, .err = err};
	const size_t cap = 32 * 1024;
	_cleanup_free_ void *buf = malloc(cap);
	int r;

	if (!buf || romfs_tree_sort(tree) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	r = packing_compute(&pk, tree, options, err);
	if (r < 0)
		return r;
	for (uint32_t k = 0; k < romfs_tree_count(tree); k++) {
		uint32_t i = pk.order[k];

		put_front(&out, &pk, i);
		if (romfs_tree_node(tree, i)->type != ROMFS_FILE)
			continue;
		r = put_data(&out, &pk, i, content, content_ctx, buf, cap, err);
		if (r < 0)
			return r;
	}
	if (pk.tail)
		romfs_out_padding(&out, pk.tail);
	r = romfs_out_flush(&out);
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < romfs_tree_count(tree); i++)
		if (romfs_tree_node(tree, i)->type == ROMFS_FILE)
			romfs_tree_node(tree, i)->data_off = pk.entries[i].data;
	*size = pk.size;
	return 0;
}
