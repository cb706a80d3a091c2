/* SPDX-License-Identifier: MIT */
#include "tests/unit/fake_board.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <zlib.h>

#include "util/bytes.h"
#include "util/sha256.h"

#define BANNER "raw REPL; CTRL-B to exit\r\n>"
#define WINDOW 32

const struct fake_rule fake_rp2[] = {
	{"P('platform'", "platform=rp2\r\nimpl=micropython\r\nmpy=774\r\nrelease=1.29.0\r\n"
			 "build=v1.29.0 on 2026-08-25\r\nmachine=Fake \x1b[31mwith RP2040\r\n",
		NULL},
	{"P('heap'", "uid=e66138935f6b8a2a\r\nheap=190000\r\n", NULL},
	{"M('deflate'", "hashlib=1\r\nbase64=1\r\ncrc32=1\r\nkbd=1\r\nbuffer=1\r\numount=1\r\n"
			"rom=1\r\nsegments=1\r\n", NULL},
	{"n=0\n", "block=1\r\ncount=16\r\nsize=4096\r\nbuffer=1\r\naddress=268959744\r\n", NULL},
	{NULL, NULL, NULL},
};

static void put(struct fake_board *b, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		struct pollfd f[2] = {{b->master, POLLOUT, 0}, {b->stop[0], POLLIN, 0}};
		ssize_t n;

		poll(f, 2, -1);
		if (f[1].revents)
			pthread_exit(NULL);
		n = write(b->master, p, len);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			pthread_exit(NULL);
		p += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
	}
}

static void say(struct fake_board *b, const char *text)
{
	put(b, text, strlen(text));
}

static uint32_t roll(struct fake_board *b)
{
	b->random = b->random * 1664525u + 1013904223u;
	return b->random >> 8;
}

/* One byte; -1 where none came within `ms` (-1: waits). */
static int get(struct fake_board *b, int ms)
{
	struct pollfd f[2] = {{b->master, POLLIN, 0}, {b->stop[0], POLLIN, 0}};
	uint8_t c;

	if (poll(f, 2, ms) == 0)
		return -1;
	if (f[1].revents || read(b->master, &c, 1) != 1)
		pthread_exit(NULL);
	return c;
}

/* --- the agent ---------------------------------------------------------------------- */

static int get_damaged(struct fake_board *b)
{
	int c = get(b, -1);

	if (b->o.damage == 0 || roll(b) % b->o.damage != 0)
		return c;
	return roll(b) % 2 ? get(b, -1) : c ^ 0x10;
}

static void put_damaged(struct fake_board *b, const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t twice[2] = {p[i], p[i]};

		if (b->o.damage == 0 || roll(b) % b->o.damage != 0)
			put(b, p + i, 1);
		else if (roll(b) % 2)
			put(b, twice, 2);
	}
}

static void answer(struct fake_board *b, const uint8_t *head, int32_t code, uint32_t at,
	const uint8_t *payload, uint32_t len)
{
	uint8_t out[24];

	if (b->o.noise)
		say(b, b->o.noise);
	if (b->o.lost_answer && ++b->answers == b->o.lost_answer)
		return;
	out[0] = 0xA5;
	memcpy(out + 1, head + 1, 3);
	bytes_put_le32(out + 4, (uint32_t)code);
	bytes_put_le32(out + 8, at);
	bytes_put_le32(out + 12, len);
	bytes_put_le32(out + 16, (uint32_t)crc32(0, out, 16));
	put_damaged(b, out, 20);
	if (len == 0)
		return;
	put_damaged(b, payload, len);
	bytes_put_le32(out, (uint32_t)crc32(0, payload, len));
	put_damaged(b, out, 4);
}

/* Without an end; whatever comes in is dropped. */
static void flood_answers(struct fake_board *b)
{
	uint8_t out[20 * 100] = {0xA5, '?'};

	bytes_put_le32(out + 16, (uint32_t)crc32(0, out, 16));
	for (size_t i = 20; i < sizeof(out); i += 20)
		memcpy(out + i, out, 20);
	for (;;) {
		put(b, out, sizeof(out));
		while (get(b, 0) >= 0)
			;
	}
}

static int32_t change(struct fake_board *b, char op, uint32_t off, uint32_t len,
	const uint8_t *payload)
{
	if (b->o.fail_frame && b->erases + b->programs + 1 == b->o.fail_frame)
		return -EIO;
	if (off > FAKE_FLASH || len > FAKE_FLASH - off)
		return -EINVAL;
	if (op == 'E') {
		memset(b->flash + off, 0xFF, len);
		b->erases++;
		return 0;
	}
	b->programs++;
	for (uint32_t i = 0; i < len; i++)
		b->flash[off + i] &= payload[i];
	for (uint32_t i = off / 256; i < (off + len + 255) / 256; i++)
		b->program_count[i]++;
	return 0;
}

