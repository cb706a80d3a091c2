/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>

#include <cmocka.h>

#include "fuse/portwait.h"
#include "tests/unit/rig.h"

static int setup(void **state)
{
	static struct rig r;

	rig_make(&r, 16);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	rig_remove(*state);
	return 0;
}

static void touch(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static bool is_readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void test_close_is_seen(void **state)
{
	const struct rig *r = *state;
	_cleanup_close_ int fd = portwait_watch(r->image);

	assert_true(fd >= 0);
	assert_false(is_readable(fd));
	assert_false(portwait_seen(fd, r->image)); /* and does not wait */
	touch(r->image, O_RDONLY);
	assert_true(is_readable(fd));
	assert_true(portwait_seen(fd, r->image));
	assert_false(is_readable(fd));
	touch(r->image, O_RDWR);
	assert_true(portwait_seen(fd, r->image));
}

static void test_plugged_in_again(void **state)
{
	const struct rig *r = *state;
	_cleanup_close_ int fd = -1;
	char other[80];

	assert_int_equal(unlink(r->image), 0);
	fd = portwait_watch(r->image); /* there is none just now */
	assert_true(fd >= 0);
	snprintf(other, sizeof(other), "%s.other", r->image);
	touch(other, O_CREAT | O_WRONLY);
	assert_false(portwait_seen(fd, r->image));
	touch(r->image, O_CREAT | O_WRONLY);
	assert_true(portwait_seen(fd, r->image));
}

static void test_no_directory(void **state)
{
	assert_int_equal(portwait_watch("/no/such/directory/ttyX"), -ENOENT);
}

static void test_next(void **state)
{
	const struct rig *r = *state;
	_cleanup_close_ int fd = portwait_watch(r->image), cancel = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(portwait_next(fd, r->image, -1, deadline_in(0)), -ETIMEDOUT);
	assert_int_equal(eventfd_write(cancel, 1), 0);
	assert_int_equal(portwait_next(fd, r->image, cancel, DEADLINE_NONE), -ECANCELED);
	/* What came before is our own; without anything it ends by itself. */
	touch(r->image, O_RDONLY);
	assert_int_equal(portwait_next(fd, r->image, -1, DEADLINE_NONE), 0);
	assert_false(is_readable(fd));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_close_is_seen),
		TEST(test_plugged_in_again),
		TEST(test_no_directory),
		TEST(test_next),
	};

	return cmocka_run_group_tests_name("portwait", tests, NULL, NULL);
}
