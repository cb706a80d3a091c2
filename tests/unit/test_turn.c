/* SPDX-License-Identifier: MIT */
/* One process of a board at a time. A second descriptor of this process stands for the other
 * one: the lock is the open file's. */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/turn.h"
#include "tests/unit/scratch.h"

static struct scratch scratch;
static sd_event *event;
static int home;

static int setup(void **state)
{
	scratch_make(&scratch);
	home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_return_code(home, 0);
	assert_return_code(chdir(scratch.path), 0);
	assert_return_code(sd_event_new(&event), 0);
	return 0;
}

static int teardown(void **state)
{
	sd_event_unref(event);
	assert_return_code(fchdir(home), 0);
	close(home);
	scratch_remove(&scratch);
	return 0;
}

static void count(void *ctx)
{
	++*(unsigned *)ctx;
}

static void run_until(const unsigned *taken)
{
	while (*taken == 0)
		assert_return_code(sd_event_run(event, UINT64_MAX), 0);
}

static void test_waits_for_its_turn(void **state)
{
	struct turn *first, *second;
	unsigned one = 0, two = 0;

	assert_int_equal(turn_wait(event, count, &one, &first), 0);
	assert_false(turn_has_come(first));
	run_until(&one);
	assert_true(turn_has_come(first));
	assert_int_equal(turn_wait(event, count, &two, &second), 0);
	for (unsigned i = 0; i < 3; i++) /* it has tried, in vain */
		assert_return_code(sd_event_run(event, UINT64_MAX), 0);
	assert_false(turn_has_come(second));
	turn_free(first);
	run_until(&two);
	assert_true(turn_has_come(second));
	turn_free(second);
	assert_int_equal(one, 1);
	assert_int_equal(two, 1);
}

static void test_gives_up_waiting(void **state)
{
	struct turn *first, *second, *third;
	unsigned one = 0, two = 0, three = 0;

	assert_int_equal(turn_wait(event, count, &one, &first), 0);
	run_until(&one);
	assert_int_equal(turn_wait(event, count, &two, &second), 0);
	turn_free(second);
	turn_free(first);
	assert_int_equal(turn_wait(event, count, &three, &third), 0);
	run_until(&three);
	turn_free(third);
	assert_int_equal(two, 0);
	assert_false(turn_has_come(NULL));
	turn_free(NULL);
}

static void test_no_directory(void **state)
{
	struct turn *t;
	unsigned taken = 0;

	assert_return_code(symlink("elsewhere", "lock"), 0);
	assert_true(turn_wait(event, count, &taken, &t) < 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_waits_for_its_turn),
		TEST(test_gives_up_waiting),
		TEST(test_no_directory),
	};

	return cmocka_run_group_tests_name("turn", tests, NULL, NULL);
}
