/* SPDX-License-Identifier: MIT */
#include "libdev/learn.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/random.h>

#include "libdev/checked.h"
#include "util/text.h"

/* P prints what a function gives as key=value, and sums it up; a function that raises prints
 * nothing. */
static const char ask_who[] =
	"import sys\n"
	"def P(k,f):\n"
	" global T\n"
	" try:s='%s=%s'%(k,f())\n"
	" except Exception:return\n"
	" print(s)\n"
	" for c in bytes(s,'utf8'):T=(T*31+c)%16777213\n"
	"P('platform',lambda:sys.platform)\n"
	"P('impl',lambda:sys.implementation[0])\n"
	"P('mpy',lambda:sys.implementation._mpy)\n"
	"P('version',lambda:sys.version)\n"
	"def U(i):\n"
	" import os\n"
	" return os.uname()[i]\n"
	"P('release',lambda:U(2))\n"
	"P('build',lambda:U(3))\n"
	"P('machine',lambda:U(4))\n";

static const char ask_heap[] =
	"def U():\n"
	" import machine\n"
	" return ''.join('%02x'%b for b in machine.unique_id())\n"
	"P('uid',U)\n"
	"def U():\n"
	" import gc\n"
	" gc.collect()\n"
	" return gc.mem_free()\n"
	"P('heap',U)\n";

static const char ask_modules[] =
	"def M(k,m,*a):\n"
	" def f():\n"
	"  o=__import__(m)\n"
	"  return int(all(hasattr(o,x)for x in a))\n"
	" P(k,f)\n"
	"M('deflate','deflate','DeflateIO')\n"
	"M('hashlib','hashlib','sha256')\n"
	"M('base64','binascii','a2b_base64','b2a_base64')\n"
	"P('crc32',lambda:int(__import__('binascii').crc32(b'123456789')&255==38))\n"
	"M('kbd','micropython','kbd_intr')\n"
	"P('buffer',lambda:int(hasattr(sys.stdin,'buffer')and hasattr(sys.stdout,'buffer')))\n"
	"M('umount','vfs','umount')\n"
	"M('rom','vfs','rom_ioctl')\n"
	"P('segments',lambda:__import__('vfs').rom_ioctl(1))\n";

static const char ask_segment[] =
	"import vfs\n"
	"n=%u\n"
	"d=vfs.rom_ioctl(2,n)\n"
	"b=hasattr(d,'ioctl')\n"
	"i=isinstance(d,int)\n"
	"def A():\n"
	" import uctypes\n"
	" return uctypes.addressof(d)\n"
	"if i:P('absent',lambda:d)\n"
	"else:\n"
	" P('block',lambda:int(b))\n"
	" if b:\n"
	"  P('count',lambda:d.ioctl(4,0))\n"
	"  P('size',lambda:d.ioctl(5,0))\n"
	" P('length',lambda:len(d))\n"
	" P('buffer',lambda:int(len(memoryview(d)[:1])==1))\n"
	" P('address',A)\n"
	" if not b:P('prepare',lambda:vfs.rom_ioctl(6,n))\n";

/* Only where the quirk table allows it; both erase nothing (see quirks.h). */
static const char ask_probe[] =
	"P('empty',lambda:vfs.rom_ioctl(3,n,0))\n"
	"P('range',lambda:vfs.rom_ioctl(3,n,0,1<<29))\n";

/* Lines of key=value, changed in place: '=' and the ends of lines become NULs. */
struct answers {
	char *text;
	size_t len;
};

static const char *find(const struct answers *a, const char *key)
{
	size_t i = 0;

	while (i < a->len) {
		const char *line = a->text + i;
		size_t klen = strlen(line);

		i += klen + 1;
		if (i >= a->len)
			break;
		if (strcmp(line, key) == 0)
			return a->text + i;
		i += strlen(a->text + i) + 1;
	}
	return NULL;
}

/* Drops lines that are no key=value: something else printed them. False where the sum at
 * the end is not that of the lines before. */
