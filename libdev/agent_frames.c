/* SPDX-License-Identifier: MIT */
/* Frames there and back. A frame that was damaged or lost is never repeated as it was: both
 * sides are brought in step, and the agent is asked what became of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zlib.h>

#include "libdev/agent.h"
#include "util/bytes.h"
#include "util/text.h"

#define START 0xA5
#define HEADER 20u
#define NOISE_MAX (256u << 10) /* bytes between frames that are none */
#define PING_TRIES 4u
#define PATIENCE_MIN_MS 20u
#define QUIET_MS 100u

uint64_t agent_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

int agent_send(struct agent *a, struct agent_request *q, uint64_t busy_ms)
{
	struct repl *repl = a->base.repl;
	uint8_t head[HEADER], tail[4];
	int r;

	q->seq = ++a->seq;
	q->sent_ns = agent_now_ns();
	head[0] = START;
	head[1] = (uint8_t)q->op;
	bytes_put_le16(head + 2, q->seq);
	bytes_put_le32(head + 4, q->off);
	bytes_put_le32(head + 8, q->len);
	bytes_put_le32(head + 12, q->arg);
	bytes_put_le32(head + 16, (uint32_t)crc32(0, head, 16));
	r = repl_write(repl, head, sizeof(head), busy_ms);
	if (r < 0 || !q->payload)
		return r;
	bytes_put_le32(tail, (uint32_t)crc32(0, q->payload, q->arg));
	r = repl_write(repl, q->payload, q->arg, busy_ms);
	return r < 0 ? r : repl_write(repl, tail, sizeof(tail), busy_ms);
}

/* The next header, wherever it starts: other bytes (a message of the firmware, the rest of
 * a damaged frame) are skipped. */
static int next_header(struct agent *a, uint8_t head[HEADER], deadline_t deadline)
{
	int r = repl_read(a->base.repl, head, HEADER, deadline);

	for (size_t noise = 0; r == 0 && noise < NOISE_MAX; noise++) {
		if (head[0] == START &&
			bytes_get_le32(head + 16) == (uint32_t)crc32(0, head, 16))
			return 0;
		memmove(head, head + 1, HEADER - 1);
		r = repl_read(a->base.repl, head + HEADER - 1, 1, deadline);
	}
	return r < 0 ? r : -EPROTO;
}

int agent_receive(struct agent *a, const struct agent_request *q, struct agent_answer *out,
	deadline_t deadline)
{
	uint8_t head[HEADER], check[4];
	uint32_t len;
	int r;

	for (;;) {
		bool mine, complaint;

		r = next_header(a, head, deadline);
		if (r < 0)
			return r;
		out->code = (int32_t)bytes_get_le32(head + 4);
		mine = head[1] == (uint8_t)q->op && bytes_get_le16(head + 2) == q->seq;
		complaint = out->code == AGENT_BAD_HEADER || out->code == AGENT_BAD_PAYLOAD;
		/* A ping looks past complaints about what came before it. */
		if (complaint && (mine || q->op != 'N'))
			return -EBADMSG;
		if (mine)
			break;
		/* Answers to nothing must not outrun the deadline. */
		if (deadline_left(deadline) == 0)
			return -ETIMEDOUT;
	}
	out->at = bytes_get_le32(head + 8);
	len = bytes_get_le32(head + 12);
	out->len = len;
	if (len == 0)
		return 0;
	if (len > q->answer_cap)
		return -EBADMSG;
	r = repl_read(a->base.repl, q->answer, len, deadline);
	if (r == 0)
		r = repl_read(a->base.repl, check, sizeof(check), deadline);
	if (r == 0 && bytes_get_le32(check) != (uint32_t)crc32(0, q->answer, len))
		r = -EBADMSG;
	return r;
}

bool agent_line_fault(int r)
{
	return r == -EBADMSG || r == -ETIMEDOUT || r == -EPROTO;
}

int agent_line_lost(struct agent *a, int r, struct error *err)
{
	const char *name = repl_name(a->base.repl);

	switch (r) {
	case -ENODEV:
		return error_set(err, r, "%s: the board is gone", name);
	case -ECANCELED:
		return error_set(err, r, "%s: cancelled", name);
	case -ETIMEDOUT:
		return error_set(err, r, "%s: the board stopped answering; unplug it and plug "
			"it in again", name);
	default:
		return error_set(err, -EIO, "%s: the line damages too much of what goes over it "
			"(%s); try another cable or a lower baud rate", name, strerror(-r));
	}
}

/* --- how long to wait --------------------------------------------------------------- */

/* Bytes of a request and its answer, and a KiB for what each frame costs. */
static uint64_t weight(const struct agent_request *q)
{
	return 1024 + MAX(q->answer_cap, MAX(q->len, q->payload ? q->arg : 0));
}

static uint64_t full_ms(struct agent *a, const struct agent_request *q)
{
	uint64_t bytes = 2 * HEADER + q->answer_cap + (q->payload ? q->arg : 0);

	return AGENT_ANSWER_MS + q->work_ms + 2 * repl_line_ms(a->base.repl, bytes);
}

/* How long others take hangs on more than the bytes of the frame. */
static bool is_usual(const struct agent_request *q)
{
	return q->op == 'R' || q->op == 'P' || q->op == 'Z';
}

/* A baud rate says little about USB, and worst cases of flash little about flash: what
 * answers took of late tells better that one is missing. Too early costs a ping. But what
 * comes while a block is erased may be lost. */
