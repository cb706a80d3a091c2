/* SPDX-License-Identifier: MIT */
/* Statements over lines that lose, flip and double bytes. Nothing of the raw REPL notices
 * that: a statement that lost a digit still runs. So code travels as a string with a sum,
 * and a small function on the board, X, runs it only if the sum is right. */
#pragma once

#include "libdev/repl.h"

/* Sends X and tries it out. `*available` is false where firmware has no exec(): code then
 * goes unchecked. */
must_check int checked_setup(
	struct repl *r, bool *available, deadline_t deadline, struct error *err);

/* As repl_exec, and again a few times where the line is at fault (nothing has run then). */
must_check int checked_exec(struct repl *r, bool available, const char *code,
	uint64_t reply_ms, struct repl_reply *reply, struct error *err);

/* The sum of both sides: s = (s * 31 + byte) % 16777213 fits small integers. */
uint32_t checked_sum(uint32_t s, const char *text, size_t len);
