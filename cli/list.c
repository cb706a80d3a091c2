/* SPDX-License-Identifier: MIT */
/* `romount list`: the boards that romountd knows. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>

#include "cli/json.h"
#include "cli/show.h"

struct list {
	struct client_options client;
	bool names;
};

/* For the completions of shells: boards, and where there are several, their partitions. */
static void print_names(const struct boards *boards)
{
	for (size_t i = 0; i < boards->n; i++) {
		const struct boards_board *b = boards->list[i];

		puts(b->name);
		for (size_t k = 0; k < b->n_partitions && b->n_partitions > 1; k++)
			printf("%s:%u\n", b->name, b->partitions[k]->number);
	}
}

static int print(const struct list *l, const struct client *c)
{
	if (l->client.json) {
		struct json_object *doc = show_boards_json(c);

		return json_print(doc, doc);
	}
	if (l->names) {
		print_names(client_boards(c));
		return 0;
	}
	if (client_boards(c)->n == 0) {
		puts("no boards; 'romount doctor' tells why one may be missing");
		return 0;
	}
	return show_table(c, stdout);
}

static int run(const struct list *l)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct error err = {0};
	int r = client_open(&l->client, &c, &err);

	if (r < 0 && l->names)
		return CLI_NO_DAEMON; /* whoever completes a word wants no sentence */
	if (r == 0 && print(l, c) < 0)
		r = error_set(&err, -ENOMEM, "out of memory");
	return r < 0 ? client_fail(&cmd_list_command, &err) : cli_finish(&cmd_list_command);
}

static int cmd_list(int argc, char **argv)
{
	static const struct option options[] = {
		CLIENT_OPTIONS, {"names", no_argument, NULL, 'n'}, {0}};
	struct list l = {0};
	int c;

	while ((c = getopt_long(argc, argv, ":" CLIENT_LETTERS, options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_list_command);
		if (c == 'n')
			l.names = true;
		else if (!client_take_option(&l.client, c, optarg))
			return cli_bad_option(&cmd_list_command, c, argv);
	}
	if (optind < argc)
		return cli_usage(
			&cmd_list_command, "it wants no name; 'info' tells about one board");
	return run(&l);
}

const struct cli_command cmd_list_command = {
	.name = "list",
	.run = cmd_list,
	.synopsis = "[--json] [-H [USER@]HOST] [--user|--system]",
	.summary = "lists the boards and their folders",
	.help =
		"Boards that are away are listed while files wait for them.\n"
		"\n"
		"Options:\n"
		"      --names            names alone, a line each\n" CLIENT_HELP,
};
