/* SPDX-License-Identifier: MIT */
/* Bytes as text in statements: base64 where the board has binascii, deflated before where
 * it has that too, else literals and hex digits. Serial lines lose bytes without a word, so
 * data goes with its length and a sum, both ways, and so do offsets: a statement that lost a
 * digit must not erase another block. */
#include <assert.h>
#include <errno.h>
#include <nettle/base64.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "libdev/channel.h"

#define STEP_MAX 4096u
#define HASHES_MAX 32u		 /* per statement */
#define HASH_SPAN_MAX (1u << 20) /* bytes hashed by one statement */
/* Heap that one step needs, in multiples of it: the literal while it is lexed and grown,
 * the object that comes of it, and the bytes. */
#define HEAP_SHARE 12u
/* DeflateIO needs its window of 4 KiB, beside what the step needs. */
#define DEFLATE_HEAP_MIN (48u << 10)
#define CODE_TAIL 64u /* length and sum, behind the data */

struct statements {
	struct dev_channel base;
	bool deflate;
	char *code; /* the statement that programs a step */
	size_t code_cap;
	uint8_t *packed;
	size_t packed_cap;
	char *reply;
	size_t reply_cap;
	size_t step; /* of reads and programs */
};

static struct statements *statements_of(struct dev_channel *c)
{
	return container_of(c, struct statements, base);
}

/* C sums bytes; v checks a range; k decodes and checks data; w prints bytes and their sum. */
static const char checks[] =
	"def v(o,n,s):\n"
	" if o*3^n!=s:raise ValueError('line')\n"
	" return o,n\n"
	"def k(o,f,b,n,s):\n"
	" try:b=f(b)\n"
	" except MemoryError:raise\n"
	" except Exception:raise ValueError('line')\n"
	" if len(b)!=n or C(b)^o!=s:raise ValueError('line')\n"
	" return o,b\n";
static const char sum_crc32[] = "from binascii import crc32 as C\n";
/* Fits the small integers of firmware that has no others. */
static const char sum_plain[] =
	"def C(b):\n"
	" s=1;t=0\n"
	" for x in b:s=(s+x)%65521;t=(t+s)%65521\n"
	" return s^t<<13\n";
static const char encode_base64[] =
	"from binascii import a2b_base64 as u,b2a_base64 as t\n"
	"def w(b):print(str(t(b)[:-1],'ascii'),C(b))\n";
static const char encode_hex[] =
	"def w(b):print(''.join('%02x'%x for x in b),C(b))\n";
static const char decode_deflate[] =
	"from io import BytesIO\n"
	"from deflate import DeflateIO\n"
	"def z(s):return DeflateIO(BytesIO(u(s)),1,12).read()\n";

static int send_codecs(struct statements *s, struct error *err)
{
	const char *const codes[] = {
		s->base.caps->crc32 ? sum_crc32 : sum_plain,
		s->base.caps->base64 ? encode_base64 : encode_hex,
		checks,
		s->deflate ? decode_deflate : NULL,
	};
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(codes) && r == 0; i++)
		if (codes[i])
			r = channel_define(&s->base, codes[i], err);
	return r;
}

