/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/wear.h"
#include "tests/unit/fault.h"
#include "tests/unit/scratch.h"

#define BLOCK 4096u
#define SIZE (8u * BLOCK)

static struct scratch dir;

static int setup(void **state)
{
	scratch_make(&dir);
	return 0;
}

static int teardown(void **state)
{
	scratch_remove(&dir);
	return 0;
}

static struct wear *open_wear(uint64_t size, uint32_t block)
{
	struct wear *w;

	assert_int_equal(wear_open(dir.dirfd, size, block, &w), 0);
	return w;
}

static void fill(struct wear *w)
{
	wear_erased(w, BLOCK, 2 * BLOCK);
	wear_erased(w, 2 * BLOCK, BLOCK);
	assert_true(wear_set_aside(w, 6 * BLOCK));
	wear_settle(w, false);
	assert_int_equal(wear_bad(w)[6], 0);
	assert_true(wear_set_aside(w, 5 * BLOCK + 7));
	assert_true(wear_bad(w)[5]);
	wear_settle(w, true);
	wear_settle(w, false);
	wear_set_twice(w, DEV_TWICE_NO);
}

static void expect_filled(const struct wear *w)
{
	static const uint32_t erases[] = {0, 1, 2, 0, 0, 0, 0, 0};
	static const uint8_t bad[] = {0, 0, 0, 0, 0, 1, 0, 0};

	assert_memory_equal(wear_erases(w), erases, sizeof(erases));
	assert_memory_equal(wear_bad(w), bad, sizeof(bad));
	assert_int_equal(wear_twice(w), DEV_TWICE_NO);
}

static void expect_empty(const struct wear *w)
{
	for (size_t i = 0; i < SIZE / BLOCK; i++) {
		assert_int_equal(wear_erases(w)[i], 0);
		assert_int_equal(wear_bad(w)[i], 0);
	}
	assert_int_equal(wear_twice(w), DEV_TWICE_UNKNOWN);
}

static void test_kept(void **state)
{
	struct wear *w = open_wear(SIZE, BLOCK);

	expect_empty(w);
	fill(w);
	assert_false(wear_set_aside(w, 5 * BLOCK)); /* told once */
	assert_false(wear_set_aside(w, SIZE));
	expect_filled(w);
	wear_save(w);
	wear_free(w);
	w = open_wear(SIZE, BLOCK);
	expect_filled(w);
	wear_free(w);
	w = open_wear(SIZE, 2 * BLOCK); /* another memory */
	assert_int_equal(wear_twice(w), DEV_TWICE_UNKNOWN);
	assert_int_equal(wear_erases(w)[1], 0);
	wear_free(w);
}

/* Cut off or damaged at any byte, it begins anew; nothing is made of half of it. */
static void test_damaged(void **state)
{
	struct wear *w = open_wear(SIZE, BLOCK);
	uint8_t *bytes;
	size_t len;

	fill(w);
	wear_save(w);
	wear_free(w);
	bytes = scratch_get(&dir, "wear", &len);
	for (size_t at = 0; at < len; at++) {
		scratch_put(&dir, "wear", bytes, at);
		w = open_wear(SIZE, BLOCK);
		expect_empty(w);
		wear_free(w);
		bytes[at] ^= 4;
		scratch_put(&dir, "wear", bytes, len);
		w = open_wear(SIZE, BLOCK);
		expect_empty(w);
		wear_free(w);
		bytes[at] ^= 4;
	}
	scratch_put(&dir, "wear", bytes, len);
	w = open_wear(SIZE, BLOCK);
	expect_filled(w);
	wear_free(w);
	free(bytes);
}

/* What cannot be written is written the next time, and stands in nobody's way. */
static void test_disk_full(void **state)
{
	struct wear *w = open_wear(SIZE, BLOCK);

	fill(w);
	fault_arm(&(struct fault){FAULT_FAIL, FAULT_ANY, 0, false, ENOSPC, 0});
	wear_save(w);
	fault_disarm();
	assert_int_equal(faccessat(dir.dirfd, "wear.new", F_OK, 0), -1);
	wear_save(w);
	wear_free(w);
	w = open_wear(SIZE, BLOCK);
	expect_filled(w);
	wear_free(w);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_kept),
		TEST(test_damaged),
		TEST(test_disk_full),
	};

	return cmocka_run_group_tests_name("wear", tests, NULL, NULL);
}
