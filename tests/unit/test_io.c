/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/unit/fault.h"
#include "tests/unit/rig.h"
#include "util/io.h"

static struct rig rig; /* for its directory */
static int dirfd = -1;

static int setup(void **state)
{
	rig_make(&rig, 16);
	dirfd = open(rig.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return dirfd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	fault_disarm();
	close(dirfd);
	rig_remove(&rig);
	return 0;
}

static void test_whole(void **state)
{
	static const struct fault pieces = {
		.kind = FAULT_SHORT, .calls = FAULT_PWRITE | FAULT_WRITE, .part = 3};
	_cleanup_close_ int fd = openat(dirfd, "f", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	uint8_t in[100], out[100];

	rig_fill(in, sizeof(in), 1);
	fault_arm(&pieces);
	assert_int_equal(io_write_full(fd, in, 50), 0);
	assert_int_equal(io_pwrite_full(fd, in + 50, 50, 50), 0);
	fault_disarm();
	assert_int_equal(io_pread_full(fd, out, 100, 0), 0);
	assert_memory_equal(in, out, 100);
	assert_int_equal(io_pread_full(fd, out, 2, 99), -ENODATA);
	assert_int_equal(io_pread_full(fd, out, 0, 1000), 0);
	assert_int_equal(io_pread_full(-1, out, 1, 0), -EBADF);
	assert_int_equal(io_write_full(-1, out, 1), -EBADF);
	assert_int_equal(io_pwrite_full(-1, out, 1, 0), -EBADF);
	assert_int_equal(io_sync_dir(dirfd, "."), 0);
	assert_int_equal(io_sync_dir(dirfd, "none"), -ENOENT);
}

static void expect_content(const char *want)
{
	_cleanup_close_ int fd = openat(dirfd, "f", O_RDONLY | O_CLOEXEC);
	char have[32] = "";

	assert_true(fd >= 0);
	assert_true(read(fd, have, sizeof(have) - 1) >= 0);
	assert_string_equal(have, want);
}

/* The old bytes or the new ones, and nothing left over, whatever fails. */
static void test_replace(void **state)
{
	struct fault fault = {.kind = FAULT_FAIL, .calls = FAULT_ANY, .code = EIO, .part = 2};
	int calls;

	fault.at = INT32_MAX;
	fault_arm(&fault);
	assert_int_equal(io_replace_file(dirfd, "f", "first", 5), 0);
	calls = fault_count();
	expect_content("first");
	assert_true(calls >= 4); /* written, flushed, renamed, directory flushed */
	for (fault.at = 0; fault.at < calls; fault.at++) {
		int r;

		fault_arm(&fault);
		r = io_replace_file(dirfd, "f", "second", 6);
		fault_disarm();
		if (fault.at == calls - 1) /* renamed: only its durability is in doubt */
			break;
		assert_int_equal(r, -EIO);
		expect_content("first");
	}
	assert_int_equal(io_replace_file(dirfd, "f", "third", 5), 0);
	expect_content("third");
}

static void test_make_dirs(void **state)
{
	char path[100];
	struct stat st;

	snprintf(path, sizeof(path), "%s/a//b/c/", rig.dir);
	assert_int_equal(io_make_dirs(path), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(io_make_dirs(path), 0);
	snprintf(path, sizeof(path), "%s/image/x", rig.dir);
	assert_int_equal(io_make_dirs(path), -ENOTDIR);
}

static void test_lock(void **state)
{
	int one = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	_cleanup_close_ int other = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t child;
	int ends[2];
	char c;

	assert_int_equal(io_lock(one, 0), 0);
	assert_int_equal(io_lock(other, 20), -EWOULDBLOCK);
	assert_int_equal(io_lock(-1, 20), -EBADF);
	/* A child that was about to become another program has it a little longer. */
	assert_return_code(pipe(ends), 0);
	child = fork();
	if (child == 0) {
		close(ends[1]);
		_exit(read(ends[0], &c, 1) == 0 && usleep(50000) == 0 ? 0 : 1);
	}
	close(ends[0]);
	close(one);
	assert_int_equal(io_lock(other, 0), -EWOULDBLOCK);
	close(ends[1]);
	assert_int_equal(io_lock(other, 60000), 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_whole),
		TEST(test_replace),
		TEST(test_make_dirs),
		TEST(test_lock),
	};

	return cmocka_run_group_tests_name("io", tests, NULL, NULL);
}
