/* SPDX-License-Identifier: MIT */
#include "libromfs/head.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libromfs/meta.h"
#include "util/bytes.h"

#define VERSION 1u

/* The mark's record; its length has two digits, so that it can reach to the first slot. */
#define MARK_HEAD 3u
#define MARK_BYTES (MARK_HEAD + 17u)

/* TWICE: a slot is a padding record of 8 bytes, whose use makes it one of none. */
#define SLOT 10u
#define SLOT_PASS 8u
#define GATE 3u
#define GROUP_SLOTS 25u
#define GROUP_BYTES 256u
#define GROUPS_MAX 15u
#define GATE_CLOSED 0x82u /* of the length 82 00: 256; open, 80 00: 0 */
#define GATE_OPEN 0x80u
/* What a reader walks more behind a gate that is opened: slots, and what is behind them. */
#define GROUP_WALK (GROUP_SLOTS + 1u)

/* ONCE: with units this small the jump takes several of them. */
#define UNIT_SMALL 4u
#define SMALL_DIGITS 4u
#define SLOTS_MIN 4u

static uint32_t round_up(uint32_t n, uint32_t to)
{
	return (n + to - 1) / to * to;
}

/* --- shape ------------------------------------------------------------------- */

static bool small(const struct head *h)
{
	return h->unit <= UNIT_SMALL;
}

static uint32_t slot_bytes(const struct head *h)
{
	if (h->form == HEAD_TWICE)
		return SLOT;
	return small(h) ? round_up(1 + SMALL_DIGITS + 1, h->unit) : h->unit;
}

static uint32_t gate_at(const struct head *h, uint32_t slot)
{
	return h->first + slot / GROUP_SLOTS * (GATE + GROUP_BYTES);
}

static uint32_t slot_at(const struct head *h, uint32_t slot)
{
	if (h->form == HEAD_TWICE)
		return gate_at(h, slot) + GATE + slot % GROUP_SLOTS * SLOT;
	return h->first + slot * slot_bytes(h);
}

/* Where the end link stands; with FREE that is the slot. */
static uint32_t link_at(const struct head *h)
{
	return h->form == HEAD_FREE ? h->first : slot_at(h, h->slots);
}

/* Some saves for each time that it is written, without keeping much of a small partition;
 * whole erase blocks where it takes several. */
static uint32_t size_limit(const struct romfs_geometry *g, enum head_form form, uint32_t unit)
{
	uint32_t few = form == HEAD_ONCE ? 8 * unit : 4 * unit;
	uint64_t limit = MAX(4096u, few);

	if (form == HEAD_ONCE && limit < g->erase_block)
		limit = MAX(limit, MIN(32u * unit, g->erase_block));
	limit = MIN(limit, g->size / 16);
	limit = MIN(limit, HEAD_SIZE_MAX);
	limit -= limit % unit;
	if (!g->no_erase && g->erase_block < limit)
		limit -= limit % g->erase_block;
	return (uint32_t)limit;
}

static bool form_is_possible(const struct romfs_geometry *g, enum head_form form, uint32_t unit)
{
	if (unit == 0 || unit > HEAD_UNIT_MAX || g->size > ROMFS_SIZE_MAX)
		return false;
	switch (form) {
	case HEAD_TWICE:
		return g->twice;
	case HEAD_FREE: /* the jump must be in one unit */
		return g->no_erase && unit >= META_PAYLOAD;
	case HEAD_ONCE:
		return unit >= META_PAYLOAD ||
		       ((unit == 2 || unit == UNIT_SMALL) &&
			       g->size < UINT64_C(1) << (7 * SMALL_DIGITS));
	case HEAD_NONE:
		break;
	}
	return false;
}

/* The one head of this form and unit that we make for this memory. */
static bool shape(const struct romfs_geometry *g, enum head_form form, uint32_t unit,
	struct head *out)
{
	struct head h = {.form = form, .unit = unit};
	uint32_t limit, room;

