/* SPDX-License-Identifier: MIT */
/* The commands that are one call to one board: eject, attach, release, verify. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/names.h"
#include "cli/json.h"
#include "cli/operate.h"
#include "cli/pick.h"
#include "cli/target.h"
#include "cli/ui.h"

enum { OPTION_FOR = 2000, OPTION_ALIAS, OPTION_BAUD };

struct boardorder {
	const struct cli_command *command;
	const char *method;
	bool of_partition;
	const char *done; /* "NAME: done" */
	struct client_options client;
	const char *word;
	/* release */
	bool has_seconds;
	unsigned seconds;
	/* attach, of a port that the daemon has not taken by itself */
	const char *alias;
	unsigned baud;
};

/* --- one call ----------------------------------------------------------------------- */

static bool add_bytes(const struct order *o, struct json_object *to, void *ctx)
{
	const uint64_t *bytes = ctx;

	return !bytes || json_put_number(to, "bytes", *bytes);
}

static int report(const struct boardorder *b, const struct order *o, struct error *err)
{
	uint64_t bytes = 0;

	if (o->result >= 0 && b->of_partition && o->reply &&
		sd_bus_message_read_basic(o->reply, 't', &bytes) < 0)
		return error_set(err, -EBADMSG, "romountd has sent a damaged message");
	if (b->client.json)
		return orders_json(o, 1, b->command->name, add_bytes,
			       b->of_partition ? &bytes : NULL) < 0
			       ? error_set(err, -ENOMEM, "out of memory")
			       : 0;
	if (o->result < 0)
		return 0;
	if (b->of_partition)
		printf("%s: %s: %s\n", o->name, b->done, UI_SIZE(bytes));
	else if (b->seconds)
		printf("%s: %s for %u s\n", o->name, b->done, b->seconds);
	else
		printf("%s: %s\n", o->name, b->done);
	return 0;
}

static int order(const struct boardorder *b, struct client *c, const struct pick *p,
	struct error *err)
{
	struct order o;
	int told, r = b->of_partition ? order_partition(c, p->partition, b->method, &o, err)
				      : order_board(c, p->board, b->method, &o, err);

	if (r == 0 && b->has_seconds)
		r = sd_bus_message_append(o.message, "u", b->seconds);
	if (r >= 0)
		r = orders_run(c, &o, 1, err);
	told = o.path ? report(b, &o, err) : 0;
	order_done(&o);
	return r < 0 ? r : told;
}

/* --- a port that is new to the daemon ------------------------------------------------ */

struct adding {
	struct client *client;
	int result;
	struct error err;
};

static void on_added(void *ctx, int result, const struct error *err, sd_bus_message *reply)
{
	struct adding *a = ctx;

	a->result = result;
	a->err = *err;
	client_stop(a->client);
}

static int fill_port(
	const struct boardorder *b, const char *path, sd_bus_message *m)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	if (r >= 0)
		r = sd_bus_message_append(
			m, "{sv}", path[0] == '/' ? "tty" : "socket", "s", path);
	if (r >= 0 && b->alias)
		r = sd_bus_message_append(m, "{sv}", "alias", "s", b->alias);
	if (r >= 0 && b->baud)
		r = sd_bus_message_append(m, "{sv}", "baud", "u", b->baud);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int report_port(const struct boardorder *b, struct error *err)
{
	struct json_object *doc, *list, *o;
	bool ok;

	if (!b->client.json) {
		printf("%s: romountd takes it; 'romount list' shows what comes of it\n", b->word);
		return 0;
	}
	doc = json_object_new_object();
	list = json_object_new_array();
	o = json_object_new_object();
	ok = json_put(doc, b->command->name, list) && json_append(list, o) &&
	     json_put_text(o, "port", b->word) && json_put_bool(o, "done", true);
	return json_print(doc, ok) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static int add_port(const struct boardorder *b, struct client *c, struct error *err)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	_cleanup_free_ char *path = NULL;
	struct adding adding = {.client = c};
	struct client_call *call;
	int r = strchr(b->word, '/') ? target_absolute(b->word, &path) : 0;

	if (r == 0)
		r = client_call_new(c, 0, BUS_ROOT, BUS_MANAGER, "AddBoard", &m, err);
	if (r == 0)
		r = fill_port(b, path ? path : b->word, m);
	if (r < 0)
		return error_set(err, r, "cannot ask romountd: %s", strerror(-r));
	r = client_send(c, 0, m, on_added, &adding, &call, err);
	if (r < 0)
		return r;
	r = client_run(c, err);
	client_call_drop(call);
	if (r == 0 && adding.result < 0)
		r = error_set(err, adding.result, "%s", adding.err.text);
	return r < 0 ? r : report_port(b, err);
}

static bool is_new_port(const struct boardorder *b)
{
	struct stat st;

	if (b->command != &cmd_attach_command || !b->word)
		return false;
	return (stat(b->word, &st) == 0 && S_ISCHR(st.st_mode)) ||
	       (!strchr(b->word, '/') && strchr(b->word, ':'));
}

static bool is_missing_port(const struct boardorder *b)
{
	return b->command == &cmd_attach_command && !b->client.host && b->word &&
	       strchr(b->word, '/') && access(b->word, F_OK) < 0;
}

