/* SPDX-License-Identifier: MIT */
/* `romount sync`: waits until everything is on flash, and verified there. */
#include <errno.h>
#include <getopt.h>
#include <string.h>

#include "cli/operate.h"
#include "cli/pick.h"
#include "cli/ui.h"

struct sync {
	struct client_options client;
	struct client *c;
	struct order *orders;
	size_t n;
};

static int add(struct sync *s, const struct pick *p, struct error *err)
{
	struct order *more = reallocarray(s->orders, s->n + 1, sizeof(*more));
	struct order *o;

	if (!more)
		return error_set(err, -ENOMEM, "out of memory");
	s->orders = more;
	o = &more[s->n++];
	return p->partition ? order_partition(s->c, p->partition, "Sync", o, err)
			    : order_board(s->c, p->board, "Sync", o, err);
}

/* It has let go of everything. */
static bool is_ejected(const struct boards_board *b)
{
	bool waits = false;

	for (size_t i = 0; i < b->n_partitions; i++)
		waits |= b->partitions[i]->pending || b->partitions[i]->pending_files;
	return !waits && !strcmp(b->state, "ejected");
}

/* Boards that are away are no part of "all": nobody could wait for them. Nor are those that
 * were ejected, unless something waits for them still. */
static int add_all(struct sync *s, struct error *err)
{
	const struct boards *boards = client_boards(s->c);
	int r = 0;

	for (size_t i = 0; i < boards->n && r == 0; i++)
		if (boards->list[i]->present && !is_ejected(boards->list[i]))
			r = add(s, &(struct pick){.board = boards->list[i]}, err);
	return r;
}

static int add_named(struct sync *s, char **names, size_t n, struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++) {
		struct pick p;

		r = pick_board(s->c, names[i], &p, err);
		if (r == 0)
			r = add(s, &p, err);
	}
	return r;
}

static int report(const struct sync *s, struct error *err)
{
	if (s->client.json)
		return orders_json(s->orders, s->n, "sync", NULL, NULL) < 0
			       ? error_set(err, -ENOMEM, "out of memory")
			       : 0;
	for (size_t i = 0; i < s->n; i++)
		if (s->orders[i].result >= 0)
			printf("%s: on flash, verified\n", s->orders[i].name);
	if (s->n == 0)
		puts("no board is there");
	return 0;
}

static int run(struct sync *s, char **names, size_t n)
{
	struct error err = {0};
	int r = client_open(&s->client, &s->c, &err), told;

	if (r == 0)
		r = n ? add_named(s, names, n, &err) : add_all(s, &err);
	if (r == 0) {
		r = orders_run(s->c, s->orders, s->n, &err);
		told = report(s, &err);
		r = r < 0 ? r : told;
	}
	for (size_t i = 0; i < s->n; i++)
		order_done(&s->orders[i]);
	free(s->orders);
	client_free(s->c);
	fflush(stdout);
	return r < 0 ? client_fail(&cmd_sync_command, &err) : cli_finish(&cmd_sync_command);
}

static int cmd_sync(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS, {0}};
	struct sync s = {0};
	int c;

	while ((c = getopt_long(argc, argv, ":" CLIENT_LETTERS, options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_sync_command);
		if (!client_take_option(&s.client, c, optarg))
			return cli_bad_option(&cmd_sync_command, c, argv);
	}
	return run(&s, argv + optind, (size_t)(argc - optind));
}

const struct cli_command cmd_sync_command = {
	.name = "sync",
	.run = cmd_sync,
	.synopsis = "[OPTION...] [BOARD[:N]|PATH]...",
	.summary = "waits until everything is on flash and verified",
	.help =
		"Without a name: of all boards that are plugged in. A PATH in a board's folder\n"
		"means its partition. It fails where flash could not be written.\n"
		"\n"
		"Options:\n" CLIENT_HELP,
};
