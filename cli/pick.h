/* SPDX-License-Identifier: MIT */
/* Which board, or partition, a word on the command line means: BOARD, BOARD:N, BOARD:romN, the
 * board's port, or a path in one of its folders. */
#pragma once

#include "cli/client.h"

struct pick {
	struct boards_board *board;
	struct boards_partition *partition; /* NULL: none was named */
};

/* Whether the word means one of the client's boards, without a complaint. A partition that is
 * not there (BOARD:7) is one: -errno. */
must_check int pick_try(struct client *c, const char *word, struct pick *out,
	struct error *err);

/* `word` NULL: the only board there is. CLIENT_NO_BOARD with the names that could be meant. */
must_check int pick_board(struct client *c, const char *word, struct pick *out,
	struct error *err);
/* The same, and a partition: the one that is named, else the only one, else rom0. */
must_check int pick_partition(struct client *c, const char *word, struct pick *out,
	struct error *err);
/* For -p N: partition N, or the usual one where `number` is negative. */
must_check int pick_number(struct pick *p, int number, struct error *err);
