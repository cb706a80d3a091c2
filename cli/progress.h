/* SPDX-License-Identifier: MIT */
/* How far something is that takes long: a bar with rate and time left on a terminal, a line
 * now and then elsewhere. On stderr; the results are stdout's.
 *
 * One thread; waits for nothing, and shows what it is told when it is told. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/macros.h"

struct progress;

/* `name`: what it is about, printable. NULL where memory is short: nothing is shown then. */
struct progress *progress_new(const char *name);
/* Takes the bar off the terminal. */
void progress_free(struct progress *p);
DEFINE_CLEANUP(struct progress *, progress_free);

/* `doing`: "writing". Bytes; `total` 0: not known yet. A `doing` that is new begins anew. */
void progress_show(struct progress *p, const char *doing, uint64_t done, uint64_t total);