	if (!form_is_possible(g, form, unit))
		return false;
	limit = size_limit(g, form, unit);
	h.first = META_HEADER(unit) + MARK_BYTES;
	if (form != HEAD_TWICE)
		h.first = round_up(h.first, unit);
	if (limit < h.first + round_up(ROMFS_JUMP, unit))
		return false;
	room = limit - h.first - ROMFS_JUMP;
	if (form == HEAD_TWICE) {
		h.group = GROUP_SLOTS;
		h.slots = MIN(room / (GATE + GROUP_BYTES), GROUPS_MAX) * GROUP_SLOTS;
	} else if (form == HEAD_ONCE) {
		room = limit - h.first - round_up(ROMFS_JUMP, unit);
		h.slots = room / slot_bytes(&h);
	} else {
		h.slots = 1;
	}
	if (h.slots == 0 || (form == HEAD_ONCE && h.slots < SLOTS_MIN))
		return false;
	h.size = round_up(link_at(&h) + ROMFS_JUMP, unit);
	*out = h;
	return true;
}

bool head_choose(const struct romfs_geometry *geometry, struct head *out)
{
	static const enum head_form best[] = {HEAD_FREE, HEAD_TWICE, HEAD_ONCE};

	*out = (struct head){.form = HEAD_NONE};
	/* A slot of ONCE relies on ECC: a unit holds all of its bytes or none. Memory that can
	 * be programmed twice has none, and a cut leaves any bits of a unit. */
	for (size_t k = 0; k < ARRAY_SIZE(best); k++)
		if ((best[k] != HEAD_ONCE || !geometry->twice) &&
			shape(geometry, best[k], geometry->write_unit, out))
			return true;
	return false;
}

/* --- write ------------------------------------------------------------------- */

static int sink_to_memory(void *ctx, const void *buf, size_t len, struct error *err)
{
	uint8_t **to = ctx;

	(void)err;
	memcpy(*to, buf, len);
	*to += len;
	return 0;
}

static void put_front(const struct head *h, const struct romfs_geometry *g, uint8_t *buf)
{
	struct romfs_out out = {.sink = sink_to_memory, .ctx = &buf};
	int r;

	meta_header(g, h->unit, &out);
	r = romfs_out_flush(&out);
	assert(r == 0);
	(void)r;
}

static void put_mark(const struct head *h, uint8_t *p)
{
	p[0] = ROMFS_KIND_PADDING;
	romfs_varuint_put(p + 1, h->first - META_HEADER(h->unit) - MARK_HEAD, 2);
	p += MARK_HEAD;
	memcpy(p, romfs_note_magic, ROMFS_NOTE_MAGIC_LEN);
	p[2] = ROMFS_NOTE_HEAD;
	p[3] = VERSION;
	p[4] = (uint8_t)h->form;
	bytes_put_le32(p + 5, h->unit);
	bytes_put_le32(p + 9, h->slots);
	bytes_put_le32(p + 13, h->group);
}

static void put_group(uint8_t *p)
{
	static const uint8_t gate[GATE] = {ROMFS_KIND_PADDING, GATE_CLOSED, 0};
	uint32_t rest = GROUP_BYTES - GROUP_SLOTS * SLOT;

	memcpy(p, gate, GATE);
	p += GATE;
	for (uint32_t k = 0; k < GROUP_SLOTS; k++, p += SLOT) {
		p[0] = ROMFS_KIND_PADDING;
		p[1] = SLOT_PASS;
	}
	p[0] = ROMFS_KIND_PADDING;
	p[1] = (uint8_t)(rest - 2);
}

void head_write(const struct head *h, const struct romfs_geometry *geometry, uint64_t root,
	uint8_t *buf)
{
	memset(buf, 0xFF, h->size);
	put_front(h, geometry, buf);
	put_mark(h, buf + META_HEADER(h->unit));
	if (h->form == HEAD_TWICE)
		for (uint32_t k = 0; k < h->slots; k += GROUP_SLOTS)
			put_group(buf + gate_at(h, k));
	romfs_jump_put(buf + link_at(h), link_at(h), root, ROMFS_JUMP_DIGITS);
}

/* --- read: which head it is --------------------------------------------------- */

struct reading {
	const struct romfs_source *source;
	uint8_t *buf;
	uint32_t have; /* bytes of the start of the partition that buf holds */
	struct error *err;
};