static bool split(struct answers *a, const char *text)
{
	size_t len = 0;
	uint32_t sum = 0;
	int64_t told;

	while (*text) {
		size_t n = strcspn(text, "\r\n");
		const char *next = text + n + strspn(text + n, "\r\n");
		const char *eq = memchr(text, '=', n);

		if (n > 4 && strncmp(text, "sum=", 4) == 0) {
			char digits[16];

			snprintf(digits, sizeof(digits), "%.*s", (int)MIN(n - 4, 15u),
				text + 4);
			a->len = len;
			return learn_number(digits, &told) == 0 && told == sum;
		}
		if (eq) {
			sum = checked_sum(sum, text, n);
			memmove(a->text + len, text, n);
			a->text[len + (size_t)(eq - text)] = '\0';
			a->text[len + n] = '\0';
			len += n + 1;
		}
		text = next;
	}
	return false;
}

int learn_number(const char *text, int64_t *out)
{
	bool minus = *text == '-';
	uint64_t v = 0;

	text += minus;
	if (!*text)
		return -EPROTO;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || v > (uint64_t)INT64_MAX / 10 - 1)
			return -EPROTO;
		v = v * 10 + (uint64_t)(*text - '0');
	}
	*out = minus ? -(int64_t)v : (int64_t)v;
	return 0;
}

/* The number behind a key; `missing` where the board has none. Words are -EPROTO. */
static int number(struct repl *r, const struct answers *a, const char *key, int64_t missing,
	int64_t *out, struct error *err)
{
	const char *text = find(a, key);
	char shown[40];

	if (!text || strcmp(text, "None") == 0) {
		*out = missing;
		return 0;
	}
	if (learn_number(text, out) == 0)
		return 0;
	snprintf(shown, sizeof(shown), "%.32s", text);
	return error_set(err, -EPROTO, "%s: the board says \"%s\" where its %s is due",
		repl_name(r), shown, key);
}

static void text(const struct answers *a, const char *key, char *out, size_t cap)
{
	const char *v = find(a, key);

	snprintf(out, cap, "%s", v ? v : "");
	text_make_printable(out);
}

static bool yes(const struct answers *a, const char *key)
{
	const char *v = find(a, key);

	return v && strcmp(v, "1") == 0;
}

#define ASK_TRIES 4u

/* The state of asking: answers point into `buf`. */
struct asker {
	struct repl *r;
	const struct board_caps *caps;
	deadline_t deadline;
	char buf[4096];
};

/* Nothing on the line tells that bytes were lost: both ways go with a sum, and a question
 * is asked again where one is wrong. */
static int ask(struct asker *k, const char *question, struct answers *a, struct error *err)
{
	char code[1024];
	struct repl_reply reply = {.out = k->buf, .cap = sizeof(k->buf)};
	int n = snprintf(code, sizeof(code), "T=0\n%sprint('sum=%%d'%%T)\n", question);

	assert(n > 0 && (size_t)n < sizeof(code));
	for (unsigned i = 0; i < ASK_TRIES; i++) {
		int e = checked_exec(k->r, k->caps->checked, code,
			(uint64_t)deadline_left(k->deadline), &reply, err);

		if (e < 0)
			return e;
		if (e > 0)
			return error_set(err, -EPROTO,
				"%s: the board failed to describe itself: %s",
				repl_name(k->r), reply.exception);
		a->text = k->buf;
		if (strlen(k->buf) == reply.len && split(a, k->buf))
			return 0;
		if (deadline_left(k->deadline) == 0)
			break;
	}
	return error_set(err, -EPROTO, "%s: what the board tells about itself arrives damaged",
		repl_name(k->r));
}

