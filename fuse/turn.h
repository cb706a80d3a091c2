/* SPDX-License-Identifier: MIT */
/* One process of a board at a time. When romountd was killed, the process that it has left
 * finishes its operation on flash; the next romountd has started another one by then, which
 * waits for its turn here. Nothing blocks; by the loop's thread. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "util/macros.h"

struct turn;

/* Takes the lock of the current directory, now or later; `taken` is called in both cases, but
 * not from within this. -errno: the directory cannot be used. */
must_check int turn_wait(
	sd_event *event, void (*taken)(void *ctx), void *ctx, struct turn **out);
bool turn_has_come(const struct turn *t); /* NULL: no */
void turn_free(struct turn *t);		  /* gives the lock back; NULL is fine */
