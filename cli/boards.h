/* SPDX-License-Identifier: MIT */
/* The boards of the daemons that a client is connected to, as their object trees tell: read
 * once, then kept by signals. All texts are printable.
 *
 * One thread. A board or partition that goes is freed: pointers are good until the next
 * message is taken. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "util/error.h"

#define BOARDS_TEXT 512u

struct boards_partition {
	struct boards_board *board;
	char *path; /* of the object */
	unsigned number, pending_files;
	uint64_t size, used, free, pending, done, total;
	uint64_t erase_block, write_unit, address;
	bool has_address;
	char state[32], job[32], kind[32], image[128];
	char mount[BOARDS_TEXT]; /* "": not mounted */
	char error[BOARDS_TEXT];
};

struct boards_board {
	unsigned link; /* which daemon's: an index of the client's */
	char *path;    /* of the object */
	bool present;
	unsigned owner, pid;
	char name[128], port[256], state[32];
	char error[BOARDS_TEXT];
	char machine[256], firmware[256], unique_id[128], usb_id[32], serial[128];
	char directory[BOARDS_TEXT];
	struct boards_partition **partitions; /* by number */
	size_t n_partitions;
};

struct boards {
	struct boards_board **list; /* by name */
	size_t n;
	char gone[128]; /* the name of the last board that went */
};

void boards_clear(struct boards *b);

/* What GetManagedObjects answered. -ENOMEM, -EBADMSG with a sentence. */
must_check int boards_take_all(
	struct boards *b, unsigned link, sd_bus_message *reply, struct error *err);

/* Signals of ObjectManager and Properties; those about other things are passed over. 1 where
 * something is different now: *board, and *partition where it is about one (NULL: it is gone,
 * or the board is meant). */
must_check int boards_take_signal(struct boards *b, unsigned link, sd_bus_message *signal,
	struct boards_board **board, struct boards_partition **partition, struct error *err);

/* NULL: none of this name, or path. */
struct boards_board *boards_find(const struct boards *b, const char *name);
struct boards_partition *boards_partition(const struct boards_board *b, unsigned number);
/* By the object's path, which is the board's or a partition's. NULL: none. */
struct boards_board *boards_at(const struct boards *b, unsigned link, const char *path);
/* The object is this board, or one of its partitions. */
bool boards_is_below(const char *path, const char *board_path);

/* Sums over a board's partitions. */
uint64_t boards_pending(const struct boards_board *b);
