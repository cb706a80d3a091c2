/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/open.h"
#include "cli/ui.h"
#include "libromfs/parse.h"

struct ls {
	const char *from, *path;
	unsigned partition;
	bool longer, recursive;
	const struct romfs_tree *tree;
	struct ui_table *table;
	struct error *err;
};

/* `name` is shown: the name in a listing, the path in a recursive one. */
static int add_row(struct ls *ls, uint32_t index, const char *name, size_t len)
{
	const struct romfs_node *node = romfs_tree_node(ls->tree, index);
	_cleanup_free_ char *shown = ui_escape(name, len);
	bool dir = node->type == ROMFS_DIR;

	if (!shown)
		return error_set(ls->err, -ENOMEM, "out of memory");
	if (ls->longer && dir)
		ui_table_cell(ls->table, UI_PLAIN, "-");
	else if (ls->longer)
		ui_table_cell(ls->table, UI_PLAIN, "%" PRIu64, node->size);
	if (ls->longer)
		ui_table_cell(ls->table, UI_PLAIN, "%s", UI_TIME(node->mtime_ns));
	ui_table_cell(
		ls->table, dir ? UI_DIRECTORY : UI_PLAIN, "%s%s", shown, dir ? "/" : "");
	return 0;
}

static int add_path(struct ls *ls, uint32_t index)
{
	size_t len = romfs_tree_path(ls->tree, index, NULL, 0);
	_cleanup_free_ char *path = malloc(len + 1);

	if (!path)
		return error_set(ls->err, -ENOMEM, "out of memory");
	romfs_tree_path(ls->tree, index, path, len + 1);
	return add_row(ls, index, path, len);
}

/* Recursion ends at ROMFS_DEPTH_MAX: no tree is deeper. */
static int add_children(struct ls *ls, uint32_t dir)
{
	int r = 0;

	romfs_tree_foreach_child (ls->tree, dir, i) {
		const struct romfs_node *node = romfs_tree_node(ls->tree, i);

		if (ls->recursive)
			r = add_path(ls, i);
		else
			r = add_row(ls, i, romfs_tree_name(ls->tree, i), node->name_len);
		if (r == 0 && ls->recursive && node->type == ROMFS_DIR)
			r = add_children(ls, i);
		if (r < 0)
			return r;
	}
	return 0;
}

static int list(struct ls *ls, const struct romfs_tree *tree)
{
	_cleanup_(ui_table_freep) struct ui_table *table =
		ui_table_new(ls->longer ? "rll" : "l");
	uint32_t at;
	int r;

	if (!table)
		return error_set(ls->err, -ENOMEM, "out of memory");
	ls->tree = tree;
	ls->table = table;
	at = romfs_tree_lookup(ls->tree, ls->path);
	if (at == ROMFS_NO_NODE)
		return error_set(
			ls->err, -ENOENT, "there is no %s in %s", ls->path, ls->from);
	if (romfs_tree_node(ls->tree, at)->type == ROMFS_FILE)
		r = add_path(ls, at);
	else
		r = add_children(ls, at);
	if (r == 0 && ui_table_print(table, stdout, 0) < 0)
		r = error_set(ls->err, -ENOMEM, "out of memory");
	return r;
}

static int ls_from(struct ls *ls, struct subject *s)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	struct romfs_source source;
	int r = subject_image(s, ls->partition, &source, &image, ls->err);

	if (r < 0)
		return r;
	r = list(ls, image->tree);
	if (r == 0 && image->skipped_entries)
		return error_set(ls->err, -EBADMSG,
			"%u more entries have names that no folder can show, or have twice",
			image->skipped_entries);
	return r;
}

static int ls_run(struct ls *ls)
{
	struct error err = {0};
	struct subject *s;
	int r, closed;

	ls->err = &err;
	r = subject_open(ls->from, &s, &err);
	if (r == 0) {
		r = ls_from(ls, s);
		closed = subject_close(s, &err);
		r = r < 0 ? r : closed;
	}
	if (r < 0) {
		fflush(stdout);
		return cli_fail(&cmd_ls_command, &err);
	}
	return cli_finish(&cmd_ls_command);
}

static int cmd_ls(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'},
		{"long", no_argument, NULL, 'l'},
		{"partition", required_argument, NULL, 'p'},
		{"recursive", no_argument, NULL, 'R'},
		{0},
	};
	struct ls ls = {.path = ""};
	int c;

	while ((c = getopt_long(argc, argv, ":hlp:R", options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_ls_command);
		else if (c == 'l')
			ls.longer = true;
		else if (c == 'R')
			ls.recursive = true;
		else if (c != 'p')
			return cli_bad_option(&cmd_ls_command, c, argv);
		else if (subject_parse_number(optarg, &ls.partition) < 0)
			return cli_usage(&cmd_ls_command,
				"-p wants the number of a partition, not '%s'", optarg);
	}
	if (optind >= argc || optind + 2 < argc)
		return cli_usage(&cmd_ls_command,
			"it wants an image or a port, and at most one path in it");
	ls.from = argv[optind];
	if (optind + 1 < argc)
		ls.path = argv[optind + 1];
	return ls_run(&ls);
}

const struct cli_command cmd_ls_command = {
	.name = "ls",
	.run = cmd_ls,
	.synopsis = "IMG|PORT [PATH] [-l] [-R] [-p N]",
	.summary = "lists files in an image or on a board's partition",
	.help =
		"  -l, --long         sizes and, where the image keeps them, modification times\n"
		"  -R, --recursive    everything below PATH, as paths\n"
		"  -p, --partition=N  which partition of a board (default: 0)\n"
		"\n"
		"Reading a port interrupts the board's program and starts it again afterwards.\n",
};
