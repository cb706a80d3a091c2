/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/report.h"
#include "cli/ui.h"

#define LABEL "  %-11s "

static void print_text(const char *label, const char *text)
{
	_cleanup_free_ char *shown = ui_escape(text, strlen(text));

	if (*text)
		printf(LABEL "%s\n", label, shown ? shown : "?");
}

static void print_title(const char *text)
{
	_cleanup_free_ char *shown = ui_escape(text, strlen(text));

	ui_style(stdout, UI_BOLD);
	fputs(shown ? shown : "?", stdout);
	ui_style(stdout, UI_PLAIN);
}

/* What speeds transfers up, where the board has it. */
static void print_abilities(const struct dev_board_info *board)
{
	const struct {
		bool has;
		const char *name;
	} list[] = {
		{board->has_raw_paste, "raw paste"},
		{board->has_stdin_buffer, "binary input"},
		{board->has_deflate, "deflate"},
		{board->has_hashlib, "sha256"},
		{board->has_binascii, "binascii"},
	};
	const char *comma = "";
	size_t i;

	printf(LABEL, "able to");
	for (i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i].has)
			printf("%s%s", comma, list[i].name), comma = ", ";
	puts(*comma ? "" : "nothing but plain statements");
}

void report_board_text(const char *path, const struct dev_board_info *board)
{
	print_title(path);
	puts("");
	print_text("machine", board->machine);
	print_text("firmware", board->firmware);
	print_text("platform", board->platform);
	print_text("unique id", board->unique_id);
	/* sys.implementation._mpy: version in bits 0-7, sub-version in 8-9, native
	 * architecture above (py/persistentcode.h). */
	if (board->mpy)
		printf(LABEL "version %u.%u, architecture %u\n", ".mpy",
			board->mpy & 0xFF, board->mpy >> 8 & 3, board->mpy >> 10);
	printf(LABEL "%s free\n", "heap", UI_SIZE(board->heap_free));
	print_abilities(board);
}

static void print_geometry(const struct dev_geometry *g)
{
	if (g->kind == DEV_TARGET_IMAGE) {
		printf(LABEL "%s, %s\n", "kind", dev_target_kind_name(g->kind),
			UI_SIZE(g->size));
		return;
	}
	printf(LABEL "%s, %s", "kind", dev_target_kind_name(g->kind), UI_SIZE(g->size));
	if (g->has_address)
		printf(" at 0x%08" PRIx64, g->address);
	puts("");
	if (g->kind == DEV_TARGET_READONLY)
		return;
	if (g->no_erase)
		printf(LABEL "needs none; written by %s\n", "erase",
			UI_SIZE(g->write_unit));
	else
		printf(LABEL "by %s%s; written by %s\n", "erase", UI_SIZE(g->erase_block),
			g->prefix_erase ? ", from the start only" : "",
			UI_SIZE(g->write_unit));
}

static void print_status(const struct report *report)
{
	const struct romfs_image *image = report->image;
	bool valid = image->status == ROMFS_VALID;

	printf(LABEL, "status");
	ui_style(stdout, valid				? UI_GOOD
			 : image->status == ROMFS_BLANK ? UI_BOLD
							: UI_BAD);
	fputs(flashmap_status_name(image->status), stdout);
	ui_style(stdout, UI_PLAIN);
	if (valid)
		printf(", %u file%s, %u folder%s", report->map.files,
			report->map.files == 1 ? "" : "s", report->map.directories,
			report->map.directories == 1 ? "" : "s");
	else if (image->status == ROMFS_BLANK)
		printf(": no file system yet");
	else
		printf(": %s", image->why.text);
	puts("");
	if (image->skipped_entries)
		printf(LABEL "%u entries whose names no folder can show, or has twice\n",
			"hidden", image->skipped_entries);
}

static void print_bytes(const char *label, uint64_t bytes, uint64_t of, const char *meaning)
{
	printf(LABEL "%" PRIu64 " bytes", label, bytes);
	if (of)
		printf(" (%.1f %%)", 100.0 * (double)bytes / (double)of);
	puts(meaning);
}

/* A board that is failing has more of them than anybody wants to read. */
#define SET_ASIDE_SHOWN 8u

static void print_set_aside(const struct occupancy_wear *wear)
{
	unsigned shown = 0;

	printf(LABEL "%" PRIu64 " block%s that failed:", "set aside", wear->set_aside,
		wear->set_aside == 1 ? "" : "s");
	for (uint64_t i = 0; i < wear->blocks && shown < SET_ASIDE_SHOWN; i++)
		if (wear_bad(wear->wear)[i])
			printf("%s%" PRIu64, shown++ ? ", " : " ", i);
	puts(wear->set_aside > shown ? ", ..." : "");
}

