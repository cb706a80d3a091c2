/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/fetch.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

static struct rig rig;
static uint8_t bytes[9000];

struct told {
	unsigned times;
	int result;
	bool connected;
	struct error err;
};

static int setup(void **state)
{
	fault_no_flush = true;
	rig_fill(bytes, sizeof(bytes), 1);
	rig_make(&rig, 16);
	fakeboard_make(64u << 10, 4096);
	rig.board = true;
	rig_attach(&rig);
	rig_write(&rig, "f", bytes, 9000);
	rig_sync(&rig);
	rig_detach(&rig);
	rig_forget_state(&rig);
	rig_attach(&rig);
	return 0;
}

static int teardown(void **state)
{
	rig_remove(&rig);
	fakeboard_remove();
	return 0;
}

static void on_fetched(void *ctx, int result, const struct error *err)
{
	struct told *t = ctx;

	t->times++;
	t->result = result;
	t->connected = flash_is_connected(rig.a.flash);
	t->err = *err;
	rig.waiting = false;
}

static bool is_told(struct rig *r)
{
	return !r->waiting;
}

static void fetch(struct told *t)
{
	struct romfs_extent missing;

	*t = (struct told){0};
	rig_forget_bytes(&rig);
	rig.waiting = true;
	assert_int_equal(
		folder_has_bytes(rig_folder(&rig), rig_find(&rig, "f"), &missing), -ENODATA);
	assert_int_equal(fetch_start(rig.worker, rig.a.flash, &missing, on_fetched, t), 0);
}

static void test_fetched(void **state)
{
	struct told t;

	fetch(&t);
	rig_run_until(&rig, is_told);
	assert_int_equal(t.times, 1);
	assert_int_equal(t.result, 0);
	assert_true(t.connected); /* somebody may want more */
	assert_int_equal(folder_has_bytes(rig_folder(&rig), rig_find(&rig, "f"), NULL), 0);
	rig_expect(&rig, "f", bytes, 9000);
}

/* After an error the session is over: the next fetch opens another one at once. */
static void test_failed(void **state)
{
	struct told t;

	fakeboard.read_result = -ETIMEDOUT;
	fetch(&t);
	rig_run_until(&rig, is_told);
	assert_int_equal(t.result, -ETIMEDOUT);
	assert_non_null(strstr(t.err.text, "does not answer"));
	assert_false(t.connected);
	fakeboard.read_result = 0;
	fetch(&t);
	rig_run_until(&rig, is_told);
	assert_int_equal(t.result, 0);
	rig_expect(&rig, "f", bytes, 9000);
}

/* Told even if nobody gets to it any more. */
static void test_dropped(void **state)
{
	struct told first, second;

	fetch(&first);
	fetch(&second);
	rig_detach(&rig);
	assert_int_equal(first.times, 1);
	assert_int_equal(second.times, 1);
	rig_attach(&rig);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_fetched),
		TEST(test_failed),
		TEST(test_dropped),
	};

	return cmocka_run_group_tests_name("fetch", tests, NULL, NULL);
}
