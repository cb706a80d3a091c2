/* SPDX-License-Identifier: MIT */
/* The flush thread of a journal: fdatasync without making the loop wait.
 *
 * Requests that come while a flush runs are joined into the next one. The functions are for
 * the loop's thread; none waits for a flush but flusher_free. */
#pragma once

#include "fuse/journal_log.h"

struct flusher;

/* Starts the thread (all signals blocked in it); frames up to `durable` are on disk. */
must_check int flusher_new(
	struct journal_file *file, uint64_t durable, struct flusher **out);
/* Waits for a flush that runs; one that was asked for and has not begun is dropped. */
void flusher_free(struct flusher *f);
DEFINE_CLEANUP(struct flusher *, flusher_free);

int flusher_event_fd(const struct flusher *f);

/* Flush so that frame `seq` is on disk; frames up to `written` are in the file. */
must_check int flusher_request(struct flusher *f, uint64_t seq, uint64_t written);
/* Takes the event; up to where all is on disk, or the error that stands. */
must_check int flusher_result(struct flusher *f, uint64_t *durable);
uint64_t flusher_durable(struct flusher *f);

/* A new generation, on disk up to `durable`: a flush of the old one that still runs has no
 * say any more, and what was asked for is answered. */
void flusher_replace(struct flusher *f, struct journal_file *file, uint64_t durable);
/* Nothing is durable any more, for this reason, until flusher_replace. */
void flusher_fail(struct flusher *f, int code);
