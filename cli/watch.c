/* SPDX-License-Identifier: MIT */
/* `romount watch`: what happens to the boards, as it happens. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <string.h>
#include <time.h>

#include "bus/words.h"
#include "cli/json.h"
#include "cli/show.h"

#define REDRAW_USEC 100000u

struct watch {
	struct client_options client;
	struct client *c;
	sd_event_source *redraw;
	bool is_redrawing; /* a table that is drawn anew, on a terminal */
	unsigned lines;	   /* of it, on the screen */
	/* What was told last of each: a line only where it would read differently. */
	struct told {
		char *path, *text;
	} * told;
	size_t n_told;
};

/* --- lines ---------------------------------------------------------------------------- */

/* NULL where memory is short: then lines may be told twice. */
static struct told *told_of(struct watch *w, const char *path)
{
	struct told *more;

	for (size_t i = 0; i < w->n_told; i++)
		if (!strcmp(w->told[i].path, path))
			return &w->told[i];
	more = reallocarray(w->told, w->n_told + 1, sizeof(*more));
	if (!more)
		return NULL;
	w->told = more;
	more += w->n_told;
	*more = (struct told){.path = strdup(path)};
	if (!more->path)
		return NULL;
	w->n_told++;
	return more;
}

static void print_line(const char *name, const char *text)
{
	time_t now = time(NULL);
	char clock[16] = "";
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	printf("%s  %s: %s\n", clock, name, text);
	fflush(stdout);
}

/* Without how far it is, which would be a line for each per cent. */
static char *describe(const struct boards_board *b, const struct boards_partition *p)
{
	char state[64], pending[64] = "", *text;
	const char *error = p ? p->error : b->error, *mount = p ? p->mount : "";

	if (show_has_job(p))
		snprintf(state, sizeof(state), "%s", bus_job_verb(p->job));
	else
		show_state(b, p, state, sizeof(state));
	if (p)
		show_pending(p, pending, sizeof(pending));
	if (asprintf(&text, "%s%s%s%s%s%s%s", state, *pending ? ", waiting: " : "", pending,
		    *mount ? ", in " : "", mount, *error ? ": " : "", error) < 0)
		return NULL;
	return text;
}

static void tell(struct watch *w, const struct boards_board *b, const struct boards_partition *p)
{
	struct told *last = told_of(w, p ? p->path : b->path);
	_cleanup_free_ char *text = describe(b, p);
	char name[160];

	if (!text || (last && last->text && !strcmp(last->text, text)))
		return;
	if (p)
		snprintf(name, sizeof(name), "%s:%u", b->name, p->number);
	else
		snprintf(name, sizeof(name), "%s", b->name);
	print_line(name, text);
	if (last) {
		free(last->text);
		last->text = TAKE_PTR(text);
	}
}

static void tell_json(struct watch *w, const struct boards_board *b)
{
	struct json_object *doc = json_object_new_object();
	bool ok = b ? json_put(doc, "board", show_board_json(w->c, b))
		    : json_put_string(doc, "gone", client_boards(w->c)->gone);

	if (json_print_line(doc, ok) < 0)
		client_stop(w->c);
}

/* --- a table ---------------------------------------------------------------------------- */

static void print_cut(const char *text, size_t len, int columns)
{
	/* Escapes take no room; lines are cut where they would wrap. */
	for (size_t i = 0; i < len && columns > 0; i++) {
		if (text[i] == '\033') {
			while (i < len && text[i] != 'm')
				fputc(text[i++], stdout);
			fputc('m', stdout);
			continue;
		}
		fputc(text[i], stdout);
		columns -= ((unsigned char)text[i] & 0xC0) != 0x80;
	}
	ui_style(stdout, UI_PLAIN);
}

