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

/* Any thread but the loop's: waits for the flush of what was asked for. */
must_check int flusher_wait(struct flusher *f, uint64_t seq);

/* A new generation, on disk up to `durable`: a flush of the old one that still runs has no
 * say any more, and what was asked for is answered. */
void flusher_replace(struct flusher *f, struct journal_file *file, uint64_t durable);
/* The same for one whose name in the directory is not on disk yet: nothing of it is durable
 * before the next flush, which is begun at once, and which flushes the directory too. */
void flusher_replace_named(
	struct flusher *f, struct journal_file *file, uint64_t written, int dirfd);
/* Nothing is durable any more, for this reason, until flusher_replace. */
void flusher_fail(struct flusher *f, int code);
