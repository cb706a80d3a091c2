/* SPDX-License-Identifier: MIT */
/* What the state directory keeps of a port: which board was behind it the last time, so that
 * a folder can be shown before the port is opened. ROOT/ports/HASH, one small text file for
 * each identity and partition (FORMAT.md). A hint, never relied on: the first session finds
 * the same board, or the memo goes. Read as something that anybody may have written.
 *
 * Any thread; waits for the disk only. */
#pragma once

#include "fuse/portident.h"
#include "fuse/state.h"
#include "libdev/known.h"
#include "libdev/session.h"

struct portmemo {
	char identity[PORTIDENT_SIZE]; /* of portident_of */
	char key[STATE_KEY_SIZE];      /* the board's directory */
	/* Who the board is, and its partitions; what it can do stays unset. */
	struct dev_board_info board;
	bool has_known; /* what spares the next session most of its questions */
	struct dev_known known;
};

/* -ENOENT: there is none; -EUCLEAN: it makes no sense. */
must_check int portmemo_read(
	const char *root, const char *identity, unsigned partition, struct portmemo *out);
/* Durable when it returns; nothing is written where it is so already. */
must_check int portmemo_write(const char *root, const struct portmemo *memo,
	unsigned partition, struct error *err);
void portmemo_drop(const char *root, const char *identity, unsigned partition);

/* NULL where the board has no such partition. */
const struct dev_geometry *portmemo_partition(const struct portmemo *memo, unsigned number);
