/* SPDX-License-Identifier: MIT */
/* A file that appears under its name when it is whole; or bytes that are kept in memory, to be
 * handed on as a descriptor. */
#pragma once

#include <stdio.h>

#include "util/error.h"

struct output {
	const char *path;
	char *temp; /* NULL when there is nothing to remove */
	FILE *file;
};

/* A file beside `path`. */
must_check int output_open(struct output *o, const char *path, struct error *err);
must_check int output_memory(struct output *o, struct error *err);
/* Also after a failure, and after output_commit: nothing is left but what was committed. */
void output_drop(struct output *o);

/* A romfs_sink_fn with the output as its context. */
int output_write(void *ctx, const void *buf, size_t len, struct error *err);

/* The bytes reach the disk before the name does: after a crash the old file is there, or the
 * new one. */
must_check int output_commit(struct output *o, struct error *err);
/* Of memory: a descriptor at its start, whose bytes nobody can change any more. The
 * caller's. */
must_check int output_seal(struct output *o, int *fd, struct error *err);
