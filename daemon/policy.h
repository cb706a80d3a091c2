/* SPDX-License-Identifier: MIT */
/* How one board is treated, after all sections that match it: defaults, [board], [board X]. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/macros.h"

#define POLICY_ALIGNS_MAX 32u
#define POLICY_TEXT_MAX 64u

enum policy_contact {
	CONTACT_AUTO,	/* an unknown board is asked at once what it is */
	CONTACT_MANUAL, /* only after `romount attach`; later as any other */
	CONTACT_NEVER,	/* mounted from memory alone */
};

struct policy {
	char alias[POLICY_TEXT_MAX + 1]; /* "": none */
	char owner[POLICY_TEXT_MAX + 1]; /* a user's name; "": the active seat's user */
	char aligns[POLICY_ALIGNS_MAX][POLICY_TEXT_MAX + 1];
	unsigned n_aligns;
	enum policy_contact contact;
	bool ignore;	/* never opened */
	bool no_reset;	/* the board's program stays stopped after a commit */
	bool verify_everything;
	unsigned baud;	/* 0: the usual, 115200 */
	int interface;	/* USB interface of the REPL; -1: found out */
	unsigned quiet_ms; /* flash is written after this long without a change */
	unsigned idle_ms;  /* blocks are erased ahead after this long; 0: never */
};
