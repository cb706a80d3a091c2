/* SPDX-License-Identifier: MIT */
#include "cli/show.h"

#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <string.h>

#include "bus/words.h"
#include "cli/json.h"

/* --- words -------------------------------------------------------------------------- */

/* Looking where things stand is what who asks for the state does itself. */
bool show_has_job(const struct boards_partition *p)
{
	return p && *p->job && strcmp(p->job, "layout") != 0;
}

const char *show_state(const struct boards_board *b, const struct boards_partition *p,
	char *buf, size_t cap)
{
	if (show_has_job(p) && p->total)
		snprintf(buf, cap, "%s %u %%", bus_job_verb(p->job),
			(unsigned)((double)MIN(p->done, p->total) * 100 / (double)p->total));
	else if (show_has_job(p))
		snprintf(buf, cap, "%s", bus_job_verb(p->job));
	else if (!p || !b->present || (strcmp(b->state, "ready") != 0 && *b->state))
		snprintf(buf, cap, "%s", b->state);
	else
		snprintf(buf, cap, "%s", p->state);
	return buf;
}

enum ui_style show_state_style(
	const struct boards_board *b, const struct boards_partition *p)
{
	if (!strcmp(b->state, "failed") || (p && !strcmp(p->state, "failed")))
		return UI_BAD;
	if (!b->present)
		return UI_DIM;
	if (p && !show_has_job(p) && !strcmp(p->state, "on flash") && !strcmp(b->state, "ready"))
		return UI_GOOD;
	return UI_BOLD;
}

const char *show_pending(const struct boards_partition *p, char *buf, size_t cap)
{
	buf[0] = '\0';
	if (p->pending_files)
		snprintf(buf, cap, "%u file%s, %s", p->pending_files,
			p->pending_files == 1 ? "" : "s", UI_SIZE(p->pending));
	else if (p->pending)
		snprintf(buf, cap, "%s", UI_SIZE(p->pending));
	return buf;
}

/* --- the table ---------------------------------------------------------------------- */

static void add_head(struct ui_table *t, bool two)
{
	static const char *const names[] = {
		"BOARD", "PORT", "", "STATE", "SIZE", "USED", "WAITING", "FOLDER"};

	if (two)
		ui_table_cell(t, UI_BOLD, "DAEMON");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		ui_table_cell(t, UI_BOLD, "%s", names[i]);
}

static const char *or_dash(const char *text)
{
	return *text ? text : "-";
}

static void add_board(struct ui_table *t, const struct client *c,
	const struct boards_board *b, bool two)
{
	if (two)
		ui_table_cell(t, UI_PLAIN, "%s", client_scope_name(c, b->link));
	ui_table_cell(t, UI_BOLD, "%s", b->name);
	ui_table_cell(t, UI_PLAIN, "%s", or_dash(b->port));
}

static void add_partition(struct ui_table *t, const struct boards_board *b,
	const struct boards_partition *p)
{
	char state[64], pending[64];

	ui_table_cell(t, UI_PLAIN, "rom%u", p->number);
	ui_table_cell(t, show_state_style(b, p), "%s",
		show_state(b, p, state, sizeof(state)));
	ui_table_cell(t, UI_PLAIN, "%s", p->size ? UI_SIZE(p->size) : "-");
	ui_table_cell(t, UI_PLAIN, "%s", p->size ? UI_SIZE(p->used) : "-");
	ui_table_cell(t, p->pending ? UI_BOLD : UI_PLAIN, "%s",
		or_dash(show_pending(p, pending, sizeof(pending))));
	ui_table_cell(t, UI_PLAIN, "%s", or_dash(p->mount));
}

static void add_nothing(struct ui_table *t, const struct boards_board *b)
{
	char state[64];

	ui_table_cell(t, UI_PLAIN, "-");
	ui_table_cell(t, show_state_style(b, NULL), "%s",
		or_dash(show_state(b, NULL, state, sizeof(state))));
	for (int i = 0; i < 3; i++)
		ui_table_cell(t, UI_PLAIN, "-");
	ui_table_cell(t, UI_PLAIN, "%s", or_dash(b->directory));
}

