/* SPDX-License-Identifier: MIT */
#include "libdev/repl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libdev/repl_private.h"
#include "util/text.h"

#define PASTE_NOISE_MAX 4096u /* bytes that are no flow control, within one raw paste */
/* Plain raw REPL: so many bytes, then so long for the board to take them in. Receive
 * buffers of 64 bytes exist (micro:bit), and nothing tells that they overflowed. */
#define PIECE 32u
#define PIECE_MS 5u

struct repl *repl_new(struct dev_transport *t, unsigned baud, const struct log_sink *log)
{
	struct repl *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->t = t;
	r->log = log;
	r->baud = baud ? baud : 115200;
	return r;
}

void repl_free(struct repl *r)
{
	free(r);
}

bool repl_has_raw_paste(const struct repl *r)
{
	return !r->no_raw_paste;
}

const char *repl_name(const struct repl *r)
{
	return r->t->name;
}

const struct log_sink *repl_log(const struct repl *r)
{
	return r->log;
}

uint64_t repl_line_ms(const struct repl *r, uint64_t bytes)
{
	return bytes * 10 * 1000 / r->baud;
}

static void trace(struct repl *r, const char *what, const void *bytes, size_t len)
{
	char text[400];

	if (!r->log || !r->log->write)
		return;
	text_escape(text, sizeof(text), bytes, MIN(len, 160u));
	log_to(r->log, LOG_DEBUG, "%s: %s %zu bytes: %s", r->t->name, what, len, text);
}

int repl_fill(struct repl *r, deadline_t deadline)
{
	ssize_t n;

	if (r->head < r->tail)
		return 0;
	n = r->t->ops->read(r->t, r->buf, sizeof(r->buf), deadline);
	if (n < 0)
		return (int)n;
	r->heard = true;
	r->head = 0;
	r->tail = (size_t)n;
	return 0;
}

static int get(struct repl *r, deadline_t deadline)
{
	int e = repl_fill(r, deadline);

	return e < 0 ? e : r->buf[r->head++];
}

int repl_read(struct repl *r, void *buf, size_t len, deadline_t deadline)
{
	char *p = buf;

	while (len) {
		int e = repl_fill(r, deadline);
		size_t n;

		if (e < 0)
			return e;
		n = MIN(len, r->tail - r->head);
		memcpy(p, r->buf + r->head, n);
		r->head += n;
		p += n;
		len -= n;
	}
	return 0;
}

void repl_unread(struct repl *r)
{
	assert(r->head > 0);
	r->head--;
}

int repl_write(struct repl *r, const void *buf, size_t len, uint64_t busy_ms)
{
	return r->t->ops->write(
		r->t, buf, len, deadline_in(2000 + busy_ms + 2 * repl_line_ms(r, len)));
}

void repl_discard(struct repl *r)
{
	r->head = r->tail = 0;
	r->t->ops->discard(r->t);
}

int repl_expect(struct repl *r, const struct repl_pattern *patterns, size_t n, size_t cap,
	deadline_t deadline)
{
	char window[64];
	size_t have = 0;

	for (size_t seen = 0; seen < cap; seen++) {
		int c = get(r, deadline);

		if (c < 0)
			return c;
		if (have == sizeof(window))
			memmove(window, window + 1, --have);
		window[have++] = (char)c;
		for (size_t i = 0; i < n; i++) {
			size_t len = patterns[i].len;

			assert(len <= sizeof(window));
			if (have >= len &&
				memcmp(window + have - len, patterns[i].bytes, len) == 0)
				return (int)i;
		}
		/* A flood must not outrun the deadline. */
		if (seen % 4096 == 4095 && deadline_left(deadline) == 0)
			return -ETIMEDOUT;
	}
	return -EPROTO;
}

int repl_drain(struct repl *r, unsigned quiet_ms, deadline_t deadline)
{
	do {
		int e;

		r->head = r->tail = 0;
		e = repl_fill(r, MIN(deadline, deadline_in(quiet_ms)));
		if (e == -ETIMEDOUT)
			return deadline_left(deadline) ? 0 : -EPROTO;
		if (e < 0)
			return e;
	} while (deadline_left(deadline));
	return -EPROTO;
}

int repl_quiet(struct repl *r, unsigned ms, uint64_t busy_ms)
{
	return repl_drain(r, ms, deadline_in(10 * ms + busy_ms));
}

#define GRANT_MS 2000u

/* One statement's code cannot be sent through raw paste at once: the board announces its
 * window (two of them at first) and grants one more by each 0x01. An 0x04 from the board
 * means that it reads no further (a syntax error, no memory); it then waits for ours. */
