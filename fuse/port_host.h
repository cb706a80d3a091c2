/* SPDX-License-Identifier: MIT */
/* A board's port that only romountd may open: it is asked over the bus (org.romount1.Host),
 * gives an opened descriptor, and is told when that is closed again.
 *
 * The port's operations are called on the worker's thread, which waits; the loop's thread, the
 * only one that touches the bus, asks for it. Where the loop has ended, or romountd is gone,
 * they fail with -ENODEV. */
#pragma once

#include <systemd/sd-bus.h>

#include "fuse/port.h"

struct port_host_options {
	sd_event *event;
	sd_bus *bus;
	const char *name; /* for messages */
	void (*used)(void *ctx); /* port_host_is_open has changed; loop's thread */
	void *ctx;
};

/* Loop's thread, as port_host_hang_up. */
must_check int port_host_new(const struct port_host_options *options, struct port **out);
bool port_host_is_open(const struct port *p); /* any thread */
/* Nobody answers any more. */
void port_host_hang_up(struct port *p);

/* Worker's thread: no MicroPython is behind this interface of the board, so the next one is
 * taken. -ENODEV: there is none. */
must_check int port_host_next(struct port *p, int cancel_fd, struct error *err);
/* The interface is the right one. */
void port_host_keep(struct port *p);
