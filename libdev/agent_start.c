/* SPDX-License-Identifier: MIT */
/* Bringing the agent to the board. Raw paste allows a few hundred bytes per turn of the line;
 * so a short statement takes the program off the binary side of the line, checks its sum,
 * and runs it. The agent's first frame tells what board and partition it stands on. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "libdev/agent.h"
#include "util/text.h"

#define STARTS 4u
#define REVIVALS 2u
#define RECOVER_MS 4000u
#define PROGRAM_MAX 6144u
/* The compiler holds a program's whole tree at once. */
#define TWO_PARTS_HEAP (40u << 10)

static const char source[] =
#include "libdev/agent.inc"
	;

/* The sum is that of the program; of a damaged statement nothing is run that means harm. */
static const char bootstrap[] =
	"import sys\n"
	"from binascii import crc32 as C\n"
	"print('go')\n"
	"b=sys.stdin.buffer.read(%zu)\n"
	"if C(b)!=%lu:raise ValueError('line')\n"
	"exec(b)\n"
	"b=0\n"
	"%s";
static const char and_start[] = "a(*A)\n";

/* What an exception during the start means: no memory for it, damage on the line, or that
 * this board will never run it. */
static int judge(const char *exception)
{
	static const char *const damage[] = {
		"SyntaxError", "IndentationError", "NameError", "KeyboardInterrupt"};

	if (strstr(exception, "MemoryError"))
		return -ENOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(damage); i++)
		if (strncmp(exception, damage[i], strlen(damage[i])) == 0)
			return -EBADMSG;
	return strstr(exception, "line") ? -EBADMSG : -EOPNOTSUPP;
}

static int follow(struct agent *a, deadline_t deadline)
{
	char out[256];
	struct repl_reply reply = {.out = out, .cap = sizeof(out)};
	int r = repl_follow(a->base.repl, deadline, &reply, NULL);

	return r > 0 ? judge(reply.exception) : r;
}

/* Up to this byte; the end of the statement comes first where it raised. */
static int await(struct agent *a, char last, deadline_t deadline)
{
	char c = 0;
	int r = 0;

	for (size_t noise = 0; r == 0 && c != last && c != 0x04; noise++)
		r = noise < 4096 ? repl_read(a->base.repl, &c, 1, deadline) : -EPROTO;
	if (r < 0 || c == last)
		return r;
	repl_unread(a->base.repl);
	r = follow(a, deadline);
	return r < 0 ? r : -EBADMSG;
}

static int run_program(struct agent *a, const char *program, size_t len, bool start)
{
	struct repl *repl = a->base.repl;
	deadline_t deadline = deadline_in(CHANNEL_REPLY_MS + 2 * repl_line_ms(repl, len));
	char code[sizeof(bootstrap) + sizeof(and_start) + 40];
	int r;

	snprintf(code, sizeof(code), bootstrap, len,
		(unsigned long)crc32(0, (const Bytef *)program, (uInt)len),
		start ? and_start : "");
	r = repl_start(repl, code, strlen(code), deadline, NULL);
	if (r == 0)
		r = await(a, 'o', deadline);
	if (r == 0)
		r = repl_write(repl, program, len, 0);
	return r;
}

static int hello(struct agent *a)
{
	deadline_t deadline = deadline_in(
		CHANNEL_REPLY_MS + 2 * repl_line_ms(a->base.repl, AGENT_IDENTITY_MAX));
	struct agent_request q = {.op = 0, .answer = (uint8_t *)a->identity,
		.answer_cap = sizeof(a->identity) - 1};
	struct agent_answer got;
	int r = await(a, '\xa5', deadline);

	if (r < 0)
		return r;
	repl_unread(a->base.repl);
	r = agent_receive(a, &q, &got, deadline);
	if (r < 0)
		return r;
	a->identity[got.len] = '\0';
	text_make_printable(a->identity);
	return got.code == AGENT_VERSION && got.at == a->frame_max ? 0 : -EBADMSG;
}

