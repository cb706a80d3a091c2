/* SPDX-License-Identifier: MIT */
/* The way to a board: something that can be opened for a while, that other programs may have
 * meanwhile, and that can go away and come back. By a path (port_path.c) for whoever may open
 * it, or by asking romountd (port_host.c).
 *
 * open, closed, alone, reset and wait are for one thread at a time (whoever attaches, then the
 * worker); watching is the loop's thread's. */
#pragma once

#include <systemd/sd-event.h>

#include "libdev/transport.h"

struct port;

struct port_ops {
	/* Blocking, ended by the cancel descriptor. -EBUSY names who has it; -ENODEV: it is
	 * away. What happens on the port from here to `closed` is our own. */
	int (*open)(struct port *p, unsigned baud, int cancel_fd, struct dev_transport **out,
		struct error *err);
	/* The transport has been freed, or could not be opened. */
	void (*closed)(struct port *p);
	/* portguard.h: nobody else had it since the watch began, or since reset. */
	bool (*alone)(const struct port *p);
	void (*reset)(struct port *p);
	/* After -EBUSY: 0 when it is worth another try; -ETIMEDOUT, -ECANCELED. */
	int (*wait)(struct port *p, int cancel_fd, deadline_t deadline);
	/* Calls port_wake from now on, on the loop's thread, for what others do. */
	int (*watch)(struct port *p, sd_event *event);
	void (*unwatch)(struct port *p);
	void (*free)(struct port *p);
};

/* Told when the port was closed by another program, has come back, or is another one now: what
 * failed is worth another try. Loop's thread. */
struct port_waker { /* the caller's, until port_unwatch */
	void (*wake)(void *ctx);
	void *ctx;
	struct port_waker *next;
};

struct port {
	const struct port_ops *ops;
	const char *name; /* for people: "/dev/ttyACM0" */
	struct port_waker *wakers;
};

void port_free(struct port *p); /* NULL is fine */
DEFINE_CLEANUP(struct port *, port_free);

/* A waker that is there already stays, until it is taken out, which it may be in `wake`. */
must_check int port_watch(struct port *p, sd_event *event, struct port_waker *w);
void port_unwatch(struct port *p, struct port_waker *w);
void port_wake(struct port *p); /* for the implementations */

/* A port that this process may open itself. */
must_check int port_path_new(const char *path, struct port **out);
