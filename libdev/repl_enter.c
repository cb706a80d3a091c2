/* SPDX-License-Identifier: MIT */
/* Getting to the prompt of the raw REPL, and away from it. */
#include <errno.h>
#include <string.h>

#include "libdev/repl.h"
#include "libdev/repl_private.h"

#define QUIET_MS 100u /* silence that says: it has said everything */
/* An agent between two frames ends by 32 of these in a row; one that waits for the rest of
 * a frame, or any program in readinto(), needs as many as the frame has bytes left, and
 * then those 32. Ours are at most 16 KiB and a little long. */
#define FILLER 0x03
#define FILLER_MAX (16384u + 256u)
#define RESET_MS 1000u /* until the board says that it restarts */

static const struct repl_pattern banner = PATTERN(REPL_BANNER);

/* More than one Ctrl-A may have gone out: old answers must not be taken for new ones. */
static int settle(struct repl *r, unsigned asked, deadline_t deadline)
{
	return asked > 1 ? repl_drain(r, QUIET_MS, deadline) : 0;
}

static int ask(struct repl *r, const char *bytes, unsigned wait_ms, deadline_t deadline)
{
	int e = repl_write(r, bytes, strlen(bytes), 0);

	if (e < 0)
		return e;
	return repl_expect(
		r, &banner, 1, REPL_SCAN_CAP, MIN(deadline, deadline_in(wait_ms)));
}

/* Interrupts again, as often as something new comes out: a program that catches the first
 * KeyboardInterrupt answers it, and dies of a later one. */
static int interrupt(struct repl *r, deadline_t deadline)
{
	for (unsigned i = 0; i < 3; i++) {
		int e = repl_write(r, "\x03", 1, 0);

		if (e < 0)
			return e;
		e = repl_drain(r, QUIET_MS, MIN(deadline, deadline_in(3 * QUIET_MS)));
		if (e < 0 && e != -EPROTO)
			return e;
	}
	return 0;
}

static int fill(struct repl *r, deadline_t deadline)
{
	char filler[256];
	int e = 0;

	memset(filler, FILLER, sizeof(filler));
	for (unsigned sent = 0; sent < FILLER_MAX && e == 0; sent += sizeof(filler)) {
		e = r->t->ops->write(r->t, filler, sizeof(filler), deadline);
		if (e < 0)
			return e;
		/* Keeps the board's output flowing while we talk. */
		e = repl_drain(r, 1, MIN(deadline, deadline_in(QUIET_MS)));
		if (e == -EPROTO)
			e = 0;
	}
	return e;
}

static bool hopeless(int e)
{
	return e != -ETIMEDOUT && e != -EPROTO;
}

int repl_enter(struct repl *r, deadline_t deadline, struct error *err)
{
	uint64_t ms = (uint64_t)deadline_left(deadline);
	unsigned asked = 0;
	int e;

	r->heard = r->head < r->tail;
	do {
		e = 0;
		if (asked == 2)
			e = fill(r, deadline);
		else if (asked > 0)
			e = interrupt(r, deadline);
		if (e < 0 && hopeless(e))
			break;
		asked++;
		e = ask(r, "\x03\x01", 500, deadline);
		if (e >= 0)
			e = settle(r, asked, deadline);
	} while (e < 0 && !hopeless(e) && deadline_left(deadline));
	if (e >= 0)
		return 0;
	if (hopeless(e))
		return error_set(err, e, "%s: %s", r->t->name,
			e == -ENODEV ? "the board is gone" : strerror(-e));
	if (!r->heard)
		return error_set(err, -ETIMEDOUT,
			"%s: nothing answered within %.1f s; is it a MicroPython board, and does "
			"its program leave Ctrl-C alone? Press its reset button and try again",
			r->t->name, (double)ms / 1000);
	return error_set(err, -EPROTO,
		"%s: something answers, but not MicroPython's prompt within %.1f s; is it "
		"another kind of device, or a program that does not stop at Ctrl-C?",
		r->t->name, (double)ms / 1000);
}

int repl_recover(struct repl *r, deadline_t deadline, struct error *err)
{
	char end_agent[64];

	memset(end_agent, FILLER, sizeof(end_agent));
	if (repl_write(r, end_agent, sizeof(end_agent), 0) < 0)
		log_to(r->log, LOG_DEBUG, "%s: takes no more bytes", r->t->name);
	return repl_enter(r, deadline, err);
}

/* Both at once: what follows the first is read when the board is there. */
static int reset(struct repl *r, deadline_t deadline)
{
	static const struct repl_pattern reboot = PATTERN("soft reboot");
	int e = repl_write(r, "\x02\x04", 2, 0);

	return e < 0 ? e : repl_expect(r, &reboot, 1, REPL_SCAN_CAP, deadline);
}

static int stop(struct repl *r, deadline_t deadline)
{
	static const struct repl_pattern prompt = PATTERN(">>> ");
	int e = repl_write(r, "\x02", 1, 0);

	return e < 0 ? e : repl_expect(r, &prompt, 1, REPL_SCAN_CAP, deadline);
}

/* What is told here goes to a board that may be beyond listening: all of it is tried, and
 * only the answer to `last` decides. */
static int leave(struct repl *r, int (*last)(struct repl *r, deadline_t deadline), bool lost,
	deadline_t deadline)
{
	int e = -EPROTO;

	if (!lost)
		e = last(r, MIN(deadline, deadline_in(RESET_MS)));
	if (e < 0 && !hopeless(e)) {
		e = repl_recover(
			r, deadline - MIN((uint64_t)deadline_left(deadline), RESET_MS), NULL);
		if (e >= 0 || !hopeless(e))
			e = last(r, deadline);
	}
	return MIN(e, 0);
}

int repl_leave(struct repl *r, bool lost, deadline_t deadline, struct error *err)
{
	int e = leave(r, reset, lost, deadline);

	if (e == 0)
		return 0;
	if (hopeless(e))
		return error_set(err, e, "%s: %s", r->t->name, strerror(-e));
	return error_set(err, e, "%s: the board did not confirm that it restarts its "
		"program (%s); press its reset button", r->t->name, strerror(-e));
}

int repl_leave_stopped(struct repl *r, bool lost, deadline_t deadline, struct error *err)
{
	int e = leave(r, stop, lost, deadline);

	return e == 0 ? 0
		      : error_set(err, e, "%s: the board did not come back to its prompt (%s)",
				r->t->name, strerror(-e));
}
