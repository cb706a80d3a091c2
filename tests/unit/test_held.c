/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fuse/held.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"
#include "util/io.h"

static uint8_t bytes[200000];

static int setup(void **state)
{
	static struct rig r;

	fault_no_flush = true;
	rig_fill(bytes, sizeof(bytes), 1);
	rig_make(&r, 512u << 10);
	rig_attach(&r);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	fault_disarm();
	rig_remove(*state);
	return 0;
}

static void expect_held(struct rig *r, const char *name, const char *path, size_t len)
{
	_cleanup_free_ uint8_t *have = malloc(len + 1);
	_cleanup_close_ int fd = -1;
	struct stat st;
	char full[300];

	snprintf(full, sizeof(full), "%s/%s", name, path);
	fd = openat(rig_folder(r)->dirfd, full, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		fail_msg("there is no %s", full);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, len);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(io_pread_full(fd, have, len, 0), 0);
	assert_memory_equal(have, bytes, len);
}

static void test_saved(void **state)
{
	struct rig *r = *state;
	struct error err = {0};
	char name[64], again[64];
	struct stat st;
	unsigned count;

	rig_write(r, "on-flash", bytes, 300);
	rig_sync(r);
	rig_mkdir(r, "d");
	rig_mkdir(r, "d/e");
	rig_mkdir(r, "d/empty");
	rig_write(r, "d/e/big", bytes, sizeof(bytes));
	rig_write(r, "d/f", bytes, 0);
	rig_write(r, "g", bytes, 1);
	assert_int_equal(
		folder_set_mtime(rig_folder(r), rig_find(r, "g"), 1000000000500000000), 0);
	assert_int_equal(held_save(rig_folder(r), name, sizeof(name), &count, &err), 0);
	assert_int_equal(count, 3);
	expect_held(r, name, "d/e/big", sizeof(bytes));
	expect_held(r, name, "d/f", 0);
	expect_held(r, name, "g", 1);
	snprintf(again, sizeof(again), "%.40s/g", name);
	assert_int_equal(fstatat(rig_folder(r)->dirfd, again, &st, 0), 0);
	assert_int_equal(st.st_mtim.tv_sec, 1000000000);
	assert_int_equal(st.st_mtim.tv_nsec, 500000000);
	/* A second time within a second: beside it, not into it. */
	assert_int_equal(held_save(rig_folder(r), again, sizeof(again), &count, &err), 0);
	assert_string_not_equal(name, again);
	expect_held(r, again, "g", 1);
}

/* All or an error: nobody may throw the journal away on half of it. */
static void test_every_failure_is_told(void **state)
{
	struct rig *r = *state;
	struct fault fault = {.kind = FAULT_FAIL, .calls = FAULT_ANY, .code = ENOSPC};
	struct error err = {0};
	char name[64];
	unsigned count;
	int calls;

	rig_mkdir(r, "d");
	rig_write(r, "d/f", bytes, 5000);
	rig_write(r, "g", bytes, 1);
	fault.at = INT32_MAX;
	fault_arm(&fault);
	assert_int_equal(held_save(rig_folder(r), name, sizeof(name), &count, &err), 0);
	calls = fault_count();
	/* Two files written, and flushed; flushed as well: "d", what "d" stands in, what "g"
	 * stands in, all, and what all stands in. */
	assert_int_equal(calls, 2 + 2 + 5);
	for (fault.at = 0; fault.at < calls; fault.at++) {
		fault_arm(&fault);
		error_clear(&err);
		assert_int_equal(
			held_save(rig_folder(r), name, sizeof(name), &count, &err), -ENOSPC);
		assert_non_null(strstr(err.text, "cannot lay out"));
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_saved),
		TEST(test_every_failure_is_told),
	};

	return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}