static int draw(struct watch *w)
{
	_cleanup_free_ char *text = NULL;
	int columns = ui_columns(stdout), r;
	size_t len;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return -errno;
	if (client_boards(w->c)->n)
		r = show_table(w->c, to);
	else
		r = fputs("no boards\n", to) < 0 ? -ENOMEM : 0;
	if (fclose(to) != 0 || r < 0)
		return -ENOMEM;
	if (w->lines)
		printf("\033[%uA", w->lines);
	w->lines = 0;
	for (const char *at = text; *at; w->lines++) {
		const char *end = strchrnul(at, '\n');

		print_cut(at, (size_t)(end - at), columns);
		fputs("\033[K\n", stdout);
		at = end + (*end == '\n');
	}
	fputs("\033[J", stdout);
	return fflush(stdout) == 0 ? 0 : -errno;
}

static int on_redraw(sd_event_source *s, uint64_t usec, void *data)
{
	struct watch *w = data;

	if (draw(w) < 0)
		client_stop(w->c);
	return 0;
}

/* --- all of it ---------------------------------------------------------------------------- */

static void on_changed(void *ctx, struct boards_board *b, struct boards_partition *p)
{
	struct watch *w = ctx;
	int on;

	if (w->client.json) {
		tell_json(w, b);
	} else if (!w->is_redrawing) {
		if (b)
			tell(w, b, p);
		else
			print_line(client_boards(w->c)->gone, "gone");
	} else if (sd_event_source_get_enabled(w->redraw, &on) >= 0 && on == SD_EVENT_OFF) {
		if (sd_event_source_set_time_relative(w->redraw, REDRAW_USEC) < 0 ||
			sd_event_source_set_enabled(w->redraw, SD_EVENT_ONESHOT) < 0)
			client_stop(w->c);
	}
}

static void tell_all(struct watch *w)
{
	const struct boards *boards = client_boards(w->c);

	for (size_t i = 0; i < boards->n; i++) {
		const struct boards_board *b = boards->list[i];

		if (w->client.json) {
			tell_json(w, b);
			continue;
		}
		tell(w, b, NULL);
		for (size_t k = 0; k < b->n_partitions; k++)
			tell(w, b, b->partitions[k]);
	}
}

static int start(struct watch *w, struct error *err)
{
	int r = client_open(&w->client, &w->c, err);

	if (r < 0)
		return r;
	client_listen(w->c, &(struct client_hooks){.changed = on_changed, .ctx = w});
	w->is_redrawing = !w->client.json && isatty(STDOUT_FILENO);
	if (!w->is_redrawing) {
		tell_all(w);
		return 0;
	}
	r = sd_event_add_time_relative(client_event(w->c), &w->redraw, CLOCK_MONOTONIC,
		REDRAW_USEC, REDRAW_USEC / 2, on_redraw, w);
	if (r >= 0)
		r = sd_event_source_set_enabled(w->redraw, SD_EVENT_OFF);
	if (r >= 0)
		r = draw(w);
	return r < 0 ? error_set(err, r, "cannot draw: %s", strerror(-r)) : 0;
}

static int run(struct watch *w)
{
	struct error err = {0};
	int r = start(w, &err);

	if (r == 0)
		r = client_run(w->c, &err);
	sd_event_source_unref(w->redraw);
	client_free(w->c);
	for (size_t i = 0; i < w->n_told; i++) {
		free(w->told[i].path);
		free(w->told[i].text);
	}
	free(w->told);
	/* Ctrl-C is how it ends. */
	return r == 0 || r == -ECANCELED ? cli_finish(&cmd_watch_command)
					 : client_fail(&cmd_watch_command, &err);
}

static int cmd_watch(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS, {0}};
	struct watch w = {0};
	int c;

	while ((c = getopt_long(argc, argv, ":" CLIENT_LETTERS, options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_watch_command);
		if (!client_take_option(&w.client, c, optarg))
			return cli_bad_option(&cmd_watch_command, c, argv);
	}
	if (optind < argc)
		return cli_usage(&cmd_watch_command, "it wants no name");
	return run(&w);
}

const struct cli_command cmd_watch_command = {
	.name = "watch",
	.run = cmd_watch,
	.synopsis = "[OPTION...]",
	.summary = "shows what happens to the boards, until Ctrl-C",
	.help =
		"A table on a terminal, lines elsewhere; with --json an object in a line for each\n"
		"change.\n"
		"\n"
		"Options:\n" CLIENT_HELP,
};