/* 1: buf holds the first `upto` bytes; 0: there are not so many, or they are not known. */
static int need(struct reading *rd, uint32_t upto)
{
	int r;

	if (upto <= rd->have)
		return 1;
	if (upto > rd->source->size || upto > HEAD_SIZE_MAX)
		return 0;
	r = rd->source->read(rd->source->ctx, rd->have, rd->buf + rd->have,
		upto - rd->have, rd->err);
	if (r < 0)
		return r == -ENODATA ? 0 : r;
	rd->have = upto;
	return 1;
}

/* Where the mark stands: behind what fills the first write unit. */
static int find_mark(struct reading *rd, uint32_t *at)
{
	uint32_t pos = META_PAYLOAD;
	int r;

	do {
		r = need(rd, pos + 64);
		if (r <= 0)
			return r;
		while (pos < rd->have && rd->buf[pos] == 0x80)
			pos++;
	} while (pos == rd->have && pos <= HEAD_UNIT_MAX);
	*at = pos > META_PAYLOAD ? pos + 2 : pos;
	return need(rd, *at + MARK_BYTES);
}

/* 1: the mark is one that we would write on this memory. */
static int read_mark(struct reading *rd, const struct romfs_geometry *g, struct head *h)
{
	const uint8_t *mark;
	uint32_t at, unit;
	int r;

	r = find_mark(rd, &at);
	if (r <= 0)
		return r;
	mark = rd->buf + at + MARK_HEAD;
	unit = bytes_get_le32(mark + 5);
	if (unit % g->write_unit != 0 || mark[4] == HEAD_NONE || mark[4] > HEAD_FREE)
		return 0;
	return shape(g, (enum head_form)mark[4], unit, h);
}

/* --- read: its slots ---------------------------------------------------------- */

enum slot { VIRGIN, SPOILED, USED, STRANGE };

static bool all_ff(const uint8_t *p, uint32_t n)
{
	while (n && *p == 0xFF) {
		p++;
		n--;
	}
	return n == 0;
}

/* A jump, of exactly so many digits, to where a ROOT can be. */
static bool is_jump(const struct head *h, const struct romfs_geometry *g,
	const uint8_t *buf, uint32_t at, unsigned digits)
{
	uint64_t to = at + 1 + digits, len = 0;

	if (buf[at] != ROMFS_KIND_PADDING)
		return false;
	for (unsigned k = 1; k <= digits; k++) {
		if ((buf[at + k] >= 0x80) != (k < digits))
			return false;
		len = len << 7 | (buf[at + k] & 0x7F);
	}
	to += len;
	return to >= h->size && to + ROMFS_JUMP <= meta_image_end(g);
}

static enum slot slot_twice(const struct head *h, const struct romfs_geometry *g,
	const uint8_t *buf, uint32_t at)
{
	const uint8_t *p = buf + at;

	if (p[0] != ROMFS_KIND_PADDING || !all_ff(p + 2 + ROMFS_JUMP, 2))
		return STRANGE;
	if (p[1] == 0)
		return is_jump(h, g, buf, at + 2, ROMFS_JUMP_DIGITS) ? USED : STRANGE;
	if (p[1] != SLOT_PASS)
		return STRANGE;
	return all_ff(p + 2, ROMFS_JUMP) ? VIRGIN : SPOILED;
}

/* Several units: `01 L`, `L L`, `L 00` or `01 L L L`, `L 00 FF FF`, the last one first. */
static enum slot slot_small(const struct head *h, const struct romfs_geometry *g,
	const uint8_t *buf, uint32_t at)
{
	const uint8_t *p = buf + at;
	uint32_t n = slot_bytes(h);

	if (all_ff(p, n))
		return VIRGIN;
	if (p[SMALL_DIGITS] >= 0x80 || p[SMALL_DIGITS + 1] != 0 ||
		!all_ff(p + SMALL_DIGITS + 2, n - SMALL_DIGITS - 2))
		return STRANGE;
	if (is_jump(h, g, buf, at, SMALL_DIGITS))
		return USED;
	if (!all_ff(p, h->unit))
		return STRANGE;
	return p[2] >= 0x80 && p[3] >= 0x80 ? SPOILED : STRANGE;
}

