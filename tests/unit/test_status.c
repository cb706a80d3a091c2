/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/status.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

static struct rig rig;
static struct view view;

static int setup(void **state)
{
	fault_no_flush = true;
	rig_make(&rig, 16);
	fakeboard_make(64u << 10, 4096);
	rig.board = true;
	rig_attach(&rig);
	view = (struct view){.folder = rig.a.folder,
		.flash = rig.a.flash,
		.worker = rig.worker,
		.committer = rig.committer,
		.base = &rig.a.base,
		.event = rig.event,
		.port = "/dev/ttyACM7",
		.mountpoint = "/mnt/board"};
	return 0;
}

static int teardown(void **state)
{
	rig_remove(&rig);
	fakeboard_remove();
	return 0;
}

static void expect(const struct node *n, const char *name, const char *want)
{
	char value[STATUS_VALUE_MAX], full[64];
	int len;

	snprintf(full, sizeof(full), "user.romount.%s", name);
	len = status_attribute(&view, n, full, value, sizeof(value));
	assert_true(len >= 0);
	assert_int_equal(len, strlen(want));
	assert_string_equal(value, want);
}

static void test_attributes(void **state)
{
	char value[STATUS_VALUE_MAX], want[32];
	struct node *root = node_root(rig_folder(&rig)->nodes), *n;

	expect(root, "state", "on flash");
	expect(root, "error", "");
	expect(root, "image", "blank");
	expect(root, "partition", "rom0");
	expect(root, "port", "/dev/ttyACM7");
	expect(root, "board", "fake board");
	expect(root, "firmware", "1.0");
	rig_write(&rig, "f", "abc", 3);
	n = rig_find(&rig, "f");
	expect(n, "state", "staged"); /* any file can be asked */
	assert_int_equal(
		status_attribute(&view, n, "user.romount.offset", value, sizeof(value)), -ENODATA);
	rig_sync(&rig);
	expect(n, "state", "on flash");
	expect(n, "image", "valid");
	snprintf(want, sizeof(want), "0x%llx", (unsigned long long)n->content.off);
	expect(n, "offset", want);
	snprintf(want, sizeof(want), "0x%llx", 0x08000000 + (unsigned long long)n->content.off);
	expect(n, "address", want);
	assert_memory_equal(fakeboard.flash + n->content.off, "abc", 3);
	rig_open(n);
	assert_int_equal(folder_write(rig_folder(&rig), n, "x", 1, 0), 1);
	assert_int_equal(
		status_attribute(&view, n, "user.romount.offset", value, sizeof(value)), -ENODATA);
	rig_close(&rig, n);
	assert_int_equal(
		status_attribute(&view, n, "user.romount.none", value, sizeof(value)), -ENODATA);
	assert_int_equal(status_attribute(&view, n, "user.", value, sizeof(value)), -ENODATA);
}

static void test_failure(void **state)
{
	struct node *root = node_root(rig_folder(&rig)->nodes);
	char value[STATUS_VALUE_MAX];

	rig_write(&rig, "f", "abc", 3);
	fakeboard.open_result = -EBUSY;
	assert_int_equal(rig_try_sync(&rig), -EBUSY);
	expect(root, "state", "failed");
	assert_true(status_attribute(&view, root, "user.romount.error", value, sizeof(value)) > 0);
	assert_non_null(strstr(value, rig.image));
	assert_non_null(strstr(value, "cannot be opened"));
}

static void test_names(void **state)
{
	char names[512];
	size_t len = status_attribute_names(names, sizeof(names));
	unsigned count = 0;

	for (size_t at = 0; at < len; at += strlen(names + at) + 1) {
		char value[STATUS_VALUE_MAX];

		assert_true(status_attribute(&view, node_root(rig_folder(&rig)->nodes),
				    names + at, value, sizeof(value)) >= 0);
		count++;
	}
	assert_int_equal(count, 7);
	assert_int_equal(status_attribute_names(names, 20), strlen("user.romount.state") + 1);
}

static void test_saved(void **state)
{
	struct state_line lines[STATE_LINES_MAX];
	size_t n;

	status_save(&view);
	assert_int_equal(
		state_read_status(rig_folder(&rig)->dirfd, lines, ARRAY_SIZE(lines), &n), 0);
	assert_string_equal(state_status_get(lines, n, "state"), "on flash");
	assert_string_equal(state_status_get(lines, n, "port"), "/dev/ttyACM7");
	assert_string_equal(state_status_get(lines, n, "mount"), "/mnt/board");
	assert_int_equal(strtol(state_status_get(lines, n, "pid"), NULL, 10), getpid());
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_attributes),
		TEST(test_failure),
		TEST(test_names),
		TEST(test_saved),
	};

	return cmocka_run_group_tests_name("status", tests, NULL, NULL);
}
