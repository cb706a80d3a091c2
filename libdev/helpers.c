/* SPDX-License-Identifier: MIT */
/* The Python functions that make partitions alike on the board, and what the channels
 * share around them. */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include <zlib.h>

#include "libdev/channel.h"
#include "libdev/checked.h"
#include "util/text.h"

/* c calls a function of the flash and gives 0 or an error. Ports differ: None and 0 are
 * success; negative numbers, OSError with a number or with a text are not. What else comes
 * back is told as it is, and what else is raised ends the statement. */
static const char unmounting[] =
	"import vfs\n"
	"try:vfs.umount('/rom')\n"
	"except OSError:pass\n";
static const char common[] =
	"import vfs\n"
	"I=vfs.rom_ioctl\n"
	"N=%u\n"
	"B=%u\n"
	"d=I(2,N)\n"
	"def c(f,*a):\n"
	" try:return int(f(*a)or 0)\n"
	" except OSError as x:\n"
	"  r=x.args and x.args[0]\n"
	"  return -abs(r)if isinstance(r,int)and r else -5\n";

/* Reading, best way first. A slice of a memoryview starts below 16 MiB on 32-bit boards
 * (py/objarray.h keeps the offset in 24 bits), hence by address behind that. */
static const char by_address[] =
	"import uctypes\n"
	"A=uctypes.addressof(d)\n"
	"def g(o,n):return uctypes.bytearray_at(A+o,n)\n";
static const char by_view[] =
	"m=memoryview(d)\n"
	"def g(o,n):return m[o:o+n]\n";
static const char by_blocks[] =
	"def g(o,n):\n"
	" b=bytearray(n)\n"
	" if c(d.readblocks,o//B,b,o%B):raise OSError(5)\n"
	" return b\n";

static const char hashing[] =
	"from hashlib import sha256\n"
	"def h(o,n):\n"
	" s=sha256()\n"
	" while n>0:\n"
	"  k=min(n,%u)\n"
	"  s.update(g(o,k))\n"
	"  o+=k\n"
	"  n-=k\n"
	" return s.digest()\n";

/* Always the 4-argument writeblocks: the other form erases. */
static const char block_device[] =
	"def e(o,n):\n"
	" for b in range(o//B,(o+n)//B):\n"
	"  r=c(d.ioctl,6,b)\n"
	"  if r:return r,b*B\n"
	" return 0,o\n"
	"def y(o,b):return c(d.writeblocks,o//B,b,o%B)\n";
/* Prepare gives the smallest write size, or an error. */
static const char partial[] =
	"def e(o,n):return min(0,c(I,3,N,o,n)),o\n"
	"def y(o,b):return c(I,4,N,o,b)\n";
static const char whole[] =
	"def e(o,n):return min(0,c(I,3,N,n)),o\n"
	"def y(o,b):return c(I,4,N,o,b)\n";
/* In pieces that stay inside of a block, and let USB and other tasks in between. */
static const char programming[] =
	"def p(o,b):\n"
	" while len(b):\n"
	"  k=%u-o%%%u\n"
	"  r=y(o,b[:k])\n"
	"  if r:return r,o\n"
	"  o+=k\n"
	"  b=b[k:]\n"
	" return 0,o\n";

#define VIEW_MAX (16u << 20)
#define COPY_PIECE 512u	    /* readblocks copies into the heap */
#define IN_PLACE_PIECE 32768u /* lets Ctrl-C and background tasks in between */

static const char *operations(enum dev_target_kind kind)
{
	switch (kind) {
	case DEV_TARGET_BLOCK:
		return block_device;
	case DEV_TARGET_PARTIAL:
		return partial;
	case DEV_TARGET_WHOLE:
		return whole;
	default:
		return "";
	}
}

static const char *reading(const struct dev_geometry *g, bool buffer)
{
	if (!buffer)
		return by_blocks;
	return g->has_address && g->size > VIEW_MAX ? by_address : by_view;
}

int channel_can_read(struct dev_channel *c, bool buffer, struct error *err)
{
	if (buffer || c->geometry.kind == DEV_TARGET_BLOCK)
		return 0;
	return error_set(err, -EIO, "%s: rom%u cannot be read", repl_name(c->repl),
		c->geometry.number);
}

#define PIECES 5u
#define PIECE_BYTES 1024u