static void hashes(struct fake_board *b, const uint8_t *head, uint32_t off, uint32_t len,
	uint32_t step)
{
	uint8_t out[4096];
	uint32_t n = 0;

	for (uint32_t i = 0; i < len && n + 32 <= sizeof(out); i += step, n += 32)
		sha256_of(b->flash + off + i, len - i < step ? len - i : step, out + n);
	answer(b, head, 0, 0, out, n);
}

static void hash_list(struct fake_board *b, const uint8_t *head, const uint8_t *list, uint32_t len)
{
	uint8_t out[4096];
	uint32_t n = 0;

	for (uint32_t i = 0; i < len && n + 32 <= sizeof(out); i += 8, n += 32)
		sha256_of(b->flash + bytes_get_le32(list + i), bytes_get_le32(list + i + 4),
			out + n);
	answer(b, head, 0, 0, out, n);
}

/* The last changes of flash. */
struct done {
	uint32_t seq, at;
	int32_t code;
};

static void work(struct fake_board *b, const uint8_t *head, const uint8_t *payload,
	struct done last[4])
{
	uint32_t off = bytes_get_le32(head + 4), len = bytes_get_le32(head + 8);
	uint32_t arg = bytes_get_le32(head + 12);
	struct done found = {.code = -1004};

	switch (head[1]) {
	case 'E':
	case 'P':
		memmove(last, last + 1, 3 * sizeof(*last));
		last[3].seq = bytes_get_le16(head + 2);
		last[3].at = off;
		last[3].code = change(b, (char)head[1], off, len, payload);
		answer(b, head, last[3].code, off, NULL, 0);
		return;
	case 'R':
		if (b->o.floods_answers)
			flood_answers(b);
		if (b->o.memory && len > b->o.memory / 2) {
			answer(b, head, -1003, 0, (const uint8_t *)"MemoryError()", 13);
			return;
		}
		answer(b, head, 0, 0, b->flash + off, len);
		return;
	case 'H':
		hashes(b, head, off, len, arg);
		return;
	case 'L':
		hash_list(b, head, payload, arg);
		return;
	case 'N':
		for (unsigned i = 0; i < 4; i++)
			if (last[i].seq == off)
				found = last[i];
		answer(b, head, found.code, found.at, NULL, 0);
		return;
	default:
		answer(b, head, 0, 0, NULL, 0);
	}
}

static void agent(struct fake_board *b, uint32_t size)
{
	const char *identity = b->o.identity ? b->o.identity : "a fake board";
	static uint8_t payload[16388];
	struct done last[4] = {{UINT32_MAX, 0, 0}, {UINT32_MAX, 0, 0}, {UINT32_MAX, 0, 0},
		{UINT32_MAX, 0, 0}};
	uint8_t head[20] = {0};
	uint32_t fill = 0;

	answer(b, head, 2, size, (const uint8_t *)identity,
		(uint32_t)strlen(identity));
	for (;;) {
		uint32_t arg;

		head[0] = (uint8_t)get_damaged(b);
		if (head[0] != 0xA5) {
			fill = head[0] == 0x03 ? fill + 1 : 0;
			if (fill > 31)
				return;
			continue;
		}
		fill = 0;
		for (unsigned i = 1; i < 20; i++)
			head[i] = (uint8_t)get_damaged(b);
		if (crc32(0, head, 16) != bytes_get_le32(head + 16)) {
			answer(b, head, -1001, 0, NULL, 0);
			continue;
		}
		arg = bytes_get_le32(head + 12);
		if (strchr("PLW", head[1])) {
			for (unsigned i = 0; i < arg + 4; i++)
				payload[i] = (uint8_t)get_damaged(b);
			if (crc32(0, payload, arg) != bytes_get_le32(payload + arg)) {
				answer(b, head, -1002, 0, NULL, 0);
				continue;
			}
		}
		work(b, head, payload, last);
		if (head[1] == 'Q')
			return;
	}
}

/* --- the REPL ----------------------------------------------------------------------- */

/* The inside of X('CODE',SUM); false where the sum is wrong, or a byte no ASCII. */
static bool unwrap(char *out, size_t cap, const char *code)
{
	size_t n = 0;
	uint32_t sum = 0;

	for (code += 3; *code && *code != '\'' && n + 1 < cap; code++) {
		if (*code == '\\')
			out[n++] = *++code == 'n' ? '\n' : *code;
		else
			out[n++] = *code;
	}
	out[n] = '\0';
	for (size_t i = 0; i < n; i++) {
		if (out[i] & 0x80)
			return false;
		sum = (sum * 31 + (unsigned char)out[i]) % 16777213;
	}
	return *code == '\'' && code[1] == ',' && strtoul(code + 2, NULL, 10) == sum;
}

