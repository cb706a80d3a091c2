/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/error.h"

static void test_first_stays(void **state)
{
	struct error err = {0};

	assert_int_equal(error_set(&err, -EIO, "reading %s", "x"), -EIO);
	assert_int_equal(error_set(&err, -EBUSY, "closing it"), -EBUSY);
	assert_int_equal(err.code, -EIO);
	assert_string_equal(err.text, "reading x");
	error_clear(&err);
	assert_int_equal(err.code, 0);
	assert_string_equal(err.text, "");
	assert_int_equal(error_set(NULL, -EIO, "nobody asks"), -EIO);
}

static void test_prefix(void **state)
{
	struct error err = {0};

	error_set(&err, -EIO, "no answer");
	assert_int_equal(error_prefix(&err, -EBUSY, "port %d", 3), -EIO);
	assert_string_equal(err.text, "port 3: no answer");
	error_clear(&err);
	assert_int_equal(error_prefix(&err, -ENOENT, "a"), -ENOENT);
	assert_int_equal(err.code, -ENOENT);
	assert_non_null(strstr(err.text, "a: "));
	assert_int_equal(error_prefix(NULL, -ENOENT, "a"), -ENOENT);
}

/* What a board or an image put into it cannot reach a terminal raw, however long. */
static void test_hostile_text(void **state)
{
	struct error err = {0};
	char big[2000];

	memset(big, '\x1B', sizeof(big));
	big[sizeof(big) - 1] = '\0';
	error_set(&err, -EIO, "%s", big);
	assert_true(strlen(err.text) < sizeof(err.text));
	assert_null(strchr(err.text, '\x1B'));
	error_prefix(&err, -EIO, "%s\n", big);
	assert_null(strchr(err.text, '\x1B'));
	assert_null(strchr(err.text, '\n'));
	assert_true(strlen(err.text) < sizeof(err.text));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_stays),
		cmocka_unit_test(test_prefix),
		cmocka_unit_test(test_hostile_text),
	};

	return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
