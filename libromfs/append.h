/* SPDX-License-Identifier: MIT */
/* One save in the append layout: what goes where. Private to libromfs; written out by
 * emit.h. */
#pragma once

#include "libromfs/head.h"
#include "libromfs/layout.h"
#include "libromfs/room.h"

#define APPEND_ROOT UINT32_MAX /* the item that is the ROOT */

struct append {
	struct planning *pl;
	struct error *err;
	struct head head;
	struct head_state state;
	uint8_t *head_bytes; /* HEAD_SIZE_MAX: as they are; for a new head as they will be */
	bool renew;	/* the front is written anew */
	uint64_t front; /* RENEW: bytes at the start that are erased and programmed */
	uint64_t cursor; /* where the newest ROOT ends */
	struct room room;
	struct meta meta;
	bool *moves; /* by index: a file that is written anew though it is on flash */
	uint64_t *place; /* by index */
	struct room_item *items; /* files that are written, and the ROOT */
	size_t n_items;
	uint64_t root; /* where it will stand */
	struct spans taken, erases;
	uint64_t potential; /* bytes that can be programmed after it, dead blocks erased */
};

void append_done(struct append *a);
/* Reads the head, and what room there is. 1; 0: this memory bears no head. */
must_check int append_init(struct append *a, struct planning *pl, struct error *err);
/* Places what has to be written: beside the old tree, or -ENOSPC with a text. */
must_check int append_place(struct append *a);
/* The same with the files of a->moves, the front of RENEW to itself. Nothing is said for
 * -ENOSPC, and places are lost then. */
must_check int append_try(struct append *a);