/* What libdev's P() sums up. */
static void say_sum(struct fake_board *b, const char *lines)
{
	char out[32];
	uint32_t sum = 0;

	for (const char *p = lines; *p; p++)
		if (*p != '\r' && *p != '\n')
			sum = (sum * 31 + (unsigned char)*p) % 16777213;
	snprintf(out, sizeof(out), "sum=%u\r\n", sum);
	say(b, out);
}

/* Takes a program in, whose end says how the agent is to be started. */
static void bootstrap(struct fake_board *b, const char *code)
{
	static char program[8192];
	size_t len = strtoul(strstr(code, "read(") + 5, NULL, 10);
	unsigned long sum = strtoul(strstr(code, "!=") + 2, NULL, 10);
	const char *size;

	say(b, "go\r\n");
	for (size_t i = 0; i < len; i++)
		program[i % (sizeof(program) - 1)] = (char)get(b, -1);
	program[len % sizeof(program)] = '\0';
	if (crc32(0, (uint8_t *)program, (uInt)len) != sum) {
		say(b, "\x04Traceback:\r\nValueError: line\r\n\x04>");
		return;
	}
	size = strstr(program, "\nA=");
	if (size && b->o.memory && strtoul(size + 3, NULL, 10) > b->o.memory) {
		say(b, "\x04Traceback:\r\nMemoryError: memory allocation failed\r\n\x04>");
		return;
	}
	if (size)
		agent(b, (uint32_t)strtoul(size + 3, NULL, 10));
	say(b, "\x04\x04>");
}

static void execute(struct fake_board *b, const char *code)
{
	static char inside[65536];

	unsigned x, y;
	char out[64];

	b->statements++;
	if (b->o.state == FAKE_FORGER) {
		say(b, "OK\x04\x04OK\x04>\x04\x04>");
		return;
	}
	if (strncmp(code, "X('print(8)'", 12) == 0) {
		say(b, "8\r\n9\r\n\x04\x04>");
		return;
	}
	if (strncmp(code, "X('", 3) == 0) {
		if (!unwrap(inside, sizeof(inside), code)) {
			say(b, "\x04Traceback:\r\nValueError: line\r\n\x04>");
			return;
		}
		code = inside;
	}
	if (sscanf(code, "print('x=',%u*%u)", &x, &y) == 2) {
		snprintf(out, sizeof(out), "x= %u\r\n\x04\x04>", x * y);
		say(b, out);
		return;
	}
	if (strstr(code, "stdin.buffer.read(")) {
		bootstrap(b, code);
		return;
	}
	for (const struct fake_rule *r = b->o.rules; r && r->part; r++) {
		if (!strstr(code, r->part))
			continue;
		say(b, r->out ? r->out : "");
		if (strstr(code, "print('sum=%d'%T)"))
			say_sum(b, r->out ? r->out : "");
		say(b, "\x04");
		say(b, r->exception ? r->exception : "");
		say(b, "\x04>");
		return;
	}
	if (strstr(code, "print('sum=%d'%T)"))
		say_sum(b, "");
	say(b, "\x04\x04>");
}

static void raw_paste(struct fake_board *b, bool handshake)
{
	static char code[65536];
	size_t n = 0, granted = 2 * WINDOW, left = WINDOW;
	int waiting;

	if (handshake)
		put(b, "R\x01\x20\x00\x01", 5);
	for (;;) {
		int c = get(b, -1);

		if (c == 0x03) {
			say(b, "\x04\x04KeyboardInterrupt: \r\n\x04>");
			return;
		}
		if (c == 0x04)
			break;
		/* What is here already, the closing 0x04 aside, must have been granted. */
		if (ioctl(b->master, FIONREAD, &waiting) == 0 &&
			n + (size_t)waiting > granted)
			b->overruns++;
		if (n + 1 < sizeof(code))
			code[n++] = (char)c;
		if (b->o.gives_up && n >= b->o.gives_up) {
			say(b, "\x04");
			while ((c = get(b, -1)) != 0x03 && c != 0x04)
				;
			say(b, "\x04Traceback (most recent call last):\r\n"
			       "  File \"<stdin>\", line 1\r\nMemoryError: full\r\n\x04>");
			return;
		}
		if (--left == 0) {
			say(b, "\x01");
			granted += WINDOW;
			left = WINDOW;
		}
	}
	code[n] = '\0';
	say(b, "\x04");
	execute(b, code);
}

static void soft_reset(struct fake_board *b)
{
	b->soft_resets++;
	say(b, "\r\nMPY: soft reboot\r\n");
	b->state = b->state == FAKE_RAW ? FAKE_RAW : FAKE_FRIENDLY;
	say(b, b->state == FAKE_RAW ? BANNER : "MicroPython v1.29.0\r\n>>> ");
}

