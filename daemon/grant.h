/* SPDX-License-Identifier: MIT */
/* The port of one board, for its process: opened when it asks, watched for others meanwhile.
 * Nothing is opened that is not the place's own tty (or socket), and what may wait (opening,
 * connecting, names, all of /proc) is done by a thread.
 *
 * One for each life of a process: who has had the port before is not known to the next one.
 * Loop thread only; never waits. */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/ports.h"
#include "util/error.h"

struct grant;

struct grant_options {
	sd_event *event;
	const struct place *place; /* copied */
	int interface;		   /* where the REPL was the last time; -1 */
	/* The process has found the REPL behind this USB interface (-1: not USB). */
	void (*kept)(void *ctx, int interface);
	void *ctx;
};

must_check int grant_new(const struct grant_options *options, struct grant **out);
/* Whoever waits is told that the port is gone. */
void grant_free(struct grant *g);
DEFINE_CLEANUP(struct grant *, grant_free);

/* The place has other ttys now: what has come is offered to the process, which is woken for it,
 * unless it has found the REPL elsewhere. The one that is open stays so until it is closed. */
void grant_update(struct grant *g, const struct place *place);

const char *grant_node(const struct grant *g); /* the tty, or HOST:PORT, that is used now */
/* Of the board's process: it is not told of as somebody who holds the port. */
void grant_set_pid(struct grant *g, pid_t pid);

/* Calls of the Host interface, as in hostlink_hooks: answered now or later by a reply to
 * `call`; a negative result is still to be answered. */
/* Answered in any case before the caller's patience ends, with -ENODEV where neither a driver
 * nor a name server does. */
must_check int grant_open(
	struct grant *g, sd_bus_message *call, unsigned baud, struct error *err);
must_check int grant_tell_holder(struct grant *g, sd_bus_message *call, struct error *err);
must_check int grant_close(struct grant *g, sd_bus_message *call, struct error *err);
/* Answers when what failed is worth another try: another program has closed the tty, or it has
 * come back; the board has got another tty; at a socket, of which nothing can be seen, after a
 * while that grows up to a minute with each failure in a row. */
must_check int grant_wait(
	struct grant *g, sd_bus_message *call, uint64_t usec, struct error *err);
/* -ENODEV: there is no other that has not been tried; next time they are all tried again. */
must_check int grant_next(struct grant *g, sd_bus_message *call, struct error *err);
must_check int grant_keep(struct grant *g, sd_bus_message *call, struct error *err);
