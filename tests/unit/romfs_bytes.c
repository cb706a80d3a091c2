/* SPDX-License-Identifier: MIT */
#include "romfs_bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- writer ----------------------------------------------------------------------------- */

void bytes_done(struct bytes *b)
{
	free(b->p);
	*b = (struct bytes){0};
}

struct bytes *bytes_add(struct bytes *b, const void *p, size_t n)
{
	if (n == 0)
		return b;
	b->p = realloc(b->p, b->n + n);
	if (!b->p)
		abort();
	memcpy(b->p + b->n, p, n);
	b->n += n;
	return b;
}

struct bytes *bytes_fill(struct bytes *b, int value, size_t n)
{
	uint8_t byte = (uint8_t)value;

	while (n--)
		bytes_add(b, &byte, 1);
	return b;
}

struct bytes *bytes_varuint(struct bytes *b, uint64_t value, unsigned width)
{
	uint8_t digit[32];
	unsigned n = 0;

	if (width > sizeof(digit))
		abort();
	do {
		digit[n++] = (uint8_t)(value % 128);
		value /= 128;
	} while (value || n < width);
	while (n--) {
		uint8_t d = (uint8_t)(digit[n] | (n ? 0x80 : 0));

		bytes_add(b, &d, 1);
	}
	return b;
}

struct bytes *bytes_record(struct bytes *b, unsigned kind, struct bytes *payload)
{
	bytes_varuint(b, kind, 1);
	bytes_varuint(b, payload->n, 1);
	bytes_add(b, payload->p, payload->n);
	bytes_done(payload);
	return b;
}

struct bytes *bytes_name(struct bytes *b, const char *name)
{
	return bytes_add(bytes_varuint(b, strlen(name), 1), name, strlen(name));
}

struct bytes *bytes_mtime_note(struct bytes *b, int64_t mtime_ns)
{
	uint8_t note[13] = {1, 11, 0xf5, 0x4e, 1};

	for (unsigned i = 0; i < 8; i++)
		note[5 + i] = (uint8_t)((uint64_t)mtime_ns >> (8 * i));
	return bytes_add(b, note, sizeof(note));
}

struct bytes *bytes_file(struct bytes *b, const char *name, const void *data, size_t len)
{
	struct bytes body = {0}, content = {0};

	bytes_name(&body, name);
	bytes_record(&body, 2, bytes_add(&content, data, len));
	return bytes_record(b, 5, &body);
}

struct bytes *bytes_pointer_file(
	struct bytes *b, const char *name, uint64_t size, uint64_t offset, unsigned width)
{
	struct bytes body = {0}, pointer = {0};

	bytes_varuint(bytes_varuint(&pointer, size, width), offset, width);
	bytes_record(bytes_name(&body, name), 3, &pointer);
	return bytes_record(b, 5, &body);
}

struct bytes *bytes_dir(struct bytes *b, const char *name, struct bytes *inside)
{
	struct bytes body = {0};

	bytes_add(bytes_name(&body, name), inside->p, inside->n);
	bytes_done(inside);
	return bytes_record(b, 4, &body);
}

struct bytes *bytes_image(struct bytes *b, struct bytes *payload)
{
	struct bytes length = {0};

	bytes_varuint(&length, payload->n, 1);
	if ((3 + length.n + payload->n) % 2) {
		unsigned width = (unsigned)length.n + 1;

		bytes_done(&length);
		bytes_varuint(&length, payload->n, width);
	}
	bytes_add(b, "\xd2\xcd\x31", 3);
	bytes_add(b, length.p, length.n);
	bytes_add(b, payload->p, payload->n);
	bytes_done(&length);
	bytes_done(payload);
	return b;
}

/* --- reader ----------------------------------------------------------------------------- */

struct reader {
	const uint8_t *flash;
	size_t size, payload;
	board_entry_fn entry;
	void *ctx;
	bool broken;
};

/* 32 bits, like most boards: what is too long wraps. */
static bool take_uint(struct reader *r, size_t *pos, size_t end, uint32_t *value)
{
	uint32_t v = 0;

	while (*pos < end && *pos < r->size) {
		uint8_t byte = r->flash[(*pos)++];

		v = v << 7 | (byte & 0x7f);
		if (!(byte & 0x80)) {
			*value = v;
			return true;
		}
	}
	r->broken = true;
	return false;
}

static bool take_head(
	struct reader *r, size_t *pos, size_t end, uint32_t *kind, size_t *next)
{
	uint32_t len;

	if (!take_uint(r, pos, end, kind) || !take_uint(r, pos, end, &len))
		return false;
	*next = *pos + len;
	if (*kind == 0 || *next > end)
		r->broken = true;
	return !r->broken;
}

static void read_data(struct reader *r, const char *path, size_t pos, size_t end)
{
	while (pos < end) {
		uint32_t kind, size, off;
		size_t next;

		if (!take_head(r, &pos, end, &kind, &next))
			return;
		if (kind == 2) {
			r->entry(r->ctx, path, r->flash + pos, next - pos);
			return;
		}
		if (kind == 3) {
			if (!take_uint(r, &pos, next, &size) ||
				!take_uint(r, &pos, next, &off))
				return;
			if (r->payload + (uint64_t)off + size > r->size)
				break;
			r->entry(r->ctx, path, r->flash + r->payload + off, size);
			return;
		}
		pos = next;
	}
	r->broken = true;
}

static void read_records(struct reader *r, const char *dir, size_t pos, size_t end)
{
	while (pos < end && !r->broken) {
		char path[2048];
		uint32_t kind, len;
		size_t next;

		if (!take_head(r, &pos, end, &kind, &next))
			return;
		if (kind == 4 || kind == 5) {
			if (!take_uint(r, &pos, next, &len) || len > next - pos) {
				r->broken = true;
				return;
			}
			snprintf(path, sizeof(path), "%s%s%.*s", dir, *dir ? "/" : "",
				(int)len, (const char *)r->flash + pos);
			pos += len;
			if (kind == 4) {
				r->entry(r->ctx, path, NULL, 0);
				read_records(r, path, pos, next);
			} else {
				read_data(r, path, pos, next);
			}
		}
		pos = next;
	}
}

/* Finds the payload. */
static bool take_image(struct reader *r, size_t *end)
{
	uint32_t len;

	r->payload = 3;
	if (r->size < 4 || memcmp(r->flash, "\xd2\xcd\x31", 3) != 0)
		return false;
	if (!take_uint(r, &r->payload, r->size, &len) || r->payload + len > r->size)
		return false;
	*end = r->payload + len;
	return true;
}

bool board_mount(
	const uint8_t *flash, size_t size, board_entry_fn entry, void *ctx, bool *broken)
{
	struct reader r = {.flash = flash, .size = size, .entry = entry, .ctx = ctx};
	size_t end;

	*broken = false;
	if (!take_image(&r, &end))
		return false;
	read_records(&r, "", r.payload, end);
	*broken = r.broken;
	return true;
}

bool board_walk(const uint8_t *flash, size_t size, size_t from, size_t *at, unsigned *walked)
{
	struct reader r = {.flash = flash, .size = size};
	size_t end, pos;

	if (!take_image(&r, &end))
		return false;
	*walked = 0;
	for (pos = r.payload; pos < from && pos < end; ++*walked) {
		uint32_t kind;
		size_t next;

		if (!take_head(&r, &pos, end, &kind, &next) || (kind >= 2 && kind <= 5))
			return false;
		pos = next;
	}
	*at = pos;
	return pos >= from;
}
