/* SPDX-License-Identifier: MIT */
/* Bounds and counters: the same for every kind of target. */
#include "libdev/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int outside(struct dev_target *t, const char *what, uint64_t off, uint64_t len,
	struct error *err)
{
	return error_set(err, -EINVAL,
		"rom%u: %s of 0x%llx bytes at 0x%llx does not fit its %llu bytes in units of "
		"%u (erase) and %u (program)", t->geometry.number, what,
		(unsigned long long)len, (unsigned long long)off,
		(unsigned long long)t->geometry.size, t->geometry.erase_block,
		t->geometry.write_unit);
}

static bool inside(const struct dev_target *t, uint64_t off, uint64_t len)
{
	return off <= t->geometry.size && len <= t->geometry.size - off;
}

static bool in_units(uint64_t off, uint64_t len, uint32_t unit)
{
	return off % unit == 0 && len % unit == 0;
}

static bool writable(const struct dev_target *t)
{
	return t->geometry.kind != DEV_TARGET_READONLY;
}

static int read_only(struct dev_target *t, struct error *err)
{
	return error_set(err, -EROFS, "rom%u cannot be written: this firmware only reads it",
		t->geometry.number);
}

int dev_target_read(
	struct dev_target *t, uint64_t off, void *buf, size_t len, struct error *err)
{
	int r;

	if (!inside(t, off, len))
		return outside(t, "reading", off, len, err);
	if (len == 0)
		return 0;
	r = t->ops->read(t, off, buf, len, err);
	if (r == 0)
		t->counters.read_bytes += len;
	return r;
}

int dev_target_hash(struct dev_target *t, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	int r;

	if (!inside(t, off, len) || step == 0)
		return outside(t, "hashing", off, len, err);
	if (len == 0)
		return 0;
	r = t->ops->hash(t, off, len, MIN(step, len), out, err);
	if (r == 0)
		t->counters.hashed_bytes += len;
	return r;
}

static int hash_each(struct dev_target *t, const struct dev_extent *v, size_t n,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = t->ops->hash(t, v[i].off, v[i].len, v[i].len, out + i, err);
	return r;
}

int dev_target_hash_list(struct dev_target *t, const struct dev_extent *v, size_t n,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	uint64_t bytes = 0;
	int r;

	for (size_t i = 0; i < n; i++) {
		if (v[i].len == 0 || !inside(t, v[i].off, v[i].len))
			return outside(t, "hashing", v[i].off, v[i].len, err);
		bytes += v[i].len;
	}
	if (n == 0)
		return 0;
	r = t->ops->hash_list ? t->ops->hash_list(t, v, n, out, err)
			      : hash_each(t, v, n, out, err);
	if (r == 0)
		t->counters.hashed_bytes += bytes;
	return r;
}

int dev_target_erase(struct dev_target *t, uint64_t off, uint64_t len, struct error *err)
{
	uint32_t block = t->geometry.erase_block;
	int r;

	if (!writable(t))
		return read_only(t, err);
	if (!inside(t, off, len) || !in_units(off, len, block) ||
		(t->geometry.prefix_erase && off != 0))
		return outside(t, "erasing", off, len, err);
	if (len == 0)
		return 0;
	t->refused_at = DEV_NOT_REFUSED;
	r = t->ops->erase(t, off, len, err);
	if (r == 0)
		t->counters.erased_blocks += len / block;
	return r;
}

int dev_target_program(
	struct dev_target *t, uint64_t off, const void *buf, size_t len, struct error *err)
{
	int r;

	if (!writable(t))
		return read_only(t, err);
	if (!inside(t, off, len) || !in_units(off, len, t->geometry.write_unit))
		return outside(t, "programming", off, len, err);
	if (len == 0)
		return 0;
	t->refused_at = DEV_NOT_REFUSED;
	r = t->ops->program(t, off, buf, len, err);
	if (r == 0)
		t->counters.programmed_bytes += len;
	return r;
}

/* --- programming twice ------------------------------------------------------------ */

#define PROBE_BYTES 4u
#define PROBE_FIRST 0xF5 /* some bits, then more of them */
#define PROBE_THEN 0xA0

static int try_program(
	struct dev_target *t, uint64_t off, const uint8_t *buf, size_t len, struct error *err)
{
	int r = t->ops->try_program ? t->ops->try_program(t, off, buf, len, err)
				    : t->ops->program(t, off, buf, len, err);

	if (r == 0)
		t->counters.programmed_bytes += len;
	return r;
}

/* Programs the unit, whose other bytes stay blank: 1 if flash has it then, 0 if not. */
static int holds_after(struct dev_target *t, uint64_t off, uint8_t value, uint8_t *unit,
	uint8_t *back, struct error *err)
{
	uint32_t len = t->geometry.write_unit;
	int r;

	memset(unit, value, MIN(PROBE_BYTES, len));
	r = try_program(t, off, unit, len, err);
	if (r != 0)
		return MIN(r, 0);
	r = dev_target_read(t, off, back, len, err);
	return r < 0 ? r : memcmp(unit, back, len) == 0;
}

int dev_target_probe_twice(struct dev_target *t, uint64_t off, bool *twice, struct error *err)
{
	uint32_t len = t->geometry.write_unit;
	_cleanup_free_ uint8_t *unit = malloc(len), *back = malloc(len);
	int r;

	if (!unit || !back)
		return error_set(err, -ENOMEM, "out of memory");
	if (!writable(t))
		return read_only(t, err);
	if (!inside(t, off, len) || off % len != 0)
		return outside(t, "programming", off, len, err);
	memset(unit, 0xFF, len);
	r = dev_target_read(t, off, back, len, err);
	if (r < 0)
		return r;
	if (memcmp(unit, back, len) != 0)
		return error_set(err, -EINVAL, "rom%u: the write unit at 0x%llx is not blank",
			t->geometry.number, (unsigned long long)off);
	r = holds_after(t, off, PROBE_FIRST, unit, back, err);
	if (r > 0)
		r = holds_after(t, off, PROBE_THEN, unit, back, err);
	if (r < 0)
		return r;
	*twice = r > 0;
	return 0;
}

int dev_target_finish(struct dev_target *t, struct error *err)
{
	return t->ops->finish(t, err);
}

void dev_target_free(struct dev_target *t)
{
	if (t)
		t->ops->free(t);
}

const char *dev_target_kind_name(enum dev_target_kind kind)
{
	switch (kind) {
	case DEV_TARGET_BLOCK:
		return "block device";
	case DEV_TARGET_PARTIAL:
		return "partial erase";
	case DEV_TARGET_WHOLE:
		return "whole erase";
	case DEV_TARGET_READONLY:
		return "read-only";
	case DEV_TARGET_IMAGE:
		return "image file";
	}
	return "unknown";
}
