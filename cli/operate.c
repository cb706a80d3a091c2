/* SPDX-License-Identifier: MIT */
#include "cli/operate.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "bus/names.h"
#include "bus/words.h"
#include "cli/json.h"
#include "cli/progress.h"

/* A daemon takes so many of one client at once; more would be of no use to it. */
#define FLYING_MAX 16u

struct operation {
	struct client *client;
	struct order *orders;
	size_t n, sent, left;
	struct progress *progress;
	struct error err; /* why an order could not be sent */
};

/* --- orders ------------------------------------------------------------------------- */

static int prepare(struct client *c, unsigned link, const char *path, const char *interface,
	const char *method, struct order *o, struct error *err)
{
	int r;

	o->link = link;
	o->path = strdup(path);
	if (!o->path)
		return error_set(err, -ENOMEM, "out of memory");
	r = client_call_new(c, link, path, interface, method, &o->message, err);
	return r < 0 ? r : 0;
}

int order_board(struct client *c, const struct boards_board *b, const char *method,
	struct order *out, struct error *err)
{
	*out = (struct order){.partition = -1};
	snprintf(out->board, sizeof(out->board), "%s", b->name);
	snprintf(out->name, sizeof(out->name), "%s", b->name);
	return prepare(c, b->link, b->path, BUS_BOARD, method, out, err);
}

int order_partition(struct client *c, const struct boards_partition *p, const char *method,
	struct order *out, struct error *err)
{
	*out = (struct order){.partition = (int)p->number};
	snprintf(out->board, sizeof(out->board), "%s", p->board->name);
	snprintf(out->name, sizeof(out->name), "%s:%u", p->board->name, p->number);
	return prepare(c, p->board->link, p->path, BUS_PARTITION, method, out, err);
}

void order_done(struct order *o)
{
	client_call_drop(o->call);
	sd_bus_message_unref(o->message);
	sd_bus_message_unref(o->reply);
	free(o->path);
	*o = (struct order){0};
}

/* --- how far they are --------------------------------------------------------------- */

static bool is_meant(const struct operation *op, const struct boards_partition *p)
{
	for (size_t i = 0; i < op->n; i++)
		if (op->orders[i].link == p->board->link && !op->orders[i].answered &&
			boards_is_below(p->path, op->orders[i].path))
			return true;
	return false;
}

static void on_changed(void *ctx, struct boards_board *board, struct boards_partition *p)
{
	struct operation *op = ctx;
	const struct boards *all = client_boards(op->client);
	uint64_t done = 0, total = 0;
	const char *job = NULL;

	for (size_t i = 0; i < all->n; i++)
		for (size_t k = 0; k < all->list[i]->n_partitions; k++) {
			const struct boards_partition *at = all->list[i]->partitions[k];

			if (!*at->job || !is_meant(op, at))
				continue;
			job = job ? job : at->job;
			done += MIN(at->done, at->total);
			total += at->total;
		}
	if (job)
		progress_show(op->progress, bus_job_verb(job), done, total);
}

/* --- running ------------------------------------------------------------------------ */

static int send_next(struct operation *op, struct error *err);

static void on_answer(void *ctx, int result, const struct error *err, sd_bus_message *reply)
{
	struct order *o = ctx;
	struct operation *op = o->operation;

	o->answered = true;
	o->result = result;
	o->err = *err;
	o->reply = sd_bus_message_ref(reply);
	op->left--;
	if ((op->sent < op->n && send_next(op, &op->err) < 0) || op->left == 0)
		client_stop(op->client);
}

static int send_next(struct operation *op, struct error *err)
{
	struct order *o = &op->orders[op->sent++];

	o->operation = op;
	return client_send(op->client, o->link, o->message, on_answer, o, &o->call, err);
}

static int send_first(struct operation *op, struct error *err)
{
	int r = 0;

	op->left = op->n;
	while (op->sent < MIN(op->n, FLYING_MAX) && r == 0)
		r = send_next(op, err);
	return r;
}

/* The board's name goes in front, unless the sentence begins with it. */
static int tell_first(const struct operation *op, struct error *err)
{
	for (size_t i = 0; i < op->n; i++) {
		const struct order *o = &op->orders[i];

		if (o->result >= 0)
			continue;
		error_set(err, o->result, "%s", o->err.text);
		if (strncmp(o->err.text, o->board, strlen(o->board)) != 0)
			error_prefix(err, o->result, "%s", o->name);
		return o->result;
	}
	return 0;
}

int orders_run(struct client *c, struct order *orders, size_t n, struct error *err)
{
	struct operation op = {.client = c, .orders = orders, .n = n};
	char name[160];
	int r;

	if (n == 1)
		snprintf(name, sizeof(name), "%s", orders[0].name);
	else
		snprintf(name, sizeof(name), "%zu boards", n);
	op.progress = progress_new(name);
	client_listen(c, &(struct client_hooks){.changed = on_changed, .ctx = &op});
	r = send_first(&op, err);
	if (r == 0 && n) {
		on_changed(&op, NULL, NULL);
		r = client_run(c, err);
	}
	if (r == 0 && op.err.code)
		r = error_set(err, op.err.code, "%s", op.err.text);
	client_listen(c, &(struct client_hooks){0});
	progress_free(op.progress);
	for (size_t i = 0; i < n; i++) {
		client_call_drop(orders[i].call);
		orders[i].call = NULL;
		if (r < 0 && !orders[i].answered) {
			orders[i].result = r;
			orders[i].err = *err;
		}
	}
	if (r == -ECANCELED) {
		error_clear(err);
		return error_set(err, r, "interrupted: nobody waits for it any more, but romountd "
					 "goes on with what it has begun");
	}
	return r < 0 ? r : tell_first(&op, err);
}

/* --- JSON --------------------------------------------------------------------------- */

int orders_json(const struct order *orders, size_t n, const char *command,
	bool (*more)(const struct order *o, struct json_object *to, void *ctx), void *ctx)
{
	struct json_object *doc = json_object_new_object();
	struct json_object *list = json_object_new_array();
	bool ok = json_put(doc, command, list);

	for (size_t i = 0; ok && i < n; i++) {
		const struct order *o = &orders[i];
		struct json_object *e = json_object_new_object();

		ok = json_put_string(e, "board", o->board) &&
		     (o->partition < 0 ||
			     json_put_number(e, "partition", (uint64_t)o->partition)) &&
		     json_put_bool(e, "done", o->result >= 0) &&
		     (o->result >= 0 || json_put_string(e, "error", o->err.text)) &&
		     (o->result < 0 || !more || more(o, e, ctx));
		ok = json_append(list, e) && ok;
	}
	return json_print(doc, ok);
}
