/* SPDX-License-Identifier: MIT */
#include "fuse/journal_frame.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "libromfs/tree.h"
#include "util/bytes.h"

static const char header_magic[8] = "ROMOUNTJ";

#define PUT_SIZE 48u /* without the name */
#define DROP_SIZE 16u

/* These values stand in files. */
_Static_assert(ROMFS_DIR == 0 && ROMFS_FILE == 1, "type of a node");
_Static_assert(CONTENT_EMPTY == 0 && CONTENT_BASE == 1 && CONTENT_LOG == 2, "content");
_Static_assert(JOURNAL_PUT == 0 && JOURNAL_DROP == 1, "change");

uint32_t journal_crc(uint32_t crc, const void *buf, size_t len)
{
	return (uint32_t)crc32_z(crc, buf, len);
}

/* --- header ----------------------------------------------------------------------- */

enum {
	HEADER_VERSION = 8,
	HEADER_CRC = 12,
	HEADER_GENERATION = 16,
	HEADER_FIRST_SEQ = 24,
	HEADER_CHECKPOINT = 32,
	HEADER_BASE_SIZE = 40,
	HEADER_PARTITION = 48,
	HEADER_DIRTY = 52,
	HEADER_BASE = 56,
	HEADER_BOARD = 88,
	HEADER_END = 216,
};

static uint32_t header_crc(const uint8_t *in)
{
	static const uint8_t zero[4];
	uint32_t crc = journal_crc(0, in, HEADER_CRC);

	crc = journal_crc(crc, zero, sizeof(zero));
	return journal_crc(crc, in + HEADER_CRC + 4, JOURNAL_HEADER_SIZE - HEADER_CRC - 4);
}

void journal_header_encode(uint8_t out[JOURNAL_HEADER_SIZE],
	const struct journal_header *header, const struct journal_generation *generation)
{
	memset(out, 0, JOURNAL_HEADER_SIZE);
	memcpy(out, header_magic, sizeof(header_magic));
	bytes_put_le32(out + HEADER_VERSION, JOURNAL_VERSION);
	bytes_put_le64(out + HEADER_GENERATION, generation->id);
	bytes_put_le64(out + HEADER_FIRST_SEQ, generation->first_seq);
	bytes_put_le64(out + HEADER_CHECKPOINT, generation->checkpoint);
	bytes_put_le64(out + HEADER_BASE_SIZE, header->size);
	bytes_put_le32(out + HEADER_PARTITION, header->partition);
	out[HEADER_DIRTY] = header->dirty;
	memcpy(out + HEADER_BASE, header->base, SHA256_SIZE);
	memcpy(out + HEADER_BOARD, header->board,
		strnlen(header->board, sizeof(header->board) - 1));
	bytes_put_le32(out + HEADER_CRC, header_crc(out));
}

int journal_header_decode(const uint8_t in[JOURNAL_HEADER_SIZE],
	struct journal_header *header, struct journal_generation *generation)
{
	struct journal_generation g;

	if (memcmp(in, header_magic, sizeof(header_magic)) != 0 ||
		bytes_get_le32(in + HEADER_CRC) != header_crc(in))
		return -EUCLEAN;
	if (bytes_get_le32(in + HEADER_VERSION) != JOURNAL_VERSION)
		return -EPROTONOSUPPORT;
	g.id = bytes_get_le64(in + HEADER_GENERATION);
	g.first_seq = bytes_get_le64(in + HEADER_FIRST_SEQ);
	g.checkpoint = bytes_get_le64(in + HEADER_CHECKPOINT);
	if (in[HEADER_DIRTY] > 1 || in[HEADER_END - 1] != '\0' || g.first_seq == 0 ||
		g.checkpoint < JOURNAL_HEADER_SIZE || g.checkpoint % JOURNAL_ALIGN)
		return -EUCLEAN;
	*generation = g;
	header->size = bytes_get_le64(in + HEADER_BASE_SIZE);
	header->partition = bytes_get_le32(in + HEADER_PARTITION);
	header->dirty = in[HEADER_DIRTY];
	memcpy(header->base, in + HEADER_BASE, SHA256_SIZE);
	memcpy(header->board, in + HEADER_BOARD, sizeof(header->board));
	return 0;
}

/* --- frames ----------------------------------------------------------------------- */

void frame_encode(uint8_t out[JOURNAL_FRAME_SIZE], const struct frame *frame)
{
	bytes_put_le32(out, JOURNAL_FRAME_MAGIC);
	bytes_put_le32(out + 4, frame->crc);
	bytes_put_le64(out + 8, frame->length);
	bytes_put_le64(out + 16, frame->generation);
	bytes_put_le64(out + 24, frame->seq);
	bytes_put_le64(out + 32, frame->durable);
	bytes_put_le32(out + 40, frame->meta_len);
	bytes_put_le32(out + 44, frame->kind);
}

int frame_decode(const uint8_t in[JOURNAL_FRAME_SIZE], struct frame *frame)
{
	struct frame f;
	uint32_t kind = bytes_get_le32(in + 44);

	if (bytes_get_le32(in) != JOURNAL_FRAME_MAGIC ||
		(kind != FRAME_CHANGES && kind != FRAME_MARK))
		return -EUCLEAN;
	f.kind = (enum frame_kind)kind;
	f.crc = bytes_get_le32(in + 4);
	f.length = bytes_get_le64(in + 8);
	f.generation = bytes_get_le64(in + 16);
	f.seq = bytes_get_le64(in + 24);
	f.durable = bytes_get_le64(in + 32);
	f.meta_len = bytes_get_le32(in + 40);
	if (f.length % JOURNAL_ALIGN || f.meta_len % JOURNAL_ALIGN ||
		f.meta_len > JOURNAL_META_MAX ||
		f.length < JOURNAL_FRAME_SIZE + (uint64_t)f.meta_len)
		return -EUCLEAN;
	*frame = f;
	return 0;
}

