/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fuse/junk.h"
#include "util/macros.h"

static void test_junk(void **state)
{
	static const char *const names[] = {".Trash-1000", ".DS_Store", "._main.py",
		".goutputstream-X1Y2Z3", ".main.py.swp", ".main.py.swo", ".main.py.swpx", "4913",
		"main.py~", ".#main.py", "#main.py#", ".~lock.notes.odt#", "Thumbs.db",
		".fuse_hidden0000001200000001", "main.py.kate-swp", ".directory"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!junk_name(names[i]))
			fail_msg("%s should be junk", names[i]);
}

/* What people have on boards must get there. */
static void test_not_junk(void **state)
{
	static const char *const names[] = {"main.py", "lib", ".env", "a.swp", ".swp", "4913.txt",
		"data~1", "#", "a#", "trash", ".trashed", "DS_Store", "desktop.ini.txt",
		".hidden", "model.tflite", "..a", ".main.py.swq", "nfs"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (junk_name(names[i]))
			fail_msg("%s should be no junk", names[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_junk),
		cmocka_unit_test(test_not_junk),
	};

	return cmocka_run_group_tests_name("junk", tests, NULL, NULL);
}
