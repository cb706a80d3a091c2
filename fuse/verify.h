/* SPDX-License-Identifier: MIT */
/* Whether flash holds what the host knows of everything that its image uses, by the board's
 * hashes: a row of jobs for the worker, between which others come in. Loop thread. */
#pragma once

#include "fuse/base.h"
#include "fuse/flash.h"
#include "fuse/worker.h"

struct verify_options {
	struct worker *worker;
	struct flash *flash;
	const struct base *base; /* not replaced meanwhile */
	struct flash_progress *progress; /* bytes compared */
	const atomic_bool *cancel;	 /* or NULL */
	/* `bytes` were compared, and were right; -ESTALE: something differs, said in words. A
	 * session is left open. */
	void (*done)(void *ctx, int result, uint64_t bytes, const struct error *err);
	void *ctx;
};

/* -ENOMEM, and nothing is told. */
must_check int verify_start(const struct verify_options *options);
