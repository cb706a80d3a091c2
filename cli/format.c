/* SPDX-License-Identifier: MIT */
/* `romount format`: an empty file system, whatever was there. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/json.h"
#include "cli/rework.h"
#include "cli/target.h"
#include "cli/throughdaemon.h"
#include "cli/ui.h"

struct format {
	struct rework_options options;
	struct rework rework;
	struct throughdaemon daemon;
	bool yes;
};

/* "12 files, 340 KiB, and 2 files that wait to be written", or "" for nothing. */
static void tell_loss(const struct rework *w, char *out, size_t cap)
{
	const struct romfs_image *image = w->attached.base.image;
	struct rework_load load;
	int n = 0;

	rework_what(w, &load);
	if (load.files)
		n = snprintf(out, cap, "%u file%s, %s", load.files,
			load.files == 1 ? "" : "s", UI_SIZE(load.bytes));
	else if (image->status != ROMFS_VALID && image->status != ROMFS_BLANK)
		n = snprintf(out, cap, "what is there, though no file system (%s)",
			image->why.text);
	else
		n = snprintf(out, cap, "%s",
			romfs_tree_count(image->tree) > 1 ? "empty folders" : "");
	if (load.staged)
		snprintf(out + n, cap - (size_t)n, "%s%u file%s of an earlier mount that "
			"%s not on flash yet",
			n ? ", and " : "", load.staged, load.staged == 1 ? "" : "s",
			load.staged == 1 ? "is" : "are");
	else if (load.waiting)
		snprintf(out + n, cap - (size_t)n,
			"%schanges of an earlier mount that are not on flash yet",
			n ? ", and " : "");
}

/* 1: go on. */
static int confirm(struct format *f, struct error *err)
{
	char name[200], loss[700], question[1000];

	tell_loss(&f->rework, loss, sizeof(loss));
	if (!loss[0] || f->yes)
		return 1;
	rework_name(&f->rework, name, sizeof(name));
	if (!isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
		return error_set(err, -ECANCELED,
			"%s: %s would be gone; nobody can be asked here, so say it with --yes",
			name, loss);
	snprintf(question, sizeof(question), "format %s: %s will be gone.", name, loss);
	return task_ask(f->rework.task, question, err);
}

static int run_format(void *ctx, struct error *err)
{
	struct rework *w = ctx;
	int r;

	w->begun = true;
	r = folder_empty(w->attached.folder, err);
	if (r < 0)
		return r;
	flash_forgive(w->attached.flash);
	r = rework_commit(w, &(struct rework_step){.aim = COMMIT_ANEW}, err);
	return r < 0 ? r : rework_rest(w, err);
}

static void tell_progress(void *ctx, char *line, size_t cap)
{
	struct rework *w = ctx;
	uint64_t total = atomic_load(&w->progress.total);

	if (total)
		snprintf(line, cap, "formatting: %s of %s",
			UI_SIZE(atomic_load(&w->progress.done)), UI_SIZE(total));
	else
		snprintf(line, cap, "formatting");
}

static int report(const struct format *f, const char *name, struct error *err)
{
	uint64_t size = flash_geometry(f->rework.attached.flash)->size;
	struct json_object *doc;
	bool ok;

	if (!f->daemon.client.json) {
		printf("%s is empty: %s\n", name, UI_SIZE(size));
		return 0;
	}
	doc = json_object_new_object();
	ok = json_put_string(doc, "name", name) && json_put_number(doc, "size", size);
	return json_print(doc, ok) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static int work(struct format *f, struct error *err)
{
	const struct task_work work = {.run = run_format,
		.ctx = &f->rework,
		.tell = tell_progress,
		.has_steps = true};
	char name[200];
	int r = confirm(f, err);

	rework_name(&f->rework, name, sizeof(name));
	if (r == 0)
		return error_set(err, -ECANCELED, "nothing was changed");
	if (r > 0)
		r = task_run(f->rework.task, &work, err);
	if (r < 0)
		return r;
	return report(f, name, err);
}

/* A file that is not there yet is made, if it is said how large it shall be. */
static int find(struct format *f, const char *path, bool *made, struct error *err)
{
	struct rework_options *o = &f->options;
	int fd = o->flash.image_size ? open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666)
				     : -1;

	*made = fd >= 0;
	if (fd >= 0)
		close(fd);
	return target_find(path, &o->path, &o->is_image, err);
}

static int run(struct format *f, const char *path)
{
	struct error err = {0};
	bool made;
	int r = find(f, path, &made, &err);

	if (r == 0)
		r = rework_open(&f->options, &f->rework, &err);
	if (r < 0) {
		if (made)
			unlink(path);
		return cli_fail(&cmd_format_command, &err);
	}
	r = work(f, &err);
	return rework_end(&f->rework, r, &err);
}

static int cmd_format(int argc, char **argv)
{
	static const struct option options[] = {
		{"partition", required_argument, NULL, 'p'},
		{"size", required_argument, NULL, REWORK_SIZE},
		{"state", required_argument, NULL, REWORK_STATE},
		{"baud", required_argument, NULL, REWORK_BAUD},
		{"yes", no_argument, NULL, 'y'},
		CLIENT_OPTIONS,
		{0},
	};
	struct format f = {.options = {.command = &cmd_format_command, .pack.notes = true},
		.daemon = {.command = &cmd_format_command,
			.number = -1,
			.method = "Format",
			.done = "empty",
			.destroys = true}};
	struct error err = {0};
	int c, r = CLI_OK;

	while (r == CLI_OK &&
		(c = getopt_long(argc, argv, ":p:y" CLIENT_LETTERS, options, NULL)) != -1) {
		if (c == 'h')
			return cli_help(&cmd_format_command);
		if (c == '?' || c == ':')
			r = cli_bad_option(&cmd_format_command, c, argv);
		else if (c == 'y')
			f.yes = f.daemon.yes = true;
		else if (client_take_option(&f.daemon.client, c, optarg))
			continue;
		else if (rework_take_option(&f.options, c, optarg, &err) < 0)
			r = cli_usage(&cmd_format_command, "%s: %s", optarg,
				err.text[0] ? err.text : "this number makes no sense here");
		else if (c == 'p')
			f.daemon.number = (int)f.options.flash.partition;
		else
			f.daemon.local = c == REWORK_STATE ? "--state" : f.daemon.local;
	}
	if (r == CLI_OK && argc - optind != 1)
		r = cli_usage(&cmd_format_command, "it wants one board, port or image");
	f.daemon.word = argv[optind];
	/* --size makes a file, whatever it is called. */
	if (r == CLI_OK &&
		(f.options.flash.image_size || throughdaemon_run(&f.daemon, &r) == 0))
		r = run(&f, argv[optind]);
	rework_options_done(&f.options);
	return r;
}

const struct cli_command cmd_format_command = {
	.name = "format",
	.run = cmd_format,
	.synopsis = "[OPTION...] BOARD[:N]|PORT|IMG",
	.summary = "makes an empty file system in a partition, or an image file",
	.help =
		"Everything in the partition is given up, and what an earlier mount has staged\n"
		"for it. You are asked before; without a terminal only --yes does it.\n"
		"\n"
		"Options:\n"
		"  -p, --partition=N      partition N of the board (default 0)\n"
		"      --size=N           an image file of N bytes (as 512k, 2M); makes a new one\n"
		"      --state=DIR        where 'romount mount --state' keeps staged files\n"
		"      --baud=N           speed of a real serial line (default 115200)\n"
		"  -y, --yes              do not ask\n" CLIENT_HELP,
};
