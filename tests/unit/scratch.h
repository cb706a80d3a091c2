/* SPDX-License-Identifier: MIT */
/* A directory of its own for a test, and random numbers that a printed seed brings back. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct scratch {
	char path[64];
	int dirfd;
};

/* Fails the test where it cannot. */
void scratch_make(struct scratch *s);
void scratch_remove(struct scratch *s); /* with all that is in it */

void scratch_put(const struct scratch *s, const char *name, const void *buf, size_t len);
/* Whole file; the caller frees. */
void *scratch_get(const struct scratch *s, const char *name, size_t *len);

/* The seed: $SEED, or one from the clock; printed. */
uint64_t scratch_seed(const char *test);
uint64_t scratch_random(uint64_t *state);
