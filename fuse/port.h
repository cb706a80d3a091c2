/* SPDX-License-Identifier: MIT */
/* The way to a board: something that can be opened for a while, that other programs may have
 * meanwhile, and that can go away and come back. By a path (port_path.c) for whoever may open
 * it, or by asking romountd (port_host.c).
 *
 * open, closed, alone, reset and wait are for one thread at a time (whoever attaches, then the
 * worker); wake is set by the loop's thread before that. */
#pragma once

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
	void (*free)(struct port *p);
};

struct port {
	const struct port_ops *ops;
	const char *name; /* for people: "/dev/ttyACM0" */
	/* Told on the loop's thread when the port was closed by another program, or has come
	 * back: what failed is worth another try. NULL: nobody wants to know. */
	void (*wake)(void *ctx);
	void *wake_ctx;
};

void port_free(struct port *p); /* NULL is fine */
DEFINE_CLEANUP(struct port *, port_free);

/* A port that this process may open itself. `baud` 0: 115200. */
must_check int port_path_new(const char *path, struct port **out);
