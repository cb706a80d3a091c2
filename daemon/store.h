/* SPDX-License-Identifier: MIT */
/* The state root: a directory for each identity of a board, which is all that its process gets
 * of the file system. It belongs to the boards' user in system mode, so what is in it is
 * hostile: capped, checked, never followed.
 *
 * Loop thread only; waits for the local disk only, to be flushed in a board's first moment alone,
 * and in store_free. */
#pragma once

#include "daemon/registry.h"
#include "fuse/portident.h"
#include "util/error.h"
#include "util/log.h"

struct store;

struct store_options {
	const char *root; /* made where it is missing */
	bool give_away;	  /* to uid, readable by our group */
	uid_t uid;
	sd_event *event;
	const struct log_sink *log; /* told of memos that cannot be written; may be NULL */
};

/* -EBUSY: another romountd uses it. */
must_check int store_open(
	const struct store_options *options, struct store **out, struct error *err);
/* When all memos are on disk. */
void store_free(struct store *s);
DEFINE_CLEANUP(struct store *, store_free);
const char *store_root(const struct store *s);

/* What romountd remembers of a board, in IDENT/board. */
struct store_memo {
	char name[BOARD_NAME_MAX + 1]; /* of its folder; "" */
	char identity[PORTIDENT_SIZE];
	char usb[16]; /* "2e8a:0005" or "" */
	char serial[PLACE_TEXT], port[PLACE_TEXT], id_path[PLACE_TEXT];
	char machine[BOARD_TEXT], firmware[BOARD_TEXT], unique_id[BOARD_TEXT];
	int interface;	/* where the REPL is; -1 */
	bool attached; /* somebody has said that it may be asked */
};

/* Opens IDENT's directory; with `make` it is made, durably. The caller closes. */
must_check int store_open_board(
	struct store *s, const char *ident, bool make, int *fd, struct error *err);
/* -ENOENT: nothing is remembered. */
must_check int store_read_memo(struct store *s, const char *ident, struct store_memo *out);
/* Where it differs from what is remembered: survives a power cut from soon on, by a thread
 * (keeper.h), since it changes only when a board is new, moves, or is attached the first time. */
must_check int store_write_memo(struct store *s, const char *ident,
	const struct store_memo *memo, struct error *err);

/* The partitions that have something staged, by the status files, for a board that is away. */
void store_read_staged(int dirfd, struct board *b);

/* Every identity there is. */
void store_each(struct store *s, void (*each)(void *ctx, const char *ident), void *ctx);
