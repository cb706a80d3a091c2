/* SPDX-License-Identifier: MIT */
#include "cli/memmap.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/flashmap.h"
#include "cli/json.h"
#include "cli/ui.h"
#include "util/text.h"

#define EXTENTS_MAX (1u << 20)
#define LOOK_CHUNK 4096u

static const struct {
	const char *name, *title;
} kinds[MEMMAP_KINDS] = {
	[MEMMAP_HEAD] = {"head", "header"},
	[MEMMAP_SLOT] = {"slot", "room for saves"},
	[MEMMAP_ROOT] = {"root", "names"},
	[MEMMAP_FILE] = {"file", "files"},
	[MEMMAP_DEAD] = {"dead", "dead"},
	[MEMMAP_BLANK] = {"blank", "blank"},
	[MEMMAP_UNKNOWN] = {"unknown", "free"},
	[MEMMAP_BAD] = {"bad", "set aside"},
};

const char *memmap_kind_title(enum memmap_kind kind)
{
	return kinds[kind].title;
}

const char *memmap_kind_name(enum memmap_kind kind)
{
	return kinds[kind].name;
}

void memmap_clear(struct memmap *m)
{
	for (size_t i = 0; i < m->n; i++)
		free(m->list[i].name);
	free(m->list);
	*m = (struct memmap){0};
}

static int no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, "out of memory");
}

/* `name` is taken over, also when this fails. Neighbours of a kind that has no names become
 * one. */
static int add(struct memmap *m, uint64_t off, uint64_t len, enum memmap_kind kind, char *name)
{
	struct memmap_extent *last = m->n ? &m->list[m->n - 1] : NULL;

	if (!name && last && last->kind == kind && !last->name && last->off + last->len == off) {
		last->len += len;
		return 0;
	}
	/* Grown by halves of what is there: a power of two is full. */
	if ((m->n & (m->n - 1)) == 0) {
		struct memmap_extent *more =
			reallocarray(m->list, m->n ? m->n * 2 : 1, sizeof(*more));

		if (!more) {
			free(name);
			return -ENOMEM;
		}
		m->list = more;
	}
	m->list[m->n++] =
		(struct memmap_extent){.off = off, .len = len, .kind = kind, .name = name};
	return 0;
}

/* --- from the bus ------------------------------------------------------------------- */

static enum memmap_kind kind_of(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kinds[i].name, name))
			return (enum memmap_kind)i;
	return MEMMAP_UNKNOWN;
}

static int bad_map(struct error *err)
{
	return error_set(err, -EBADMSG, "romountd has sent a map that makes no sense");
}

static int read_extent(sd_bus_message *m, uint64_t *at, struct memmap *out, struct error *err)
{
	uint64_t off, len;
	const char *kind, *name;
	char *shown = NULL;

	if (sd_bus_message_read(m, "ttss", &off, &len, &kind, &name) < 0 || off < *at ||
		off > out->size || len > out->size - off || out->n >= EXTENTS_MAX)
		return bad_map(err);
	if (off > *at && add(out, *at, off - *at, MEMMAP_UNKNOWN, NULL) < 0)
		return no_memory(err);
	*at = off + len;
	if (kind_of(kind) == MEMMAP_FILE) {
		shown = strdup(name);
		if (!shown)
			return no_memory(err);
		text_make_printable(shown);
	}
	if (len == 0 && !shown)
		return 0;
	return add(out, off, len, kind_of(kind), shown) < 0 ? no_memory(err) : 0;
}

