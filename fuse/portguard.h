/* SPDX-License-Identifier: MIT */
/* May anybody else have had the port since we had it? A watch on the port's device node, for
 * as long as a mount lives: the kernel tells of everyone who opens it, writes to it, or
 * replaces it.
 *
 * The answer errs to the safe side: where the kernel gives no watch, loses events, or shows
 * anything that our own session does not explain, somebody may have had the port. Not seen is
 * who reaches the board in another way: by a second interface, or by another node of the
 * same device (as in a container).
 *
 * For one thread at a time, which does not wait here. */
#pragma once

#include <stdbool.h>

#include "util/macros.h"

struct portguard;

/* `path` may be a link: its target is watched, which may be missing now, or become another. */
must_check int portguard_new(const char *path, struct portguard **out);
void portguard_free(struct portguard *g);
DEFINE_CLEANUP(struct portguard *, portguard_free);

/* Directly before an attempt to open the port, and directly after it has been closed, or
 * could not be opened: what happens between the two is our own, if nobody joined in. */
void portguard_enter(struct portguard *g);
void portguard_leave(struct portguard *g);

/* By what was seen up to the last enter or leave: nobody else had the port since the watch
 * began, or since portguard_reset. */
bool portguard_alone(const struct portguard *g);
/* What the others may have done has been looked at. To be called between enter and leave: who
 * joins in later is told at the next look. */
void portguard_reset(struct portguard *g);
