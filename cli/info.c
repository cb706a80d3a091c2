/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/folder.h"
#include "cli/infoboard.h"
#include "cli/mountstate.h"
#include "cli/open.h"
#include "cli/report.h"
#include "cli/throughdaemon.h"
#include "cli/ui.h"

struct info {
	const char *path;
	int partition; /* -1: all */
	bool as_json, summary, usage;
	const char *state_dir;
	struct json_object *json; /* the document, when as_json */
	struct error *err;
	struct client_options client;
};

static int no_memory(struct info *info)
{
	return error_set(info->err, -ENOMEM, "out of memory");
}

/* Adds to the document; takes `value` over, NULL included. */
static int json_add(struct info *info, const char *key, struct json_object *value)
{
	if (value && json_object_object_add(info->json, key, value) == 0)
		return 0;
	json_object_put(value);
	return no_memory(info);
}

static int json_text(struct info *info, const char *key, const char *text)
{
	_cleanup_free_ char *shown = ui_escape(text, strlen(text));

	return json_add(info, key, shown ? json_object_new_string(shown) : NULL);
}

/* --- partitions --------------------------------------------------------------------- */

static void print_heading(const struct info *info, const struct dev_geometry *g)
{
	_cleanup_free_ char *path = ui_escape(info->path, strlen(info->path));

	ui_style(stdout, UI_BOLD);
	if (g->kind == DEV_TARGET_IMAGE)
		fputs(path ? path : "?", stdout);
	else
		printf("rom%u", g->number);
	ui_style(stdout, UI_PLAIN);
	puts("");
}

static int show_report(
	struct info *info, const struct report *report, struct json_object *partitions)
{
	struct json_object *o;

	if (!info->as_json) {
		print_heading(info, report->geometry);
		return report_partition_text(report, !info->summary) < 0 ? no_memory(info)
									 : 0;
	}
	o = report_partition_json(report, !info->summary);
	if (o && json_object_array_add(partitions, o) == 0)
		return 0;
	json_object_put(o);
	return no_memory(info);
}

/* No state directory, or none that we may read: then nothing is known. */
static int find_wear(struct info *info, struct subject *s, struct report *report)
{
	_cleanup_close_ int fd = -1;
	pid_t holder;

	if (mountstate_open(subject_board(s), info->path, report->geometry->number,
		    info->state_dir, &holder, &fd) < 0)
		return 0;
	return occupancy_wear(fd, report->geometry, &report->wear) < 0 ? no_memory(info) : 0;
}

static int show_partition(struct info *info, struct subject *s, unsigned number,
	struct json_object *partitions)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	struct report report = {0};
	struct romfs_source source;
	int r = subject_partition(s, number, &report.geometry, &source, info->err);

	if (r == 0)
		r = romfs_parse(&source, &image, info->err);
	if (r < 0)
		return r;
	report.image = image;
	if (flashmap_of(image, report.geometry->size, &report.map) < 0)
		return no_memory(info);
	if (image->status == ROMFS_VALID)
		r = occupancy_of(s, image, info->usage, &report.occupancy, info->err);
	if (r == 0)
		r = find_wear(info, s, &report);
	if (r == 0 && mountstate_facts(subject_board(s), info->path, number, info->state_dir,
			      &report.mount, &report.n_mount) < 0)
		r = no_memory(info);
	if (r == 0)
		r = show_report(info, &report, partitions);
	folder_facts_free(report.mount, report.n_mount);
	occupancy_wear_done(&report.wear);
	flashmap_clear(&report.map);
	return r;
}

/* --- subjects ----------------------------------------------------------------------- */

static int show_board(struct info *info, const struct dev_board_info *board)
{
	if (info->as_json)
		return json_add(info, "board", report_board_json(board));
	report_board_text(info->path, board);
	return 0;
}

/* Why there is nothing to show is what asking for partition 0 says. */
static int explain_no_partitions(struct info *info, struct subject *s)
{
	const struct dev_geometry *geometry;
	struct romfs_source source;
	struct error why = {0};

	if (subject_partition(s, 0, &geometry, &source, &why) == 0)
		return 0;
	if (info->as_json)
		return json_text(info, "reason", why.text);
	printf("\n%s\n", why.text);
	return 0;
}

static int show_partitions(struct info *info, struct subject *s)
{
	const struct dev_board_info *board = subject_board(s);
	unsigned n = board ? board->n_partitions : 1, i;
	struct json_object *list = NULL;
	int r = 0;

	if (info->as_json) {
		list = json_object_new_array();
		r = json_add(info, "partitions", list);
	}
	if (info->partition >= 0)
		return r < 0 ? r
			     : show_partition(info, s, (unsigned)info->partition, list);
	if (r == 0 && n == 0)
		r = explain_no_partitions(info, s);
	for (i = 0; r == 0 && i < n; i++) {
		if (!info->as_json && board)
			puts("");
		r = show_partition(
			info, s, board ? board->partitions[i].number : 0, list);
	}
	return r;
}

