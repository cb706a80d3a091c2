/* SPDX-License-Identifier: MIT */
/* A board for tests of libdev: a thread behind a pty that plays MicroPython's REPL as
 * shared/runtime/pyexec.c does, and the agent's side of its frames, and misbehaves as told.
 * It runs no Python: it knows the statements of libdev by a part of their text. */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum fake_state {
	FAKE_FRIENDLY,
	FAKE_RAW,
	FAKE_PASTE,	/* paste mode of the friendly REPL */
	FAKE_RAW_PASTE, /* in the middle of one */
	FAKE_PROGRAM,	/* runs something that ends by Ctrl-C */
	FAKE_BLOCKED,	/* an agent in the middle of a frame */
	FAKE_AGENT,	/* an agent between two frames */
	FAKE_SILENT,	/* never says anything */
	FAKE_FLOOD,	/* prints for ever */
	FAKE_MODEM,	/* echoes, and answers ERROR */
	FAKE_HALF,	/* answers with half of the prompt */
	FAKE_FORGER,	/* shows prompts, OK and EOT, and runs nothing */
};

struct fake_rule {
	const char *part; /* of a statement */
	const char *out;
	const char *exception;
};

struct fake_options {
	enum fake_state state;
	unsigned ignored_ctrl_c; /* a program survives so many */
	int raw_paste;	    /* 0: yes, 1: answers R\0, 2: never heard of it */
	bool prints;	    /* the program prints all the time */
	unsigned blocked;   /* bytes that FAKE_BLOCKED waits for */
	unsigned gives_up;  /* raw paste: stops reading after so many bytes; 0: never */
	const struct fake_rule *rules; /* first match wins; ended by part NULL */
	/* Frames of the agent: a byte of so many is lost, flipped or doubled; 0: none. */
	unsigned damage;
	unsigned seed;
	unsigned lost_answer; /* this answer of the agent gets lost; 0: none */
	const char *noise;    /* printed by the firmware before each answer */
	bool floods_answers; /* the agent answers a read by what nobody asked, for ever */
	const char *identity; /* what the agent says that the board is */
	/* Payloads, answers and the agent itself raise MemoryError above so many bytes; 0: none
	 * does. */
	unsigned memory;
	unsigned fail_frame; /* this change of flash reports -EIO; 0: none */
};

#define FAKE_FLASH (64u << 10)

struct fake_board {
	struct fake_options o;
	char port[64];
	/* What happened; read after fake_stop, or where the other side must be done. */
	unsigned soft_resets, interrupts, overruns, erases, programs, statements;
	uint8_t flash[FAKE_FLASH];
	unsigned program_count[FAKE_FLASH / 256];
	enum fake_state state;
	/* private */
	pthread_t thread;
	int master, slave, stop[2];
	uint32_t random;
	unsigned answers;
};

/* Starts the board; `b->port` is its tty. */
void fake_start(struct fake_board *b, const struct fake_options *o);
void fake_stop(struct fake_board *b);
/* Ends the thread and hangs the line up, as an unplug does. */
void fake_unplug(struct fake_board *b);

/* Rules that make learn_board happy: rp2, one partition of 64 KiB at rom0. */
extern const struct fake_rule fake_rp2[];
