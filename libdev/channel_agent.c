/* SPDX-License-Identifier: MIT */
/* Work by the agent's frames. One frame is in flight at any time, so that nothing comes in
 * while flash is busy; two where the board has shown that its buffers, or the flow control
 * of USB, bear it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libdev/agent.h"
#include "util/bytes.h"

#define HASHES_MAX 64u
#define HASH_SPAN_MAX (1u << 20)
#define HEAP_MIN (12u << 10) /* the compiled agent, and buffers worth having */
#define HEAP_SHARE 8u	     /* of the heap for one buffer */
#define DEFLATE_HEAP_MIN (48u << 10)
#define LOOK_AWAY_MS 100u /* longer than flash is busy with most frames */
#define MUCH (256u << 10) /* bytes worth a try of two frames in flight */
#define CRASHES_MAX 3u

static int agent_select(struct dev_channel *c, const struct dev_geometry *g, bool buffer,
	struct error *err)
{
	struct agent *a = agent_of(c);
	int r = agent_leave(c, err);

	if (r < 0)
		return r;
	c->geometry = *g;
	r = channel_can_read(c, buffer, err);
	if (r < 0)
		return r;
	a->buffer = buffer;
	a->frame_max = channel_step(c, HEAP_SHARE, AGENT_FRAME_MAX);
	/* The deflated form of a frame is kept in a buffer of ours. */
	if (a->frame_max == 0 || a->frame_max > AGENT_FRAME_MAX)
		return -EOPNOTSUPP;
	a->frame = a->frame_max;
	a->read = a->read_max = buffer ? AGENT_READ_MAX : a->frame_max;
	a->deflate = c->info->has_deflate && c->info->heap_free >= DEFLATE_HEAP_MIN;
	return agent_start(a, err);
}

/* --- reading -------------------------------------------------------------------------- */

/* A read, and the one behind it, which is asked for before the first has come: a request is
 * so small that every board's buffer takes it. */
struct reads {
	struct agent_request q[2];
	unsigned n; /* that are on their way */
};

static int ask_ahead(struct agent *a, struct reads *v, uint64_t off, size_t len)
{
	int r = 0;

	for (unsigned i = 0; i < v->n; i++) {
		off += v->q[i].len;
		len -= v->q[i].len;
	}
	while (r == 0 && len && v->n < 2) {
		size_t n = MIN(len, a->read);
		struct agent_request *q = &v->q[v->n++];

		*q = (struct agent_request){.op = 'R', .off = (uint32_t)off,
			.len = (uint32_t)n, .answer = a->answer,
			.answer_cap = MAX(n, AGENT_TEXT_MAX),
			.work_ms = channel_hash_ms(n)};
		r = agent_send(a, q, 0);
		off += n;
		len -= n;
	}
	return r;
}

/* What is on its way and not wanted any more. */
static int drop(struct agent *a, struct reads *v, struct error *err)
{
	struct agent_answer got;
	int r = 0;

	for (unsigned i = 1; i < v->n && r >= 0; i++)
		r = agent_await(a, &v->q[i], &got, NULL);
	v->n = 0;
	return r == -EAGAIN || r == -ESTALE || r == -EIO || r == -ENOMEM ? 0 : MIN(r, 0);
}

/* The oldest of [off, off + len): its bytes, or 0 where the caller must ask again. */
static ssize_t read_piece(struct agent *a, struct reads *v, uint64_t off, uint8_t *p,
	size_t len, struct error *err)
{
	struct error said = {0};
	struct agent_request q;
	struct agent_answer got;
	int r = ask_ahead(a, v, off, len);

	q = v->q[0];
	r = r < 0 ? agent_after_fault(a, &q, r, &got, &said) : agent_await(a, &q, &got, &said);
	if (r == -EAGAIN || r == -ESTALE) {
		v->n = 0;
		return 0;
	}
	/* No memory: half may fit. */
	if (r == -ENOMEM && a->read > AGENT_FRAME_MIN && !a->buffer) {
		a->read = a->read_max = a->read / 2;
		return drop(a, v, err);
	}
	if (r < 0)
		return error_set(err, r == -ENOMEM ? -EIO : r, "%s", said.text);
	if (got.len != q.len)
		return error_set(err, -EIO, "%s: rom%u: the board gave %zu bytes at 0x%x "
			"instead of %u", repl_name(a->base.repl), a->base.geometry.number,
			got.len, q.off, q.len);
	memcpy(p, a->answer, q.len);
	v->q[0] = v->q[1];
	v->n--;
	return q.len;
}

