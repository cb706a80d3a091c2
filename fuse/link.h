/* SPDX-License-Identifier: MIT */
/* The one session with a board, shared by the partitions that use it: opened for the first
 * that connects, closed (the board's program runs again) when the last has let go.
 *
 * For one thread at a time: whoever attaches, then the worker. Blocking. */
#pragma once

#include "fuse/port.h"
#include "libdev/session.h"

struct link;

struct link_options {
	struct port *port; /* owned by the link from link_new on */
	unsigned baud;
	int cancel_fd;
	unsigned busy_wait_ms; /* how long to wait for a port that somebody holds */
	bool keep_running;     /* no soft reset when it is closed: the program stays stopped */
	bool statements;       /* without the agent */
	const struct log_sink *log;
};

must_check int link_new(const struct link_options *options, struct link **out);
void link_free(struct link *l); /* closes the session */
DEFINE_CLEANUP(struct link *, link_free);

struct port *link_port(const struct link *l);
/* The partition's target in the one session; opens it where nobody has yet. `known` as in
 * dev_session_options. `wait`: false gives -EBUSY at once. */
must_check int link_connect(struct link *l, unsigned partition, const struct dev_known *known,
	bool wait, struct dev_target **out, struct error *err);
/* The partition's target has been freed (NULL where it could not be had): the last one out
 * closes the session. */
int link_disconnect(struct link *l, unsigned partition, struct error *err);
/* NULL while there is no session. */
struct dev_session *link_session(const struct link *l);
/* A first look: who the board is and what partitions it has; the port is closed again. */
must_check int link_ask(struct link *l, struct dev_board_info *out, struct error *err);
/* No session is opened from now on until link_allow: -EBUSY with `why`. Any thread. */
void link_forbid(struct link *l, const char *why);
void link_allow(struct link *l);
