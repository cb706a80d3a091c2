/* SPDX-License-Identifier: MIT */
/* BOARD.txt and STATUS.txt beside a board's folders: what it is, what is going on, what failed
 * and what to do. Plain text for people; replaced whole, at once when the first folder
 * is there, else at most once a second.
 *
 * Loop thread only; waits for the local file system only. */
#pragma once

#include <systemd/sd-event.h>

#include "daemon/registry.h"

struct notes;

/* Both must outlive it; `dirfd` as well. */
must_check int notes_new(
	sd_event *event, const struct board *board, int dirfd, struct notes **out);
void notes_free(struct notes *n);

/* Something has changed: written now, or soon. */
void notes_changed(struct notes *n);

/* The texts alone; `out` is always terminated. */
void notes_board_text(const struct board *b, char *out, size_t cap);
void notes_status_text(const struct board *b, char *out, size_t cap);