static int agent_read(
	struct dev_channel *c, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct agent *a = agent_of(c);
	struct reads v = {.n = 0};
	uint8_t *p = buf;
	unsigned failed = 0;
	int r = agent_start(a, err);

	while (len && r == 0) {
		ssize_t n = read_piece(a, &v, off, p, len, err);

		if (n < 0)
			return (int)n;
		failed = n ? 0 : failed + 1;
		if (failed == AGENT_TRIES)
			return agent_line_lost(a, -EBADMSG, err);
		off += (size_t)n;
		p += n;
		len -= (size_t)n;
	}
	return r;
}

/* --- hashing -------------------------------------------------------------------------- */

/* Without hashlib the bytes themselves must come. */
static int hash_here(struct agent *a, uint64_t off, uint64_t len, uint8_t *out,
	struct error *err)
{
	_cleanup_free_ uint8_t *piece = malloc(AGENT_READ_MAX);
	struct sha256_ctx ctx;

	if (!piece)
		return error_set(err, -ENOMEM, "out of memory");
	sha256_init(&ctx);
	while (len) {
		size_t n = (size_t)MIN(len, AGENT_READ_MAX);
		int r = agent_read(&a->base, off, piece, n, err);

		if (r < 0)
			return r;
		sha256_update(&ctx, n, piece);
		off += n;
		len -= n;
	}
	sha256_digest(&ctx, SHA256_SIZE, out);
	return 0;
}

static int ask_hashes(struct agent *a, struct agent_request *q, size_t n,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	size_t want = n * SHA256_SIZE;
	struct agent_answer got;
	int r;

	q->answer = a->answer;
	q->answer_cap = MAX(want, AGENT_TEXT_MAX);
	q->work_ms = channel_hash_ms(q->len);
	r = agent_ask(a, q, &got, err);
	if (r < 0)
		return r == -ENOMEM ? -EIO : r;
	if (got.len != want)
		return error_set(err, -EIO, "%s: rom%u: the board gave %zu bytes of hashes "
			"instead of %zu", repl_name(a->base.repl), a->base.geometry.number,
			got.len, want);
	memcpy(out, a->answer, want);
	return 0;
}

static int agent_hash(struct dev_channel *c, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	struct agent *a = agent_of(c);
	bool here = !c->info->has_hashlib;
	uint64_t batch = here ? 1 : MAX(1u, MIN(HASHES_MAX, HASH_SPAN_MAX / step));
	int r = agent_start(a, err);

	while (len && r == 0) {
		uint64_t n = MIN(len, batch * step);
		size_t count = (size_t)((n + step - 1) / step);
		struct agent_request q = {.op = 'H', .off = (uint32_t)off,
			.len = (uint32_t)n, .arg = (uint32_t)step};

		r = here ? hash_here(a, off, n, *out, err) : ask_hashes(a, &q, count, out, err);
		out += count;
		off += n;
		len -= n;
	}
	return r;
}

/* As many extents as one request bears, and their bytes. */
static size_t hash_batch(
	const struct agent *a, const struct dev_extent *v, size_t n, uint64_t *bytes)
{
	size_t most = MIN(n, MIN(HASHES_MAX, a->frame_max / 8)), i;

	*bytes = v[0].len;
	for (i = 1; i < most && *bytes + v[i].len <= HASH_SPAN_MAX; i++)
		*bytes += v[i].len;
	return i;
}