static size_t piece(struct dev_channel *c, bool buffer, unsigned n, char *out, size_t cap)
{
	const struct dev_geometry *g = &c->geometry;
	unsigned inside = g->kind == DEV_TARGET_BLOCK ? g->erase_block
						      : MAX(4096u, g->write_unit);
	int len = 0;

	switch (n) {
	case 0:
		len = snprintf(out, cap, "%s", c->caps->umountable ? unmounting : "");
		break;
	case 1:
		len = snprintf(out, cap, common, g->number, g->erase_block);
		break;
	case 2:
		len = snprintf(out, cap, "%s%s", reading(g, buffer), operations(g->kind));
		break;
	case 3:
		len = snprintf(out, cap, programming, inside, inside);
		break;
	case 4:
		out[0] = '\0';
		if (c->info->has_hashlib)
			len = snprintf(
				out, cap, hashing, buffer ? IN_PLACE_PIECE : COPY_PIECE);
		break;
	}
	assert(len >= 0 && (size_t)len < cap);
	return (size_t)len;
}

size_t channel_helpers(struct dev_channel *c, bool buffer, char *out, size_t cap)
{
	size_t len = 0;

	for (unsigned n = 0; n < PIECES; n++)
		len += piece(c, buffer, n, out + len, cap - len);
	return len;
}

int channel_send_helpers(struct dev_channel *c, bool buffer, struct error *err)
{
	char code[PIECE_BYTES];
	int r = channel_can_read(c, buffer, err);

	for (unsigned n = 0; n < PIECES && r == 0; n++)
		if (piece(c, buffer, n, code, sizeof(code)) > 0)
			r = channel_define(c, code, err);
	return r;
}

static int ran(struct dev_channel *c, int r, struct repl_reply *reply, struct error *err)
{
	if (r <= 0)
		return r;
	c->refused = true;
	return error_set(err, -EIO, "%s: rom%u: the board raised %s", repl_name(c->repl),
		c->geometry.number, reply->exception);
}

int channel_run(struct dev_channel *c, const char *code, uint64_t work_ms,
	struct repl_reply *reply, struct error *err)
{
	int r = checked_exec(c->repl, false, code, CHANNEL_REPLY_MS + work_ms, reply, err);

	return ran(c, r, reply, err);
}

int channel_define(struct dev_channel *c, const char *code, struct error *err)
{
	char out[256];
	struct repl_reply reply = {.out = out, .cap = sizeof(out)};
	int r = checked_exec(c->repl, c->caps->checked, code, CHANNEL_REPLY_MS, &reply, err);

	return ran(c, r, &reply, err);
}

int channel_refused(struct dev_channel *c, const char *doing, uint64_t off, int64_t code,
	struct error *err)
{
	const char *name = code < 0 && code > -200 ? strerror((int)-code) : "unknown";

	c->refused = true;
	c->refused_at = off;
	return error_set(err, -EIO,
		"%s: rom%u: the board reported error %lld (%s) %s at 0x%llx",
		repl_name(c->repl), c->geometry.number, (long long)code, name, doing,
		(unsigned long long)off);
}

size_t channel_step(const struct dev_channel *c, unsigned share, size_t max)
{
	size_t unit = c->geometry.write_unit, step = unit;
	uint64_t fit = c->info->heap_free / share;

	if (unit > fit)
		return 0;
	while (step * 2 <= max && step * 2 <= fit)
		step *= 2;
	return step;
}

size_t channel_deflate(const uint8_t *buf, size_t len, uint8_t *out, size_t cap)
{
	z_stream z = {0};
	size_t n = 0;

	if (deflateInit2(&z, 6, Z_DEFLATED, -12, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return 0;
	z.next_in = (Bytef *)(uintptr_t)buf;
	z.avail_in = (uInt)len;
	z.next_out = out;
	z.avail_out = (uInt)MIN(len - len / 8, cap);
	if (deflate(&z, Z_FINISH) == Z_STREAM_END)
		n = z.total_out;
	deflateEnd(&z);
	return n;
}

uint64_t channel_program_ms(const struct dev_channel *c, size_t len)
{
	return ((len + 4095) / 4096) * c->geometry.program_ms_max;
}

uint64_t channel_erase_batch(const struct dev_channel *c)
{
	unsigned ms = MAX(c->geometry.erase_ms_max, 1u);

	return c->geometry.no_erase ? 4096 : MAX(1u, 6400u / ms);
}

/* Software SHA-256 on a slow Cortex-M0, read through readblocks: 25 KiB/s is very slow. */
uint64_t channel_hash_ms(uint64_t len)
{
	return len / 25;
}