static int show_folder(struct info *info)
{
	struct report_fact *facts;
	size_t n;
	int r = folder_facts(info->path, &facts, &n, info->err);

	if (r < 0)
		return r;
	if (info->as_json)
		r = json_add(info, "folder", report_facts_json(facts, n));
	else
		report_facts_text(info->path, facts, n);
	folder_facts_free(facts, n);
	return r;
}

static int show(struct info *info, struct subject *s)
{
	const struct dev_board_info *board = subject_board(s);
	int r = info->as_json ? json_text(info, "path", info->path) : 0;

	if (r == 0 && subject_kind(s) == SUBJECT_FOLDER)
		return show_folder(info);
	if (r == 0 && board)
		r = show_board(info, board);
	return r < 0 ? r : show_partitions(info, s);
}

/* 1: romountd has the board, and it was told about; 0: it has not. */
static int ask_daemon(struct info *info)
{
	const struct infoboard how = {.word = info->path ? info->path : "",
		.partition = info->partition,
		.as_json = info->as_json,
		.summary = info->summary};
	_cleanup_(client_freep) struct client *c = NULL;
	struct pick p;
	int r = throughdaemon_find(&info->client, info->path, &c, &p, info->err);

	if (r > 0)
		r = infoboard_print(c, &p, &how, info->err) < 0 ? info->err->code : 1;
	return r;
}

static int info_run(struct info *info)
{
	struct error err = {0};
	struct subject *s;
	int r, closed;

	info->err = &err;
	r = ask_daemon(info);
	if (r < 0)
		return client_fail(&cmd_info_command, &err);
	if (r > 0)
		return cli_finish(&cmd_info_command);
	if (!info->path)
		return cli_usage(&cmd_info_command, "about what?");
	r = subject_open(info->path, &s, &err);
	if (r < 0)
		return cli_fail(&cmd_info_command, &err);
	r = show(info, s);
	closed = subject_close(s, &err);
	if (r == 0 && info->as_json)
		puts(json_object_to_json_string_ext(
			info->json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
					    JSON_C_TO_STRING_NOSLASHESCAPE));
	if (r < 0 || closed < 0) {
		fflush(stdout);
		return cli_fail(&cmd_info_command, &err);
	}
	return cli_finish(&cmd_info_command);
}

/* --- the command -------------------------------------------------------------------- */

/* -1: all is said. */
static int parse(int argc, char **argv, struct info *info)
{
	static const struct option options[] = {
		CLIENT_OPTIONS,
		{"partition", required_argument, NULL, 'p'},
		{"state", required_argument, NULL, 'S'},
		{"summary", no_argument, NULL, 's'},
		{"usage", no_argument, NULL, 'u'},
		{0},
	};
	unsigned number;
	int c;

	while ((c = getopt_long(argc, argv, ":" CLIENT_LETTERS "p:su", options, NULL)) >= 0) {
		if (c == 's')
			info->summary = true;
		else if (c == 'u')
			info->usage = true;
		else if (c == 'S')
			info->state_dir = optarg;
		else if (c == 'h')
			return cli_help(&cmd_info_command), -1;
		else if (client_take_option(&info->client, c, optarg))
			continue;
		else if (c != 'p')
			return cli_bad_option(&cmd_info_command, c, argv);
		else if (subject_parse_number(optarg, &number) < 0)
			return cli_usage(&cmd_info_command,
				"-p wants the number of a partition, not '%s'", optarg);
		else
			info->partition = (int)number;
	}
	if (optind + 1 < argc)
		return cli_usage(&cmd_info_command, "one at a time");
	info->path = argv[optind];
	info->as_json = info->client.json;
	return CLI_OK;
}

static int cmd_info(int argc, char **argv)
{
	struct info info = {.partition = -1};
	int r = parse(argc, argv, &info);

	if (r != CLI_OK)
		return MAX(r, CLI_OK);
	if (info.as_json)
		info.json = json_object_new_object();
	r = info_run(&info);
	json_object_put(info.json);
	return r;
}

const struct cli_command cmd_info_command = {
	.name = "info",
	.run = cmd_info,
	.synopsis = "[OPTION...] [BOARD[:N]|PORT|IMG|FOLDER]",
	.summary = "tells about a board, an image file or a mounted folder",
	.help =
		"  -s, --summary          without the table of what stands where\n"
		"  -p, --partition=N      one partition of a board (default: all)\n"
		"  -u, --usage            ask a PORT which free space is blank; takes seconds\n"
		"      --state=DIR        where 'romount mount --state' keeps staged files\n"
		CLIENT_HELP
		"\n"
		"What romountd has, it is asked about: without a name, the only board there is.\n"
		"Reading any other PORT interrupts the board's program and starts it again.\n"
		"A mounted FOLDER is asked without disturbing the board.\n",
};