int memmap_read(sd_bus_message *reply, struct memmap *out, struct error *err)
{
	struct memmap m = {0};
	uint64_t at = 0;
	int r = sd_bus_message_read(reply, "tt", &m.size, &m.erase_block);

	if (r < 0 || sd_bus_message_enter_container(reply, 'a', "(ttss)") < 0)
		return bad_map(err);
	while ((r = sd_bus_message_enter_container(reply, 'r', "ttss")) > 0) {
		r = read_extent(reply, &at, &m, err);
		if (r == 0 && sd_bus_message_exit_container(reply) < 0)
			r = bad_map(err);
		if (r < 0)
			break;
	}
	if (r < 0) {
		memmap_clear(&m);
		return err->code ? err->code : bad_map(err);
	}
	if (at < m.size && add(&m, at, m.size - at, MEMMAP_UNKNOWN, NULL) < 0) {
		memmap_clear(&m);
		return no_memory(err);
	}
	*out = m;
	return 0;
}

/* --- from a port or an image --------------------------------------------------------- */

/* By erase blocks: a block that is blank throughout can be written, others must be erased. */
static int look_at_free(struct dev_target *t, const struct flashmap_row *row,
	struct memmap *out, struct error *err)
{
	uint64_t block = out->erase_block ? out->erase_block : LOOK_CHUNK;
	uint64_t at = row->off, end = row->off + row->len;
	uint8_t buf[LOOK_CHUNK];

	while (at < end) {
		uint64_t stop = MIN(end, at / block * block + block), from = at;
		bool blank = true;

		while (at < stop) {
			size_t len = (size_t)MIN(stop - at, sizeof(buf));
			int r = dev_target_read(t, at, buf, len, err);

			if (r < 0)
				return r;
			for (size_t i = 0; i < len && blank; i++)
				blank = buf[i] == 0xFF;
			at += len;
		}
		if (add(out, from, stop - from, blank ? MEMMAP_BLANK : MEMMAP_DEAD, NULL) < 0)
			return no_memory(err);
	}
	return 0;
}

static int add_file(const struct romfs_image *image, const struct flashmap_row *row,
	uint64_t off, uint64_t len, struct memmap *out)
{
	size_t n = romfs_tree_path(image->tree, row->index, NULL, 0);
	_cleanup_free_ char *path = malloc(n + 1);
	char *shown;

	if (!path)
		return -ENOMEM;
	romfs_tree_path(image->tree, row->index, path, n + 1);
	shown = ui_escape(path, n);
	return shown ? add(out, off, len, MEMMAP_FILE, shown) : -ENOMEM;
}

/* Rows of a flashmap leave out short gaps, and names between files; files may share bytes. */
static int take_row(struct subject *s, const struct romfs_image *image,
	const struct flashmap_row *row, uint64_t *at, struct memmap *out, struct error *err)
{
	uint64_t off = MAX(row->off, *at), end = MAX(row->off + row->len, off);
	int r = 0;

	if (row->off > *at)
		r = add(out, *at, row->off - *at, MEMMAP_ROOT, NULL);
	*at = end;
	if (r < 0)
		return no_memory(err);
	if (row->kind == FLASHMAP_FILE)
		r = add_file(image, row, off, end - off, out);
	else if (row->kind == FLASHMAP_RECORDS)
		r = add(out, off, end - off, off ? MEMMAP_ROOT : MEMMAP_HEAD, NULL);
	else if (subject_kind(s) == SUBJECT_IMAGE)
		return look_at_free(subject_target(s), row, out, err);
	else
		r = add(out, off, end - off, MEMMAP_UNKNOWN, NULL);
	return r < 0 ? no_memory(err) : 0;
}

int memmap_look(struct subject *s, unsigned number, struct memmap *out, struct error *err)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	const struct dev_geometry *g;
	struct flashmap map = {0};
	struct memmap m = {0};
	struct romfs_source source;
	uint64_t at = 0;
	int r = subject_partition(s, number, &g, &source, err);

	if (r == 0)
		r = romfs_parse(&source, &image, err);
	if (r < 0)
		return r;
	if (flashmap_of(image, g->size, &map) < 0)
		return no_memory(err);
	m.size = g->size;
	m.erase_block = g->erase_block;
	m.has_address = g->has_address;
	m.address = g->address;
	for (size_t i = 0; i < map.n_rows && r == 0; i++)
		r = take_row(s, image, &map.rows[i], &at, &m, err);
	flashmap_clear(&map);
	if (r < 0) {
		memmap_clear(&m);
		return r;
	}
	*out = m;
	return 0;
}