static enum slot slot_state(const struct head *h, const struct romfs_geometry *g,
	const uint8_t *buf, uint32_t slot)
{
	uint32_t at = slot_at(h, slot);

	if (h->form == HEAD_TWICE)
		return slot_twice(h, g, buf, at);
	if (small(h))
		return slot_small(h, g, buf, at);
	if (all_ff(buf + at, h->unit))
		return VIRGIN;
	if (is_jump(h, g, buf, at, ROMFS_JUMP_DIGITS) &&
		all_ff(buf + at + ROMFS_JUMP, h->unit - ROMFS_JUMP))
		return USED;
	return STRANGE;
}

/* All but slots and gates must be what head_write wrote. */
static int same_frame(const struct head *h, const struct romfs_geometry *g,
	const uint8_t *buf, struct error *err)
{
	_cleanup_free_ uint8_t *made = malloc(h->size);
	uint64_t root = h->size;

	if (!made)
		return error_set(err, -ENOMEM, "out of memory");
	if (!is_jump(h, g, buf, link_at(h), ROMFS_JUMP_DIGITS))
		return 0;
	head_write(h, g, root, made);
	memcpy(made + link_at(h), buf + link_at(h), ROMFS_JUMP);
	for (uint32_t k = 0; h->form != HEAD_FREE && k < h->slots; k++) {
		memcpy(made + slot_at(h, k), buf + slot_at(h, k), slot_bytes(h));
		if (h->form == HEAD_TWICE)
			made[gate_at(h, k) + 1] = buf[gate_at(h, k) + 1];
	}
	return memcmp(made, buf, h->size) == 0;
}

/* The gate in front of slot k, whose state is s, is closed, or open because the slot
 * in front of `touched` is behind it: no gate is opened before it is needed. */
static bool gate_is_sound(const struct head *h, const uint8_t *buf, uint32_t k, enum slot s,
	uint32_t touched)
{
	uint32_t next = touched ? touched - 1 : 0;
	uint8_t gate = buf[gate_at(h, k) + 1];

	if (gate == GATE_CLOSED)
		return s != USED;
	return gate == GATE_OPEN && next / GROUP_SLOTS <= k / GROUP_SLOTS;
}

/* Slots are used one after the other, from the last one, and gates opened with them. */
static bool find_next(const struct head *h, const struct romfs_geometry *g,
	const uint8_t *buf, uint32_t *next)
{
	uint32_t touched = h->slots; /* the first that is no virgin */

	for (uint32_t k = h->slots; k-- > 0;) {
		enum slot s = slot_state(h, g, buf, k);

		if (s == STRANGE || (s != VIRGIN && k + 1 != touched))
			return false;
		if (s != VIRGIN)
			touched = k;
		if (h->form == HEAD_TWICE && !gate_is_sound(h, buf, k, s, touched))
			return false;
	}
	*next = touched ? touched - 1 : h->slots;
	return true;
}

/* --- read: where a reader comes to --------------------------------------------- */

/* A number as a board of 32 bits and one of 64 take it; false: it does not end here. */
static bool take_number(const struct head *h, const uint8_t *buf, uint32_t *pos,
	uint64_t *value, uint32_t *value32)
{
	*value = 0;
	while (*pos < h->size) {
		uint8_t byte = buf[(*pos)++];

		*value = *value << 7 | (byte & 0x7F);
		if (!(byte & 0x80)) {
			*value32 = (uint32_t)*value;
			return true;
		}
	}
	return false;
}

static bool is_skipped(uint64_t kind)
{
	return kind == ROMFS_KIND_PADDING || kind > ROMFS_KIND_FILE;
}

/* From record to record, until one leads out of the head. */
static bool walk(const struct head *h, const struct romfs_geometry *g, const uint8_t *buf,
	struct head_state *state)
{
	uint32_t pos = META_PAYLOAD;
	unsigned n = 0;

	while (n++ < HEAD_WALK_MAX) {
		uint64_t kind, len;
		uint32_t kind32, len32;

		if (!take_number(h, buf, &pos, &kind, &kind32) ||
			!take_number(h, buf, &pos, &len, &len32) || len != len32 ||
			!is_skipped(kind) || !is_skipped(kind32) ||
			len > meta_image_end(g) - pos)
			return false;
		if (pos + len >= h->size) {
			state->root = pos + len;
			state->walk = n;
			return true;
		}
		pos += (uint32_t)len;
	}
	return false;
}

