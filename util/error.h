/* SPDX-License-Identifier: MIT */
/* An error that a person can act on: a code for the program, a sentence for the user.
 *
 * Functions that can fail for reasons worth telling take a `struct error *` as their last
 * parameter (may be NULL), fill it on failure and return the same negative errno. The
 * text says what happened, to what, and, where there is something to do, what to do; it
 * holds no newline and no byte that a terminal would interpret. */
#pragma once

#include "util/macros.h"

struct error {
	int code;	/* negative errno; 0 while nothing failed */
	char text[480]; /* empty while nothing failed */
};

/* Sets the error (the first one set stays, the cause before its consequences) and
 * returns `code`, so that `return error_set(err, -EIO, ...)` reads well. */
int error_set(struct error *err, int code, const char *fmt, ...) format_like(3, 4);

/* Puts "WHAT: " in front of a text that is set already. Returns err->code, or `code`
 * after setting a plain text from it where none was set. */
int error_prefix(struct error *err, int code, const char *fmt, ...) format_like(3, 4);

void error_clear(struct error *err);
