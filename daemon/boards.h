/* SPDX-License-Identifier: MIT */
/* All boards: which one it is that was plugged in, what it is called, which ones are away with
 * something staged, and the end of all of them.
 *
 * Two boards that tell the same about themselves never share a state directory: the second
 * one gets one of its own, by the socket that it is plugged into.
 *
 * Loop thread only; never waits. */
#pragma once

#include "daemon/board.h"
#include "daemon/seat.h"

struct boards;

struct boards_options {
	struct board_env env; /* without hooks; what it points to must outlive the boards */
	const struct seat *seat;
};

/* Takes up the boards that are away with something staged. */
must_check int boards_new(
	const struct boards_options *options, struct boards **out, struct error *err);
void boards_free(struct boards *all);
DEFINE_CLEANUP(struct boards *, boards_free);

/* What ports.h tells. */
void boards_plugged(struct boards *all, const struct place *place);
void boards_unplugged(struct boards *all, const char *key);
/* The seat's user has changed: folders follow. */
void boards_check_owners(struct boards *all);

/* What is staged is written for at most so long, processes end, folders go; then `ended` is
 * told, once, maybe before this returns. Nothing may be plugged in any more. */
void boards_end(struct boards *all, unsigned seconds, void (*ended)(void *ctx), void *ctx);
/* While they end: processes are killed. */
void boards_kill(struct boards *all);
