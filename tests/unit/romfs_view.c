/* SPDX-License-Identifier: MIT */
#include "romfs_view.h"

#include <stdio.h>
#include <string.h>

#define PATH_LEN 1024
#define DEPTH 16

enum kind { UNUSED = 0, VERBATIM = 2, POINTER = 3, DIRECTORY = 4, FILE_ = 5 };

/* A board: where the partition stands in its memory, and how wide its words are. */
struct board {
	const uint8_t *flash;
	uint64_t base, mask, size;
	uint64_t payload, end; /* addresses: of the image's records */
	struct view *view;
	uint8_t *read;
};

static void wrong(struct board *b, const char *why)
{
	if (!b->view->wrong)
		b->view->wrong = why;
}

static uint8_t byte_at(struct board *b, uint64_t address)
{
	uint64_t off = (address - b->base) & b->mask;

	if (off < b->size) {
		if (b->read)
			b->read[off] = 1;
		return b->flash[off];
	}
	wrong(b, "bytes outside of the partition are read");
	return 0;
}

static bool decode(struct board *b, uint64_t *p, uint64_t max, uint64_t *out)
{
	uint64_t v = 0, at = *p;
	uint8_t byte;

	do {
		if (at >= max)
			return false;
		byte = byte_at(b, at++);
		v = (v << 7 | (byte & 0x7f)) & b->mask;
	} while (byte & 0x80);
	*p = at;
	*out = v;
	return true;
}

static uint64_t extract(struct board *b, uint64_t *p, uint64_t *next, uint64_t max)
{
	uint64_t kind, len;

	if (!decode(b, p, max, &kind) || !decode(b, p, max, &len)) {
		wrong(b, "a record's head does not end");
		return UNUSED;
	}
	*next = (*p + len) & b->mask;
	if (kind == UNUSED)
		wrong(b, "a record of kind 0");
	else if (*next < *p || *next > max)
		wrong(b, "a record that leaves what it is in");
	return b->view->wrong ? UNUSED : kind;
}

struct found {
	uint64_t at, size;
	bool dir;
};

static bool file_data(struct board *b, uint64_t p, uint64_t top, struct found *out)
{
	while (p < top) {
		uint64_t next, off, kind = extract(b, &p, &next, top);

		if (kind == UNUSED)
			return false;
		if (kind == VERBATIM) {
			*out = (struct found){p, next - p, false};
			return true;
		}
		if (kind == POINTER) {
			if (!decode(b, &p, next, &out->size) ||
				!decode(b, &p, next, &off))
				return false;
			out->at = (b->payload + off) & b->mask;
			out->dir = false;
			return true;
		}
		p = next;
	}
	return false;
}

/* mp_vfs_rom_search_filesystem */
static bool search(struct board *b, const char *path, struct found *out)
{
	uint64_t p = b->payload, top = b->end;
	size_t left = strlen(path);

	while (left > 0 && p < top) {
		uint64_t next, len, kind = extract(b, &p, &next, top);
		bool same;

		if (kind == UNUSED)
			return false;
		if (kind != DIRECTORY && kind != FILE_) {
			p = next;
			continue;
		}
		if (!decode(b, &p, next, &len))
			return false;
		same = len == left || (len < left && path[len] == '/');
		for (uint64_t i = 0; same && i < len; i++)
			same = byte_at(b, p + i) == (uint8_t)path[i];
		if (!same) {
			p = next;
			continue;
		}
		p += len;
		top = next;
		path += len;
		left -= len;
		if (kind == FILE_)
			return left == 0 && file_data(b, p, top, out);
		if (*path == '/') {
			path++;
			left--;
		}
	}
	*out = (struct found){p, top - p, true};
	return left == 0;
}

/* The entry at `p`, whose record ends at `next`, as ilistdir() gives it. */
static bool list_entry(struct board *b, uint64_t kind, uint64_t *p, uint64_t next,
	char *path, size_t dir_len, struct found *out)
{
	uint64_t len;
	size_t n = dir_len;

	if (!decode(b, p, next, &len) || len > next - *p ||
		dir_len + len + 2 > PATH_LEN) {
		wrong(b, "a name that leaves its record");
		return false;
	}
	if (n)
		path[n++] = '/';
	for (uint64_t i = 0; i < len; i++)
		path[n++] = (char)byte_at(b, (*p)++);
	path[n] = '\0';
	*out = (struct found){*p, next - *p, true};
	if (kind == FILE_ && !file_data(b, *p, next, out)) {
		wrong(b, "a file without data");
		return false;
	}
	return true;
}

static void see(struct board *b, const char *path, const struct found *f)
{
	uint64_t off = (f->at - b->base) & b->mask;
	struct found other;

	if (!search(b, path, &other) || other.at != f->at || other.size != f->size ||
		other.dir != f->dir) {
		wrong(b, "what is listed is not what is opened");
		return;
	}
	if (off > b->size || f->size > b->size - off) {
		wrong(b, "data outside of the partition");
		return;
	}
	if (b->read && !f->dir)
		memset(b->read + off, 1, f->size);
	b->view->n++;
	b->view->digest += view_entry(path, f->dir ? NULL : b->flash + off, f->size);
}

static void list(struct board *b, char *path, uint64_t p, uint64_t top, unsigned depth)
{
	size_t dir_len = strlen(path);

	if (depth > DEPTH)
		wrong(b, "directories without end");
	while (p < top && !b->view->wrong) {
		uint64_t next, kind = extract(b, &p, &next, top);
		struct found f;

		if (kind == DIRECTORY || kind == FILE_) {
			if (!list_entry(b, kind, &p, next, path, dir_len, &f))
				return;
			see(b, path, &f);
			if (f.dir)
				list(b, path, f.at, next, depth + 1);
			path[dir_len] = '\0';
		} else if (b->view->n == 0 && depth == 0) {
			b->view->walk++;
		}
		p = next;
	}
}

static void mount(struct board *b)
{
	char path[PATH_LEN] = "";
	uint64_t p = b->base, next, kind;

	*b->view = (struct view){0};
	if (b->read)
		memset(b->read, 1, 3);
	if (b->size < 4 || memcmp(b->flash, "\xd2\xcd\x31", 3) != 0)
		return;
	kind = extract(b, &p, &next, b->base + b->size);
	b->view->wrong = NULL;
	/* A length that wraps is taken by VfsRom: then nothing is listed. */
	if (kind != 0x14a6b1 || next > b->base + b->size)
		return;
	b->view->mounted = true;
	b->payload = p;
	b->end = next;
	list(b, path, p, next, 0);
}

/* --- digests ------------------------------------------------------------------- */

static uint64_t mix(uint64_t h, uint64_t v)
{
	h = (h ^ v) * 0x9E3779B97F4A7C15u;
	return h ^ h >> 29;
}

static uint64_t hash(uint64_t h, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (; n >= 8; n -= 8, p += 8) {
		uint64_t v;

		memcpy(&v, p, 8);
		h = mix(h, v);
	}
	for (; n; n--)
		h = mix(h, *p++);
	return h;
}

uint64_t view_entry(const char *path, const uint8_t *data, size_t size)
{
	uint64_t h = hash(1, path, strlen(path));

	return data ? hash(mix(h, size + 2), data, size) : mix(h, 1);
}

void view_flash(
	const uint8_t *flash, size_t size, bool wide, uint8_t *read, struct view *out)
{
	struct board b = {.flash = flash,
		.size = size,
		.base = wide ? UINT64_C(0x7f3210000000) : 0x90000000,
		.mask = wide ? UINT64_MAX : UINT32_MAX,
		.view = out,
		.read = read};

	mount(&b);
}