static void print_wear(const struct occupancy_wear *wear)
{
	if (wear->erases)
		printf(LABEL "%" PRIu64 " erase%s, %.1f a block; the most worn is block %" PRIu64
			     " (%u), the least block %" PRIu64 " (%u)\n",
			"wear", wear->erases, wear->erases == 1 ? "" : "s",
			(double)wear->erases / (double)wear->blocks, wear->most,
			wear->most_erases, wear->least, wear->least_erases);
	if (wear->set_aside)
		print_set_aside(wear);
}

static void print_occupancy(const struct report *report)
{
	const struct occupancy *o = &report->occupancy;
	uint64_t size = report->geometry->size;

	if (o->form == OCCUPANCY_APPEND && report->geometry->no_erase)
		printf(LABEL "append\n", "layout");
	else if (o->form == OCCUPANCY_APPEND)
		printf(LABEL "append, %u of %u saves until block 0 is written anew\n", "layout",
			o->usage.slots_free, o->usage.slots);
	else if (o->form != OCCUPANCY_NONE)
		printf(LABEL "%s\n", "layout", occupancy_form_name(o->form));
	if (o->form != OCCUPANCY_NONE && o->knows_blank) {
		print_bytes("blank", o->usage.blank, size, ", ready to be written");
		print_bytes("dead", o->usage.dead, size, ", to be had by erasing");
		print_bytes("mixed", o->usage.mixed, size, ", dead in blocks that hold live data");
	}
	print_wear(&report->wear);
}

static int row_name(
	const struct report *report, const struct flashmap_row *row, char **out)
{
	const struct romfs_tree *tree = report->image->tree;
	_cleanup_free_ char *path = NULL;
	size_t len;

	if (row->kind != FLASHMAP_FILE) {
		const char *kind = flashmap_kind_name(row->kind);

		*out = ui_escape(kind, strlen(kind));
		return *out ? 0 : -ENOMEM;
	}
	len = romfs_tree_path(tree, row->index, NULL, 0);
	path = malloc(len + 1);
	if (!path)
		return -ENOMEM;
	romfs_tree_path(tree, row->index, path, len + 1);
	*out = ui_escape(path, len);
	return *out ? 0 : -ENOMEM;
}

static int print_layout(const struct report *report)
{
	const struct dev_geometry *g = report->geometry;
	_cleanup_(ui_table_freep) struct ui_table *table =
		ui_table_new(g->has_address ? "rrrl" : "rrl");
	size_t i;

	if (!table)
		return -ENOMEM;
	ui_table_cell(table, UI_BOLD, "offset");
	if (g->has_address)
		ui_table_cell(table, UI_BOLD, "address");
	ui_table_cell(table, UI_BOLD, "bytes");
	ui_table_cell(table, UI_BOLD, "what");
	for (i = 0; i < report->map.n_rows; i++) {
		const struct flashmap_row *row = &report->map.rows[i];
		_cleanup_free_ char *name = NULL;
		int r = row_name(report, row, &name);

		if (r < 0)
			return r;
		ui_table_cell(table, UI_PLAIN, "0x%06" PRIx64, row->off);
		if (g->has_address)
			ui_table_cell(
				table, UI_PLAIN, "0x%08" PRIx64, g->address + row->off);
		ui_table_cell(table, UI_PLAIN, "%" PRIu64, row->len);
		ui_table_cell(table, row->kind == FLASHMAP_FILE ? UI_PLAIN : UI_DIM,
			row->kind == FLASHMAP_FILE ? "%s" : "(%s)", name);
	}
	puts("");
	return ui_table_print(table, stdout, 2);
}

int report_partition_text(const struct report *report, bool with_layout)
{
	size_t i;

	print_geometry(report->geometry);
	print_status(report);
	if (report->image->status == ROMFS_VALID) {
		print_bytes("used", report->map.used, report->geometry->size, "");
		print_bytes("free", report->map.free, report->geometry->size, "");
	}
	print_occupancy(report);
	for (i = 0; i < report->n_mount; i++)
		print_text(report->mount[i].name, report->mount[i].value);
	return with_layout ? print_layout(report) : 0;
}

void report_facts_text(const char *path, const struct report_fact *facts, size_t n)
{
	int width = 0;
	size_t i;

	print_title(path);
	puts("");
	for (i = 0; i < n; i++)
		width = MAX(width, (int)strlen(facts[i].name));
	for (i = 0; i < n; i++)
		if (*facts[i].value)
			printf("  %-*s  %s\n", width, facts[i].name, facts[i].value);
}