static int paste(struct repl *r, const char *code, size_t len, deadline_t deadline)
{
	uint8_t window[2];
	size_t free_bytes, noise = 0, step, grants;
	int e = repl_read(r, window, sizeof(window), deadline);

	if (e < 0)
		return e;
	step = (size_t)window[0] | (size_t)window[1] << 8;
	if (step == 0)
		return -EPROTO;
	free_bytes = step;
	/* More than one for each window of the code is no answer to it. */
	grants = len / step + 16;
	while (len) {
		/* With room to send, only what is here already is looked at. */
		int c = get(r, free_bytes ? 0 : deadline);

		if (c == 0x04)
			return repl_write(r, "\x04", 1, 0);
		if (c == 0x01) {
			if (grants-- == 0)
				return -EPROTO;
			free_bytes += step;
			/* A slow board may take its time for each window. */
			deadline = MAX(deadline, deadline_in(GRANT_MS));
		} else if (c >= 0 && ++noise > PASTE_NOISE_MAX)
			return -EPROTO;
		else if (c < 0 && (c != -ETIMEDOUT || free_bytes == 0))
			return c;
		else if (c < 0) {
			size_t n = MIN(len, free_bytes);

			e = repl_write(r, code, n, 0);
			if (e < 0)
				return e;
			code += n;
			len -= n;
			free_bytes -= n;
		}
	}
	e = repl_write(r, "\x04", 1, 0);
	if (e < 0)
		return e;
	return repl_expect(r, &(struct repl_pattern)PATTERN("\x04"), 1,
		PASTE_NOISE_MAX, deadline);
}

/* No flow control at all: a pause after each piece, which is spent listening. */
static int type(struct repl *r, const char *code, size_t len, deadline_t deadline)
{
	int e;

	while (len) {
		size_t n = MIN(len, PIECE);

		e = repl_write(r, code, n, 0);
		if (e < 0)
			return e;
		e = repl_drain(r, PIECE_MS, deadline);
		if (e < 0)
			return e;
		code += n;
		len -= n;
	}
	e = repl_write(r, "\x04", 1, 0);
	if (e < 0)
		return e;
	return repl_expect(r, &(struct repl_pattern)PATTERN("OK"), 1, PASTE_NOISE_MAX,
		deadline);
}

/* 1: raw paste, its window follows. 0: the board has none. */
static int offer_paste(struct repl *r, deadline_t deadline)
{
	static const struct repl_pattern answers[] = {
		PATTERN("R\x00"),
		PATTERN("R\x01"),
		/* Firmware that never heard of it resets the line instead. */
		PATTERN(REPL_BANNER),
	};
	int e = repl_write(r, "\x05" "A\x01", 3, 0);

	if (e < 0)
		return e;
	e = repl_expect(r, answers, ARRAY_SIZE(answers), PASTE_NOISE_MAX, deadline);
	if (e < 0)
		return e;
	return e == 1;
}

static int lost(struct repl *r, int code, struct error *err)
{
	switch (code) {
	case -ETIMEDOUT:
		return error_set(err, code, "%s: the board stopped answering; unplug it and "
			"plug it in again", r->t->name);
	case -ENODEV:
		return error_set(err, code, "%s: the board is gone", r->t->name);
	case -ECANCELED:
		return error_set(err, code, "%s: cancelled", r->t->name);
	case -EPROTO:
		return error_set(err, code, "%s: the board's answer makes no sense; unplug it "
			"and plug it in again", r->t->name);
	default:
		return error_set(err, code, "%s: %s", r->t->name, strerror(-code));
	}
}

int repl_start(
	struct repl *r, const char *code, size_t len, deadline_t deadline, struct error *err)
{
	int e = 0;

	trace(r, "run", code, len);
	if (!r->no_raw_paste) {
		e = offer_paste(r, deadline);
		r->no_raw_paste = e == 0;
	}
	if (e >= 0)
		e = r->no_raw_paste ? type(r, code, len, deadline)
				    : paste(r, code, len, deadline);
	return e < 0 ? lost(r, e, err) : 0;
}

/* What comes before the next 0x04, into [out, out+cap); longer is -EPROTO. */
static int until_eot(
	struct repl *r, char *out, size_t cap, size_t *len, deadline_t deadline)
{
	for (*len = 0; *len < cap;) {
		int c = get(r, deadline);

		if (c < 0)
			return c;
		if (c == 0x04)
			return 0;
		out[(*len)++] = (char)c;
	}
	return -EPROTO;
}

static void last_line(char *out, size_t cap, char *text, size_t len)
{
	size_t start;

	while (len && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	for (start = len; start && text[start - 1] != '\n';)
		start--;
	snprintf(out, cap, "%.*s", (int)MIN(len - start, cap - 1), text + start);
	text_make_printable(out);
}

int repl_follow(
	struct repl *r, deadline_t deadline, struct repl_reply *reply, struct error *err)
{
	char traceback[4096];
	size_t len;
	int e;

	assert(reply->cap > 0);
	reply->exception[0] = '\0';
	e = until_eot(r, reply->out, reply->cap, &reply->len, deadline);
	if (e == 0)
		e = until_eot(r, traceback, sizeof(traceback), &len, deadline);
	if (e == 0)
		e = repl_expect(r, &(struct repl_pattern)PATTERN(">"), 1, 64, deadline);
	if (e < 0)
		return lost(r, e, err);
	/* until_eot leaves room: it fails when the buffer is full. */
	reply->out[reply->len] = '\0';
	trace(r, "got", reply->out, reply->len);
	if (len == 0)
		return 0;
	last_line(reply->exception, sizeof(reply->exception), traceback, len);
	log_to(r->log, LOG_DEBUG, "%s: raised %s", r->t->name, reply->exception);
	return 1;
}

int repl_exec(struct repl *r, const char *code, size_t len, deadline_t deadline,
	struct repl_reply *reply, struct error *err)
{
	int e = repl_start(r, code, len, deadline, err);

	return e < 0 ? e : repl_follow(r, deadline, reply, err);
}
