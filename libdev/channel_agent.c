/* SPDX-License-Identifier: MIT */
/* The streaming agent: a small program, sent once per session, that takes binary frames
 * (FORMAT.md, "The agent's frames"). One frame is in flight at any time, so nothing comes in
 * while flash is busy. A frame that was damaged or lost is sent again under its number, and
 * the agent does what it has done already not a second time. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "libdev/channel.h"
#include "libdev/checked.h"
#include "util/bytes.h"
#include "util/text.h"

#define START 0xA5
#define HEADER 20u
#define VERSION 1
/* The agent's own answers; what flash functions give is above. */
#define BAD_HEADER (-1001)
#define BAD_PAYLOAD (-1002)
#define RAISED (-1003)

#define FRAME_MAX 16384u /* the board takes all of it in before it works */
#define READ_MAX 65536u /* one answer of bytes that the board need not copy */
#define FRAME_MIN 256u	/* on a line that damages larger ones */
#define HASHES_MAX 64u
#define HASH_SPAN_MAX (1u << 20)
#define HEAP_MIN (12u << 10) /* the compiled agent, and buffers worth having */
#define HEAP_SHARE 8u	     /* of the heap for one buffer */
#define DEFLATE_HEAP_MIN (48u << 10)
#define TEXT_MAX 128u /* of an exception, in an answer */
#define NOISE_MAX (256u << 10) /* bytes between frames that are none */
#define TRIES 16u
#define PING_TRIES 3u
#define ANSWER_MS 700u /* for the line and the scheduler, beside the work */

static const char source[] =
#include "libdev/agent.inc"
	;

/* How long payload bytes took, deflated and plain: slow chips inflate slower than their USB
 * could carry the plain bytes, and slow lines want all the deflate there is. */
struct pace {
	uint64_t ns, bytes;
};

struct agent {
	struct dev_channel base;
	bool running;
	bool deflate;
	uint16_t seq;
	size_t frame_max; /* what the agent's buffer takes */
	size_t frame;	  /* what the line seems to bear */
	size_t read_max, read;
	unsigned good; /* frames in a row */
	struct pace pace[2];
	uint8_t packed[FRAME_MAX];
	uint8_t *answer; /* READ_MAX bytes */
};

struct request {
	char op;
	uint32_t off, len, arg;
	const uint8_t *payload; /* `arg` bytes, or NULL */
	uint64_t work_ms;
	uint8_t *answer; /* gets the answer's payload */
	size_t answer_cap;
};

struct answer {
	int32_t code;
	uint32_t at;
	size_t len;
};

static struct agent *agent_of(struct dev_channel *c)
{
	return container_of(c, struct agent, base);
}

/* --- frames ---------------------------------------------------------------------- */

