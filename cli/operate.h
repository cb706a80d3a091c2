/* SPDX-License-Identifier: MIT */
/* Calls to boards and partitions that take as long as flash takes: sent all at once, waited
 * for with a bar that shows how far they are. */
#pragma once

#include "cli/client.h"

struct order {
	char name[160];		 /* "pico", "pico:0"; printable */
	char board[128];	 /* for JSON */
	int partition;		 /* -1: the board */
	sd_bus_message *message; /* for the caller to append to */
	/* How it ended: */
	int result;
	struct error err;
	sd_bus_message *reply;
	/* operate.c's own */
	unsigned link;
	char *path;
	struct client_call *call;
	struct operation *operation;
	bool answered;
};

/* Nothing is sent yet. order_done in any case. */
must_check int order_board(struct client *c, const struct boards_board *b,
	const char *method, struct order *out, struct error *err);
must_check int order_partition(struct client *c, const struct boards_partition *p,
	const char *method, struct order *out, struct error *err);
void order_done(struct order *o);

/* Sends all, and returns when each has its answer: 0, or what the first that failed says. A
 * signal ends the waiting (-ECANCELED), not the work. */
must_check int orders_run(
	struct client *c, struct order *orders, size_t n, struct error *err);

/* {"COMMAND": [{"board", "partition", "done", "error"}]} to stdout, with what `more` (may be
 * NULL) adds to each. */
struct json_object;
must_check int orders_json(const struct order *orders, size_t n, const char *command,
	bool (*more)(const struct order *o, struct json_object *to, void *ctx), void *ctx);
