/* SPDX-License-Identifier: MIT */
/* `romount compact`: all free space blank, or a packed image. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdatomic.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/rework.h"
#include "cli/target.h"
#include "cli/throughdaemon.h"
#include "cli/ui.h"
#include "util/clock.h"

struct compact {
	struct rework_options options;
	struct rework rework;
	struct throughdaemon daemon;
	bool packed;
	bool interrupted;
	atomic_bool packing; /* now */
	struct romfs_usage before, after;
	uint64_t started_ms, took_ms;
};

/* Each step gains something; a planner that finds no end is a mistake of ours, and no reason
 * to wear the flash out. */
static unsigned most_steps(const struct rework *w)
{
	const struct dev_geometry *g = flash_geometry(w->attached.flash);

	return 4 * (unsigned)(g->size / g->erase_block) + 16;
}

static int tidy(struct compact *c, enum commit_aim aim, struct error *err)
{
	const struct rework_step step = {.aim = aim};
	unsigned left = most_steps(&c->rework);
	int r = 1;

	while (r > 0 && left-- && !c->interrupted) {
		r = rework_commit(&c->rework, &step, err);
		c->interrupted = task_is_ending(c->rework.task);
	}
	return MIN(r, 0);
}

/* Memory that is erased from its start only has room again when all of it was written anew, as
 * tight as can be. The next save appends to that. */
static int write_anew(struct compact *c, struct error *err)
{
	const struct rework_step step = {.aim = COMMIT_PACK};
	const struct dev_geometry *g = flash_geometry(c->rework.attached.flash);
	int r = 0;

	if (g->prefix_erase && c->before.dead + c->before.mixed >= g->erase_block)
		r = rework_commit(&c->rework, &step, err);
	return MIN(r, 0);
}

static int make_room(struct compact *c, struct error *err)
{
	int r = write_anew(c, err);

	return r < 0 ? r : tidy(c, COMMIT_TIDY, err);
}

static int pack(struct compact *c, struct error *err)
{
	static const struct romfs_pack_options options; /* mpremote's */
	const struct rework_step step = {.aim = COMMIT_PACK, .pack = &options};
	int r = rework_commit(&c->rework, &step, err);

	atomic_store(&c->packing, false);
	return r < 0 ? r : tidy(c, COMMIT_ERASE, err);
}

/* What an earlier mount has staged comes first: the tree that is made compact is the one
 * that the user knows. */
static int catch_up(struct rework *w, struct error *err)
{
	const struct rework_step step = {.aim = COMMIT_SAVE};
	struct rework_load load;
	int r = 0;

	rework_what(w, &load);
	if (load.waiting)
		r = rework_commit(w, &step, err);
	return MIN(r, 0);
}

static int run_compact(void *ctx, struct error *err)
{
	struct compact *c = ctx;
	struct rework *w = &c->rework;
	int r, rest;

	c->started_ms = clock_ms();
	atomic_store(&c->packing, c->packed);
	r = catch_up(w, err);
	if (r == 0)
		r = rework_usage(w, &c->before, err);
	if (r == 0)
		r = c->packed ? pack(c, err) : make_room(c, err);
	if (r == 0)
		r = rework_usage(w, &c->after, err);
	rest = rework_rest(w, r == 0 ? err : NULL);
	c->took_ms = clock_ms() - c->started_ms;
	return r < 0 ? r : rest;
}

static void tell_progress(void *ctx, char *line, size_t cap)
{
	struct compact *c = ctx;
	struct rework *w = &c->rework;
	uint64_t total = atomic_load(&w->progress.total);
	uint64_t erased = atomic_load(&w->erased_blocks);

	if (atomic_load(&c->packing) && total)
		snprintf(line, cap, "packing: %s of %s",
			UI_SIZE(atomic_load(&w->progress.done)), UI_SIZE(total));
	else if (!total)
		snprintf(line, cap, "looking at the free space");
	else
		snprintf(line, cap, "tidying up: %" PRIu64 " block%s erased, %s written", erased,
			erased == 1 ? "" : "s", UI_SIZE(atomic_load(&w->programmed_bytes)));
}

/* --- what it has brought ------------------------------------------------------------ */

static void print_row(struct ui_table *table, const char *what, uint64_t before,
	uint64_t after)
{
	ui_table_cell(table, UI_PLAIN, "%s", what);
	ui_table_cell(table, UI_PLAIN, "%s", UI_SIZE(before));
	ui_table_cell(table, UI_PLAIN, "%s", UI_SIZE(after));
}

static int print_usage(const struct compact *c)
{
	_cleanup_(ui_table_freep) struct ui_table *table = ui_table_new("lrr");

	if (!table)
		return -ENOMEM;
	ui_table_cell(table, UI_PLAIN, "%s", "");
	ui_table_cell(table, UI_BOLD, "before");
	ui_table_cell(table, UI_BOLD, "after");
	print_row(table, "live", c->before.live, c->after.live);
	print_row(table, "blank", c->before.blank, c->after.blank);
	print_row(table, "dead", c->before.dead, c->after.dead);
	print_row(table, "dead beside live", c->before.mixed, c->after.mixed);
	if (c->after.bad)
		print_row(table, "set aside", c->before.bad, c->after.bad);
	return ui_table_print(table, stdout, 2);
}

static void print_work(const struct compact *c)
{
	uint64_t erased = atomic_load(&c->rework.erased_blocks);
	uint64_t written = atomic_load(&c->rework.programmed_bytes);

	if (!erased && !written) {
		puts(c->packed ? "it was packed already" : "there was nothing to gain");
		return;
	}
	printf("%" PRIu64 " block%s erased, %s written, in %.1f s\n", erased,
		erased == 1 ? "" : "s", UI_SIZE(written), (double)c->took_ms / 1000);
	if (c->packed)
		puts("a packed image keeps no modification times");
}

