/* SPDX-License-Identifier: MIT */
/* What comes from a client of the private socket, or from a board's process, on its way to
 * sd-bus, which takes messages of up to 128 MiB, and as many as come. Here a message has at
 * most so many bytes, and none is read while it is not wanted: where what was asked for before
 * has not been fetched, say.
 *
 * The bytes are those of D-Bus: lines up to BEGIN, then messages whose first 16 bytes tell
 * their length. They go on unchanged through a pair of sockets; a message that brings a
 * descriptor does so when it is whole and found good (filecall.h).
 *
 * Loop thread only; never waits. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "util/macros.h"

#define INTAKE_AUTH_MAX 4096u /* bytes before BEGIN */
#define INTAKE_FDS_MAX 1u     /* descriptors that come with a message */

struct intake;

struct intake_options {
	sd_event *event;
	int fd; /* the client; duplicated */
	uint64_t message_max; /* bytes of one message */
	/* Whether more may come, messages or what is before them; asked again after each turn
	 * of the loop. Messages must wait until sd-bus has done with what is before: of what it
	 * reads with that, it loses descriptors, and forgets the rest until more comes. */
	bool (*wanted)(void *ctx, bool message);
	/* The client has said what cannot be, or is gone. Told once; may not free the intake. */
	void (*broken)(void *ctx);
	void *ctx;
};

/* *inner: what sd-bus is to read from; the caller's. */
must_check int intake_new(
	const struct intake_options *options, int *inner, struct intake **out);
/* Takes what is there now, without the loop. 1: something came, 0: nothing, or no room. */
int intake_step(struct intake *in);
void intake_free(struct intake *in);
DEFINE_CLEANUP(struct intake *, intake_free);
