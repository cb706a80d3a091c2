/* SPDX-License-Identifier: MIT */
/* Scratch files: the bytes of a file while somebody writes it, in nameless temporary files
 * of the state directory. Nothing here survives the process: what close() accepted stands
 * in the journal. Files are kept and used again, since making one costs more than emptying
 * one. Loop thread only. */
#pragma once

#include <stdint.h>

#include "util/macros.h"

struct scratch_pool;

struct scratch {
	int fd;
	struct scratch *next; /* in the pool */
};

/* `dirfd` is duplicated. */
must_check int scratch_pool_new(int dirfd, struct scratch_pool **out);
void scratch_pool_free(struct scratch_pool *p);
DEFINE_CLEANUP(struct scratch_pool *, scratch_pool_free);

must_check int scratch_get(struct scratch_pool *p, struct scratch **out); /* empty */
void scratch_put(struct scratch_pool *p, struct scratch *s);		   /* NULL is fine */