static void raw(struct fake_board *b)
{
	static char line[65536];
	static size_t n;
	int c = get(b, -1);

	switch (c) {
	case 0x01:
		if (n == 2 && line[0] == 0x05 && line[1] == 'A' && b->o.raw_paste != 2) {
			if (b->o.raw_paste == 0)
				raw_paste(b, true);
			else
				put(b, "R\x00>", 3);
		} else {
			say(b, BANNER);
		}
		n = 0;
		return;
	case 0x02:
		b->state = FAKE_FRIENDLY;
		say(b, "\r\nMicroPython v1.29.0\r\n>>> ");
		n = 0;
		return;
	case 0x03:
		n = 0;
		return;
	case 0x04:
		say(b, "OK");
		line[n] = '\0';
		if (n == 0)
			soft_reset(b);
		else
			execute(b, line);
		n = 0;
		return;
	default:
		if (n + 1 < sizeof(line))
			line[n++] = (char)c;
	}
}

static void friendly(struct fake_board *b)
{
	switch (get(b, -1)) {
	case 0x01:
		b->state = FAKE_RAW;
		say(b, "\r\n" BANNER);
		return;
	case 0x02:
		say(b, "\r\nMicroPython v1.29.0\r\n>>> ");
		return;
	case 0x03:
		say(b, "\r\n>>> ");
		return;
	case 0x04:
		soft_reset(b);
		return;
	default:
		return;
	}
}

static void program(struct fake_board *b)
{
	int c = get(b, b->o.prints ? 1 : -1);

	if (c < 0)
		say(b, "temperature 21.5 \x04 OK\r\n");
	if (c != 0x03)
		return;
	if (b->interrupts++ < b->o.ignored_ctrl_c) {
		say(b, "KeyboardInterrupt? no\r\n");
		return;
	}
	b->state = FAKE_FRIENDLY;
	say(b, "Traceback\r\nKeyboardInterrupt: \r\n>>> ");
}

static void step(struct fake_board *b)
{
	int c;

	switch (b->state) {
	case FAKE_FRIENDLY:
		return friendly(b);
	case FAKE_RAW:
	case FAKE_FORGER:
		return raw(b);
	case FAKE_PROGRAM:
		return program(b);
	case FAKE_PASTE:
		if (get(b, -1) == 0x03) {
			b->state = FAKE_FRIENDLY;
			say(b, "\r\n>>> ");
		}
		return;
	case FAKE_RAW_PASTE:
		raw_paste(b, false);
		b->state = FAKE_RAW;
		return;
	case FAKE_BLOCKED:
		for (unsigned i = 0; i < b->o.blocked; i++)
			get(b, -1);
		b->state = FAKE_AGENT;
		return;
	case FAKE_AGENT:
		agent(b, 4096);
		say(b, "\x04\x04>");
		b->state = FAKE_RAW;
		return;
	case FAKE_SILENT:
		get(b, -1);
		return;
	case FAKE_FLOOD:
		say(b, "all work and no play makes a dull board\r\n");
		while (get(b, 0) >= 0)
			;
		return;
	case FAKE_MODEM:
		c = get(b, -1);
		put(b, &(char){(char)c}, 1);
		say(b, "\r\nERROR\r\n");
		return;
	case FAKE_HALF:
		get(b, -1);
		say(b, "raw REPL; CTRL-B to ex");
		return;
	}
}

static void *run(void *data)
{
	struct fake_board *b = data;

	for (;;)
		step(b);
	return NULL;
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

void fake_start(struct fake_board *b, const struct fake_options *o)
{
	struct termios t;

	memset(b, 0, sizeof(*b));
	memset(b->flash, 0x55, sizeof(b->flash));
	b->o = *o;
	b->state = o->state;
	b->random = o->seed;
	must(openpty(&b->master, &b->slave, b->port, NULL, NULL) == 0);
	tcgetattr(b->slave, &t);
	cfmakeraw(&t);
	tcsetattr(b->slave, TCSANOW, &t);
	fcntl(b->master, F_SETFL, O_NONBLOCK);
	must(pipe(b->stop) == 0);
	must(pthread_create(&b->thread, NULL, run, b) == 0);
}

static void join(struct fake_board *b)
{
	if (write(b->stop[1], "", 1) == 1)
		pthread_join(b->thread, NULL);
	close(b->stop[0]);
	close(b->stop[1]);
}

void fake_stop(struct fake_board *b)
{
	join(b);
	close(b->master);
	close(b->slave);
}

void fake_unplug(struct fake_board *b)
{
	fake_stop(b);
}
