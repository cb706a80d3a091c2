/* SPDX-License-Identifier: MIT */
#include "libromfs/meta.h"

#include <errno.h>

uint64_t meta_image_end(const struct romfs_geometry *geometry)
{
	return geometry->size & ~UINT64_C(1); /* an image has an even size */
}

static unsigned digits(const struct meta *m)
{
	return romfs_varuint_width(m->geometry->size);
}

/* Bytes of an entry that change with its content: note and pointer. */
static unsigned moving_bytes(const struct meta *m, const struct romfs_node *n)
{
	return (m->notes ? ROMFS_NOTE_RECORD : 0) +
	       (n->type == ROMFS_FILE ? 2 + 2 * digits(m) : 0);
}

/* Bytes to skip so that what moves of an entry does not cross an erase block: then a save
 * touches one block of metadata beside the header's. */
static unsigned gap_before(const struct meta *m, uint64_t pos, unsigned moving)
{
	uint32_t block = m->geometry->erase_block;

	if (m->kind != META_FRONT_ROOMY || block < 8 * moving || moving == 0)
		return 0;
	if (pos / block == (pos + moving - 1) / block)
		return 0;
	return (unsigned)(block - pos % block);
}

/* The first write unit holds nothing but the header, and is programmed last. The rest of it
 * is leading digits of the kind of an empty padding record in the next unit: in whatever
 * state a power cut leaves them, erased or programmed, their top bits are set, and the
 * reader comes to that record's end. */
void meta_header(const struct romfs_geometry *geometry, uint32_t unit, struct romfs_out *out)
{
	const uint8_t empty[] = {ROMFS_KIND_PADDING, 0};

	romfs_out_bytes(out, romfs_magic, sizeof(romfs_magic));
	romfs_out_varuint(
		out, meta_image_end(geometry) - META_PAYLOAD, ROMFS_JUMP_DIGITS);
	if (unit > META_PAYLOAD) {
		romfs_out_fill(out, 0x80, unit - META_PAYLOAD);
		romfs_out_bytes(out, empty, sizeof(empty));
	}
}

static void put_front(const struct meta *m, struct romfs_out *out)
{
	if (m->kind != META_ROOT)
		meta_header(m->geometry,
			m->kind == META_FRONT_ROOMY ? m->geometry->write_unit : 1, out);
	if (m->notes)
		romfs_out_note(out, romfs_tree_node(m->tree, ROMFS_ROOT)->mtime_ns);
}

static void put_pointer(const struct meta *m, struct romfs_out *out,
	const struct romfs_node *n, uint64_t place)
{
	romfs_out_varuint(out, ROMFS_KIND_POINTER, 1);
	romfs_out_varuint(out, 2 * digits(m), 1);
	romfs_out_varuint(out, n->size, digits(m));
	romfs_out_varuint(out, n->size ? place - META_PAYLOAD : 0, digits(m));
}

static void put_entry(
	const struct meta *m, struct romfs_out *out, uint32_t i, const uint64_t *place)
{
	const struct romfs_node *n = romfs_tree_node(m->tree, i);
	unsigned moving = moving_bytes(m, n), width, gap;
	unsigned name = romfs_varuint_width(n->name_len) + n->name_len;
	uint64_t payload;

	/* The longest that this record can be decides on the digits of its length, so that
	 * they do not depend on where it stands. */
	width = n->type == ROMFS_DIR ? digits(m) : romfs_varuint_width(name + 2 * moving);
	gap = gap_before(m, out->pos + 1 + width + name, moving);
	payload = n->type == ROMFS_DIR ? m->payload[i] : name + gap + moving;

	romfs_out_varuint(
		out, n->type == ROMFS_DIR ? ROMFS_KIND_DIR : ROMFS_KIND_FILE, 1);
	romfs_out_varuint(out, payload, width);
	/* A gap of one byte is too short for a record: it becomes a digit. */
	romfs_out_varuint(out, n->name_len,
		romfs_varuint_width(n->name_len) + (gap == 1 ? 1u : 0u));
	romfs_out_bytes(out, romfs_tree_name(m->tree, i), n->name_len);
	if (gap >= 2)
		romfs_out_padding(out, gap);
	if (m->notes)
		romfs_out_note(out, n->mtime_ns);
	if (n->type == ROMFS_FILE)
		put_pointer(m, out, n, place ? place[i] : META_PAYLOAD);
}

/* The last record reaches from `at` to the end of the image: file data and free space lie
 * in it. */
static void put_rest(const struct meta *m, uint64_t at, struct romfs_out *out)
{
	uint64_t to = MAX(meta_image_end(m->geometry), at + ROMFS_JUMP);
	uint8_t jump[ROMFS_JUMP];

	romfs_jump_put(jump, at, to, ROMFS_JUMP_DIGITS);
	romfs_out_bytes(out, jump, sizeof(jump));
}

void meta_done(struct meta *m)
{
	free(m->payload);
}

/* Counts: the place of an entry never depends on the value of a length. `own` takes the
 * bytes of each node's record without its children's. */
static void measure(struct meta *m, uint64_t *own)
{
	struct romfs_out out = {0};
	uint32_t count = romfs_tree_count(m->tree);
	unsigned head = 1 + digits(m);

	put_front(m, &out);
	for (uint32_t k = 1; k < count; k++) {
		uint64_t start = out.pos;

		put_entry(m, &out, m->order[k], NULL);
		own[m->order[k]] = out.pos - start;
	}
	put_rest(m, out.pos, &out);
	m->size = out.pos;
	for (uint32_t k = count; --k > 0;) {
		uint32_t i = m->order[k];
		const struct romfs_node *n = romfs_tree_node(m->tree, i);
		uint64_t total = own[i];

		if (n->type == ROMFS_DIR) {
			total += m->payload[i]; /* of its children, so far */
			m->payload[i] = total - head;
		}
		m->payload[n->parent] += total;
	}
}

int meta_init(struct meta *m, enum meta_kind kind, const struct romfs_tree *tree,
	const struct romfs_geometry *geometry, const uint32_t *order, bool notes,
	struct error *err)
{
	uint32_t count = romfs_tree_count(tree);
	_cleanup_free_ uint64_t *own = calloc(count, sizeof(*own));

	*m = (struct meta){.tree = tree,
		.geometry = geometry,
		.order = order,
		.payload = calloc(count, sizeof(*m->payload)),
		.kind = kind,
		.notes = notes};
	if (!own || !m->payload)
		return error_set(err, -ENOMEM, "out of memory");
	measure(m, own);
	return 0;
}

int meta_write(const struct meta *m, uint64_t at, const uint64_t *place,
	struct romfs_out *out)
{
	uint64_t start = out->pos;

	put_front(m, out);
	for (uint32_t k = 1; k < romfs_tree_count(m->tree); k++)
		put_entry(m, out, m->order[k], place);
	put_rest(m, at + (out->pos - start), out);
	return romfs_out_flush(out);
}
