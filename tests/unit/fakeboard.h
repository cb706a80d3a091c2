/* SPDX-License-Identifier: MIT */
/* A board for tests of what stands on libdev: its flash is memory, and its faults are set.
 * Linked in by -Wl,--wrap of dev_tty_open and dev_session_*. One at a time. */
#pragma once

#include "libdev/session.h"

enum fakeboard_fault {
	FAKEBOARD_FAILS,  /* does nothing, says so */
	FAKEBOARD_HALF,	  /* does half of it, says that it failed */
	FAKEBOARD_SILENT, /* does nothing, says that it did */
};

struct fakeboard {
	struct dev_board_info info;
	struct dev_geometry geometry;
	uint8_t *flash;
	int open_result; /* of the next opens, if negative */
	struct dev_transport *transport; /* while a session lasts */
	int port_fd; /* of the node, likewise */
	uint64_t hashed_bytes, read_bytes;
	unsigned opens, closes, erases, programs, reads, hashes, finishes;
	/* The erase or program number `fault_at` (from 0), and `fault_count - 1` after it. */
	int fault_at, fault_count, fault_code;
	enum fakeboard_fault fault;
	uint64_t bad_at, bad_len; /* flash that refuses (FAILS) or ignores what is written */
	enum fakeboard_fault bad;
	unsigned changes;		      /* erases and programs together */
	int read_result;		      /* of reads, if negative */
	uint64_t last_program;		      /* offset */
	uint64_t tried; /* offset of the last program that was asked for */
	int after; /* the change of this number (from 0) is done, and then the board is gone; -1 */
	void (*on_change)(struct fakeboard *b); /* before each, on the worker's thread */
};

extern struct fakeboard fakeboard;

void fakeboard_make(uint64_t size, uint32_t erase_block);
void fakeboard_remove(void);
