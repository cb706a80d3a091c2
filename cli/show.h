/* SPDX-License-Identifier: MIT */
/* Boards of the daemon as a table, and as JSON. */
#pragma once

#include "cli/client.h"
#include "cli/ui.h"

/* Something runs that is worth a word; `p` may be NULL. */
bool show_has_job(const struct boards_partition *p);
/* "on flash", "writing 40 %", "staged", "absent": of a partition, or of a board that shows
 * none (`p` NULL). */
const char *show_state(const struct boards_board *b, const struct boards_partition *p,
	char *buf, size_t cap);
enum ui_style show_state_style(
	const struct boards_board *b, const struct boards_partition *p);
/* "3 files, 12 KiB", "" for nothing. */
const char *show_pending(const struct boards_partition *p, char *buf, size_t cap);

/* The table of `romount list`, and below it what is wrong. -ENOMEM. */
must_check int show_table(const struct client *c, FILE *to);

/* NULL where memory is short; documented in romount(1). */
struct json_object;
struct json_object *show_board_json(const struct client *c, const struct boards_board *b);
struct json_object *show_boards_json(const struct client *c);
