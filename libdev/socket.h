/* SPDX-License-Identifier: MIT */
/* A connected stream socket as a transport: a serial port of another computer (ser2net), an
 * emulated board (QEMU). What comes over it is what a tty in raw mode would give. */
#pragma once

#include "libdev/tty.h"

/* Takes the descriptor, also on failure. `baud` of the options counts for nothing here.
 * -ENOTSOCK, -ENOTCONN: it is something else. */
must_check int dev_socket_adopt(int fd, const char *name,
	const struct dev_tty_options *options, struct dev_transport **out, struct error *err);

/* A tty or a socket, whichever the descriptor is. */
must_check int dev_transport_adopt(int fd, const char *name,
	const struct dev_tty_options *options, struct dev_transport **out, struct error *err);