uint64_t agent_patience_ms(struct agent *a, const struct agent_request *q)
{
	uint64_t full = full_ms(a, q), usual;

	if (a->answer_ns == 0 || !is_usual(q))
		return full;
	usual = 4 * a->answer_ns * weight(q) / 1024 / 1000000;
	return MIN(full, PATIENCE_MIN_MS + usual);
}

static void answered(struct agent *a, const struct agent_request *q, uint64_t ns)
{
	uint64_t per_kib = ns * 1024 / weight(q) + 1;

	if (is_usual(q))
		a->answer_ns = MAX(per_kib, a->answer_ns - a->answer_ns / 16);
}

/* Smaller frames while the line damages them, larger ones again when it does not. */
static void learn_from(struct agent *a, bool good)
{
	size_t least = MAX(AGENT_FRAME_MIN, a->base.geometry.write_unit);

	if (!good) {
		a->good = 0;
		a->frame = MAX(a->frame / 2, MIN(least, a->frame_max));
		a->read = MAX(a->read / 2, MIN(AGENT_FRAME_MIN, a->read_max));
	} else if (++a->good == 16) {
		a->good = 0;
		a->frame = MIN(a->frame * 2, a->frame_max);
		a->read = MIN(a->read * 2, a->read_max);
	}
}

/* --- after a fault ------------------------------------------------------------------ */

/* The agent may wait for the rest of a frame. Filler completes it (its CRC then fails, and
 * nothing is done), and a ping tells where answers are in step again. The filler is not
 * Ctrl-C here: that ends an agent. Where it came before, the board's buffer may be too small
 * for what follows it so closely. */
int agent_resync(struct agent *a, const struct agent_request *q, size_t pending,
	struct agent_answer *out)
{
	size_t len = MIN(pending, 2 * a->frame_max) + 64;
	_cleanup_free_ uint8_t *filler = calloc(1, len);
	struct agent_request ping = {.op = 'N', .off = q->seq};
	int r = -ENOMEM;

	ping.work_ms = q->work_ms + repl_line_ms(a->base.repl, len + 4 * q->answer_cap);
	for (unsigned i = 0; filler && i < PING_TRIES; i++) {
		r = 0;
		if (i > 0 || pending)
			r = repl_write(a->base.repl, filler, len, q->work_ms);
		if (i > 0 && r == 0)
			r = repl_quiet(a->base.repl, i * QUIET_MS, q->work_ms);
		if (r == 0)
			r = agent_send(a, &ping, q->work_ms);
		if (r == 0)
			r = agent_receive(a, &ping, out, deadline_in(full_ms(a, &ping)));
		if (r == 0 || !agent_line_fault(r))
			return r;
	}
	return r;
}

int agent_raised(struct agent *a, const struct agent_request *q,
	const struct agent_answer *got, struct error *err)
{
	char shown[100];
	size_t len = MIN(got->len, sizeof(shown) - 1);

	if (got->code != AGENT_RAISED)
		return 0;
	snprintf(shown, sizeof(shown), "%.*s", (int)len,
		len ? (const char *)q->answer : "an exception");
	text_make_printable(shown);
	a->base.refused = true;
	return error_set(err, strstr(shown, "MemoryError") ? -ENOMEM : -EIO,
		"%s: rom%u: the board raised %s", repl_name(a->base.repl),
		a->base.geometry.number, shown);
}

int agent_after_fault(struct agent *a, const struct agent_request *q, int r,
	struct agent_answer *out, struct error *err)
{
	size_t pending = HEADER + 4 + (q->payload ? q->arg : 0);

	/* A complaint: it waits for nothing. */
	if (r == -EBADMSG)
		pending = 0;
	log_to(repl_log(a->base.repl), LOG_DEBUG, "%s: frame %c %u: %s",
		repl_name(a->base.repl), q->op, q->seq, strerror(-r));
	if (!agent_line_fault(r))
		return agent_line_lost(a, r, err);
	/* It may have been on its way. */
	if (r == -ETIMEDOUT)
		a->answer_ns *= 2;
	r = agent_resync(a, q, pending, out);
	if (agent_line_fault(r))
		return agent_revive(a, err);
	if (r < 0)
		return agent_line_lost(a, r, err);
	out->len = 0;
	/* Where only the answer was late or lost there is nothing to learn. */
	if (out->code != AGENT_UNKNOWN)
		return agent_raised(a, q, out, err);
	learn_from(a, false);
	return -EAGAIN;
}

int agent_await(struct agent *a, struct agent_request *q, struct agent_answer *out,
	struct error *err)
{
	int r = agent_receive(a, q, out, deadline_in(agent_patience_ms(a, q)));

	if (r < 0)
		return agent_after_fault(a, q, r, out, err);
	answered(a, q, agent_now_ns() - q->sent_ns);
	learn_from(a, true);
	return agent_raised(a, q, out, err);
}

int agent_request(struct agent *a, struct agent_request *q, struct agent_answer *out,
	struct error *err)
{
	int r = agent_send(a, q, 0);

	return r < 0 ? agent_after_fault(a, q, r, out, err) : agent_await(a, q, out, err);
}

int agent_ask(struct agent *a, struct agent_request *q, struct agent_answer *out,
	struct error *err)
{
	int r = -EAGAIN;

	for (unsigned i = 0; i < AGENT_TRIES && (r == -EAGAIN || r == -ESTALE); i++)
		r = agent_request(a, q, out, err);
	return r == -EAGAIN || r == -ESTALE ? agent_line_lost(a, -EBADMSG, err) : r;
}