static int agent_hash_list(struct dev_channel *c, const struct dev_extent *v, size_t n,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	struct agent *a = agent_of(c);
	bool here = !c->info->has_hashlib;
	int r = agent_start(a, err);

	for (size_t done = 0, count = 1; done < n && r == 0; done += count) {
		uint8_t list[HASHES_MAX * 8];
		uint64_t bytes = 0;

		if (here) {
			r = hash_here(a, v[done].off, v[done].len, out[done], err);
			continue;
		}
		count = hash_batch(a, v + done, n - done, &bytes);
		for (size_t i = 0; i < count; i++) {
			bytes_put_le32(list + 8 * i, (uint32_t)v[done + i].off);
			bytes_put_le32(list + 8 * i + 4, (uint32_t)v[done + i].len);
		}
		struct agent_request q = {.op = 'L', .len = (uint32_t)bytes,
			.arg = (uint32_t)(8 * count), .payload = list};
		r = ask_hashes(a, &q, count, out + done, err);
	}
	return r;
}

/* --- erasing -------------------------------------------------------------------------- */

static int agent_erase(struct dev_channel *c, uint64_t off, uint64_t len, struct error *err)
{
	struct agent *a = agent_of(c);
	uint64_t block = c->geometry.erase_block;
	/* A prefix is erased by one call, from 0: it cannot be taken in steps. */
	uint64_t batch = c->geometry.prefix_erase ? len : channel_erase_batch(c) * block;
	int r = agent_start(a, err);

	while (len && r == 0) {
		uint64_t n = MIN(len, batch);
		struct agent_request q = {.op = 'E', .off = (uint32_t)off, .len = (uint32_t)n,
			.work_ms = (n + block - 1) / block * c->geometry.erase_ms_max,
			.answer = a->answer, .answer_cap = AGENT_TEXT_MAX};
		struct agent_answer got;

		r = agent_ask(a, &q, &got, err);
		if (r == 0 && got.code != 0)
			r = channel_refused(c, "erasing", got.at, got.code, err);
		off += n;
		len -= n;
	}
	return r == -ENOMEM ? -EIO : r;
}

/* --- programming ---------------------------------------------------------------------- */

/* Deflated or plain, whichever has been quicker; both are measured, and now and then
 * again. */
static bool want_deflate(struct agent *a)
{
	const struct agent_pace *plain = &a->pace[0], *packed = &a->pace[1];

	if (packed->bytes < 2 * AGENT_FRAME_MAX)
		return true;
	if (plain->bytes < 2 * AGENT_FRAME_MAX)
		return false;
	return packed->ns * plain->bytes <= plain->ns * packed->bytes;
}

static void measured(struct agent *a, const struct agent_flight *f)
{
	struct agent_pace *p = &a->pace[f->deflated];
	uint64_t now = agent_now_ns();

	if (a->pace[0].bytes + a->pace[1].bytes > (1u << 20))
		memset(a->pace, 0, sizeof(a->pace));
	p->ns += now - a->landed_ns;
	p->bytes += f->len;
	a->landed_ns = now;
	a->programmed += f->len;
}

static unsigned place(const struct agent *a, unsigned i)
{
	return (a->first_flight + i) % ARRAY_SIZE(a->flights);
}

static struct agent_flight *flight(struct agent *a, unsigned i)
{
	return &a->flights[place(a, i)];
}

/* The next frame, made ready in the place behind those in flight. */
static struct agent_flight *prepare(
	struct agent *a, uint64_t off, const uint8_t *buf, size_t len)
{
	struct agent_flight *f = flight(a, a->n_flights);
	uint8_t *bytes = a->packed[place(a, a->n_flights)];
	size_t packed = 0;

	if (a->deflate && want_deflate(a))
		packed = channel_deflate(buf, len, bytes, AGENT_FRAME_MAX);
	f->off = off;
	f->buf = buf;
	f->len = len;
	f->deflated = packed > 0;
	f->q = (struct agent_request){.op = packed ? 'Z' : 'P', .off = (uint32_t)off,
		.len = (uint32_t)len, .arg = (uint32_t)(packed ? packed : len),
		.payload = packed ? bytes : buf, .answer = a->answer,
		.answer_cap = AGENT_TEXT_MAX, .work_ms = channel_program_ms(&a->base, len)};
	return f;
}

static int result(
	struct agent *a, const struct agent_answer *got, struct error *err)
{
	return got->code ? channel_refused(&a->base, "programming", got->at, got->code, err)
			 : 0;
}

