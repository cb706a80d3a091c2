/* SPDX-License-Identifier: MIT */
/* Reading ahead: while somebody reads the folder's files one after another, the worker goes
 * on with what stands behind them on flash, so that the line is never idle. In pieces, behind
 * everything that anybody waits for. Loop thread only. */
#pragma once

#include "fuse/flash.h"
#include "fuse/worker.h"

struct readahead;

/* `base` is the caller's, and may be replaced in place. */
must_check int readahead_new(struct worker *worker, struct flash *flash,
	const struct base *base, struct readahead **out);
/* After the worker has ended. */
void readahead_free(struct readahead *a);
DEFINE_CLEANUP(struct readahead *, readahead_free);

/* Somebody has read [off, off+len) of the base. */
void readahead_note(struct readahead *a, uint64_t off, uint64_t len);
