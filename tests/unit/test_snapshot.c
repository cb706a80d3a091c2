/* SPDX-License-Identifier: MIT */
/* What a commit takes, and what happens to it while the user goes on. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/snapshot.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define PARTITION (64u << 10)

static uint8_t one[9000], two[9000];

static int setup(void **state)
{
	static struct rig r;

	fault_no_flush = true;
	rig_fill(one, sizeof(one), 1);
	rig_fill(two, sizeof(two), 2);
	rig_make(&r, PARTITION);
	rig_attach(&r);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	rig_remove(*state);
	return 0;
}

static void test_what_is_taken(void **state)
{
	struct rig *r = *state;
	_cleanup_(snapshot_freep) struct snapshot *s = NULL;
	struct snapshot_reader reader = {0};
	struct node *fresh, *open;
	uint8_t buf[9000];
	uint32_t i;

	rig_mkdir(r, "d");
	rig_write(r, "d/f", one, 9000);
	rig_mkdir(r, ".Trash-1");
	rig_write(r, ".Trash-1/f", one, 10);
	rig_write(r, "f~", one, 10);
	assert_int_equal(folder_create(rig_folder(r), rig_find(r, "d"), "new", &fresh), 0);
	open = rig_find(r, "d/f");
	rig_open(open);
	assert_int_equal(folder_write(rig_folder(r), open, two, 9000, 0), 9000);
	assert_int_equal(snapshot_take(rig_folder(r), &s), 0);
	assert_int_equal(romfs_tree_count(s->tree), 3);
	i = romfs_tree_lookup(s->tree, "d/f");
	assert_int_not_equal(i, ROMFS_NO_NODE);
	assert_int_equal(romfs_tree_node(s->tree, i)->size, 9000);
	assert_int_equal(romfs_tree_node(s->tree, i)->data_off, ROMFS_NO_OFFSET);
	rig_close(r, open); /* and what is staged later does not change it */
	reader.snapshot = s;
	assert_int_equal(snapshot_content(&reader, s->tree, i, 0, buf, 9000, NULL), 0);
	assert_memory_equal(buf, one, 9000);
	assert_int_equal(snapshot_content(&reader, s->tree, i, 8000, buf, 1000, NULL), 0);
	assert_memory_equal(buf, one + 8000, 1000);
}

/* Junk lives in the journal alone, so a clean one that has any is not thrown away. */
static void test_junk_outlives_the_mount(void **state)
{
	struct rig *r = *state;

	rig_mkdir(r, ".Trash-1000");
	rig_write(r, ".Trash-1000/old.py", one, 700);
	rig_write(r, "main.py", two, 700);
	rig_sync(r);
	for (unsigned i = 0; i < 3; i++) {
		rig_reattach(r);
		rig_expect(r, ".Trash-1000/old.py", one, 700);
		assert_false(folder_is_staged(rig_folder(r))); /* and nothing to write */
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_what_is_taken),
		TEST(test_junk_outlives_the_mount),
	};

	return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