/* Who asked for it has died: whether flash has it already only flash can tell. */
static int look(struct agent *a, const struct agent_flight *f, struct error *err)
{
	_cleanup_free_ uint8_t *back = malloc(f->len);
	size_t blank = 0;
	int r;

	if (!back)
		return error_set(err, -ENOMEM, "out of memory");
	r = agent_read(&a->base, f->off, back, f->len, err);
	if (r < 0 || memcmp(back, f->buf, f->len) == 0)
		return r;
	while (blank < f->len && back[blank] == 0xFF)
		blank++;
	if (blank == f->len || a->base.geometry.no_erase)
		return -EAGAIN;
	a->base.refused = true;
	return error_set(err, -EIO, "%s: rom%u: the board stopped while it programmed at 0x%llx",
		repl_name(a->base.repl), a->base.geometry.number, (unsigned long long)f->off);
}

/* One frame alone: -EAGAIN where it was not done and less may be better. */
static int program_one(
	struct agent *a, uint64_t off, const uint8_t *buf, size_t len, struct error *err)
{
	struct agent_flight *f = prepare(a, off, buf, len);
	struct error said = {0};
	struct agent_answer got;
	int r;

	a->landed_ns = agent_now_ns();
	r = agent_request(a, &f->q, &got, &said);
	if (r == -ESTALE)
		return look(a, f, err);
	/* Inflating takes memory that plain bytes do not; flash was not touched yet. */
	if (r == -ENOMEM && f->deflated) {
		a->deflate = false;
		return -EAGAIN;
	}
	if (r < 0)
		return r == -EAGAIN ? r : error_set(err, r == -ENOMEM ? -EIO : r, "%s", said.text);
	measured(a, f);
	return result(a, &got, err);
}

static int program_alone(
	struct agent *a, uint64_t off, const uint8_t *buf, size_t len, struct error *err)
{
	unsigned failed = 0;

	while (len) {
		size_t n = MIN(len, a->frame);
		int r = program_one(a, off, buf, n, err);

		if (r == -EAGAIN && ++failed < AGENT_TRIES)
			continue;
		if (r < 0)
			return r == -EAGAIN ? agent_line_lost(a, -EBADMSG, err) : r;
		failed = 0;
		off += n;
		buf += n;
		len -= n;
	}
	return 0;
}

/* --- two frames in flight ------------------------------------------------------------- */

/* The agent looks away for a while, and then tells whether all bytes of a frame are there
 * that came meanwhile. */
static int try_two(struct agent *a, struct error *err)
{
	_cleanup_free_ uint8_t *bytes = malloc(a->frame_max);
	struct agent_request q = {.op = 'W', .len = LOOK_AWAY_MS, .payload = bytes,
		.arg = (uint32_t)a->frame_max, .work_ms = LOOK_AWAY_MS};
	struct agent_answer got;
	int r;

	if (!bytes)
		return error_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < a->frame_max; i++)
		bytes[i] = (uint8_t)(i * 7 + i / 256);
	r = agent_request(a, &q, &got, err);
	a->depth = r == 0 && got.code == 0 ? AGENT_TWO : AGENT_ONE;
	log_to(repl_log(a->base.repl), LOG_DEBUG, "%s: %s in flight", repl_name(a->base.repl),
		a->depth == AGENT_TWO ? "two frames" : "one frame");
	return r == -EAGAIN || r == -ESTALE ? 0 : r;
}

/* A program of which this is known: done with an answer, not done (-EAGAIN), or not known
 * (-ESTALE). */
struct lost {
	struct agent_flight f;
	struct agent_answer got;
	int state;
};

static int make_good(struct agent *a, struct lost *l, struct error *err)
{
	int r = l->state == -ESTALE ? look(a, &l->f, err) : l->state;

	if (r == 0 && l->state == 0)
		return result(a, &l->got, err);
	if (r == -EAGAIN)
		r = program_alone(a, l->f.off, l->f.buf, l->f.len, err);
	return r;
}

/* What was on its way when the line failed. All are asked for, oldest first, before any is
 * done again: the agent remembers the last few only. */
