/* SPDX-License-Identifier: MIT */
/* The name of a board's folder, which is its name everywhere: from its alias, or from what its
 * USB strings say, which are anybody's. */
#pragma once

#include <stdbool.h>

#include "util/macros.h"

#define NAMES_MAX 64u

/* Whether another board has the name. */
typedef bool (*names_taken_fn)(void *ctx, const char *name);

/* [A-Za-z0-9._-], at most NAMES_MAX, the first a letter or a digit; the same for the same
 * strings and the same others. Product and the end of the serial number, as
 * "Raspberry-Pi-Pico-6A22", or the alias alone; where that is taken, more of the serial number,
 * then -2, -3. Strings may be "". -EEXIST: all that can be thought of is taken. */
must_check int names_make(const char *alias, const char *product, const char *serial,
	names_taken_fn taken, void *ctx, char out[NAMES_MAX + 1]);
