/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fuse/tidy.h"

#define K 1024u

static bool due(uint64_t blank, uint64_t dead, uint64_t mixed, bool under_way, bool *may_move)
{
	const struct romfs_usage u = {
		.append = true, .blank = blank * K, .dead = dead * K, .mixed = mixed * K};

	return tidy_is_due(&u, under_way, may_move);
}

/* From a quarter of the free room on, up to a half. */
static void test_when(void **state)
{
	bool moves;

	assert_true(due(24, 76, 0, false, &moves));
	assert_false(moves);
	assert_false(due(25, 75, 0, false, &moves));
	assert_true(due(25, 75, 0, true, &moves));
	assert_true(due(49, 51, 0, true, &moves));
	assert_false(due(50, 50, 0, true, &moves));
	assert_false(due(0, 0, 0, false, &moves));
}

/* Data is moved only where hardly anything else is left. */
static void test_moves(void **state)
{
	bool moves;

	assert_true(due(5, 5, 90, false, &moves));
	assert_true(moves);
	assert_true(due(2, 0, 98, false, &moves));
	assert_true(moves);
	assert_false(due(15, 0, 85, false, &moves));
	assert_false(moves);
}

/* Nobody's image is given another form while he is away. */
static void test_whose(void **state)
{
	const struct romfs_usage packed = {.dead = 100 * K};
	const struct romfs_plan erase = {.way = ROMFS_WAY_ERASE},
				append = {.way = ROMFS_WAY_APPEND},
				renew = {.way = ROMFS_WAY_RENEW};
	bool moves;

	assert_false(tidy_is_due(&packed, false, &moves));
	assert_true(tidy_bears(&erase, false));
	assert_false(tidy_bears(&append, false));
	assert_true(tidy_bears(&append, true));
	assert_false(tidy_bears(&renew, true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_when),
		cmocka_unit_test(test_moves),
		cmocka_unit_test(test_whose),
	};

	return cmocka_run_group_tests_name("tidy", tests, NULL, NULL);
}