static int send_frame(struct agent *a, const struct request *q, uint16_t seq)
{
	uint8_t head[HEADER], tail[4];
	int r;

	head[0] = START;
	head[1] = (uint8_t)q->op;
	bytes_put_le16(head + 2, seq);
	bytes_put_le32(head + 4, q->off);
	bytes_put_le32(head + 8, q->len);
	bytes_put_le32(head + 12, q->arg);
	bytes_put_le32(head + 16, (uint32_t)crc32(0, head, 16));
	if (!q->payload)
		return repl_write(a->base.repl, head, sizeof(head));
	bytes_put_le32(tail, (uint32_t)crc32(0, q->payload, q->arg));
	r = repl_write(a->base.repl, head, sizeof(head));
	if (r == 0)
		r = repl_write(a->base.repl, q->payload, q->arg);
	if (r == 0)
		r = repl_write(a->base.repl, tail, sizeof(tail));
	return r;
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

/* The answer to frame `seq`; -EBADMSG: something was damaged on the way. */
static int receive(struct agent *a, const struct request *q, uint16_t seq,
	struct answer *out, deadline_t deadline)
{
	uint8_t head[HEADER], check[4];
	uint32_t len;
	int r;

	for (;;) {
		r = next_header(a, head, deadline);
		if (r < 0)
			return r;
		out->code = (int32_t)bytes_get_le32(head + 4);
		/* A ping looks past complaints: they may be about what came before it. */
		if (q->op != 'N' && (out->code == BAD_HEADER || out->code == BAD_PAYLOAD))
			return -EBADMSG;
		if (head[1] == (uint8_t)q->op && bytes_get_le16(head + 2) == seq)
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

static int exchange(
	struct agent *a, const struct request *q, uint16_t seq, struct answer *out)
{
	size_t bytes = 2 * HEADER + q->answer_cap + (q->payload ? q->arg : 0);
	uint64_t ms = ANSWER_MS + q->work_ms + 2 * repl_line_ms(a->base.repl, bytes);
	int r = send_frame(a, q, seq);

	return r < 0 ? r : receive(a, q, seq, out, deadline_in(ms));
}

/* After damage the agent may wait for the rest of a frame. Filler completes it (its CRC then
 * fails, and nothing is done), and a ping tells where answers are in step again. The filler
 * is not Ctrl-C here: that ends an agent. */
static int resync(struct agent *a)
{
	_cleanup_free_ uint8_t *filler = calloc(1, a->frame_max + 64);
	struct request ping = {.op = 'N'};
	struct answer pong;
	int r = -ENOMEM;

	for (unsigned i = 0; filler && i < PING_TRIES; i++) {
		repl_discard(a->base.repl);
		r = repl_write(a->base.repl, filler, a->frame_max + 64);
		if (r < 0)
			return r;
		ping.work_ms = repl_line_ms(a->base.repl, a->frame_max);
		r = exchange(a, &ping, ++a->seq, &pong);
		if (r == 0 || (r != -ETIMEDOUT && r != -EBADMSG))
			return r;
	}
	return r;
}

static bool line_fault(int r)
{
	return r == -EBADMSG || r == -ETIMEDOUT || r == -EPROTO;
}

/* Smaller frames while the line damages them, larger ones again when it does not. */
static void learn_from(struct agent *a, bool good)
{
	size_t least = MAX(FRAME_MIN, a->base.geometry.write_unit);

	if (!good) {
		a->good = 0;
		a->frame = MAX(a->frame / 2, MIN(least, a->frame_max));
		a->read = MAX(a->read / 2, MIN(FRAME_MIN, a->read_max));
	} else if (++a->good == 16) {
		a->good = 0;
		a->frame = MIN(a->frame * 2, a->frame_max);
		a->read = MIN(a->read * 2, a->read_max);
	}
}

static int line_lost(struct agent *a, int r, struct error *err)
{
	switch (r) {
	case -ENODEV:
		return error_set(err, r, "%s: the board is gone", repl_name(a->base.repl));
	case -ECANCELED:
		return error_set(err, r, "%s: cancelled", repl_name(a->base.repl));
	case -ETIMEDOUT:
		return error_set(err, r, "%s: the board stopped answering; unplug it and plug "
			"it in again", repl_name(a->base.repl));
	default:
		return error_set(err, -EIO, "%s: the line damages too much of what goes over it "
			"(%s); try another cable or a lower baud rate",
			repl_name(a->base.repl), strerror(-r));
	}
}

static int raised(struct agent *a, const struct request *q, const struct answer *got,
	struct error *err)
{
	char shown[100];

	snprintf(shown, sizeof(shown), "%.*s", (int)MIN(got->len, sizeof(shown) - 1),
		(const char *)q->answer);
	text_make_printable(shown);
	a->base.refused = true;
	return error_set(err, -EIO, "%s: rom%u: the board raised %s",
		repl_name(a->base.repl), a->base.geometry.number, shown);
}

/* `tries` times at most; the caller may cut its work smaller after -EAGAIN. */
static int request(struct agent *a, struct request *q, unsigned tries, struct answer *out,
	struct error *err)
{
	uint16_t seq = ++a->seq;
	int r = 0;

	for (unsigned i = 0; i < tries; i++) {
		r = exchange(a, q, seq, out);
		if (r == 0 && out->code == RAISED)
			return raised(a, q, out, err);
		learn_from(a, r == 0);
		if (r == 0)
			return 0;
		log_to(repl_log(a->base.repl), LOG_DEBUG, "%s: frame %c %u: %s",
			repl_name(a->base.repl), q->op, seq, strerror(-r));
		if (!line_fault(r))
			return line_lost(a, r, err);
		int s = resync(a);
		if (s < 0)
			return line_lost(a, s, err);
	}
	return tries == 1 ? -EAGAIN : line_lost(a, r, err);
}

/* --- starting and ending ----------------------------------------------------------- */

/* The hello, or the traceback of a statement that failed (-EOPNOTSUPP). */
static int await_hello(struct agent *a, struct error *err)
{
	deadline_t deadline = deadline_in(CHANNEL_REPLY_MS);
	struct request hello = {.op = 0};
	struct answer got;
	char out[256];
	struct repl_reply reply = {.out = out, .cap = sizeof(out)};
	uint8_t c = 0;
	int r = 0;

	for (size_t noise = 0; r == 0 && c != START && c != 0x04; noise++)
		r = noise < 4096 ? repl_read(a->base.repl, &c, 1, deadline) : -EPROTO;
	if (r < 0)
		return line_lost(a, r, err);
	repl_unread(a->base.repl);
	if (c == 0x04) {
		r = repl_follow(a->base.repl, deadline, &reply, err);
		return r < 0 ? r : -EOPNOTSUPP;
	}
	r = receive(a, &hello, 0, &got, MIN(deadline, deadline_in(ANSWER_MS)));
	if (line_fault(r)) {
		/* The hello was damaged; whether an agent is there, a ping tells. */
		r = resync(a);
		return r < 0 ? line_lost(a, r, err) : 0;
	}
	if (r < 0)
		return line_lost(a, r, err);
	if (got.code != VERSION || got.at != a->frame_max)
		return error_set(err, -EPROTO, "%s: the board's agent answers nonsense",
			repl_name(a->base.repl));
	return 0;
}

static int agent_start(struct agent *a, struct error *err)
{
	char code[64];
	int r;

	if (a->running)
		return 0;
	snprintf(code, sizeof(code), "a(%zu,%d)", a->frame_max, a->deflate);
	r = repl_start(a->base.repl, code, strlen(code), deadline_in(CHANNEL_REPLY_MS), err);
	if (r == 0)
		r = await_hello(a, err);
	if (r == 0)
		a->running = true;
	return r;
}

static int agent_leave(struct dev_channel *c, struct error *err)
{
	struct agent *a = agent_of(c);
	struct request quit = {.op = 'Q', .answer = a->answer, .answer_cap = TEXT_MAX};
	struct answer got;
	char out[256];
	struct repl_reply reply = {.out = out, .cap = sizeof(out)};
	int r;

	if (!a->running)
		return 0;
	a->running = false;
	r = request(a, &quit, 1, &got, err);
	if (r == -EAGAIN)
		return line_lost(a, -EPROTO, err);
	if (r == 0)
		r = repl_follow(c->repl, deadline_in(CHANNEL_REPLY_MS), &reply, err);
	return r < 0 ? r : 0;
}

static int agent_select(struct dev_channel *c, const struct dev_geometry *g, bool buffer,
	struct error *err)
{
	struct agent *a = agent_of(c);
	int r = agent_leave(c, err);

	if (r < 0)
		return r;
	c->geometry = *g;
	a->frame_max = channel_step(c, HEAP_SHARE, FRAME_MAX);
	if (a->frame_max == 0 || a->frame_max > READ_MAX)
		return -EOPNOTSUPP;
	a->frame = a->frame_max;
	a->read = a->read_max = buffer ? READ_MAX : a->frame_max;
	/* The deflated form of a frame is kept in `packed`. */
	a->deflate = c->info->has_deflate && c->info->heap_free >= DEFLATE_HEAP_MIN &&
		     a->frame_max <= FRAME_MAX;
	r = channel_send_helpers(c, g, buffer, err);
	return r < 0 ? r : agent_start(a, err);
}

/* --- operations ---------------------------------------------------------------------- */

static int agent_read(
	struct dev_channel *c, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct agent *a = agent_of(c);
	uint8_t *p = buf;
	unsigned failed = 0;
	int r = agent_start(a, err);

	while (len && r == 0) {
		size_t n = MIN(len, a->read);
		struct request q = {.op = 'R', .off = (uint32_t)off, .len = (uint32_t)n,
			.answer = a->answer, .answer_cap = MAX(n, TEXT_MAX), .work_ms = n / 1024};
		struct answer got;

		r = request(a, &q, 1, &got, err);
		if (r == -EAGAIN && ++failed < TRIES) {
			r = 0;
			continue;
		}
		if (r == -EAGAIN)
			return line_lost(a, -EBADMSG, err);
		if (r < 0)
			return r;
		if (got.len != n)
			return error_set(err, -EIO, "%s: rom%u: the board gave %zu bytes at "
				"0x%llx instead of %zu", repl_name(c->repl),
				c->geometry.number, got.len, (unsigned long long)off, n);
		failed = 0;
		memcpy(p, a->answer, n);
		off += n;
		p += n;
		len -= n;
	}
	return r;
}

/* Without hashlib the bytes themselves must come. */
static int hash_here(struct agent *a, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	_cleanup_free_ uint8_t *piece = malloc(READ_MAX);
	struct sha256_ctx ctx;

	if (!piece)
		return error_set(err, -ENOMEM, "out of memory");
	while (len) {
		uint64_t left = MIN(len, step);

		len -= left;
		sha256_init(&ctx);
		while (left) {
			size_t n = (size_t)MIN(left, READ_MAX);
			int r = agent_read(&a->base, off, piece, n, err);

			if (r < 0)
				return r;
			sha256_update(&ctx, n, piece);
			off += n;
			left -= n;
		}
		sha256_digest(&ctx, SHA256_SIZE, *out++);
	}
	return 0;
}

static int agent_hash(struct dev_channel *c, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	struct agent *a = agent_of(c);
	int r = agent_start(a, err);

	if (r == 0 && !c->info->has_hashlib)
		return hash_here(a, off, len, step, out, err);
	while (len && r == 0) {
		uint64_t count = MAX(1u, MIN(HASHES_MAX, HASH_SPAN_MAX / step));
		uint64_t n = MIN(len, count * step);
		size_t want = (size_t)((n + step - 1) / step) * SHA256_SIZE;
		struct request q = {.op = 'H', .off = (uint32_t)off, .len = (uint32_t)n,
			.arg = (uint32_t)step, .answer = a->answer,
			.answer_cap = MAX(want, TEXT_MAX),
			.work_ms = channel_hash_ms(n)};
		struct answer got;

		r = request(a, &q, TRIES, &got, err);
		if (r < 0)
			return r;
		if (got.len != want)
			return error_set(err, -EIO, "%s: rom%u: the board gave %zu bytes of "
				"hashes instead of %zu", repl_name(c->repl),
				c->geometry.number, got.len, want);
		memcpy(out, a->answer, want);
		out += want / SHA256_SIZE;
		off += n;
		len -= n;
	}
	return r;
}

static int agent_erase(struct dev_channel *c, uint64_t off, uint64_t len, struct error *err)
{
	struct agent *a = agent_of(c);
	uint64_t block = c->geometry.erase_block;
	/* A prefix is erased by one call, from 0: it cannot be taken in steps. */
	uint64_t batch = c->geometry.prefix_erase ? len : channel_erase_batch(c) * block;
	int r = agent_start(a, err);

	while (len && r == 0) {
		uint64_t n = MIN(len, batch);
		struct request q = {.op = 'E', .off = (uint32_t)off, .len = (uint32_t)n,
			.work_ms = (n + block - 1) / block * c->geometry.erase_ms_max,
			.answer = a->answer, .answer_cap = TEXT_MAX};
		struct answer got;

		r = request(a, &q, TRIES, &got, err);
		if (r == 0 && got.code != 0)
			r = channel_refused(c, "erasing", got.at, got.code, err);
		off += n;
		len -= n;
	}
	return r;
}

/* Deflated or plain, whichever has been quicker; both are measured, and now and then
 * again. */
static bool want_deflate(struct agent *a)
{
	const struct pace *plain = &a->pace[0], *packed = &a->pace[1];

	if (packed->bytes < 2 * FRAME_MAX)
		return true;
	if (plain->bytes < 2 * FRAME_MAX)
		return false;
	return packed->ns * plain->bytes <= plain->ns * packed->bytes;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void measured(struct agent *a, bool deflated, size_t len, uint64_t ns)
{
	struct pace *p = &a->pace[deflated];

	if (a->pace[0].bytes + a->pace[1].bytes > (1u << 20))
		memset(a->pace, 0, sizeof(a->pace));
	p->ns += ns;
	p->bytes += len;
}

static int program_frame(
	struct agent *a, uint64_t off, const uint8_t *buf, size_t len, struct error *err)
{
	struct request q = {.op = 'P', .off = (uint32_t)off, .len = (uint32_t)len,
		.arg = (uint32_t)len, .payload = buf, .answer = a->answer, .answer_cap = TEXT_MAX,
		.work_ms = channel_program_ms(&a->base, len)};
	uint64_t start = now_ns();
	struct answer got;
	size_t packed = 0;
	int r;

	if (a->deflate && want_deflate(a))
		packed = channel_deflate(buf, len, a->packed, sizeof(a->packed));
	if (packed) {
		q.op = 'Z';
		q.payload = a->packed;
		q.arg = (uint32_t)packed;
	}
	r = request(a, &q, TRIES, &got, err);
	if (r == 0 && got.code != 0)
		r = channel_refused(&a->base, "programming", got.at, got.code, err);
	measured(a, packed > 0, len, now_ns() - start);
	return r;
}

static int agent_program(
	struct dev_channel *c, uint64_t off, const void *buf, size_t len, struct error *err)
{
	struct agent *a = agent_of(c);
	const uint8_t *p = buf;
	int r = agent_start(a, err);

	while (len && r == 0) {
		size_t n = MIN(len, a->frame);

		r = program_frame(a, off, p, n, err);
		off += n;
		p += n;
		len -= n;
	}
	return r;
}

static void agent_free(struct dev_channel *c)
{
	struct agent *a = agent_of(c);

	free(a->answer);
	free(a);
}

static const struct dev_channel_ops agent_ops = {
	.select = agent_select,
	.read = agent_read,
	.hash = agent_hash,
	.erase = agent_erase,
	.program = agent_program,
	.leave = agent_leave,
	.free = agent_free,
};

static int upload(struct agent *a, struct error *err)
{
	char out[256];
	struct repl_reply reply = {.out = out, .cap = sizeof(out)};
	int r = checked_exec(a->base.repl, a->base.caps->checked, source, CHANNEL_REPLY_MS,
		&reply, err);

	return r > 0 ? -EOPNOTSUPP : r;
}

int dev_channel_agent(struct repl *r, const struct dev_board_info *info,
	const struct board_caps *caps, struct dev_channel **out, struct error *err)
{
	_cleanup_(dev_channel_freep) struct dev_channel *result = NULL;
	struct agent *a;
	int e;

	if (!info->has_stdin_buffer || !caps->crc32 || !caps->kbd_intr ||
		info->heap_free < HEAP_MIN)
		return -EOPNOTSUPP;
	a = calloc(1, sizeof(*a));
	if (!a)
		return error_set(err, -ENOMEM, "out of memory");
	result = &a->base;
	a->base.ops = &agent_ops;
	a->base.repl = r;
	a->base.info = info;
	a->base.caps = caps;
	a->answer = malloc(READ_MAX);
	if (!a->answer)
		return error_set(err, -ENOMEM, "out of memory");
	e = upload(a, err);
	if (e < 0)
		return e;
	*out = TAKE_PTR(result);
	return 0;
}
