/* SPDX-License-Identifier: MIT */
/* Bringing a file's bytes from the board to the host because somebody wants to read them. */
#pragma once

#include "fuse/flash.h"
#include "fuse/worker.h"

/* On the loop's thread: 0, or why the bytes could not be had. */
typedef void (*fetch_done_fn)(void *ctx, int result, const struct error *err);

/* Asks the worker for [extent), in pieces, in turn with others who do so. `done` is called in
 * any case, unless -errno is returned. */
must_check int fetch_start(struct worker *worker, struct flash *flash,
	const struct romfs_extent *extent, fetch_done_fn done, void *ctx);
