/* SPDX-License-Identifier: MIT */
/* Which board it is, told without opening its port: where its staged data waits for it. */
#pragma once

#include "daemon/ports.h"
#include "fuse/portident.h"
#include "fuse/state.h"

/* The line of fuse/portident.h for tty `tty` of the place, as `romount mount` makes it for the
 * same port: by its USB device, else "id ALIAS" of a static one. "": nothing tells this board
 * from others. Looks at sysfs (mounted at `sysfs`) for static ttys alone. */
void ident_line(
	const char *sysfs, const struct place *place, unsigned tty, char out[PORTIDENT_SIZE]);

/* The name of its directory below the state root: the same for the same board whichever of its
 * ttys is used, wherever it is plugged in; where nothing tells the board, for the same socket.
 * `twin`: another board that is plugged in has this name: the socket takes part as well, and
 * such a board gets no line (pass "" on), so that it is asked before anything is shown. */
void ident_name(const char *sysfs, const struct place *place, bool twin,
	char out[STATE_KEY_SIZE]);