static int make_buffers(struct statements *s, struct error *err)
{
	size_t step = s->step;

	free(s->code);
	free(s->packed);
	free(s->reply);
	/* "\xNN" is the longest form of a byte. */
	s->code_cap = 4 * step + 256 + CODE_TAIL;
	s->packed_cap = step + 64;
	s->reply_cap = MAX(4 * step, HASHES_MAX * 96u) + 256;
	s->code = malloc(s->code_cap);
	s->packed = malloc(s->packed_cap);
	s->reply = malloc(s->reply_cap);
	if (!s->code || !s->packed || !s->reply)
		return error_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int statements_select(struct dev_channel *c, const struct dev_geometry *g,
	bool buffer, struct error *err)
{
	struct statements *s = statements_of(c);
	int r;

	c->geometry = *g;
	s->step = channel_step(c, HEAP_SHARE, STEP_MAX);
	if (s->step == 0)
		return error_set(err, -ENOMEM,
			"%s: rom%u: the board has %llu bytes of free memory, too few to write "
			"units of %u", repl_name(c->repl), g->number,
			(unsigned long long)c->info->heap_free, g->write_unit);
	r = make_buffers(s, err);
	if (r == 0)
		r = channel_send_helpers(c, buffer, err);
	if (r == 0)
		r = send_codecs(s, err);
	return r;
}

static uint32_t sum(const struct statements *s, const uint8_t *buf, size_t len)
{
	uint32_t a = 1, b = 0;

	if (s->base.caps->crc32)
		return (uint32_t)crc32(0, buf, (uInt)len);
	for (size_t i = 0; i < len; i++) {
		a = (a + buf[i]) % 65521;
		b = (b + a) % 65521;
	}
	return a ^ b << 13;
}

/* The check that v() makes of a range. */
static unsigned long long range_sum(uint64_t off, uint64_t len)
{
	return off * 3 ^ len;
}

/* --- results ------------------------------------------------------------------- */

static int garbled(struct statements *s, const char *what, struct error *err)
{
	return error_set(err, -EIO, "%s: rom%u: the board's answer to %s is garbled",
		repl_name(s->base.repl), s->base.geometry.number, what);
}

/* "error offset" on one line. */
static int result(struct statements *s, struct repl_reply *reply, const char *doing,
	uint64_t off, struct error *err)
{
	int64_t code, at = (int64_t)off;
	char *p = reply->out, *space;

	p[strcspn(p, "\r\n")] = '\0';
	space = strchr(p, ' ');
	if (space) {
		*space = '\0';
		if (learn_number(space + 1, &at) < 0 || at < 0)
			return garbled(s, doing, err);
	}
	if (learn_number(p, &code) < 0)
		return garbled(s, doing, err);
	return code == 0 ? 0 : channel_refused(&s->base, doing, (uint64_t)at, code, err);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode_hex(const char *p, size_t n, uint8_t *out, size_t len)
{
	if (n != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int hi = hex_digit(p[2 * i]), lo = hex_digit(p[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return false;
		out[i] = (uint8_t)(hi << 4 | lo);
	}
	return true;
}

static bool decode_base64(
	struct statements *s, const char *p, size_t n, uint8_t *out, size_t len)
{
	struct base64_decode_ctx ctx;
	size_t got = s->packed_cap;

	if (BASE64_DECODE_LENGTH(n) > s->packed_cap)
		return false;
	base64_decode_init(&ctx);
	if (!base64_decode_update(&ctx, &got, s->packed, n, p) ||
		!base64_decode_final(&ctx) || got != len)
		return false;
	memcpy(out, s->packed, len);
	return true;
}

/* Exactly `len` bytes from one line, "BYTES SUM", whose end becomes a NUL; *p moves on. */
static bool decode(struct statements *s, char **p, uint8_t *out, size_t len)
{
	char *line = *p, *end = line + strcspn(line, "\r\n"), *space;
	int64_t check;
	size_t n;

	*p = end + strspn(end, "\r\n");
	*end = '\0';
	space = strchr(line, ' ');
	if (!space || learn_number(space + 1, &check) < 0)
		return false;
	n = (size_t)(space - line);
	if (!(s->base.caps->base64 ? decode_base64(s, line, n, out, len)
				   : decode_hex(line, n, out, len)))
		return false;
	return check == sum(s, out, len);
}

/* A statement that was too much for the board's memory: half of it may not be. Nothing of it
 * has run where it was the text that was too long. */
static bool take_less(struct statements *s, const struct repl_reply *reply)
{
	size_t half = s->step / 2;

	if (!strstr(reply->exception, "MemoryError") || half < s->base.geometry.write_unit ||
		half % s->base.geometry.write_unit != 0)
		return false;
	s->step = half;
	return true;
}

/* --- operations ---------------------------------------------------------------- */

#define READ_TRIES 4u

/* 1: it was too much. */
static int read_step(struct statements *s, uint64_t off, uint8_t *out, size_t len,
	struct error *err)
{
	for (unsigned i = 0; i < READ_TRIES; i++) {
		struct repl_reply reply = {.out = s->reply, .cap = s->reply_cap};
		struct error said = {0};
		char *p = s->reply;
		int r;

		snprintf(s->code, s->code_cap, "w(g(*v(%llu,%zu,%llu)))",
			(unsigned long long)off, len, range_sum(off, len));
		r = channel_run(&s->base, s->code, channel_hash_ms(len), &reply, &said);
		if (r < 0 && take_less(s, &reply))
			return 1;
		if (r < 0)
			return error_set(err, r, "%s", said.text);
		if (decode(s, &p, out, len))
			return 0;
	}
	return garbled(s, "reading", err);
}

static int statements_read(
	struct dev_channel *c, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct statements *s = statements_of(c);
	uint8_t *p = buf;
	int r = 0;

	while (len && r >= 0) {
		size_t n = MIN(len, s->step);

		r = read_step(s, off, p, n, err);
		if (r != 0)
			continue;
		off += n;
		p += n;
		len -= n;
	}
	return r;
}

static int hash_here(struct statements *s, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	while (len) {
		struct sha256_ctx ctx;
		uint64_t left = MIN(len, step);

		sha256_init(&ctx);
		len -= left;
		while (left) {
			uint8_t piece[STEP_MAX];
			size_t n = (size_t)MIN(left, sizeof(piece));
			int r = statements_read(&s->base, off, piece, n, err);

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

static bool decode_hashes(struct statements *s, uint64_t n, uint8_t (*out)[SHA256_SIZE])
{
	char *p = s->reply;

	for (uint64_t i = 0; i < n; i++)
		if (!decode(s, &p, out[i], SHA256_SIZE))
			return false;
	return true;
}

static int hash_batch(struct statements *s, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	for (unsigned i = 0; i < READ_TRIES; i++) {
		struct repl_reply reply = {.out = s->reply, .cap = s->reply_cap};
		int r;

		snprintf(s->code, s->code_cap,
			"o,n=v(%llu,%llu,%llu)\n_,q=v(0,%llu,%llu)\n"
			"while n>0:\n x=min(n,q)\n w(h(o,x))\n o+=x\n n-=x\n",
			(unsigned long long)off, (unsigned long long)len, range_sum(off, len),
			(unsigned long long)step, range_sum(0, step));
		r = channel_run(&s->base, s->code, channel_hash_ms(len), &reply, err);
		if (r < 0)
			return r;
		if (decode_hashes(s, (len + step - 1) / step, out))
			return 0;
	}
	return garbled(s, "hashing", err);
}

static int statements_hash(struct dev_channel *c, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	struct statements *s = statements_of(c);

	if (!c->info->has_hashlib)
		return hash_here(s, off, len, step, out, err);
	while (len) {
		uint64_t count = MAX(1u, MIN(HASHES_MAX, HASH_SPAN_MAX / step));
		uint64_t n = MIN(len, count * step);
		int r = hash_batch(s, off, n, step, out, err);

		if (r < 0)
			return r;
		out += (n + step - 1) / step;
		off += n;
		len -= n;
	}
	return 0;
}

static int statements_erase(
	struct dev_channel *c, uint64_t off, uint64_t len, struct error *err)
{
	struct statements *s = statements_of(c);
	uint64_t block = c->geometry.erase_block;
	/* A prefix is erased by one call, from 0: it cannot be taken in steps. */
	uint64_t batch = c->geometry.prefix_erase ? len : channel_erase_batch(c) * block;

	while (len) {
		struct repl_reply reply = {.out = s->reply, .cap = s->reply_cap};
		uint64_t n = MIN(len, batch);
		uint64_t ms = (n + block - 1) / block * c->geometry.erase_ms_max;
		int r;

		snprintf(s->code, s->code_cap, "print(*e(*v(%llu,%llu,%llu)))",
			(unsigned long long)off, (unsigned long long)n, range_sum(off, n));
		r = channel_run(c, s->code, ms, &reply, err);
		if (r == 0)
			r = result(s, &reply, "erasing", off, err);
		if (r < 0)
			return r;
		off += n;
		len -= n;
	}
	return 0;
}

/* b'...' of bytes, everything but plain characters escaped: no control byte may stand in a
 * statement. */
static size_t literal(char *out, const uint8_t *buf, size_t len)
{
	char *p = out;

	*p++ = 'b';
	*p++ = '\'';
	for (size_t i = 0; i < len; i++) {
		static const char hex[] = "0123456789abcdef";

		if (buf[i] >= 0x20 && buf[i] < 0x7f && buf[i] != '\'' && buf[i] != '\\') {
			*p++ = (char)buf[i];
			continue;
		}
		*p++ = '\\';
		*p++ = 'x';
		*p++ = hex[buf[i] >> 4];
		*p++ = hex[buf[i] & 15];
	}
	*p++ = '\'';
	return (size_t)(p - out);
}

/* p(off,DATA), checked, where DATA gives the bytes on the board. */
static void program_code(struct statements *s, uint64_t off, const uint8_t *buf, size_t len)
{
	size_t packed = s->deflate ? channel_deflate(buf, len, s->packed, s->packed_cap)
				   : 0;
	const uint8_t *bytes = packed ? s->packed : buf;
	size_t n = packed ? packed : len;
	char *p = s->code;

	p += snprintf(p, s->code_cap, "print(*p(*k(%llu,", (unsigned long long)off);
	if (s->base.caps->base64) {
		*p++ = packed ? 'z' : 'u';
		*p++ = ',';
		*p++ = 'b'; /* Python versions of binascii want bytes */
		*p++ = '\'';
		base64_encode_raw(p, n, bytes);
		p += BASE64_ENCODE_RAW_LENGTH(n);
		*p++ = '\'';
	} else {
		memcpy(p, "bytes,", 6);
		p += 6;
		p += literal(p, bytes, n);
	}
	assert((size_t)(p - s->code) + CODE_TAIL <= s->code_cap);
	snprintf(p, CODE_TAIL, ",%zu,%llu)))", len,
		(unsigned long long)(sum(s, buf, len) ^ off));
}

static int statements_program(
	struct dev_channel *c, uint64_t off, const void *buf, size_t len, struct error *err)
{
	struct statements *s = statements_of(c);
	const uint8_t *p = buf;

	while (len) {
		struct repl_reply reply = {.out = s->reply, .cap = s->reply_cap};
		struct error said = {0};
		size_t n = MIN(len, s->step);
		int r;

		program_code(s, off, p, n);
		r = channel_run(c, s->code, channel_program_ms(c, n), &reply, &said);
		if (r < 0 && take_less(s, &reply))
			continue;
		if (r < 0)
			return error_set(err, r, "%s", said.text);
		if (r == 0)
			r = result(s, &reply, "programming", off, err);
		if (r < 0)
			return r;
		off += n;
		p += n;
		len -= n;
	}
	return 0;
}

static int statements_leave(struct dev_channel *c, struct error *err)
{
	return 0; /* each statement ends at the prompt */
}

static void statements_free(struct dev_channel *c)
{
	struct statements *s = statements_of(c);

	free(s->code);
	free(s->packed);
	free(s->reply);
	free(s);
}

static const struct dev_channel_ops statements_ops = {
	.select = statements_select,
	.read = statements_read,
	.hash = statements_hash,
	.erase = statements_erase,
	.program = statements_program,
	.leave = statements_leave,
	.free = statements_free,
};

int dev_channel_statements(struct repl *r, const struct dev_board_info *info,
	const struct board_caps *caps, struct dev_channel **out, struct error *err)
{
	struct statements *s = calloc(1, sizeof(*s));

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	s->base.ops = &statements_ops;
	s->base.repl = r;
	s->base.info = info;
	s->base.caps = caps;
	s->deflate = info->has_deflate && caps->base64 && info->heap_free >= DEFLATE_HEAP_MIN;
	*out = &s->base;
	return 0;
}
