/* SPDX-License-Identifier: MIT */
#include "libromfs/parse.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "libromfs/record.h"

/* File data shares a read with the record in front of it at most by this much. */
#define WINDOW 256u
/* More extents than this do not tell anybody more: the last one grows instead. */
#define META_MAX (2 * ROMFS_ENTRIES_MAX)
/* An image that is looked at may not promise more data than the largest image could hold:
 * else overlapping pointers make gigabytes of a few kilobytes. */
#define DATA_MAX ROMFS_SIZE_MAX

/* Not an errno: the bytes are no sound ROMFS, and image->why tells it. */
#define BROKEN 1

struct frame {
	uint64_t end; /* of the directory's payload */
	uint32_t dir;
};

struct parser {
	const struct romfs_source *source;
	struct romfs_image *image;
	struct error *err;
	uint64_t limit; /* bytes of the source that may be looked at */
	uint64_t pos;
	uint64_t data; /* sum of the files' sizes */
	size_t meta_cap;
	unsigned records;
	bool entered; /* an entry was met at the root */
	unsigned depth;
	struct frame stack[ROMFS_DEPTH_MAX + 1];
	uint64_t window_off;
	size_t window_len;
	uint8_t window[WINDOW];
};

#define broken(p, status_, off, fmt, ...)                                                \
	((p)->image->status = (status_),                                                 \
		error_set(&(p)->image->why, -EUCLEAN, "byte %llu: " fmt,                 \
			(unsigned long long)(off), ##__VA_ARGS__),                       \
		BROKEN)
#define corrupt(p, off, ...) broken(p, ROMFS_CORRUPT, off, __VA_ARGS__)

/* --- reading ----------------------------------------------------------------- */

static int note_meta(struct parser *p, uint64_t off, uint64_t len)
{
	struct romfs_image *im = p->image;
	struct romfs_extent *last = im->n_meta ? &im->meta[im->n_meta - 1] : NULL;

	/* The walk goes forward only, so the extents come sorted. */
	if (last && (last->off + last->len == off || im->n_meta >= META_MAX)) {
		last->len = off + len - last->off;
		return 0;
	}
	if (im->n_meta == p->meta_cap) {
		size_t cap = p->meta_cap ? p->meta_cap * 2 : 16;
		struct romfs_extent *meta = realloc(im->meta, cap * sizeof(*meta));

		if (!meta)
			return -ENOMEM;
		im->meta = meta;
		p->meta_cap = cap;
	}
	im->meta[im->n_meta++] = (struct romfs_extent){off, len};
	return 0;
}

/* The caller has checked that the bytes lie inside the source. */
static int take_bytes(struct parser *p, void *buf, size_t len)
{
	uint8_t *out = buf;
	int r;

	r = note_meta(p, p->pos, len);
	while (r == 0 && len) {
		size_t have, skip;

		if (p->pos < p->window_off || p->pos >= p->window_off + p->window_len) {
			p->window_len = 0;
			have = MIN(p->limit - p->pos, WINDOW);
			r = p->source->read(
				p->source->ctx, p->pos, p->window, have, p->err);
			if (r < 0)
				return r;
			p->window_off = p->pos;
			p->window_len = have;
		}
		skip = (size_t)(p->pos - p->window_off);
		have = MIN(p->window_len - skip, len);
		memcpy(out, p->window + skip, have);
		out += have;
		len -= have;
		p->pos += have;
	}
	return r;
}

enum digits { FITS, TOO_LONG };

/* A varuint that must end before `end`. TOO_LONG (no error by itself): over 64 bits. */
static int take_varuint(struct parser *p, uint64_t end, const char *what, uint64_t *value,
	enum digits *fits)
{
	uint64_t start = p->pos, v = 0;
	uint8_t byte;
	int r;

	*fits = FITS;
	do {
		if (p->pos >= end)
			return corrupt(p, start,
				"%s does not end before byte %llu, where what "
				"it is part of ends",
				what, (unsigned long long)end);
		r = take_bytes(p, &byte, 1);
		if (r)
			return r;
		if (v >> 57)
			*fits = TOO_LONG;
		v = v << 7 | (byte & 0x7F);
	} while (byte & 0x80);
	*value = v;
	return 0;
}

static int take_number(struct parser *p, uint64_t end, const char *what, uint64_t *value)
{
	uint64_t start = p->pos;
	enum digits fits;
	int r;

	r = take_varuint(p, end, what, value, &fits);
	if (r == 0 && fits == TOO_LONG)
		return corrupt(p, start, "%s has more than 64 bits", what);
	return r;
}

struct record {
	uint64_t start, end; /* of the record; p->pos is at its payload */
	uint64_t kind;
};

static int take_record(struct parser *p, uint64_t end, struct record *rec)
{
	enum digits fits;
	uint64_t len;
	int r;

	rec->start = p->pos;
	r = take_varuint(p, end, "a record's kind", &rec->kind, &fits);
	if (r)
		return r;
	/* Erased bytes read as leading digits of a kind that nobody knows: the record is
	 * skipped like every unknown one. The append layout lives from it. */
	if (fits == TOO_LONG)
		rec->kind = UINT64_MAX;
	if (rec->kind == ROMFS_KIND_UNUSED)
		return corrupt(p, rec->start,
			"a record of kind 0, which only corruption leaves");
	r = take_number(p, end, "a record's length", &len);
	if (r)
		return r;
	if (len > end - p->pos)
		return corrupt(p, rec->start,
			"a record of %llu bytes leaves what it is part of, "
			"which ends at byte %llu",
			(unsigned long long)len, (unsigned long long)end);
	rec->end = p->pos + len;
	return 0;
}

/* --- entries ----------------------------------------------------------------- */

static int take_note(struct parser *p, const struct record *rec, int64_t *mtime_ns)
{
	uint8_t payload[ROMFS_NOTE_LEN];
	int64_t found;
	int r;

	if (rec->kind != ROMFS_KIND_PADDING || rec->end - p->pos != sizeof(payload))
		return 0;
	r = take_bytes(p, payload, sizeof(payload));
	if (r == 0 && *mtime_ns == ROMFS_NO_MTIME && romfs_note_decode(payload, &found))
		*mtime_ns = found;
	return r;
}

static int take_pointer(
	struct parser *p, const struct record *rec, struct romfs_extent *data)
{
	uint64_t at;
	int r;

	r = take_number(p, rec->end, "a data pointer's size", &data->len);
	if (r == 0)
		r = take_number(p, rec->end, "a data pointer's offset", &at);
	if (r)
		return r;
	if (at > p->limit - p->image->payload ||
		data->len > p->limit - p->image->payload - at)
		return corrupt(p, rec->start,
			"a data pointer to %llu bytes at %llu of the payload "
			"leaves the partition (%llu bytes)",
			(unsigned long long)data->len, (unsigned long long)at,
			(unsigned long long)p->limit);
	data->off = p->image->payload + at;
	return 0;
}

/* Reads a file's records up to its data; what follows is never looked at by any reader. */
static int take_file(struct parser *p, const struct record *file,
	struct romfs_extent *data, int64_t *mtime_ns)
{
	for (;;) {
		struct record rec;
		int r;

		if (p->pos >= file->end)
			return corrupt(p, file->start, "a file record holds no data");
		r = take_record(p, file->end, &rec);
		if (r)
			return r;
		if (rec.kind == ROMFS_KIND_POINTER)
			return take_pointer(p, &rec, data);
		if (rec.kind == ROMFS_KIND_VERBATIM) {
			*data = (struct romfs_extent){p->pos, rec.end - p->pos};
			return 0;
		}
		r = take_note(p, &rec, mtime_ns);
		if (r)
			return r;
		p->pos = rec.end;
	}
}

/* Adds the entry, or counts it as one that cannot be shown (*index = ROMFS_NO_NODE). */
static int add_entry(
	struct parser *p, const struct record *rec, enum romfs_type type, uint32_t *index)
{
	uint32_t parent = p->stack[p->depth].dir;
	char name[ROMFS_NAME_MAX];
	uint64_t len;
	int r;

	*index = ROMFS_NO_NODE;
	r = take_number(p, rec->end, "a name's length", &len);
	if (r)
		return r;
	if (len > rec->end - p->pos)
		return corrupt(p, rec->start,
			"a name of %llu bytes leaves its record, which ends "
			"at byte %llu",
			(unsigned long long)len, (unsigned long long)rec->end);
	if (len > sizeof(name)) {
		p->image->skipped_entries++;
		return 0;
	}
	r = take_bytes(p, name, len);
	if (r)
		return r;
	/* Every lookup on the board finds the first of two entries with one name. */
	if (romfs_tree_find(p->image->tree, parent, name, len) != ROMFS_NO_NODE) {
		p->image->skipped_entries++;
		return 0;
	}
	r = romfs_tree_add(p->image->tree, parent, type, name, len, index);
	if (r == -EINVAL) {
		p->image->skipped_entries++;
		return 0;
	}
	if (r == -ELOOP)
		return corrupt(p, rec->start,
			"more than %u directories inside each other", ROMFS_DEPTH_MAX);
	if (r == -EOVERFLOW)
		return corrupt(p, rec->start, "more than %u entries", ROMFS_ENTRIES_MAX);
	return r;
}

static int take_entry(struct parser *p, const struct record *rec)
{
	enum romfs_type type = rec->kind == ROMFS_KIND_DIR ? ROMFS_DIR : ROMFS_FILE;
	int64_t mtime_ns = ROMFS_NO_MTIME;
	struct romfs_extent data;
	struct romfs_node *node;
	uint32_t index;
	int r;

	r = add_entry(p, rec, type, &index);
	if (r)
		return r;
	if (index == ROMFS_NO_NODE) {
		p->pos = rec->end;
		return 0;
	}
	if (type == ROMFS_DIR) {
		p->stack[++p->depth] = (struct frame){rec->end, index};
		return 0;
	}
	r = take_file(p, rec, &data, &mtime_ns);
	if (r)
		return r;
	if (data.len > DATA_MAX - p->data)
		return corrupt(
			p, rec->start, "the files hold more than %u bytes", DATA_MAX);
	p->data += data.len;
	node = romfs_tree_node(p->image->tree, index);
	node->mtime_ns = mtime_ns;
	node->size = data.len;
	node->data_off = data.off;
	p->pos = rec->end;
	return 0;
}

static int take_any(struct parser *p)
{
	struct frame *f = &p->stack[p->depth];
	struct record rec;
	int r;

	r = take_record(p, f->end, &rec);
	if (r)
		return r;
	if (rec.kind == ROMFS_KIND_DIR || rec.kind == ROMFS_KIND_FILE) {
		p->entered = true;
		return take_entry(p, &rec);
	}
	if (!p->entered)
		p->image->records_before_root++;
	r = take_note(p, &rec, &romfs_tree_node(p->image->tree, f->dir)->mtime_ns);
	p->pos = rec.end;
	return r;
}

/* --- the image --------------------------------------------------------------- */

static int take_header(struct parser *p)
{
	uint8_t magic[ROMFS_MAGIC_LEN + 1];
	uint64_t len;
	int r;

	if (p->limit < sizeof(magic))
		return broken(p, ROMFS_NOT_ROMFS, 0, "%llu bytes are too few for a ROMFS",
			(unsigned long long)p->limit);
	r = take_bytes(p, magic, sizeof(magic));
	if (r)
		return r;
	if (magic[0] == 0xFF && memcmp(magic, magic + 1, sizeof(magic) - 1) == 0) {
		p->image->status = ROMFS_BLANK;
		return BROKEN;
	}
	if (memcmp(magic, romfs_magic, ROMFS_MAGIC_LEN) != 0)
		return broken(p, ROMFS_NOT_ROMFS, 0,
			"no ROMFS: it starts with %02x %02x %02x, not with d2 cd 31",
			magic[0], magic[1], magic[2]);
	p->pos = ROMFS_MAGIC_LEN;
	p->image->n_meta = 0;
	r = note_meta(p, 0, ROMFS_MAGIC_LEN);
	if (r)
		return r;
	r = take_number(p, p->limit, "the length in the header", &len);
	if (r)
		return r;
	if (len > p->limit - p->pos)
		return corrupt(p, ROMFS_MAGIC_LEN,
			"an image of %llu bytes is longer than the "
			"partition (%llu bytes)",
			(unsigned long long)len, (unsigned long long)p->limit);
	p->image->payload = p->pos;
	p->image->size = p->pos + len;
	p->stack[0] = (struct frame){p->image->size, ROMFS_ROOT};
	return 0;
}

static int walk(struct parser *p)
{
	int r;

	r = take_header(p);
	while (r == 0) {
		if (p->pos < p->stack[p->depth].end)
			r = take_any(p);
		else if (p->depth == 0)
			return 0;
		else
			p->depth--;
	}
	return r;
}

/* Nothing of a tree that broke half-way is shown. */
static int forget_tree(struct romfs_image *image)
{
	romfs_tree_free(image->tree);
	image->tree = NULL;
	free(image->meta);
	image->meta = NULL;
	image->n_meta = 0;
	image->size = image->payload = 0;
	image->records_before_root = image->skipped_entries = 0;
	return romfs_tree_new(&image->tree);
}

int romfs_parse(
	const struct romfs_source *source, struct romfs_image **out, struct error *err)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image =
		calloc(1, sizeof(*image));
	_cleanup_free_ struct parser *p = calloc(1, sizeof(*p));
	int r;

	if (!image || !p)
		return error_set(err, -ENOMEM, "out of memory");
	p->source = source;
	p->image = image;
	p->err = err;
	p->limit = MIN(source->size, ROMFS_SIZE_MAX);
	image->status = ROMFS_VALID;
	r = romfs_tree_new(&image->tree);
	if (r == 0)
		r = walk(p);
	if (r == BROKEN)
		r = forget_tree(image);
	if (r == -ENOMEM)
		error_set(err, r, "out of memory");
	if (r < 0)
		return r;
	*out = TAKE_PTR(image);
	return 0;
}

void romfs_image_free(struct romfs_image *image)
{
	if (!image)
		return;
	romfs_tree_free(image->tree);
	free(image->meta);
	free(image);
}
