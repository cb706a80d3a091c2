/* SPDX-License-Identifier: MIT */
/* The one session with a board, shared by the partitions that use it: opened for the first
 * that connects, closed (the board's program runs again) as soon as one has let go. The jobs
 * of a worker run one after another, so the others have nothing under way then; they connect
 * again when they need it.
 *
 * For one thread at a time: whoever attaches, then the worker. Blocking. */
#pragma once

#include "fuse/port.h"
#include "libdev/session.h"

struct link;

struct link_options {
	struct port *port; /* owned by the link from link_new on */
	unsigned baud;	   /* 0: 115200 */
	int cancel_fd;
	unsigned busy_wait_ms; /* how long to wait for a port that somebody holds */
	bool keep_stopped;     /* no soft reset when it is closed: the program stays stopped */
	bool statements;       /* without the agent */
	const struct log_sink *log;
};

/* Takes the port, also on failure. */
must_check int link_new(const struct link_options *options, struct link **out);
void link_free(struct link *l); /* closes the session */
DEFINE_CLEANUP(struct link *, link_free);

struct port *link_port(const struct link *l);
/* The partition's target in the one session, which is opened where there is none. `known` as
 * in dev_session_options. `wait`: false gives -EBUSY at once. */
must_check int link_connect(struct link *l, unsigned partition, const struct dev_known *known,
	bool wait, struct dev_target **out, struct error *err);
/* The session in which the partition got its target is still there. Where it is not, the
 * target is to be freed, and another one connected. */
bool link_holds(const struct link *l, unsigned partition);
/* Closes the session, if the partition has a target in it, which has been freed. */
int link_disconnect(struct link *l, unsigned partition, struct error *err);
/* Of the present session; NULL: there is none. */
const struct dev_board_info *link_board(const struct link *l);
/* What the last session that used the partition has learnt; -ENODATA. */
must_check int link_known(const struct link *l, unsigned partition, struct dev_known *out);

/* Nobody else has had the port since link_vouch for this partition (portguard.h). */
bool link_alone(const struct link *l, unsigned partition);
/* All that is known of the partition was found as it is in this session. */
void link_vouch(struct link *l, unsigned partition);
void link_doubt(struct link *l, unsigned partition);

/* A first look: who the board is and what partitions it has; then the port is closed, unless
 * it is to stay open. */
must_check int link_ask(struct link *l, struct dev_board_info *out, struct error *err);

/* Until link_leave, the session stays open when a partition lets go: the next one comes at
 * once, and the board's program is stopped once for all of them. */
void link_stay(struct link *l);
/* Closes it, unless a partition still has a target. */
void link_leave(struct link *l);

/* No session is opened from now on until link_allow: -EBUSY with `why`. One that is open stays
 * so. Any thread. */
void link_forbid(struct link *l, const char *why);
void link_allow(struct link *l);
