/* SPDX-License-Identifier: MIT */
/* The host's side of the line against any bytes at all: a transport whose board says the
 * fuzz input, in pieces whose sizes stand in it, and then hangs up. A size of 255 is the
 * right answer to the question that proves an interpreter, which no input can know.
 * Whatever it says, every call returns, within its caps, and a session that opens has sane
 * geometry. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libdev/known.h"
#include "libdev/session.h"

struct tape {
	struct dev_transport base;
	const uint8_t *p;
	size_t left;
	char proof[32];
};

static ssize_t tape_read(struct dev_transport *t, void *buf, size_t cap, deadline_t deadline)
{
	struct tape *tape = container_of(t, struct tape, base);
	size_t n;

	/* A zero byte of length is a silence that runs into the deadline. */
	if (tape->left < 2)
		return tape->left = 0, -ENODEV;
	n = MIN(MIN((size_t)*tape->p, tape->left - 1), cap);
	tape->p++;
	tape->left--;
	if (n == 0)
		return -ETIMEDOUT;
	if (tape->p[-1] == 255) {
		n = MIN(strlen(tape->proof), cap);
		memcpy(buf, tape->proof, n);
		return n ? (ssize_t)n : -ETIMEDOUT;
	}
	memcpy(buf, tape->p, n);
	tape->p += n;
	tape->left -= n;
	return (ssize_t)n;
}

static int tape_write(
	struct dev_transport *t, const void *buf, size_t len, deadline_t deadline)
{
	struct tape *tape = container_of(t, struct tape, base);
	char code[64];
	unsigned a, b;

	t->bytes_out += len;
	snprintf(code, sizeof(code), "%.*s", (int)MIN(len, sizeof(code) - 1),
		(const char *)buf);
	if (sscanf(code, "print('x=',%u*%u)", &a, &b) == 2)
		snprintf(tape->proof, sizeof(tape->proof), "x= %u\r\n", a * b);
	return 0;
}

static void tape_discard(struct dev_transport *t)
{
}

static void tape_free(struct dev_transport *t)
{
	free(container_of(t, struct tape, base));
}

static const struct dev_transport_ops tape_ops = {
	.read = tape_read,
	.write = tape_write,
	.discard = tape_discard,
	.free = tape_free,
};

/* What is known of a board may come from a file that anybody has written. */
static void read_known(const uint8_t *data, size_t size)
{
	static struct dev_known k;
	_cleanup_fclose_ FILE *f = fmemopen((void *)(uintptr_t)data, size, "r");

	if (f && dev_known_read(f, &k) == 0)
		learn_partitions(&k.info, &k.caps);
}

static void use(struct dev_session *s)
{
	static uint8_t buf[8192], hashes[4][SHA256_SIZE];
	const struct dev_board_info *i = dev_session_info(s);

	for (unsigned n = 0; n < i->n_partitions; n++) {
		const struct dev_geometry *g = &i->partitions[n];
		struct dev_target *t = NULL;
		struct error err = {0};

		if (g->size == 0 || g->size > DEV_SEGMENT_MAX || g->erase_block == 0 ||
			g->write_unit == 0 || g->erase_block % g->write_unit != 0)
			abort();
		if (dev_session_target(s, g->number, &t, &err) < 0)
			continue;
		if (dev_target_read(t, 0, buf, MIN(g->size, sizeof(buf)), &err) == 0 &&
			dev_target_hash(t, 0, MIN(g->size, 8192u), 2048, hashes, &err) == 0 &&
			dev_target_erase(t, 0, g->erase_block, &err) == 0 &&
			g->write_unit <= sizeof(buf))
			(void)!dev_target_program(t, 0, buf, g->write_unit, &err);
		dev_target_free(t);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dev_session_options options = {.cancel_fd = -1, .baud = 4000000};
	struct tape *tape = calloc(1, sizeof(*tape));
	struct dev_session *s = NULL;
	struct error err = {0};

	if (!tape || size == 0) {
		free(tape);
		return 0;
	}
	read_known(data, size);
	options.no_agent = data[0] & 1;
	tape->base.ops = &tape_ops;
	tape->base.name = "tape";
	tape->p = data + 1;
	tape->left = size - 1;
	if (dev_session_open_on(&tape->base, &options, &s, &err) < 0) {
		if (err.text[0] == '\0')
			abort();
		return 0;
	}
	use(s);
	dev_session_close(s, NULL);
	return 0;
}