static void print_errors(const struct boards *boards, FILE *to)
{
	for (size_t i = 0; i < boards->n; i++) {
		const struct boards_board *b = boards->list[i];

		if (*b->error)
			fprintf(to, "\n%s: %s\n", b->name, b->error);
		for (size_t k = 0; k < b->n_partitions; k++)
			if (*b->partitions[k]->error &&
				strcmp(b->partitions[k]->error, b->error) != 0)
				fprintf(to, "\n%s:%u: %s\n", b->name,
					b->partitions[k]->number, b->partitions[k]->error);
	}
}

int show_table(const struct client *c, FILE *to)
{
	const struct boards *boards = client_boards(c);
	bool two = client_has_two(c);
	_cleanup_(ui_table_freep) struct ui_table *t =
		ui_table_new(two ? "lllllrrll" : "llllrrll");
	int r;

	if (!t)
		return -ENOMEM;
	add_head(t, two);
	for (size_t i = 0; i < boards->n; i++) {
		const struct boards_board *b = boards->list[i];

		for (size_t k = 0; k < b->n_partitions; k++) {
			add_board(t, c, b, two);
			add_partition(t, b, b->partitions[k]);
		}
		if (b->n_partitions == 0) {
			add_board(t, c, b, two);
			add_nothing(t, b);
		}
	}
	r = ui_table_print(t, to, 0);
	print_errors(boards, to);
	return r;
}

/* --- JSON --------------------------------------------------------------------------- */

static struct json_object *partition_json(const struct boards_partition *p)
{
	struct json_object *o = json_object_new_object();
	char name[16];
	bool ok;

	snprintf(name, sizeof(name), "rom%u", p->number);
	ok = json_put_string(o, "name", name) && json_put_number(o, "number", p->number) &&
	     json_put_string(o, "mount", p->mount) && json_put_number(o, "size", p->size) &&
	     json_put_number(o, "used", p->used) && json_put_number(o, "free", p->free) &&
	     json_put_number(o, "pending", p->pending) &&
	     json_put_number(o, "pending_files", p->pending_files) &&
	     json_put_string(o, "state", p->state) && json_put_string(o, "error", p->error) &&
	     json_put_string(o, "job", p->job) && json_put_number(o, "done", p->done) &&
	     json_put_number(o, "total", p->total) && json_put_string(o, "kind", p->kind) &&
	     json_put_number(o, "erase_block", p->erase_block) &&
	     json_put_number(o, "write_unit", p->write_unit) &&
	     (!p->has_address || json_put_number(o, "address", p->address)) &&
	     json_put_string(o, "image", p->image);
	return json_whole(o, ok);
}

static struct json_object *partitions_json(const struct boards_board *b)
{
	struct json_object *list = json_object_new_array();
	bool ok = list;

	for (size_t i = 0; ok && i < b->n_partitions; i++)
		ok = json_append(list, partition_json(b->partitions[i]));
	return json_whole(list, ok);
}

struct json_object *show_board_json(const struct client *c, const struct boards_board *b)
{
	struct json_object *o = json_object_new_object();
	bool ok = json_put_string(o, "name", b->name) &&
		  json_put_string(o, "daemon", client_scope_name(c, b->link)) &&
		  json_put_bool(o, "present", b->present) &&
		  json_put_string(o, "port", b->port) &&
		  json_put_string(o, "state", b->state) &&
		  json_put_string(o, "error", b->error) &&
		  json_put_string(o, "machine", b->machine) &&
		  json_put_string(o, "firmware", b->firmware) &&
		  json_put_string(o, "unique_id", b->unique_id) &&
		  json_put_string(o, "usb_id", b->usb_id) &&
		  json_put_string(o, "serial", b->serial) &&
		  json_put_string(o, "directory", b->directory) &&
		  json_put_number(o, "owner", b->owner) &&
		  json_put(o, "partitions", partitions_json(b));

	return json_whole(o, ok);
}

struct json_object *show_boards_json(const struct client *c)
{
	const struct boards *boards = client_boards(c);
	struct json_object *doc = json_object_new_object();
	struct json_object *list = json_object_new_array();
	bool ok = json_put(doc, "boards", list);

	for (size_t i = 0; ok && i < boards->n; i++)
		ok = json_append(list, show_board_json(c, boards->list[i]));
	return json_whole(doc, ok);
}
