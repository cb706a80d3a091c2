/* SPDX-License-Identifier: MIT */
#include "cli/infoboard.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/json.h"
#include "cli/memmap.h"
#include "cli/operate.h"
#include "cli/show.h"

#define LABEL "  %-11s "

struct view {
	const struct boards_board *board;
	struct part {
		unsigned number;
		const struct boards_partition *partition;
		struct memmap map; /* size 0: not known */
		struct error why;  /* then */
	} * parts;
	size_t n;
};

static int no_memory(struct error *err)
{
	return error_set(err, -ENOMEM, "out of memory");
}

/* --- asking ------------------------------------------------------------------------- */

static void take_map(struct part *p, const struct order *o)
{
	if (o->result < 0)
		p->why = o->err;
	else if (memmap_read(o->reply, &p->map, &p->why) == 0) {
		p->map.has_address = p->partition->has_address;
		p->map.address = p->partition->address;
	}
}

/* The board may have come or gone while its maps were asked for. */
static int find_again(
	const struct client *c, struct view *v, unsigned link, const char *path, struct error *err)
{
	v->board = boards_at(client_boards(c), link, path);
	if (!v->board)
		return error_set(err, CLIENT_NO_BOARD, "the board has just gone");
	for (size_t i = 0; i < v->n; i++) {
		v->parts[i].partition = boards_partition(v->board, v->parts[i].number);
		if (!v->parts[i].partition)
			return error_set(err, CLIENT_NO_BOARD, "%s: rom%u has just gone",
				v->board->name, v->parts[i].number);
	}
	return 0;
}

/* A board may be away, or busy: what is known is told without the map then. */
static int ask_maps(struct client *c, struct view *v, struct error *err)
{
	_cleanup_free_ struct order *orders = calloc(v->n + 1, sizeof(*orders));
	_cleanup_free_ char *path = strdup(v->board->path);
	unsigned link = v->board->link;
	struct error why = {0};
	size_t n = 0;
	int r = orders && path ? 0 : no_memory(err);

	for (size_t i = 0; i < v->n && r == 0; i++)
		r = order_partition(c, v->parts[i].partition, "Layout", &orders[n++], err);
	if (r == 0) {
		r = orders_run(c, orders, n, &why);
		if (r == -ECANCELED || r == CLIENT_NO_DAEMON || r == -ENOMEM)
			error_set(err, r, "%s", why.text);
		else
			r = find_again(c, v, link, path, err);
	}
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			take_map(&v->parts[i], &orders[i]);
		order_done(&orders[i]);
	}
	return r;
}

/* --- text --------------------------------------------------------------------------- */

static void print_fact(const char *label, const char *text)
{
	if (*text)
		printf(LABEL "%s\n", label, text);
}

static void print_title(const char *text)
{
	ui_style(stdout, UI_BOLD);
	fputs(text, stdout);
	ui_style(stdout, UI_PLAIN);
	puts("");
}

static void print_board(const struct boards_board *b)
{
	print_title(b->name);
	print_fact("machine", b->machine);
	print_fact("firmware", b->firmware);
	print_fact("unique id", b->unique_id);
	print_fact("usb", b->usb_id);
	print_fact("serial", b->serial);
	print_fact("port", b->port);
	print_fact("state", b->state);
	print_fact("error", b->error);
	print_fact("folder", b->directory);
}

static void print_bytes(const char *label, uint64_t bytes, uint64_t of)
{
	printf(LABEL "%" PRIu64 " bytes", label, bytes);
	if (of)
		printf(" (%.1f %%)", 100.0 * (double)bytes / (double)of);
	puts("");
}

static void print_kind(const struct boards_partition *p)
{
	printf(LABEL "%s%s%s", "kind", p->kind, *p->kind ? ", " : "", UI_SIZE(p->size));
	if (p->has_address)
		printf(" at 0x%08" PRIx64, p->address);
	puts("");
	if (p->erase_block)
		printf(LABEL "by %s; written by %s\n", "erase", UI_SIZE(p->erase_block),
			UI_SIZE(p->write_unit));
}

