/* SPDX-License-Identifier: MIT */
/* All boards that romountd knows: those that are plugged in, and those that are away while
 * something staged waits for them. What the bus shows and what the notes tell is read here,
 * and changed by board.c and hostlink.c alone.
 *
 * Loop thread only. Texts that a board process has told are printable and capped. */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/ports.h"

#define BOARD_NAME_MAX 64u
#define BOARD_TEXT 256u
#define BOARD_PARTITIONS_MAX 8u

struct board_partition {
	unsigned number;
	bool mounted;
	uint64_t size, used, free, pending, done, total;
	uint64_t erase_block, write_unit, address;
	bool has_address;
	unsigned pending_files;
	bool was_ready; /* its process has served the folder already */
	char told_state[16]; /* by the process; "on flash" ... */
	/* The same, but "mounting" until the folder is there for the first time. */
	char state[16];
	char job[16], kind[24], image[64];
	char error[BOARD_TEXT * 2];
	char mount[512];
};

struct board {
	struct board *next; /* registry.c's */
	char name[BOARD_NAME_MAX + 1];	/* of its folder, unique among all */
	char ident[BOARD_NAME_MAX + 1]; /* of its state directory */
	struct place place;		/* where it is; n_ttys 0: away */
	bool present;
	char state[16]; /* absent starting asking waiting ready none failed released ejected */
	char error[BOARD_TEXT * 2];
	char machine[BOARD_TEXT], firmware[BOARD_TEXT], unique_id[BOARD_TEXT];
	char directory[512];
	uid_t owner;
	gid_t group;
	pid_t pid; /* of its romount-board, 0 */
	struct board_partition partitions[BOARD_PARTITIONS_MAX];
	unsigned n_partitions;
	struct board_life *life; /* board.c's */
};

struct registry;

struct registry_hooks { /* for the bus: all on the loop's thread */
	void (*board_added)(void *ctx, struct board *b);
	void (*board_changed)(void *ctx, struct board *b);
	void (*board_removed)(void *ctx, struct board *b);
	void (*partition_added)(void *ctx, struct board *b, struct board_partition *p);
	void (*partition_changed)(void *ctx, struct board *b, struct board_partition *p);
	void (*partition_removed)(void *ctx, struct board *b, struct board_partition *p);
	void *ctx;
};

must_check int registry_new(struct registry **out);
/* Boards that are left are removed, and told. */
void registry_free(struct registry *r);
DEFINE_CLEANUP(struct registry *, registry_free);

/* Once, before the first board is added; `hooks` is copied. */
void registry_listen(struct registry *r, const struct registry_hooks *hooks);
struct board *registry_find(struct registry *r, const char *name); /* NULL: none */
/* Iterates: NULL begins, NULL is the end. */
struct board *registry_next(struct registry *r, struct board *after);

/* --- for those who change it --- */

/* A board with these values, partitions included; its name must be free. The registry owns it. */
must_check int registry_add(
	struct registry *r, const struct board *values, struct board **out);
/* Its partitions go first. */
void registry_remove(struct registry *r, struct board *b);
void registry_changed(struct registry *r, struct board *b);

/* The board's partition of that number, NULL: none. Good until another one is added or
 * removed. */
struct board_partition *registry_partition(struct board *b, unsigned number);
/* -ENOSPC: there are BOARD_PARTITIONS_MAX already, -EEXIST. */
must_check int registry_add_partition(
	struct registry *r, struct board *b, const struct board_partition *values);
void registry_remove_partition(struct registry *r, struct board *b, unsigned number);
void registry_partition_changed(
	struct registry *r, struct board *b, struct board_partition *p);

/* --- what clients ask for; `done` is told once, with 0 or -errno and a sentence; `reply` is the
 * board process's answer where there is one (of Layout, Verify), else NULL --- */
typedef void (*board_done_fn)(
	void *ctx, int result, const char *error_name, const char *text, sd_bus_message *reply);

enum board_order_kind {
	ORDER_SYNC, ORDER_SAVE, ORDER_RESTORE, ORDER_VERIFY, ORDER_LAYOUT, ORDER_FORMAT,
	ORDER_COMPACT, ORDER_ATTACH, ORDER_RELEASE, ORDER_EJECT,
};
struct board_order {
	enum board_order_kind kind;
	unsigned partition; /* BUS_ALL_PARTITIONS where it makes sense */
	int fd;		    /* -1; duplicated where it is kept */
	bool flag;	    /* exact, packed */
	unsigned seconds;
	board_done_fn done;
	void *ctx;
};
/* 0: `done` will be told; else -errno at once with the text. */
must_check int board_order(
	struct board *b, const struct board_order *order, struct error *err);
