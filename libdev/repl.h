/* SPDX-License-Identifier: MIT */
/* The raw REPL of MicroPython over a transport: getting there from whatever state the
 * board is in, running statements, and giving the board back. Raw paste mode is used where
 * the board has it.
 *
 * Everything that comes in is hostile until parsed: each wait has a deadline, each reply a
 * cap in bytes, and nothing that a board sends is evaluated. What the board does is told by
 * shared/runtime/pyexec.c of MicroPython. One thread. */
#pragma once

#include <stdbool.h>

#include "libdev/transport.h"

struct repl;

/* `baud` is what the line surely carries: deadlines of long writes follow from it. The
 * transport stays the caller's, and must outlive the REPL. NULL: out of memory. */
struct repl *repl_new(struct dev_transport *t, unsigned baud, const struct log_sink *log);
void repl_free(struct repl *r);
DEFINE_CLEANUP(struct repl *, repl_free);

/* What a statement gave. */
struct repl_reply {
	char *out; /* buffer of the caller; always NUL-terminated after success */
	size_t cap;
	size_t len;
	char exception[200]; /* last line of the traceback, printable; "" if none */
};

/* To the raw REPL's prompt, interrupting what runs; recovers boards that sit in any mode of
 * the REPL, or in the middle of a frame of an agent whose host died. Not later than the
 * deadline: -ETIMEDOUT when not one byte came, -EPROTO when something else answers. */
must_check int repl_enter(struct repl *r, deadline_t deadline, struct error *err);

/* Runs a statement. 0; 1: it raised (reply->exception); -errno: the session is lost. Code
 * is ASCII or UTF-8 without control bytes other than newline and tab. */
must_check int repl_exec(struct repl *r, const char *code, size_t len, deadline_t deadline,
	struct repl_reply *reply, struct error *err);

/* The two halves of repl_exec: hands the code over until the board starts to run it, and
 * collects what it prints up to the next prompt. Between the two, the running code can
 * have the line for itself (repl_read, repl_write). */
must_check int repl_start(
	struct repl *r, const char *code, size_t len, deadline_t deadline, struct error *err);
must_check int repl_follow(
	struct repl *r, deadline_t deadline, struct repl_reply *reply, struct error *err);

/* As repl_enter, where an agent may run that counts Ctrl-C only between two frames. */
must_check int repl_recover(struct repl *r, deadline_t deadline, struct error *err);

/* Leaves raw mode and soft-resets the board, so that its program starts again. 0 when the
 * board said that it did. `lost` says that the prompt was lost: it is searched first. */
int repl_leave(struct repl *r, bool lost, deadline_t deadline, struct error *err);
/* The same without the reset: the board waits at the prompt of the friendly REPL, and what
 * its program had in memory is still there. */
int repl_leave_stopped(struct repl *r, bool lost, deadline_t deadline, struct error *err);

/* Exactly `len` bytes, or -errno. Writing has a deadline of its own, to which `busy_ms` comes
 * in which the board may take nothing. */
must_check int repl_read(struct repl *r, void *buf, size_t len, deadline_t deadline);
must_check int repl_write(struct repl *r, const void *buf, size_t len, uint64_t busy_ms);
/* Takes back the last byte of a repl_read that succeeded. */
void repl_unread(struct repl *r);
/* Drops what comes in until nothing has come for `ms`, which may take `busy_ms` longer. */
must_check int repl_quiet(struct repl *r, unsigned ms, uint64_t busy_ms);
/* Drops what has come in. */
void repl_discard(struct repl *r);
/* Milliseconds that `bytes` surely need on this line. */
uint64_t repl_line_ms(const struct repl *r, uint64_t bytes);

bool repl_has_raw_paste(const struct repl *r);
const char *repl_name(const struct repl *r); /* of the port */
const struct log_sink *repl_log(const struct repl *r);
