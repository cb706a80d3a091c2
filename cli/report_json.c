/* SPDX-License-Identifier: MIT */
/* json-c takes over what is added, and copies what it is given; a NULL anywhere (memory
 * was short) makes the whole document NULL. */
#include <json-c/json.h>
#include <string.h>

#include "cli/json.h"
#include "cli/report.h"
#include "cli/ui.h"

struct json_object *report_board_json(const struct dev_board_info *board)
{
	struct json_object *o = json_object_new_object();

	return json_whole(o, o && json_put_text(o, "machine", board->machine) &&
				json_put_text(o, "firmware", board->firmware) &&
				json_put_text(o, "implementation", board->implementation) &&
				json_put_text(o, "platform", board->platform) &&
				json_put_text(o, "unique_id", board->unique_id) &&
				json_put_number(o, "mpy", board->mpy) &&
				json_put_number(o, "heap_free", board->heap_free) &&
				json_put_bool(o, "raw_paste", board->has_raw_paste) &&
				json_put_bool(o, "binary_input", board->has_stdin_buffer) &&
				json_put_bool(o, "deflate", board->has_deflate) &&
				json_put_bool(o, "hashlib", board->has_hashlib) &&
				json_put_bool(o, "binascii", board->has_binascii) &&
				json_put_bool(o, "rom_ioctl", board->has_rom_ioctl));
}

static bool add_path(struct json_object *o, const struct report *report, uint32_t index)
{
	size_t len = romfs_tree_path(report->image->tree, index, NULL, 0);
	_cleanup_free_ char *path = malloc(len + 1);

	if (!path)
		return false;
	romfs_tree_path(report->image->tree, index, path, len + 1);
	return json_put_text(o, "path", path);
}

static struct json_object *row_json(
	const struct report *report, const struct flashmap_row *row)
{
	const struct dev_geometry *g = report->geometry;
	struct json_object *o = json_object_new_object();
	bool ok = o && json_put_text(o, "what", flashmap_kind_name(row->kind)) &&
		  json_put_number(o, "offset", row->off) && json_put_number(o, "size", row->len);

	if (ok && g->has_address)
		ok = json_put_number(o, "address", g->address + row->off);
	if (ok && row->kind == FLASHMAP_FILE)
		ok = add_path(o, report, row->index);
	return json_whole(o, ok);
}

static struct json_object *layout_json(const struct report *report)
{
	struct json_object *list = json_object_new_array();
	size_t i;

	for (i = 0; list && i < report->map.n_rows; i++) {
		struct json_object *row = row_json(report, &report->map.rows[i]);

		if (!row || json_object_array_add(list, row) != 0) {
			json_object_put(row);
			return json_whole(list, false);
		}
	}
	return list;
}

static bool add_occupancy(struct json_object *o, const struct occupancy *occupancy)
{
	const struct romfs_usage *u = &occupancy->usage;
	struct json_object *usage;
	bool ok = json_put_text(o, "form", occupancy_form_name(occupancy->form)) &&
		  json_put_number(o, "records_walked", u->walk);

	if (ok && occupancy->form == OCCUPANCY_APPEND)
		ok = json_put_number(o, "saves", u->slots) &&
		     json_put_number(o, "saves_left", u->slots_free);
	if (!ok || !occupancy->knows_blank)
		return ok;
	usage = json_object_new_object();
	ok = usage && json_put_number(usage, "live", u->live) &&
	     json_put_number(usage, "blank", u->blank) && json_put_number(usage, "dead", u->dead) &&
	     json_put_number(usage, "mixed", u->mixed);
	return json_put(o, "usage", json_whole(usage, ok));
}

static struct json_object *block_json(uint64_t block, uint32_t erases)
{
	struct json_object *o = json_object_new_object();

	return json_whole(o, json_put_number(o, "block", block) &&
				     json_put_number(o, "erases", erases));
}

/* Those that were set aside, or of all how often each was erased. */
static struct json_object *blocks_json(const struct occupancy_wear *wear, bool set_aside)
{
	struct json_object *list = json_object_new_array();

	for (uint64_t i = 0; list && i < wear->blocks; i++) {
		struct json_object *v;

		if (set_aside && !wear_bad(wear->wear)[i])
			continue;
		v = json_object_new_uint64(set_aside ? i : wear_erases(wear->wear)[i]);
		if (!v || json_object_array_add(list, v) != 0) {
			json_object_put(v);
			return json_whole(list, false);
		}
	}
	return list;
}

static struct json_object *wear_json(const struct occupancy_wear *wear, bool with_layout)
{
	struct json_object *o = json_object_new_object();
	double mean = (double)wear->erases / (double)wear->blocks;

	return json_whole(o, o && json_put_number(o, "erases", wear->erases) &&
				json_put(o, "mean", json_object_new_double(mean)) &&
				json_put(o, "most", block_json(wear->most, wear->most_erases)) &&
				json_put(o, "least", block_json(wear->least, wear->least_erases)) &&
				json_put(o, "set_aside", blocks_json(wear, true)) &&
				(!with_layout || json_put(o, "blocks", blocks_json(wear, false))));
}

struct json_object *report_partition_json(const struct report *report, bool with_layout)
{
	const struct dev_geometry *g = report->geometry;
	const struct romfs_image *image = report->image;
	struct json_object *o = json_object_new_object();
	bool ok = o && json_put_number(o, "number", g->number) &&
		  json_put_text(o, "kind", dev_target_kind_name(g->kind)) &&
		  json_put_number(o, "size", g->size) &&
		  json_put_number(o, "erase_block", g->erase_block) &&
		  json_put_number(o, "write_unit", g->write_unit) &&
		  json_put_bool(o, "needs_no_erase", g->no_erase) &&
		  json_put_bool(o, "erases_prefix_only", g->prefix_erase) &&
		  json_put_text(o, "status", flashmap_status_name(image->status)) &&
		  json_put_number(o, "used", report->map.used) &&
		  json_put_number(o, "free", report->map.free);

	if (ok && g->has_address)
		ok = json_put_number(o, "address", g->address);
	if (ok && image->status == ROMFS_VALID)
		ok = json_put_number(o, "image_size", image->size) &&
		     json_put_number(o, "files", report->map.files) &&
		     json_put_number(o, "folders", report->map.directories) &&
		     json_put_number(o, "hidden", image->skipped_entries);
	else if (ok && image->why.text[0])
		ok = json_put_text(o, "reason", image->why.text);
	if (ok && image->status == ROMFS_VALID)
		ok = add_occupancy(o, &report->occupancy);
	if (ok && report->wear.wear)
		ok = json_put(o, "wear", wear_json(&report->wear, with_layout));
	if (ok && report->n_mount)
		ok = json_put(o, "mount", report_facts_json(report->mount, report->n_mount));
	if (ok && with_layout)
		ok = json_put(o, "layout", layout_json(report));
	return json_whole(o, ok);
}

struct json_object *report_facts_json(const struct report_fact *facts, size_t n)
{
	struct json_object *o = json_object_new_object();
	bool ok = o;
	size_t i;

	for (i = 0; ok && i < n; i++)
		ok = json_put(o, facts[i].name, json_object_new_string(facts[i].value));
	return json_whole(o, ok);
}