/* --- what it tells ------------------------------------------------------------------ */

void memmap_sum(const struct memmap *m, struct memmap_sums *out)
{
	*out = (struct memmap_sums){0};
	for (size_t i = 0; i < m->n; i++) {
		out->bytes[m->list[i].kind] += m->list[i].len;
		out->files += m->list[i].kind == MEMMAP_FILE;
	}
}

size_t memmap_biggest(const struct memmap *m, size_t *out, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < m->n; i++) {
		size_t at;

		if (m->list[i].kind != MEMMAP_FILE || m->list[i].len == 0)
			continue;
		for (at = n; at > 0 && m->list[out[at - 1]].len < m->list[i].len; at--)
			if (at < max)
				out[at] = out[at - 1];
		if (at < max)
			out[at] = i;
		n = MIN(n + 1, max);
	}
	return n;
}

int memmap_print_table(const struct memmap *m, FILE *to)
{
	_cleanup_(ui_table_freep) struct ui_table *t =
		ui_table_new(m->has_address ? "rrrl" : "rrl");

	if (!t)
		return -ENOMEM;
	ui_table_cell(t, UI_BOLD, "offset");
	if (m->has_address)
		ui_table_cell(t, UI_BOLD, "address");
	ui_table_cell(t, UI_BOLD, "bytes");
	ui_table_cell(t, UI_BOLD, "what");
	for (size_t i = 0; i < m->n; i++) {
		const struct memmap_extent *e = &m->list[i];

		/* Alignment between files. */
		if (e->kind == MEMMAP_UNKNOWN && e->len < FLASHMAP_GAP_MIN)
			continue;
		ui_table_cell(t, UI_PLAIN, "0x%06" PRIx64, e->off);
		if (m->has_address)
			ui_table_cell(t, UI_PLAIN, "0x%08" PRIx64, m->address + e->off);
		ui_table_cell(t, UI_PLAIN, "%" PRIu64, e->len);
		ui_table_cell(t, e->name ? UI_PLAIN : UI_DIM, e->name ? "%s" : "(%s)",
			e->name ? e->name : memmap_kind_title(e->kind));
	}
	return ui_table_print(t, to, 2);
}

static struct json_object *extent_json(const struct memmap *m, const struct memmap_extent *e)
{
	struct json_object *o = json_object_new_object();
	bool ok = json_put_string(o, "what", memmap_kind_name(e->kind)) &&
		  json_put_number(o, "offset", e->off) && json_put_number(o, "size", e->len) &&
		  (!m->has_address || json_put_number(o, "address", m->address + e->off)) &&
		  (!e->name || json_put_string(o, "path", e->name));

	return json_whole(o, ok);
}

struct json_object *memmap_extents_json(const struct memmap *m)
{
	struct json_object *list = json_object_new_array();
	bool ok = list;

	for (size_t i = 0; ok && i < m->n; i++)
		ok = json_append(list, extent_json(m, &m->list[i]));
	return json_whole(list, ok);
}

struct json_object *memmap_json(const struct memmap *m)
{
	struct json_object *o = json_object_new_object(), *sums = json_object_new_object();
	struct memmap_sums sum;
	bool ok = json_put_string(o, "name", m->title) && json_put_number(o, "size", m->size) &&
		  json_put_number(o, "erase_block", m->erase_block) &&
		  (!m->has_address || json_put_number(o, "address", m->address));

	memmap_sum(m, &sum);
	for (size_t i = 0; i < MEMMAP_KINDS && ok; i++)
		ok = json_put_number(sums, memmap_kind_name((enum memmap_kind)i), sum.bytes[i]);
	ok = json_put(o, "sums", sums) && ok;
	ok = ok && json_put_number(o, "files", sum.files) &&
	     json_put(o, "layout", memmap_extents_json(m));
	return json_whole(o, ok);
}
