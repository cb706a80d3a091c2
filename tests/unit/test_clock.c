/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "util/clock.h"

static void test_left(void **state)
{
	assert_int_equal(deadline_left(DEADLINE_NONE), -1);
	assert_int_equal(deadline_left(0), 0);
	assert_int_equal(deadline_left(clock_ms()), 0);
	assert_int_equal(deadline_left(deadline_in(1ull << 40)), INT_MAX);
	assert_true(deadline_left(deadline_in(3600000)) > 3500000);
	assert_true(deadline_left(deadline_in(3600000)) <= 3600000);
}

static void test_monotonic(void **state)
{
	uint64_t last = clock_ms();

	for (unsigned i = 0; i < 10000; i++) {
		uint64_t now = clock_ms();

		assert_true(now >= last);
		last = now;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_left),
		cmocka_unit_test(test_monotonic),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