static int print_text(const struct compact *c, const char *name)
{
	int r;

	ui_style(stdout, UI_BOLD);
	fputs(name, stdout);
	ui_style(stdout, UI_PLAIN);
	puts("");
	r = print_usage(c);
	print_work(c);
	return r;
}

static struct json_object *usage_json(const struct romfs_usage *u)
{
	struct json_object *o = json_object_new_object();

	return json_whole(o, json_put_number(o, "live", u->live) &&
				     json_put_number(o, "blank", u->blank) &&
				     json_put_number(o, "dead", u->dead) &&
				     json_put_number(o, "mixed", u->mixed));
}

static int print_json(const struct compact *c, const char *name)
{
	struct json_object *doc = json_object_new_object();
	uint64_t erased = atomic_load(&c->rework.erased_blocks);
	uint64_t written = atomic_load(&c->rework.programmed_bytes);

	return json_print(doc, json_put_string(doc, "name", name) &&
				       json_put(doc, "before", usage_json(&c->before)) &&
				       json_put(doc, "after", usage_json(&c->after)) &&
				       json_put_number(doc, "erased_blocks", erased) &&
				       json_put_number(doc, "written", written));
}

static int report(const struct compact *c, struct error *err)
{
	char name[200];

	rework_name(&c->rework, name, sizeof(name));
	if ((c->daemon.client.json ? print_json(c, name) : print_text(c, name)) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	if (c->interrupted)
		return error_set(err, -ECANCELED,
			"interrupted; what was done so far is kept, and the files are all there");
	return 0;
}

/* --- the command -------------------------------------------------------------------- */

static bool has_tree(const struct rework *w)
{
	return w->attached.base.image->status == ROMFS_VALID ||
	       folder_is_staged(w->attached.folder);
}

static int run(struct compact *c, const char *path)
{
	const struct task_work work = {
		.run = run_compact, .ctx = c, .tell = tell_progress, .has_steps = true};
	struct rework_options *o = &c->options;
	struct error err = {0};
	int r = target_find(path, &o->path, &o->is_image, &err);

	if (r == 0)
		r = rework_open(o, &c->rework, &err);
	if (r < 0)
		return cli_fail(&cmd_compact_command, &err);
	if (!has_tree(&c->rework))
		r = error_set(&err, -ENODATA, "%s: there is nothing to make compact", path);
	if (r == 0) {
		fputs(c->rework.attached.notes, stderr);
		r = task_run(c->rework.task, &work, &err);
	}
	if (r == 0)
		r = report(c, &err);
	return rework_end(&c->rework, r, &err);
}

static int cmd_compact(int argc, char **argv)
{
	static const struct option options[] = {
		{"partition", required_argument, NULL, 'p'},
		{"state", required_argument, NULL, REWORK_STATE},
		{"align", required_argument, NULL, REWORK_ALIGN},
		{"baud", required_argument, NULL, REWORK_BAUD},
		{"packed", no_argument, NULL, 'P'},
		CLIENT_OPTIONS,
		{0},
	};
	struct compact c = {.options = {.command = &cmd_compact_command, .pack.notes = true},
		.daemon = {.command = &cmd_compact_command,
			.number = -1,
			.method = "Compact",
			.done = "compact",
			.has_flag = true}};
	struct error err = {0};
	int o, r = CLI_OK;

	while (r == CLI_OK &&
		(o = getopt_long(argc, argv, ":p:" CLIENT_LETTERS, options, NULL)) != -1) {
		if (o == 'h')
			return cli_help(&cmd_compact_command);
		if (o == '?' || o == ':')
			r = cli_bad_option(&cmd_compact_command, o, argv);
		else if (o == 'P')
			c.packed = c.daemon.flag = true;
		else if (client_take_option(&c.daemon.client, o, optarg))
			continue;
		else if (rework_take_option(&c.options, o, optarg, &err) < 0)
			r = cli_usage(&cmd_compact_command, "%s: %s", optarg,
				err.text[0] ? err.text : "this number makes no sense here");
		else if (o == 'p')
			c.daemon.number = (int)c.options.flash.partition;
		else
			c.daemon.local = o == REWORK_STATE   ? "--state"
					 : o == REWORK_ALIGN ? "--align"
							     : c.daemon.local;
	}
	if (r == CLI_OK && argc - optind != 1)
		r = cli_usage(&cmd_compact_command, "it wants one board, port or image");
	c.daemon.word = argv[optind];
	if (r == CLI_OK && throughdaemon_run(&c.daemon, &r) == 0)
		r = run(&c, argv[optind]);
	rework_options_done(&c.options);
	return r;
}

const struct cli_command cmd_compact_command = {
	.name = "compact",
	.run = cmd_compact,
	.synopsis = "[OPTION...] BOARD[:N]|PORT|IMG",
	.summary = "makes the free space of a partition blank, or packs it",
	.help =
		"Erases what deleted and older files have left behind, and moves files together\n"
		"where that frees whole blocks, so that later saves need no erase. A mounted\n"
		"folder does the same by itself when it has to; this does all of it now.\n"
		"\n"
		"Options:\n"
		"      --align=PATTERN=N  as given to 'romount mount'\n"
		"  -p, --partition=N      partition N of the board (default 0)\n"
		"      --packed           an image as mpremote makes it, at the start of the\n"
		"                         partition; modification times are lost\n"
		"      --state=DIR        where 'romount mount --state' keeps staged files\n"
		"      --baud=N           speed of a real serial line (default 115200)\n"
		CLIENT_HELP,
};