/* --- the commands -------------------------------------------------------------------- */

static int run(const struct boardorder *b)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct error err = {0};
	struct pick p;
	int r = client_open(&b->client, &c, &err);

	if (r == 0 && is_new_port(b)) {
		r = pick_try(c, b->word, &p, &err);
		if (r >= 0)
			r = r > 0 ? order(b, c, &p, &err) : add_port(b, c, &err);
	} else if (r == 0) {
		r = b->of_partition ? pick_partition(c, b->word, &p, &err)
				    : pick_board(c, b->word, &p, &err);
		if (r == CLIENT_NO_BOARD && is_missing_port(b)) {
			error_clear(&err);
			r = error_set(&err, r, "there is no port %s, and no board of that name",
				b->word);
		}
		if (r == 0)
			r = order(b, c, &p, &err);
	}
	fflush(stdout);
	return r < 0 ? client_fail(b->command, &err) : cli_finish(b->command);
}

static int take_number(struct boardorder *b, const char *text, unsigned long max, unsigned *out)
{
	unsigned long n;

	if (target_parse_number(text, max, &n) < 0)
		return cli_usage(b->command, "%s: this number makes no sense here", text);
	*out = (unsigned)n;
	return CLI_OK;
}

static int parse_and_run(
	int argc, char **argv, struct boardorder *b, const struct option *options)
{
	int c, r = CLI_OK;

	while (r == CLI_OK &&
		(c = getopt_long(argc, argv, ":" CLIENT_LETTERS, options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(b->command);
		if (c == OPTION_FOR)
			r = take_number(b, optarg, 86400 * 7, &b->seconds);
		else if (c == OPTION_ALIAS)
			b->alias = optarg;
		else if (c == OPTION_BAUD)
			r = take_number(b, optarg, 4000000, &b->baud);
		else if (!client_take_option(&b->client, c, optarg))
			r = cli_bad_option(b->command, c, argv);
	}
	if (r == CLI_OK && argc - optind > 1)
		r = cli_usage(b->command, "one at a time");
	b->word = argv[optind];
	return r == CLI_OK ? run(b) : r;
}

static int cmd_eject(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS, {0}};
	struct boardorder b = {.command = &cmd_eject_command, .method = "Eject"};

	b.done = "on flash, and let go: it may be unplugged";
	return parse_and_run(argc, argv, &b, options);
}

static int cmd_attach(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS,
		{"alias", required_argument, NULL, OPTION_ALIAS},
		{"baud", required_argument, NULL, OPTION_BAUD}, {0}};
	struct boardorder b = {.command = &cmd_attach_command, .method = "Attach"};

	b.done = "attached";
	return parse_and_run(argc, argv, &b, options);
}

static int cmd_release(int argc, char **argv)
{
	static const struct option options[] = {
		CLIENT_OPTIONS, {"for", required_argument, NULL, OPTION_FOR}, {0}};
	struct boardorder b = {
		.command = &cmd_release_command, .method = "Release", .has_seconds = true};

	b.done = "its port is free";
	return parse_and_run(argc, argv, &b, options);
}

static int cmd_verify(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS, {0}};
	struct boardorder b = {
		.command = &cmd_verify_command, .method = "Verify", .of_partition = true};

	b.done = "flash holds what it should";
	return parse_and_run(argc, argv, &b, options);
}

const struct cli_command cmd_eject_command = {
	.name = "eject",
	.run = cmd_eject,
	.synopsis = "[OPTION...] [BOARD]",
	.summary = "writes what waits, and lets a board go",
	.help = "Its folders go away until it is plugged in again, or 'romount attach' is called.\n"
		"\n"
		"Options:\n" CLIENT_HELP,
};

const struct cli_command cmd_attach_command = {
	.name = "attach",
	.run = cmd_attach,
	.synopsis = "[OPTION...] [BOARD|PORT|HOST:PORT]",
	.summary = "takes a board that is waiting, released or ejected",
	.help =
		"Also a port that romountd leaves alone by itself, because no rule says that a\n"
		"board is behind it: it is one until romountd ends. See romount.conf(5).\n"
		"\n"
		"Options:\n"
		"      --alias=NAME       what such a port is to be called\n"
		"      --baud=N           speed of a real serial line (default 115200)\n"
		CLIENT_HELP,
};

const struct cli_command cmd_release_command = {
	.name = "release",
	.run = cmd_release,
	.synopsis = "[OPTION...] [BOARD]",
	.summary = "closes a board's port for another program",
	.help =
		"What is being written is finished first. The folders stay; what is saved\n"
		"meanwhile waits on this computer. 'romount attach' ends it.\n"
		"\n"
		"Options:\n"
		"      --for=SECONDS      for so long; without it, until 'romount attach'\n"
		CLIENT_HELP,
};

const struct cli_command cmd_verify_command = {
	.name = "verify",
	.run = cmd_verify,
	.synopsis = "[OPTION...] [BOARD[:N]]",
	.summary = "compares flash with what it should hold",
	.help = "By hashes that the board computes of all that is used.\n"
		"\n"
		"Options:\n" CLIENT_HELP,
};