static void print_partition(const struct boards_board *b, const struct boards_partition *p)
{
	char text[64], title[32];

	snprintf(title, sizeof(title), "rom%u", p->number);
	puts("");
	print_title(title);
	if (p->size)
		print_kind(p);
	print_fact("image", p->image);
	printf(LABEL, "state");
	ui_style(stdout, show_state_style(b, p));
	fputs(show_state(b, p, text, sizeof(text)), stdout);
	ui_style(stdout, UI_PLAIN);
	puts("");
	print_fact("error", p->error);
	print_fact("waiting", show_pending(p, text, sizeof(text)));
	if (p->size) {
		print_bytes("used", p->used, p->size);
		print_bytes("free", p->free, p->size);
	}
	print_fact("folder", p->mount);
}

static int print_text(const struct view *v, const struct infoboard *how, struct error *err)
{
	int r = 0;

	print_board(v->board);
	for (size_t i = 0; i < v->n && r == 0; i++) {
		print_partition(v->board, v->parts[i].partition);
		if (how->summary)
			continue;
		puts("");
		if (v->parts[i].map.size)
			r = memmap_print_table(&v->parts[i].map, stdout);
		else
			printf("  (what stands where is not known now: %s)\n",
				v->parts[i].why.text);
	}
	return r < 0 ? no_memory(err) : 0;
}

/* --- JSON --------------------------------------------------------------------------- */

/* Partitions stand beside the board, as they do for a port that is asked without romountd. */
static int print_json(const struct client *c, const struct view *v,
	const struct infoboard *how, struct error *err)
{
	struct json_object *doc = json_object_new_object();
	struct json_object *board = show_board_json(c, v->board), *all = NULL, *list;
	bool ok = json_put_text(doc, "path", how->word) && json_put(doc, "board", board);

	ok = ok && json_object_object_get_ex(board, "partitions", &all);
	list = json_object_new_array();
	ok = json_put(doc, "partitions", list) && ok;
	for (size_t i = 0; i < v->n && ok; i++) {
		struct json_object *o = NULL;

		for (size_t k = 0; k < v->board->n_partitions; k++)
			if (v->board->partitions[k] == v->parts[i].partition)
				o = json_object_array_get_idx(all, k);
		ok = json_append(list, json_object_get(o));
		if (ok && !how->summary && v->parts[i].map.size)
			ok = json_put(o, "layout", memmap_extents_json(&v->parts[i].map));
	}
	if (ok)
		json_object_object_del(board, "partitions");
	return json_print(doc, ok) < 0 ? no_memory(err) : 0;
}

/* --- all of it ---------------------------------------------------------------------- */

static int fill(struct view *v, struct pick *p, const struct infoboard *how,
	struct error *err)
{
	const struct boards_board *b = p->board;
	int r = 0;

	v->board = b;
	v->parts = calloc(b->n_partitions + 1, sizeof(*v->parts));
	if (!v->parts)
		return no_memory(err);
	if (how->partition >= 0)
		r = pick_number(p, how->partition, err);
	for (size_t i = 0; i < b->n_partitions && r == 0; i++)
		if (!p->partition || p->partition == b->partitions[i])
			v->parts[v->n++] = (struct part){.number = b->partitions[i]->number,
				.partition = b->partitions[i]};
	return r;
}

static void view_done(struct view *v)
{
	for (size_t i = 0; i < v->n; i++)
		memmap_clear(&v->parts[i].map);
	free(v->parts);
}

int infoboard_print(struct client *c, struct pick *p, const struct infoboard *how,
	struct error *err)
{
	_cleanup_(view_done) struct view v = {0};
	int r = fill(&v, p, how, err);

	if (r == 0 && !how->summary)
		r = ask_maps(c, &v, err);
	if (r < 0)
		return r;
	return how->as_json ? print_json(c, &v, how, err) : print_text(&v, how, err);
}