/* Anything can print a prompt. Only an interpreter multiplies. */
static int prove(struct repl *r, deadline_t deadline, struct error *err)
{
	char code[64], want[32], buf[256], *got;
	struct repl_reply reply = {.out = buf, .cap = sizeof(buf)};
	uint16_t n[2] = {4711, 815};
	int e;

	if (getrandom(n, sizeof(n), GRND_NONBLOCK) < 0)
		n[0] = (uint16_t)clock_ms();
	snprintf(code, sizeof(code), "print('x=',%u*%u)", n[0], n[1]);
	snprintf(want, sizeof(want), "x= %u", (unsigned)n[0] * n[1]);
	for (unsigned i = 0; i < ASK_TRIES; i++) {
		e = repl_exec(r, code, strlen(code), deadline, &reply, err);
		if (e < 0)
			return e;
		got = strstr(buf, "x=");
		if (e == 0 && got && strncmp(got, want, strlen(want)) == 0 &&
			strspn(got + strlen(want), "\r\n") > 0)
			return 0;
	}
	return error_set(err, -EPROTO, "%s: something shows a raw REPL's prompt, but does not "
		"run Python; is it a MicroPython board?", repl_name(r));
}

static int learn_who(struct asker *k, struct dev_board_info *info, struct error *err)
{
	struct answers a;
	char release[48], build[80];
	int64_t mpy;
	int e = ask(k, ask_who, &a, err);

	if (e < 0)
		return e;
	e = number(k->r, &a, "mpy", 0, &mpy, err);
	if (e < 0)
		return e;
	text(&a, "platform", info->platform, sizeof(info->platform));
	text(&a, "impl", info->implementation, sizeof(info->implementation));
	text(&a, "machine", info->machine, sizeof(info->machine));
	text(&a, "release", release, sizeof(release));
	text(&a, "build", build, sizeof(build));
	if (release[0])
		snprintf(info->firmware, sizeof(info->firmware), "%s%s%s", release,
			build[0] ? " " : "", build);
	else
		text(&a, "version", info->firmware, sizeof(info->firmware));
	info->mpy = mpy >= 0 && mpy <= UINT32_MAX ? (uint32_t)mpy : 0;
	return 0;
}

static int learn_heap(struct asker *k, struct dev_board_info *info, struct error *err)
{
	struct answers a;
	const char *uid;
	int64_t heap;
	int e = ask(k, ask_heap, &a, err);

	if (e == 0)
		e = number(k->r, &a, "heap", 0, &heap, err);
	if (e < 0)
		return e;
	info->heap_free = heap > 0 ? (uint64_t)heap : 0;
	uid = find(&a, "uid");
	if (uid && strlen(uid) < sizeof(info->unique_id) &&
		strspn(uid, "0123456789abcdef") == strlen(uid))
		snprintf(info->unique_id, sizeof(info->unique_id), "%s", uid);
	return 0;
}

static int learn_modules(struct asker *k, struct dev_board_info *info,
	struct board_caps *caps, struct error *err)
{
	struct answers a;
	int64_t segments;
	int e = ask(k, ask_modules, &a, err);

	if (e == 0)
		e = number(k->r, &a, "segments", 0, &segments, err);
	if (e < 0)
		return e;
	info->has_deflate = yes(&a, "deflate");
	info->has_hashlib = yes(&a, "hashlib");
	info->has_binascii = yes(&a, "base64");
	info->has_stdin_buffer = yes(&a, "buffer");
	info->has_rom_ioctl = yes(&a, "rom");
	info->has_raw_paste = repl_has_raw_paste(k->r);
	info->segments = segments < INT_MIN || segments > INT_MAX ? -EINVAL : (int)segments;
	caps->crc32 = yes(&a, "crc32");
	caps->base64 = info->has_binascii;
	caps->kbd_intr = yes(&a, "kbd");
	caps->umountable = yes(&a, "umount");
	return 0;
}

static int probe_segment(struct asker *k, struct quirk_facts *f, struct error *err)
{
	struct answers a;
	int e = ask(k, ask_probe, &a, err);

	if (e == 0)
		e = number(k->r, &a, "empty", -EINVAL, &f->probe_empty, err);
	if (e == 0)
		e = number(k->r, &a, "range", -EINVAL, &f->probe_range, err);
	return e;
}

