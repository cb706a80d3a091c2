/* SPDX-License-Identifier: MIT */
/* The one thread that may wait for the board, and its queue of jobs.
 *
 * A job's `run` is called on the worker's thread, its `done` on the loop's afterwards. The
 * next job starts when `done` has returned: what a job has changed is seen by the loop
 * before anything else happens to the flash. */
#pragma once

#include <stdbool.h>

#include "util/macros.h"

struct worker_job {
	void (*run)(struct worker_job *job);
	void (*done)(struct worker_job *job); /* owns the job from then on */
	bool dropped; /* in done(): the worker ended before run() was called */
	struct worker_job *next;
	bool first;
};

struct worker_hooks {
	/* Both on the worker's thread. Called when the queue has been empty for linger_ms:
	 * time to close what the jobs left open. */
	void (*idle)(void *ctx);
	bool (*wants_idle)(void *ctx); /* whether there is anything to close */
	void *ctx;
	unsigned linger_ms;
};

struct worker;

must_check int worker_new(const struct worker_hooks *hooks, struct worker **out);
/* Lets the running job end (cancel what it waits for first) and joins the thread, which
 * calls `idle` if wanted. Every job's `done` is called, on the caller's thread. */
void worker_free(struct worker *w);
DEFINE_CLEANUP(struct worker *, worker_free);

/* Appends a job, or puts it in front of all that wait but those that came so as well. Loop
 * thread. */
void worker_submit(struct worker *w, struct worker_job *job, bool first);

/* Readable when a job has ended; then call worker_dispatch on the loop's thread. */
int worker_event_fd(const struct worker *w);
void worker_dispatch(struct worker *w);