/* Records that the use of this slot adds, if a cut ends it before the last step. */
static unsigned growth(const struct head *h, const uint8_t *buf, uint32_t slot)
{
	if (h->form == HEAD_TWICE)
		return buf[gate_at(h, slot) + 1] == GATE_OPEN ? 0 : GROUP_WALK;
	return h->form == HEAD_ONCE && small(h);
}

int head_read(const struct romfs_geometry *geometry, const struct romfs_source *source,
	struct head *out, struct head_state *state, uint8_t *buf, struct error *err)
{
	struct reading rd = {.source = source, .buf = buf, .err = err};
	struct head_state found = {0};
	struct head h;
	int r;

	r = read_mark(&rd, geometry, &h);
	if (r > 0)
		r = need(&rd, h.size);
	if (r > 0)
		r = same_frame(&h, geometry, buf, err);
	if (r <= 0)
		return r;
	if (h.form != HEAD_FREE && !find_next(&h, geometry, buf, &found.next))
		return 0;
	if (!walk(&h, geometry, buf, &found))
		return 0;
	if (found.next < h.slots &&
		found.walk + growth(&h, buf, found.next) > HEAD_WALK_MAX)
		found.next = h.slots;
	found.left = found.next < h.slots ? found.next + 1 : 0;
	*out = h;
	*state = found;
	return 1;
}

/* --- use ----------------------------------------------------------------------- */

struct using {
	const struct head *h;
	const uint8_t *buf;
	struct head_step *steps;
	unsigned n;
	uint8_t *bytes;
	uint32_t fill;
};

/* Programs the units of buf[from, to) as they are now. */
static void add_step(struct using *u, uint32_t from, uint32_t to)
{
	uint32_t off = from - from % u->h->unit;
	uint32_t len = round_up(to, u->h->unit) - off;

	assert(u->n < HEAD_STEPS_MAX && len <= HEAD_STEP_MAX);
	memcpy(u->bytes + u->fill, u->buf + off, len);
	u->steps[u->n++] = (struct head_step){off, len, u->fill};
	u->fill += len;
}

static void use_twice(struct using *u, uint8_t *buf, uint32_t slot, uint64_t root)
{
	uint32_t unit = u->h->unit, at = slot_at(u->h, slot);
	uint32_t gate = gate_at(u->h, slot) + 1, jump = at + 2;
	bool closed = buf[gate] != GATE_OPEN;

	/* Where they share a unit it is programmed once for both. */
	buf[gate] = GATE_OPEN;
	if (closed && gate / unit < jump / unit)
		add_step(u, gate, gate + 1);
	romfs_jump_put(buf + jump, jump, root, ROMFS_JUMP_DIGITS);
	add_step(u, jump, jump + ROMFS_JUMP);
	buf[at + 1] = 0;
	add_step(u, at + 1, at + 2);
}

static void use_small(struct using *u, uint8_t *buf, uint32_t slot, uint64_t root)
{
	uint32_t unit = u->h->unit, at = slot_at(u->h, slot);

	romfs_jump_put(buf + at, at, root, SMALL_DIGITS);
	buf[at + 1 + SMALL_DIGITS] = 0;
	for (uint32_t off = at + slot_bytes(u->h); off > at; off -= unit)
		add_step(u, off - unit, off);
}

void head_use(const struct head *h, const struct head_state *state, uint64_t root,
	uint8_t *buf, struct head_step steps[HEAD_STEPS_MAX], unsigned *n, uint8_t *bytes)
{
	struct using u = {.h = h, .buf = buf, .steps = steps, .bytes = bytes};
	uint32_t at = slot_at(h, state->next);

	assert(state->next < h->slots && root >= h->size);
	if (h->form == HEAD_TWICE) {
		use_twice(&u, buf, state->next, root);
	} else if (h->form == HEAD_ONCE && small(h)) {
		use_small(&u, buf, state->next, root);
	} else {
		romfs_jump_put(buf + at, at, root, ROMFS_JUMP_DIGITS);
		add_step(&u, at, at + ROMFS_JUMP);
	}
	*n = u.n;
}
