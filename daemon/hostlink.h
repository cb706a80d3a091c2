/* SPDX-License-Identifier: MIT */
/* The link to one romount-board: D-Bus messages over a socket between the two, without a bus.
 * What it tells is read into typed, capped, printable values; what it asks for is handed to
 * the hooks; what is asked of it is answered once. A process that does not answer pings, or
 * says more than anybody could want to know, is told of as hung.
 *
 * Loop thread only; never waits. */
#pragma once

#include <systemd/sd-bus.h>

#include "daemon/registry.h"
#include "util/error.h"

struct hostlink;

/* The Board signal. */
struct told_board {
	char machine[BOARD_TEXT], firmware[BOARD_TEXT], unique_id[BOARD_TEXT];
	char platform[BOARD_TEXT], state[16], error[BOARD_TEXT * 2];
	bool port_open;
	unsigned partitions;
};

/* The Partition signal: board_partition has the same entries. Values that were not told stay
 * as they were. */

struct hostlink_hooks {
	/* Its first message is there: calls may be made now, not before. */
	void (*speaks)(void *ctx);
	void (*told_board)(void *ctx, const struct told_board *told);
	/* Fills in what the signal says over what is known; NULL: it is one too many. */
	struct board_partition *(*partition)(void *ctx, unsigned number);
	void (*told_partition)(void *ctx, struct board_partition *p);
	/* Calls of the Host interface: to be answered, now or later, by a reply to `call`.
	 * A negative result is answered at once, with the error. */
	int (*open_port)(void *ctx, sd_bus_message *call, unsigned baud, struct error *err);
	int (*port_holder)(void *ctx, sd_bus_message *call, struct error *err);
	int (*close_port)(void *ctx, sd_bus_message *call, struct error *err);
	int (*wait_port)(void *ctx, sd_bus_message *call, uint64_t usec, struct error *err);
	int (*next_port)(void *ctx, sd_bus_message *call, struct error *err);
	int (*keep_port)(void *ctx, sd_bus_message *call, struct error *err);
	int (*mount)(void *ctx, sd_bus_message *call, unsigned number, struct error *err);
	int (*unmount)(void *ctx, sd_bus_message *call, unsigned number, struct error *err);
	int (*ready)(void *ctx, sd_bus_message *call, unsigned number, struct error *err);
	/* Nothing comes any more: `why` is a sentence's end. The link must not be freed here,
	 *nor in the others. */
	void (*closed)(void *ctx, const char *why);
	/* It lives, but does not answer, or not sensibly: to be killed. At most once. */
	void (*hung)(void *ctx, const char *why);
	void *ctx;
};

/* Takes the socket, also on failure. */
must_check int hostlink_new(sd_event *event, int fd, const struct hostlink_hooks *hooks,
	struct hostlink **out, struct error *err);
/* Who waits for an answer is told that it is gone. */
void hostlink_free(struct hostlink *l);
DEFINE_CLEANUP(struct hostlink *, hostlink_free);

/* Its process has ended: what it said last is heard before the link is freed. Not from within
 * a hook. */
void hostlink_drain(struct hostlink *l);

/* Starts a call of the Control interface; the caller appends, then hands it to
 * hostlink_call, or unrefs it. */
must_check int hostlink_prepare(struct hostlink *l, const char *method, sd_bus_message **out);
/* `done` is told once, with what the process answered; the message is taken in any case.
 * usec UINT64_MAX: as long as it takes (the pings tell whether somebody is there). -EBUSY: too
 * much has been asked for already; then, and on other failures, `done` is not told. */
must_check int hostlink_call(struct hostlink *l, sd_bus_message *call, uint64_t usec,
	board_done_fn done, void *ctx);
