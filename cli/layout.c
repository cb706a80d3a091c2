/* SPDX-License-Identifier: MIT */
/* `romount layout`: the map of a partition, drawn. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/json.h"
#include "cli/memmap.h"
#include "cli/operate.h"
#include "cli/output.h"
#include "cli/throughdaemon.h"
#include "cli/ui.h"
#include "util/text.h"

enum { OPTION_SVG = 2000 };

struct layout {
	struct client_options client;
	const char *word, *svg;
	int partition;
};

/* --- where it comes from ---------------------------------------------------------------- */

static int ask_daemon(
	struct client *c, struct pick *p, int number, struct memmap *out, struct error *err)
{
	struct order o = {0};
	bool has_address;
	uint64_t address;
	int r = pick_number(p, number, err);

	if (r < 0)
		return r;
	has_address = p->partition->has_address;
	address = p->partition->address;
	r = order_partition(c, p->partition, "Layout", &o, err);
	if (r == 0)
		r = orders_run(c, &o, 1, err);
	if (r == 0)
		r = memmap_read(o.reply, out, err);
	if (r == 0) {
		out->has_address = has_address;
		out->address = address;
		snprintf(out->title, sizeof(out->title), "%s", o.name);
	}
	order_done(&o);
	return r;
}

static int look(const struct layout *l, struct memmap *out, struct error *err)
{
	struct subject *s;
	int closed, r = subject_open(l->word, &s, err);

	if (r < 0)
		return r;
	r = memmap_look(s, (unsigned)MAX(l->partition, 0), out, err);
	closed = subject_close(s, err);
	if (r == 0) {
		if (l->partition >= 0)
			snprintf(out->title, sizeof(out->title), "%s:%d", l->word, l->partition);
		else
			snprintf(out->title, sizeof(out->title), "%s", l->word);
		text_make_printable(out->title);
	}
	return r < 0 ? r : closed;
}

static int get(const struct layout *l, struct memmap *out, struct error *err)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct pick p;
	int r = throughdaemon_find(&l->client, l->word, &c, &p, err);

	if (r > 0)
		return ask_daemon(c, &p, l->partition, out, err);
	if (r == 0 && !l->word)
		r = client_open(&l->client, &c, err); /* which says that there is no daemon */
	return r < 0 ? r : look(l, out, err);
}

/* --- where it goes ------------------------------------------------------------------------ */

static int write_svg(const struct memmap *m, const char *path, struct error *err)
{
	struct output o;
	struct stat st;
	int r;

	if (!strcmp(path, "-")) {
		memmap_print_svg(m, stdout);
		return 0;
	}
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s is not a regular file; name another", path);
	r = output_open(&o, path, err);
	if (r < 0)
		return r;
	memmap_print_svg(m, o.file);
	if (ferror(o.file))
		r = error_set(err, -EIO, "cannot write %s", path);
	if (r == 0)
		r = output_commit(&o, err);
	output_drop(&o);
	return r;
}

static int show(const struct layout *l, const struct memmap *m, struct error *err)
{
	int r = l->svg ? write_svg(m, l->svg, err) : 0;

	if (r == 0 && l->client.json) {
		struct json_object *doc = memmap_json(m);

		return json_print(doc, doc) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
	}
	if (r == 0 && !l->svg)
		memmap_print(m, stdout, ui_columns(stdout));
	return r;
}

/* --- the command ------------------------------------------------------------------------ */

static int run(const struct layout *l)
{
	struct memmap m = {0};
	struct error err = {0};
	int r = get(l, &m, &err);

	if (r == 0)
		r = show(l, &m, &err);
	memmap_clear(&m);
	fflush(stdout);
	return r < 0 ? client_fail(&cmd_layout_command, &err) : cli_finish(&cmd_layout_command);
}

static int cmd_layout(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS,
		{"partition", required_argument, NULL, 'p'},
		{"svg", required_argument, NULL, OPTION_SVG}, {0}};
	struct layout l = {.partition = -1};
	unsigned number;
	int c;

	while ((c = getopt_long(argc, argv, ":p:" CLIENT_LETTERS, options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_layout_command);
		if (c == OPTION_SVG)
			l.svg = optarg;
		else if (c == 'p' && subject_parse_number(optarg, &number) < 0)
			return cli_usage(&cmd_layout_command,
				"-p wants the number of a partition, not '%s'", optarg);
		else if (c == 'p')
			l.partition = (int)number;
		else if (!client_take_option(&l.client, c, optarg))
			return cli_bad_option(&cmd_layout_command, c, argv);
	}
	if (argc - optind > 1)
		return cli_usage(&cmd_layout_command, "one at a time");
	l.word = argv[optind];
	return run(&l);
}

const struct cli_command cmd_layout_command = {
	.name = "layout",
	.run = cmd_layout,
	.synopsis = "[OPTION...] [BOARD[:N]|PORT|IMG]",
	.summary = "draws what stands where in a partition",
	.help =
		"As wide as the terminal is. The biggest files have letters.\n"
		"\n"
		"Options:\n"
		"      --svg=FILE         a picture in FILE instead; '-' is standard output\n"
		"  -p, --partition=N      partition N of a board\n" CLIENT_HELP,
};
