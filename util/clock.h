/* SPDX-License-Identifier: MIT */
/* Deadlines. A deadline is a point of CLOCK_MONOTONIC in milliseconds, so that it is
 * computed once, where the work is known, and handed down through any number of waits. */
#pragma once

#include <limits.h>
#include <stdint.h>
#include <time.h>

typedef uint64_t deadline_t;

#define DEADLINE_NONE UINT64_MAX

static inline uint64_t clock_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline deadline_t deadline_in(uint64_t ms)
{
	return clock_ms() + ms;
}

/* Milliseconds left, for poll(2): 0 when it has passed, -1 for DEADLINE_NONE. */
static inline int deadline_left(deadline_t d)
{
	uint64_t now = clock_ms();

	if (d == DEADLINE_NONE)
		return -1;
	if (d <= now)
		return 0;
	return d - now > INT_MAX ? INT_MAX : (int)(d - now);
}
