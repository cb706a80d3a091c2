/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/patch.h"
#include "tests/unit/fault.h"
#include "tests/unit/scratch.h"
#include "util/io.h"

#define CHUNKS 6u
#define SIZE (CHUNKS * MIRROR_CHUNK - 96u) /* the last one is shorter */
#define C MIRROR_CHUNK

static struct scratch dir;
static struct mirror *mirror;
static struct patch *patch;
static uint8_t flash[SIZE], next[SIZE + 100];

/* What flash holds is known but for chunk 2. */
static int setup(void **state)
{
	struct error err = {0};
	uint64_t rng = 1;

	fault_no_flush = true;
	scratch_make(&dir);
	assert_int_equal(mirror_open(dir.dirfd, SIZE, &mirror, &err), 0);
	for (size_t i = 0; i < SIZE; i++)
		flash[i] = (uint8_t)scratch_random(&rng);
	memcpy(next, flash, SIZE);
	for (uint64_t at = 0; at < SIZE; at += C)
		if (at != 2 * C)
			assert_int_equal(
				mirror_store(mirror, at, flash + at, MIN(C, SIZE - at)), 0);
	assert_int_equal(patch_new(dir.dirfd, SIZE, &patch), 0);
	return 0;
}

static int teardown(void **state)
{
	patch_free(patch);
	mirror_free(mirror);
	scratch_remove(&dir);
	return 0;
}

static void touch(const struct romfs_extent *e)
{
	memset(next + e->off, (int)(e->off % 200 + 7), e->len);
	assert_int_equal(
		io_pwrite_full(patch_fd(patch), next + e->off, e->len, (off_t)e->off), 0);
}

static int read_mirror(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	return mirror_read(ctx, off, buf, len);
}

static const struct romfs_extent touched[] = {
	{100, 200}, {2 * C - 50, 100}, {3 * C, C}, {SIZE - 10, 10}};

static void make(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(touched); i++)
		touch(&touched[i]);
	assert_int_equal(patch_complete(patch, touched, ARRAY_SIZE(touched), mirror), 0);
}

static void expect(const struct romfs_source *s, uint64_t off, uint64_t len)
{
	uint8_t buf[SIZE + 100];
	struct error err = {0};

	if (s->read(s->ctx, off, buf, len, &err) < 0)
		fail_msg("at %llu: %s", (unsigned long long)off, err.text);
	assert_memory_equal(buf, next + off, len);
}

/* The overlay is right before and after the mirror has forgotten, and says what it does not
 * know. */
static void test_source(void **state)
{
	const struct romfs_source under = {.read = read_mirror, .ctx = mirror, .size = SIZE};
	struct romfs_source s = patch_source(patch, &under);
	struct error err = {0};
	uint8_t buf[C];

	make();
	for (int forgotten = 0; forgotten < 2; forgotten++) {
		expect(&s, 0, 2 * C + 50);
		expect(&s, 3 * C, SIZE - 3 * C);
		expect(&s, 2 * C - 1, 2);
		assert_int_equal(s.read(s.ctx, 2 * C + 49, buf, 2, &err), -ENODATA);
		assert_int_equal(s.read(s.ctx, 3 * C - 1, buf, 1, &err), -ENODATA);
		assert_int_equal(err.code, 0);
		assert_int_equal(patch_forget(patch, mirror), 0);
	}
}

/* What flash holds for a time stands behind the partition. */
static void test_source_behind(void **state)
{
	const struct romfs_source under = {.read = read_mirror, .ctx = mirror, .size = SIZE};
	struct romfs_source s = patch_source(patch, &under);

	memset(next + SIZE, 0x5A, 100);
	assert_int_equal(io_pwrite_full(patch_fd(patch), next + SIZE, 100, SIZE), 0);
	make();
	expect(&s, SIZE, 100);
	expect(&s, SIZE + 99, 1);
}

static void test_forget_and_apply(void **state)
{
	uint8_t buf[SIZE];

	make();
	assert_int_equal(patch_forget(patch, mirror), 0);
	assert_false(mirror_has(mirror, 0, 1));
	assert_false(mirror_has(mirror, C, 1));
	assert_false(mirror_has(mirror, 3 * C, 1));
	assert_true(mirror_has(mirror, 4 * C, C));
	assert_false(mirror_has(mirror, SIZE - 1, 1));
	patch_apply(patch, mirror);
	assert_false(mirror_has(mirror, 2 * C, 1)); /* in part is not enough */
	assert_int_equal(mirror_read(mirror, 0, buf, 2 * C), 0);
	assert_memory_equal(buf, next, 2 * C);
	assert_int_equal(mirror_read(mirror, 3 * C, buf, SIZE - 3 * C), 0);
	assert_memory_equal(buf, next + 3 * C, SIZE - 3 * C);
}

/* Flash may be changed only when the mirror's file claims none of the chunks any more. */
static void test_forgotten_for_good(void **state)
{
	struct error err = {0};

	make();
	assert_int_equal(mirror_flush(mirror), 0);
	fault_arm(&(struct fault){FAULT_NONE, FAULT_FDATASYNC | FAULT_FSYNC, 0, false, 0, 0});
	assert_int_equal(patch_forget(patch, mirror), 0);
	assert_int_equal(fault_count(), 1);
	fault_arm(&(struct fault){FAULT_FAIL, FAULT_FDATASYNC, 0, false, EIO, 0});
	assert_int_equal(mirror_store(mirror, 0, flash, C), 0);
	assert_int_equal(mirror_flush(mirror), -EIO);
	fault_disarm();
	mirror_free(mirror);
	assert_int_equal(mirror_open(dir.dirfd, SIZE, &mirror, &err), 0);
	assert_false(mirror_has(mirror, 0, 1));
	assert_false(mirror_has(mirror, 3 * C, 1));
	assert_true(mirror_has(mirror, 4 * C, C));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_source),
		TEST(test_source_behind),
		TEST(test_forget_and_apply),
		TEST(test_forgotten_for_good),
	};

	return cmocka_run_group_tests_name("patch", tests, NULL, NULL);
}
