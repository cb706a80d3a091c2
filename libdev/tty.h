/* SPDX-License-Identifier: MIT */
/* A serial port as a transport, with its manners: raw mode, O_CLOEXEC, non-blocking; both
 * locks that other tools look at (flock and TIOCEXCL); HUPCL cleared so that closing does
 * not toggle DTR; modem lines as the quirk table wants. A pty answers modem-line ioctls
 * with ENOTTY, which is fine. */
#pragma once

#include <stdbool.h>

#include "libdev/transport.h"

struct dev_tty_options {
	unsigned baud; /* 0: 115200; ignored by USB CDC and ptys */
	/* Becomes readable to cancel every wait (an eventfd, not read here); -1: none. */
	int cancel_fd;
};

/* Opens and locks. -EBUSY names the program and pid that hold the port, as far as /proc
 * lets us see; -EACCES tells which group or rule is missing; -ENODEV/-ENOENT/-ENOTTY say
 * that this is no serial port. The previous terminal settings come back on free. */
must_check int dev_tty_open(const char *path, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err);

/* The same with a descriptor of an open tty, which it takes, also on failure; `name` is for
 * messages. Who holds the port is not named: -EBUSY says only that somebody does. */
must_check int dev_tty_adopt(int fd, const char *name, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err);

/* Who has `path` open, other than this process: "picocom (pid 4711)", several joined by
 * ", ". Reads /proc; false where nobody can be named. */
bool dev_tty_holder(const char *path, char *out, size_t cap);