static int segment_facts(struct repl *r, const struct answers *a, struct quirk_facts *f,
	struct error *err)
{
	int64_t address;
	int e = number(r, a, "block", 0, &address, err);

	f->is_block = e == 0 && address == 1;
	if (e == 0)
		e = number(r, a, "count", -1, &f->count, err);
	if (e == 0)
		e = number(r, a, "size", -1, &f->size, err);
	if (e == 0)
		e = number(r, a, "length", -1, &f->length, err);
	if (e == 0)
		e = number(r, a, "prepare", -EINVAL, &f->min_prepare, err);
	if (e == 0)
		e = number(r, a, "address", -1, &address, err);
	if (e < 0)
		return e;
	f->has_address = address >= 0;
	f->address = f->has_address ? (uint64_t)address : 0;
	return 0;
}

static int learn_segment(struct asker *k, unsigned n, const struct dev_board_info *info,
	struct board_caps *caps, struct error *err)
{
	struct quirk_facts f = {.number = n};
	const struct quirk *q;
	struct answers a;
	char code[sizeof(ask_segment) + 8];
	int e;

	snprintf(code, sizeof(code), ask_segment, n);
	e = ask(k, code, &a, err);
	if (e < 0)
		return e;
	if (find(&a, "absent")) {
		snprintf(caps->segments[n].reason, sizeof(caps->segments[n].reason),
			"rom%u is not there: the board answers %.16s", n, find(&a, "absent"));
		return 0;
	}
	caps->segments[n].buffer = yes(&a, "buffer");
	e = segment_facts(k->r, &a, &f, err);
	if (e < 0)
		return e;
	q = quirk_find(info->platform, info->machine, f.has_address, f.address);
	if (!f.is_block && f.min_prepare <= 0 && !(q->flags & (QUIRK_NO_PROBE | QUIRK_WHOLE))) {
		e = probe_segment(k, &f, err);
		if (e < 0)
			return e;
	}
	log_to(repl_log(k->r), LOG_DEBUG, "%s: rom%u: quirks of \"%s\"", repl_name(k->r), n,
		q->why);
	caps->segments[n].present = true;
	caps->segments[n].facts = f;
	return 0;
}

/* A partition that makes no sense is left out, and its reason kept: the others may do. */
void learn_partitions(struct dev_board_info *info, struct board_caps *caps)
{
	info->n_partitions = 0;
	for (unsigned n = 0; n < DEV_PARTITIONS_MAX; n++) {
		const struct quirk_facts *f = &caps->segments[n].facts;
		struct error reason = {0};
		const struct quirk *q;

		caps->segments[n].usable = false;
		if (!caps->segments[n].present)
			continue;
		q = quirk_find(info->platform, info->machine, f->has_address, f->address);
		if (quirk_geometry(q, f, &info->partitions[info->n_partitions], &reason) < 0) {
			snprintf(caps->segments[n].reason, sizeof(caps->segments[n].reason),
				"%.159s", reason.text);
			continue;
		}
		caps->segments[n].usable = true;
		caps->segments[n].index = info->n_partitions++;
	}
}

int learn_board(struct repl *r, struct dev_board_info *info, struct board_caps *caps,
	deadline_t deadline, struct error *err)
{
	struct asker k = {.r = r, .caps = caps, .deadline = deadline};
	int e = prove(r, deadline, err);

	memset(info, 0, sizeof(*info));
	memset(caps, 0, sizeof(*caps));
	if (e == 0)
		e = checked_setup(r, &caps->checked, deadline, err);
	if (e == 0)
		e = learn_who(&k, info, err);
	if (e == 0)
		e = learn_heap(&k, info, err);
	if (e == 0)
		e = learn_modules(&k, info, caps, err);
	for (unsigned n = 0; e == 0 && info->has_rom_ioctl && (int)n < info->segments &&
			     n < DEV_PARTITIONS_MAX; n++)
		e = learn_segment(&k, n, info, caps, err);
	if (e == 0)
		learn_partitions(info, caps);
	return e;
}