/* --- changes ---------------------------------------------------------------------- */

size_t change_size(const struct journal_change *change)
{
	switch (change->kind) {
	case JOURNAL_PUT:
		/* one byte more than the name: it is read in place, as a C string */
		return journal_pad(PUT_SIZE + strlen(change->entry.name) + 1);
	case JOURNAL_DROP:
		return DROP_SIZE;
	}
	assert(!"a kind of change");
	return 0;
}

static void put_encode(uint8_t *out, const struct journal_entry *e)
{
	size_t len = strlen(e->name);

	assert(len <= ROMFS_NAME_MAX);
	assert(e->content.kind != CONTENT_EMPTY || e->content.size == 0);
	out[1] = e->type;
	out[2] = (uint8_t)e->content.kind;
	out[3] = (uint8_t)len;
	bytes_put_le64(out + 8, e->id);
	bytes_put_le64(out + 16, e->parent);
	bytes_put_le64(out + 24, (uint64_t)e->mtime_ns);
	if (e->content.kind != CONTENT_EMPTY) {
		bytes_put_le64(out + 32, e->content.off);
		bytes_put_le64(out + 40, e->content.size);
	}
	memcpy(out + PUT_SIZE, e->name, len);
}

void change_encode(uint8_t *out, const struct journal_change *change)
{
	memset(out, 0, change_size(change));
	out[0] = (uint8_t)(change->kind + 1);
	switch (change->kind) {
	case JOURNAL_PUT:
		put_encode(out, &change->entry);
		break;
	case JOURNAL_DROP:
		bytes_put_le64(out + 8, change->entry.id);
		break;
	}
}

/* A range without overflow, inside [from, end). */
static bool range_ok(uint64_t off, uint64_t size, uint64_t from, uint64_t end)
{
	return off >= from && off <= end && size <= end - off;
}

static bool content_ok(const struct content *c, uint64_t log_end, uint64_t base_size)
{
	switch (c->kind) {
	case CONTENT_EMPTY:
		return c->off == 0 && c->size == 0;
	case CONTENT_BASE:
		return range_ok(c->off, c->size, 0, base_size);
	case CONTENT_LOG:
		return range_ok(c->off, c->size, JOURNAL_HEADER_SIZE, log_end);
	}
	return false;
}

static bool name_ok(const char *name, size_t len)
{
	return len && !memchr(name, '/', len) && !memchr(name, '\0', len) &&
	       !(len == 1 && name[0] == '.') && !(len == 2 && memcmp(name, "..", 2) == 0);
}

static bool entry_ok(const struct journal_entry *e, size_t name_len)
{
	if (e->type != ROMFS_DIR && e->type != ROMFS_FILE)
		return false;
	if (e->type == ROMFS_DIR && e->content.kind != CONTENT_EMPTY)
		return false;
	if (e->id == JOURNAL_ROOT_ID)
		return e->parent == 0 && name_len == 0 && e->type == ROMFS_DIR;
	return e->id && e->parent && e->parent != e->id && name_ok(e->name, name_len);
}

static bool all_zero(const uint8_t *p, size_t len)
{
	while (len && *p == 0)
		p++, len--;
	return len == 0;
}

/* The record's length, or 0 where it is no such record. */
static size_t put_decode(const uint8_t *p, size_t left, uint64_t log_end,
	uint64_t base_size, struct journal_entry *e)
{
	size_t len;

	if (left < PUT_SIZE || !all_zero(p + 4, 4) || p[2] > CONTENT_LOG)
		return 0;
	len = journal_pad(PUT_SIZE + (size_t)p[3] + 1);
	if (left < len || !all_zero(p + PUT_SIZE + p[3], len - PUT_SIZE - p[3]))
		return 0;
	*e = (struct journal_entry){
		.id = bytes_get_le64(p + 8),
		.parent = bytes_get_le64(p + 16),
		.name = (const char *)p + PUT_SIZE,
		.type = p[1],
		.mtime_ns = (int64_t)bytes_get_le64(p + 24),
		.content = {(enum content_kind)p[2], bytes_get_le64(p + 32),
			bytes_get_le64(p + 40)},
	};
	if (!entry_ok(e, p[3]) || !content_ok(&e->content, log_end, base_size))
		return 0;
	return len;
}

int change_decode(const uint8_t **p, size_t *left, uint64_t log_end, uint64_t base_size,
	struct journal_change *change)
{
	struct journal_change c = {0};
	const uint8_t *in = *p;
	size_t len = 0;

	if (*left < 8 || in[0] == 0 || in[0] > JOURNAL_DROP + 1)
		return -EUCLEAN;
	c.kind = (enum journal_change_kind)(in[0] - 1);
	if (c.kind != JOURNAL_PUT && !all_zero(in + 1, 7))
		return -EUCLEAN;
	switch (c.kind) {
	case JOURNAL_PUT:
		len = put_decode(in, *left, log_end, base_size, &c.entry);
		break;
	case JOURNAL_DROP:
		if (*left < DROP_SIZE)
			return -EUCLEAN;
		c.entry.id = bytes_get_le64(in + 8);
		len = c.entry.id > JOURNAL_ROOT_ID ? DROP_SIZE : 0;
		break;
	}
	if (len == 0)
		return -EUCLEAN;
	*change = c;
	*p += len;
	*left -= len;
	return 0;
}
