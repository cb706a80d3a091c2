/* SPDX-License-Identifier: MIT */
/* A command's long work: done on a thread of its own, while this one shows how far it is and
 * hears SIGINT, SIGTERM and SIGHUP. A board that was interrupted in its work must be told to
 * go on before the program ends, so a signal ends a wait, never the program. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "util/error.h"

struct task;

/* From here on signals are kept for the task. */
must_check int task_new(struct task **out, struct error *err);
/* Signals work as before; those that came are forgotten. */
void task_free(struct task *t);
DEFINE_CLEANUP(struct task *, task_free);

/* Readable when a wait shall end: for flash_options.cancel_fd. */
int task_cancel_fd(const struct task *t);
/* A signal came: whoever has steps ends between two of them. Any thread. */
bool task_is_ending(const struct task *t);

struct task_work {
	int (*run)(void *ctx, struct error *err); /* on the other thread */
	void *ctx;
	/* One line for a terminal about how far it is; this thread, meanwhile. May be NULL. */
	void (*tell)(void *ctx, char *line, size_t cap);
	/* What is under way shall end well: the first signal only sets task_is_ending, and
	 * the second one ends the waits. */
	bool has_steps;
};
/* Waits for the end of the work, and gives its result. */
must_check int task_run(struct task *t, const struct task_work *work, struct error *err);

/* Puts a question that is answered with y or n to the terminal. 1: yes; 0: no; -ECANCELED: a
 * signal came instead. */
must_check int task_ask(struct task *t, const char *question, struct error *err);
