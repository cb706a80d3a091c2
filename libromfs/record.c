/* SPDX-License-Identifier: MIT */
#include "libromfs/record.h"

#include <assert.h>
#include <string.h>

#include "util/bytes.h"

const uint8_t romfs_magic[ROMFS_MAGIC_LEN] = {0xd2, 0xcd, 0x31};

const uint8_t romfs_note_magic[ROMFS_NOTE_MAGIC_LEN] = {0xf5, 'N'};

unsigned romfs_varuint_width(uint64_t value)
{
	unsigned width = 1;

	while (value >>= 7)
		width++;
	return width;
}

void romfs_varuint_put(uint8_t *p, uint64_t value, unsigned width)
{
	assert(romfs_varuint_width(value) <= width);
	for (unsigned i = width; i-- > 0; value >>= 7)
		p[i] = (uint8_t)((value & 0x7F) | (i + 1 < width ? 0x80 : 0));
}

void romfs_jump_put(uint8_t *p, uint64_t at, uint64_t to, unsigned width)
{
	assert(to >= at + 1 + width);
	p[0] = ROMFS_KIND_PADDING;
	romfs_varuint_put(p + 1, to - (at + 1 + width), width);
}

void romfs_note_encode(int64_t mtime_ns, uint8_t payload[ROMFS_NOTE_LEN])
{
	memset(payload, 0, ROMFS_NOTE_LEN);
	memcpy(payload, romfs_note_magic, sizeof(romfs_note_magic));
	if (mtime_ns == ROMFS_NO_MTIME)
		return; /* ROMFS_NOTE_PLACE */
	payload[2] = ROMFS_NOTE_MTIME;
	bytes_put_le64(payload + 3, (uint64_t)mtime_ns);
}

bool romfs_note_decode(const uint8_t payload[ROMFS_NOTE_LEN], int64_t *mtime_ns)
{
	if (memcmp(payload, romfs_note_magic, sizeof(romfs_note_magic)) != 0 ||
		payload[2] != ROMFS_NOTE_MTIME)
		return false;
	*mtime_ns = (int64_t)bytes_get_le64(payload + 3);
	return true;
}

static void drain(struct romfs_out *out)
{
	if (out->fill && out->sink && !out->failed)
		out->failed = out->sink(out->ctx, out->buf, out->fill, out->err);
	out->fill = 0;
}

void romfs_out_bytes(struct romfs_out *out, const void *buf, size_t len)
{
	out->pos += len;
	if (!out->sink || out->failed)
		return;
	if (len > sizeof(out->buf) - out->fill)
		drain(out);
	if (len > sizeof(out->buf)) {
		if (!out->failed)
			out->failed = out->sink(out->ctx, buf, len, out->err);
		return;
	}
	memcpy(out->buf + out->fill, buf, len);
	out->fill += len;
}

void romfs_out_fill(struct romfs_out *out, uint8_t byte, uint64_t len)
{
	uint8_t piece[256];

	if (!out->sink) {
		out->pos += len;
		return;
	}
	memset(piece, byte, sizeof(piece));
	while (len) {
		size_t n = MIN(len, sizeof(piece));

		romfs_out_bytes(out, piece, n);
		len -= n;
	}
}

void romfs_out_varuint(struct romfs_out *out, uint64_t value, unsigned width)
{
	uint8_t digits[10];
	unsigned n = MAX(width, romfs_varuint_width(value));

	assert(n <= sizeof(digits));
	romfs_varuint_put(digits, value, n);
	romfs_out_bytes(out, digits, n);
}

void romfs_out_padding(struct romfs_out *out, uint64_t total)
{
	unsigned width = 1;

	assert(total >= 2);
	while (romfs_varuint_width(total - 1 - width) > width)
		width++;
	romfs_out_varuint(out, ROMFS_KIND_PADDING, 1);
	romfs_out_varuint(out, total - 1 - width, width);
	romfs_out_fill(out, 0, total - 1 - width);
}

void romfs_out_note(struct romfs_out *out, int64_t mtime_ns)
{
	uint8_t record[ROMFS_NOTE_RECORD] = {ROMFS_KIND_PADDING, ROMFS_NOTE_LEN};

	romfs_note_encode(mtime_ns, record + 2);
	romfs_out_bytes(out, record, sizeof(record));
}

int romfs_out_flush(struct romfs_out *out)
{
	drain(out);
	return out->failed;
}
