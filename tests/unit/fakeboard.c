/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/unit/fakeboard.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int __wrap_dev_tty_open(const char *path, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err);
int __wrap_dev_session_open_on(struct dev_transport *transport,
	const struct dev_session_options *options, struct dev_session **out,
	struct error *err);
int __wrap_dev_session_close(struct dev_session *s, struct error *err);
const struct dev_board_info *__wrap_dev_session_info(const struct dev_session *s);
int __wrap_dev_session_target(
	struct dev_session *s, unsigned number, struct dev_target **out, struct error *err);

int __wrap_dev_session_known(
	const struct dev_session *s, unsigned number, struct dev_known *out);
bool __wrap_dev_session_is_lost(const struct dev_session *s);

struct fakeboard fakeboard;

void fakeboard_make(uint64_t size, uint32_t erase_block)
{
	fakeboard = (struct fakeboard){
		.info = {.machine = "fake board", .firmware = "1.0", .unique_id = "0badcafe",
			.segments = 1, .n_partitions = 1, .has_rom_ioctl = true},
		.geometry = {.kind = DEV_TARGET_PARTIAL, .size = size,
			.erase_block = erase_block, .write_unit = 4, .has_address = true,
			.address = 0x08000000},
		.flash = malloc(size),
		.fault_at = -1,
		.after = -1,
		.port_fd = -1,
	};
	assert_non_null(fakeboard.flash);
	memset(fakeboard.flash, 0xFF, size);
}

void fakeboard_remove(void)
{
	free(fakeboard.flash);
	fakeboard.flash = NULL;
}

/* --- the target ------------------------------------------------------------------------ */

static int do_read(struct dev_target *t, uint64_t off, void *buf, size_t len, struct error *err)
{
	fakeboard.reads++;
	fakeboard.read_bytes += len;
	if (fakeboard.read_result < 0)
		return error_set(err, fakeboard.read_result, "the board does not answer");
	memcpy(buf, fakeboard.flash + off, len);
	return 0;
}

static int do_hash(struct dev_target *t, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	fakeboard.hashes++;
	fakeboard.hashed_bytes += len;
	for (uint64_t at = 0; at < len; at += step)
		sha256_of(fakeboard.flash + off + at, (size_t)MIN(step, len - at), *out++);
	return 0;
}

/* 1: to be done. */
static int change(uint64_t *len, struct error *err)
{
	struct fakeboard *b = &fakeboard;
	int n = (int)b->changes++;

	if (b->on_change)
		b->on_change(b);
	if (b->fault_at < 0 || n < b->fault_at || n >= b->fault_at + b->fault_count)
		return 1;
	if (b->fault == FAKEBOARD_SILENT)
		return 0;
	*len = b->fault == FAKEBOARD_HALF ? *len / 2 : 0;
	return error_set(err, b->fault_code, "the board gave up");
}

static bool is_worn(uint64_t off)
{
	return off - fakeboard.bad_at < fakeboard.bad_len;
}

static int refuse(struct dev_target *t, uint64_t off, uint64_t len, struct error *err)
{
	const struct fakeboard *b = &fakeboard;

	if (b->bad == FAKEBOARD_SILENT || !b->bad_len || off >= b->bad_at + b->bad_len ||
		off + len <= b->bad_at)
		return 0;
	t->refused_at = MAX(off, b->bad_at);
	return error_set(err, -EIO, "the board reported error -5");
}

static int do_erase(struct dev_target *t, uint64_t off, uint64_t len, struct error *err)
{
	int r = change(&len, err), ok = refuse(t, off, len, err);

	if (ok < 0)
		return ok;
	fakeboard.erases++;
	for (uint64_t i = 0; r != 0 && i < len; i++)
		if (!is_worn(off + i))
			fakeboard.flash[off + i] = 0xFF;
	return MIN(r, 0);
}

static int do_program(
	struct dev_target *t, uint64_t off, const void *buf, size_t size, struct error *err)
{
	const uint8_t *from = buf;
	uint64_t len = size;
	int r = change(&len, err), ok = refuse(t, off, size, err);

	fakeboard.tried = off;
	if (ok < 0)
		return ok;
	fakeboard.programs++;
	fakeboard.last_program = off;
	for (uint64_t i = 0; r != 0 && i < len; i++)
		if (!is_worn(off + i))
			fakeboard.flash[off + i] &= from[i];
	if ((int)fakeboard.changes - 1 == fakeboard.after)
		return error_set(err, -ENODEV, "the board is gone");
	return MIN(r, 0);
}

static int do_finish(struct dev_target *t, struct error *err)
{
	fakeboard.finishes++;
	return 0;
}

static void do_free(struct dev_target *t)
{
	free(t);
}

static const struct dev_target_ops ops = {
	.read = do_read,
	.hash = do_hash,
	.erase = do_erase,
	.program = do_program,
	.finish = do_finish,
	.free = do_free,
};

/* --- the session ----------------------------------------------------------------------- */

static void transport_free(struct dev_transport *t)
{
	if (fakeboard.port_fd >= 0)
		close(fakeboard.port_fd);
	fakeboard.port_fd = -1;
	(void)t;
}

int __wrap_dev_tty_open(const char *path, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err)
{
	static const struct dev_transport_ops transport_ops = {.free = transport_free};
	static struct dev_transport transport = {.ops = &transport_ops};

	fakeboard.opens++;
	if (fakeboard.open_result < 0)
		return error_set(err, fakeboard.open_result, "%s cannot be opened", path);
	/* Whoever watches the node sees it. */
	fakeboard.port_fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	*out = &transport;
	return 0;
}

int __wrap_dev_session_open_on(struct dev_transport *transport,
	const struct dev_session_options *options, struct dev_session **out,
	struct error *err)
{
	fakeboard.transport = transport;
	*out = (struct dev_session *)&fakeboard;
	return 0;
}

int __wrap_dev_session_close(struct dev_session *s, struct error *err)
{
	assert_ptr_equal(s, &fakeboard);
	fakeboard.closes++;
	dev_transport_free(fakeboard.transport);
	return 0;
}

bool __wrap_dev_session_is_lost(const struct dev_session *s)
{
	return false;
}

const struct dev_board_info *__wrap_dev_session_info(const struct dev_session *s)
{
	fakeboard.info.partitions[0] = fakeboard.geometry;
	return &fakeboard.info;
}

int __wrap_dev_session_known(
	const struct dev_session *s, unsigned number, struct dev_known *out)
{
	return -ENODATA;
}

int __wrap_dev_session_target(
	struct dev_session *s, unsigned number, struct dev_target **out, struct error *err)
{
	struct dev_target *t = calloc(1, sizeof(*t));

	assert_non_null(t);
	t->ops = &ops;
	t->geometry = fakeboard.geometry;
	*out = t;
	return 0;
}
