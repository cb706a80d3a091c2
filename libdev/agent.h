/* SPDX-License-Identifier: MIT */
/* The streaming agent: a small program, sent once per session, that takes binary frames
 * (FORMAT.md, "The agent's frames"). What its three files share: agent_start.c brings it to
 * the board and back, agent_frames.c exchanges frames with it, channel_agent.c does work by
 * them. One thread. */
#pragma once

#include "libdev/channel.h"

#define AGENT_VERSION 2
#define AGENT_FRAME_MAX 16384u /* the board takes all of it in before it works */
#define AGENT_FRAME_MIN 256u   /* on a line that damages larger ones */
#define AGENT_READ_MAX 65536u  /* one answer of bytes that the board need not copy */
#define AGENT_TEXT_MAX 128u    /* of an exception, in an answer */
#define AGENT_ANSWER_MS 700u   /* for the line and the scheduler, beside the work */
#define AGENT_TRIES 16u
#define AGENT_IDENTITY_MAX 512u
#define AGENT_GONE_MS 60000u /* a board that hears nothing for so long restarts */

/* The agent's own answers; what flash functions give is above. */
enum {
	AGENT_BAD_HEADER = -1001,
	AGENT_BAD_PAYLOAD = -1002,
	AGENT_RAISED = -1003,
	AGENT_UNKNOWN = -1004,
};

/* How long bytes took: payloads deflated and plain (slow chips inflate slower than their
 * USB could carry the plain bytes, and slow lines want all the deflate there is), and
 * answers. */
struct agent_pace {
	uint64_t ns, bytes;
};

struct agent_request {
	char op;
	uint32_t off, len, arg;
	const uint8_t *payload; /* `arg` bytes, or NULL */
	uint64_t work_ms;	/* at most, on the board */
	uint8_t *answer;	/* gets the answer's payload */
	size_t answer_cap;
	uint16_t seq;	  /* these two are given when it is sent */
	uint64_t sent_ns;
};

struct agent_answer {
	int32_t code;
	uint32_t at;
	size_t len;
};

/* A program that is on its way. */
struct agent_flight {
	struct agent_request q;
	uint64_t off;
	const uint8_t *buf; /* the caller's */
	size_t len;
	bool deflated;
};

struct agent {
	struct dev_channel base;
	bool running;
	bool buffer;	/* of the partition: reads copy nothing */
	bool deflate;
	uint16_t seq;
	unsigned revived; /* times that it died */
	size_t frame_max; /* what the agent's buffer takes */
	size_t frame;	  /* what the line seems to bear */
	size_t read_max, read;
	unsigned good; /* frames in a row */
	uint64_t answer_ns; /* of the slower ones of late, for each KiB; 0: not known */
	struct agent_pace pace[2];
	char identity[AGENT_IDENTITY_MAX]; /* what the board said that it is, printable */
	/* Two frames in flight, where the board's buffers have proven to bear it. */
	enum { AGENT_NOT_TRIED, AGENT_ONE, AGENT_TWO } depth;
	uint64_t programmed; /* bytes, in this session */
	unsigned crashes;    /* faults with two in flight */
	uint64_t landed_ns;  /* when the last one came back */
	unsigned n_flights, first_flight;
	struct agent_flight flights[2];
	uint8_t packed[2][AGENT_FRAME_MAX]; /* of each of them, deflated */
	uint8_t *answer; /* AGENT_READ_MAX bytes */
};

static inline struct agent *agent_of(struct dev_channel *c)
{
	return container_of(c, struct agent, base);
}

/* --- agent_frames.c --------------------------------------------------------------- */

/* Both 0, or -errno: -EBADMSG, -ETIMEDOUT and -EPROTO (agent_line_fault) say that something
 * was damaged on the way. `busy_ms`: flash may hold up what the board takes in. */
must_check int agent_send(struct agent *a, struct agent_request *q, uint64_t busy_ms);
must_check int agent_receive(struct agent *a, const struct agent_request *q,
	struct agent_answer *out, deadline_t deadline);
bool agent_line_fault(int r);
/* An error with a sentence, from one of those. */
int agent_line_lost(struct agent *a, int r, struct error *err);

/* How long to wait for the answer to q; it may come later, but that is not likely. */
uint64_t agent_patience_ms(struct agent *a, const struct agent_request *q);

/* After a fault: brings both sides in step, and asks what became of the change number
 * q->seq: out->code is AGENT_UNKNOWN where it was not done. `pending`: bytes at most that
 * the agent may still wait for. */
must_check int agent_resync(struct agent *a, const struct agent_request *q, size_t pending,
	struct agent_answer *out);

/* Sends q and waits for its answer. 0; -EAGAIN: damaged, and not done (ask for less); -ESTALE:
 * the agent has died and been started again, and whether it was done is not known; else an
 * error with a sentence, one for an exception on the board included (-ENOMEM: for want of
 * memory). */
must_check int agent_request(struct agent *a, struct agent_request *q,
	struct agent_answer *out, struct error *err);
/* The second half of it, of a request that was sent. */
must_check int agent_await(struct agent *a, struct agent_request *q,
	struct agent_answer *out, struct error *err);
/* The same for what may be done any number of times: until it succeeds. */
must_check int agent_ask(struct agent *a, struct agent_request *q, struct agent_answer *out,
	struct error *err);
/* What agent_request makes of a fault (`r`) that came while q was on its way. */
must_check int agent_after_fault(struct agent *a, const struct agent_request *q, int r,
	struct agent_answer *out, struct error *err);
/* 0, or the error of an answer that tells an exception. */
must_check int agent_raised(struct agent *a, const struct agent_request *q,
	const struct agent_answer *got, struct error *err);

uint64_t agent_now_ns(void);

/* --- agent_start.c ---------------------------------------------------------------- */

/* Uploads and starts the agent for base.geometry; base.repl is at the prompt. -EOPNOTSUPP:
 * the board does not bear it, and the prompt is there again. */
must_check int agent_start(struct agent *a, struct error *err);
/* Has it died? Finds the prompt and starts it again; a few times per session. */
must_check int agent_revive(struct agent *a, struct error *err);
must_check int agent_leave(struct dev_channel *c, struct error *err);
/* Sends the end without waiting for it. */
void agent_quit(struct dev_channel *c);