static int salvage(struct agent *a, int fault, struct error *err)
{
	struct lost lost[ARRAY_SIZE(a->flights)];
	unsigned n = a->n_flights;
	int r = 0;

	for (unsigned i = 0; i < n; i++)
		lost[i].f = *flight(a, i);
	a->n_flights = 0;
	if (n > 1 && ++a->crashes >= CRASHES_MAX)
		a->depth = AGENT_ONE;
	for (unsigned i = 0; i < n; i++) {
		if (r != -ESTALE)
			r = agent_after_fault(a, &lost[i].f.q, fault, &lost[i].got, err);
		if (r < 0 && r != -EAGAIN && r != -ESTALE)
			return r;
		lost[i].state = r;
	}
	r = 0;
	for (unsigned i = 0; i < n && r == 0; i++)
		r = make_good(a, &lost[i], err);
	return r;
}

static int launch(struct agent *a, uint64_t off, const uint8_t *buf, size_t len)
{
	struct agent_flight *f = prepare(a, off, buf, len);
	uint64_t busy = a->n_flights ? flight(a, 0)->q.work_ms : 0;

	a->n_flights++;
	return agent_send(a, &f->q, busy);
}

static int land(struct agent *a, struct error *err)
{
	struct agent_flight *f = flight(a, 0);
	struct agent_answer got;
	/* The one behind it comes over the line meanwhile. */
	uint64_t ms = agent_patience_ms(a, &f->q) * a->n_flights;
	int r = agent_receive(a, &f->q, &got, deadline_in(ms));

	if (r < 0)
		return salvage(a, r, err);
	a->first_flight = (a->first_flight + 1) % ARRAY_SIZE(a->flights);
	a->n_flights--;
	measured(a, f);
	r = agent_raised(a, &f->q, &got, err);
	return r < 0 ? r : result(a, &got, err);
}

static int program_two(
	struct agent *a, uint64_t off, const uint8_t *buf, size_t len, struct error *err)
{
	int r = 0;

	a->landed_ns = agent_now_ns();
	while (r == 0 && (len || a->n_flights)) {
		size_t n = MIN(len, a->frame);

		if (n == 0 || a->n_flights == (a->depth == AGENT_TWO ? 2 : 1)) {
			r = land(a, err);
			continue;
		}
		r = launch(a, off, buf, n);
		if (r < 0)
			r = salvage(a, r, err);
		off += n;
		buf += n;
		len -= n;
	}
	return r;
}

static int agent_program(
	struct dev_channel *c, uint64_t off, const void *buf, size_t len, struct error *err)
{
	struct agent *a = agent_of(c);
	const uint8_t *p = buf;
	int r = agent_start(a, err);

	a->n_flights = 0;
	while (len && r == 0) {
		bool two = a->depth == AGENT_TWO;
		size_t n = two ? len : MIN(len, MUCH);

		r = (two ? program_two : program_alone)(a, off, p, n, err);
		if (r == 0 && a->depth == AGENT_NOT_TRIED && a->programmed >= MUCH)
			r = try_two(a, err);
		off += n;
		p += n;
		len -= n;
	}
	return r;
}

/* --- the channel ---------------------------------------------------------------------- */

static const char *agent_identity(struct dev_channel *c)
{
	return agent_of(c)->identity;
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
	.hash_list = agent_hash_list,
	.erase = agent_erase,
	.program = agent_program,
	.leave = agent_leave,
	.quit = agent_quit,
	.identity = agent_identity,
	.free = agent_free,
};

int dev_channel_agent(struct repl *r, const struct dev_board_info *info,
	const struct board_caps *caps, unsigned silence_ms, struct dev_channel **out,
	struct error *err)
{
	_cleanup_(dev_channel_freep) struct dev_channel *result = NULL;
	struct agent *a;

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
	a->base.silence_ms = silence_ms ? silence_ms : AGENT_GONE_MS;
	a->answer = malloc(AGENT_READ_MAX);
	if (!a->answer)
		return error_set(err, -ENOMEM, "out of memory");
	*out = TAKE_PTR(result);
	return 0;
}
