/* SPDX-License-Identifier: MIT */
#include "cli/throughdaemon.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bus/names.h"
#include "cli/confirm.h"
#include "cli/operate.h"

/* As the folder of a whole board has. */
static bool has_board_file(const char *dir)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", dir, BUS_BOARD_FILE);

	return n > 0 && (size_t)n < sizeof(path) && access(path, F_OK) == 0;
}

/* Files and folders are what they are, but for a board's own folder; a port may be the
 * daemon's, and so may a word that is no path. */
static bool may_be_board(const char *word)
{
	struct stat st;

	if (!word || stat(word, &st) < 0)
		return !word || strncmp(word, "./", 2) != 0;
	return S_ISCHR(st.st_mode) || !strchr(word, '/') ||
	       (S_ISDIR(st.st_mode) && has_board_file(word));
}

static bool is_there(const char *word)
{
	struct stat st;

	return stat(word, &st) == 0 || strchr(word, '/');
}

/* A certain daemon is named. */
static bool is_wanted(const struct client_options *o)
{
	return o->host || o->scope != CLIENT_ANY;
}

/* Only a daemon could have known the word. */
static int say_nobody_knows(const char *word, struct error *err)
{
	struct error why = *err;

	error_clear(err);
	return error_set(err, CLIENT_NO_DAEMON, "cannot open %s: %s; and if it is a board: %s",
		word, strerror(ENOENT), why.text);
}

int throughdaemon_find(const struct client_options *o, const char *word,
	struct client **client, struct pick *out, struct error *err)
{
	_cleanup_(client_freep) struct client *c = NULL;
	bool wanted = is_wanted(o);
	int r;

	if (!wanted && !may_be_board(word))
		return 0;
	r = client_open(o, &c, err);
	if (r < 0 && !wanted && (word ? is_there(word) : r == CLIENT_NO_DAEMON)) {
		error_clear(err);
		return 0;
	}
	if (r == CLIENT_NO_DAEMON && !wanted)
		return say_nobody_knows(word, err);
	if (r < 0)
		return r;
	r = word ? pick_try(c, word, out, err) : 0;
	if (r == 0 && word && !wanted && is_there(word))
		return 0;
	/* A name that nothing has: the daemon knows what could be meant. */
	if (r == 0)
		r = pick_board(c, word, out, err);
	if (r < 0)
		return r;
	*client = TAKE_PTR(c);
	return 1;
}

static int ask(const struct throughdaemon *t, struct client *c, struct pick *p, struct error *err)
{
	char name[160], loss[300];
	int r;

	if (!t->destroys || t->yes)
		return 0;
	snprintf(name, sizeof(name), "%s:%u", p->board->name, p->partition->number);
	r = confirm_loss(c, p->partition, loss, sizeof(loss), err);
	if (r == 0)
		r = confirm(t->command->name, name, loss, false, err);
	return r < 0 ? r : pick_partition(c, name, p, err);
}

static int order(const struct throughdaemon *t, struct client *c, const struct pick *p,
	struct error *err)
{
	struct order o;
	int r = order_partition(c, p->partition, t->method, &o, err);

	if (r == 0 && t->has_flag &&
		(r = sd_bus_message_append(o.message, "b", (int)t->flag)) < 0)
		error_set(err, r, "cannot ask romountd: %s", strerror(-r));
	if (r >= 0)
		r = orders_run(c, &o, 1, err);
	if (t->client.json && o.path && orders_json(&o, 1, t->command->name, NULL, NULL) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	else if (r == 0 && !t->client.json)
		printf("%s: %s\n", o.name, t->done);
	order_done(&o);
	return r;
}

int throughdaemon_run(const struct throughdaemon *t, int *code)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct error err = {0};
	struct pick p;
	int r = throughdaemon_find(&t->client, t->word, &c, &p, &err);

	/* With such an option a port or an image is meant. */
	if (r == 0 || (r == CLIENT_NO_DAEMON && t->local && !is_wanted(&t->client)))
		return 0;
	if (r > 0 && t->local)
		r = error_set(&err, -EINVAL,
			"romountd has %s, and %s means nothing to it: see romount.conf(5)",
			p.board->name, t->local);
	if (r > 0)
		r = pick_number(&p, t->number, &err);
	if (r == 0)
		r = ask(t, c, &p, &err);
	if (r == 0)
		r = order(t, c, &p, &err);
	fflush(stdout);
	*code = r < 0 ? client_fail(t->command, &err) : cli_finish(t->command);
	return 1;
}