static int start_once(struct agent *a)
{
	_cleanup_free_ char *program = malloc(PROGRAM_MAX);
	size_t len, n;
	int r = 0;

	if (!program)
		return -ENOMEM;
	len = channel_helpers(&a->base, a->buffer, program, PROGRAM_MAX);
	if (a->base.info->heap_free < TWO_PARTS_HEAP) {
		r = run_program(a, program, len, false);
		if (r == 0)
			r = follow(a, deadline_in(CHANNEL_REPLY_MS));
		len = 0;
	}
	if (r < 0)
		return r;
	n = (size_t)snprintf(program + len, PROGRAM_MAX - len, "%sA=%zu,%d,%u\n", source,
		a->frame_max, a->deflate, a->base.silence_ms);
	assert(n < PROGRAM_MAX - len);
	r = run_program(a, program, len + n, true);
	return r < 0 ? r : hello(a);
}

/* Less of what the agent takes of the heap; false where nothing is left to save. */
static bool shrink(struct agent *a)
{
	if (a->deflate) {
		a->deflate = false;
		return true;
	}
	a->frame_max /= 2;
	a->frame = MIN(a->frame, a->frame_max);
	a->read_max = a->buffer ? a->read_max : a->frame_max;
	a->read = MIN(a->read, a->read_max);
	return a->frame_max >= MAX(AGENT_FRAME_MIN, a->base.geometry.write_unit);
}

int agent_start(struct agent *a, struct error *err)
{
	int r = a->running ? 0 : -EBADMSG;

	for (unsigned i = 0; r < 0 && i < STARTS;) {
		r = start_once(a);
		if (r == -EOPNOTSUPP || (r == -ENOMEM && !shrink(a)))
			return -EOPNOTSUPP;
		if (r == -ENOMEM || r == 0)
			continue;
		log_to(repl_log(a->base.repl), LOG_DEBUG, "%s: starting the agent: %s",
			repl_name(a->base.repl), strerror(-r));
		if (!agent_line_fault(r) ||
			repl_recover(a->base.repl, deadline_in(RECOVER_MS), NULL) < 0)
			return agent_line_lost(a, r, err);
		/* The prompt comes, but so many bytes at once do not get through. */
		if (++i == STARTS)
			return -EOPNOTSUPP;
	}
	if (r == 0)
		a->running = true;
	return r;
}

int agent_revive(struct agent *a, struct error *err)
{
	int r;

	a->running = false;
	if (a->revived++ >= REVIVALS)
		return agent_line_lost(a, -ETIMEDOUT, err);
	log_to(repl_log(a->base.repl), LOG_NOTICE, "%s: the board's agent has died; starting it "
		"again", repl_name(a->base.repl));
	r = repl_recover(a->base.repl, deadline_in(RECOVER_MS), NULL);
	if (r < 0)
		return agent_line_lost(a, r == -EPROTO ? -ETIMEDOUT : r, err);
	r = agent_start(a, err);
	if (r == -EOPNOTSUPP)
		return agent_line_lost(a, -ETIMEDOUT, err);
	return r < 0 ? r : -ESTALE;
}

int agent_leave(struct dev_channel *c, struct error *err)
{
	struct agent *a = agent_of(c);
	struct agent_request quit = {.op = 'Q', .answer = a->answer,
		.answer_cap = AGENT_TEXT_MAX};
	struct agent_answer got;
	int r;

	if (!a->running)
		return 0;
	a->running = false;
	r = agent_send(a, &quit, 0);
	if (r == 0)
		r = agent_receive(a, &quit, &got, deadline_in(AGENT_ANSWER_MS));
	if (r == 0)
		r = follow(a, deadline_in(CHANNEL_REPLY_MS));
	if (agent_line_fault(r))
		r = repl_recover(c->repl, deadline_in(RECOVER_MS), NULL);
	return r < 0 ? agent_line_lost(a, r, err) : 0;
}

void agent_quit(struct dev_channel *c)
{
	struct agent *a = agent_of(c);
	struct agent_request quit = {.op = 'Q'};

	if (a->running && agent_send(a, &quit, 0) < 0)
		log_to(repl_log(c->repl), LOG_DEBUG, "%s: takes no more bytes",
			repl_name(c->repl));
	a->running = false;
}
