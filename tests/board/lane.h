/* SPDX-License-Identifier: MIT */
/* One direction of the emulated serial line: bytes come in at one descriptor and go out at
 * another, no faster than `speed`, `latency` later, with the faults that were asked for.
 *
 * Paced by a virtual clock: each byte's time of arrival follows from when the line became
 * free, not from when this process was woken, so that timer slop does not add up. */
#pragma once

#include <poll.h>
#include <stdbool.h>
#include <stdint.h>

#define LANE_BYTES (256u << 10)
#define LANE_SPANS 1024u
#define NSEC_PER_SEC 1000000000ll

/* `len` bytes sent back to back, the first bit of them at `start`. */
struct lane_span {
	int64_t start;
	uint32_t len, done;
};

struct lane {
	int from, to; /* -1: closed */
	int64_t speed;	 /* bytes per second, 0: unlimited */
	int64_t latency; /* ns */
	int64_t stall;	 /* ns without progress after which output is dropped, 0: never */
	double lose, flip, dup; /* per byte */
	uint64_t *random;

	uint64_t bytes, lost, flipped, doubled, dropped;

	uint8_t data[LANE_BYTES];
	uint32_t head, tail; /* free-running */
	struct lane_span spans[LANE_SPANS];
	uint32_t first_span, end_span; /* free-running */
	int64_t line_free;
	int64_t blocked_since; /* 0: not blocked */
};

int64_t now_ns(void);

/* Sets what to poll for in `p[0]` (from) and `p[1]` (to), and lowers *wake to the time at
 * which lane_run wants to be called even if nothing happens. */
void lane_poll(struct lane *l, struct pollfd p[2], int64_t *wake);

/* Moves what can be moved. Closes nothing; sets from or to to -1 at their end. */
void lane_run(struct lane *l, const struct pollfd p[2]);
