/* SPDX-License-Identifier: MIT */
/* Opening a tty or connecting to a socket, and asking who has a tty: what a thread of its own
 * does (chore.h). Blocking. */
#pragma once

#include <sys/types.h>

#include "daemon/ports.h"
#include "util/error.h"

struct portopen {
	/* in */
	char key[PLACE_TEXT]; /* the place's: what must stand behind the tty */
	char node[PLACE_TEXT];
	bool is_socket;
	/* out */
	int fd; /* -1 */
	struct error err;
};

/* Non-blocking, not our controlling terminal. -EBUSY names the holder; -ENODEV: it is away, or
 * is not the device any more that was told of; -EACCES; -ENOTTY. */
void portopen_run(struct portopen *p);

/* "picocom (pid 4711)", or "". `except`: the board's own process. */
void portopen_holder(const char *node, pid_t except, char *out, size_t cap);
