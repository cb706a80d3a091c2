/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fuse/scratch.h"
#include "util/io.h"

static off_t size_of(const struct scratch *s)
{
	struct stat st;

	assert_int_equal(fstat(s->fd, &st), 0);
	assert_int_equal(st.st_nlink, 0); /* nameless */
	return st.st_size;
}

/* Whoever gets a file finds nothing of its last user in it. */
static void test_used_again_empty(void **state)
{
	_cleanup_(scratch_pool_freep) struct scratch_pool *p = NULL;
	int dirfd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct scratch *s, *again;

	assert_int_equal(scratch_pool_new(dirfd, &p), 0);
	close(dirfd); /* it has its own */
	assert_int_equal(scratch_get(p, &s), 0);
	assert_int_equal(size_of(s), 0);
	assert_int_equal(io_pwrite_full(s->fd, "secret", 6, 5000), 0);
	scratch_put(p, s);
	assert_int_equal(scratch_get(p, &again), 0);
	assert_ptr_equal(again, s);
	assert_int_equal(size_of(again), 0);
	scratch_put(p, again);
	scratch_put(p, NULL);
}

static void test_many_at_once(void **state)
{
	_cleanup_(scratch_pool_freep) struct scratch_pool *p = NULL;
	_cleanup_close_ int dirfd = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct scratch *s[40];
	uint8_t b;

	assert_int_equal(scratch_pool_new(dirfd, &p), 0);
	for (uint8_t i = 0; i < ARRAY_SIZE(s); i++) {
		assert_int_equal(scratch_get(p, &s[i]), 0);
		assert_int_equal(io_pwrite_full(s[i]->fd, &i, 1, 0), 0);
	}
	for (uint8_t i = 0; i < ARRAY_SIZE(s); i++) {
		assert_int_equal(io_pread_full(s[i]->fd, &b, 1, 0), 0);
		assert_int_equal(b, i);
		scratch_put(p, s[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(s); i++) {
		assert_int_equal(scratch_get(p, &s[i]), 0);
		assert_int_equal(size_of(s[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(s); i++)
		scratch_put(p, s[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_used_again_empty),
		cmocka_unit_test(test_many_at_once),
	};

	return cmocka_run_group_tests_name("scratch files", tests, NULL, NULL);
}
