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

static uint8_t one[9000], two[9000], big[45000];

static int setup(void **state)
{
	static struct rig r;

	fault_no_flush = true;
	rig_fill(one, sizeof(one), 1);
	rig_fill(two, sizeof(two), 2);
	rig_fill(big, sizeof(big), 3);
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

/* What is written while a commit runs is staged after it, and nothing of it is lost. */
static void test_changes_under_way(void **state)
{
	struct rig *r = *state;

	rig_write(r, "a", one, 9000);
	rig_write(r, "b", one, 5000);
	rig_write(r, "c", one, 3000);
	rig_start_sync(r);
	rig_write(r, "a", two, 9000);
	rig_rename(r, "b", "moved");
	rig_unlink(r, "c");
	assert_int_equal(rig_finish_sync(r), 0);
	assert_true(folder_is_staged(rig_folder(r)));
	rig_expect(r, "a", two, 9000);
	rig_expect(r, "moved", one, 5000);
	rig_reattach(r);
	rig_expect(r, "a", two, 9000);
	rig_expect(r, "moved", one, 5000);
	rig_expect_none(r, "c");
	rig_sync(r);
	rig_expect_image(r, 2);
}

static void on_flash_unread(struct rig *r)
{
	rig_write(r, "a", one, 9000);
	rig_write(r, "b", two, 9000);
	rig_sync(r);
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
	rig_forget_bytes(r);
	assert_int_equal(folder_has_bytes(rig_folder(r), rig_find(r, "a"), NULL), -ENODATA);
}

/* Deleted while it is open, not read yet: its bytes come to the host before flash loses
 * them. */
static void test_deleted_before(void **state)
{
	struct rig *r = *state;
	struct node *a;

	on_flash_unread(r);
	a = rig_find(r, "a");
	rig_open(a);
	rig_unlink(r, "a");
	rig_write(r, "b", one, 8000);
	rig_sync(r);
	rig_write(r, "c", one, 9000);
	rig_sync(r);
	rig_expect_bytes(r, a, one, 9000);
	rig_close(r, a);
	rig_expect_image(r, 2);
}

/* Deleted during the commit that still has it: the new base holds it. */
static void test_deleted_during(void **state)
{
	struct rig *r = *state;
	struct node *a;

	on_flash_unread(r);
	a = rig_find(r, "a");
	rig_open(a);
	rig_write(r, "0", two, 5000);
	rig_start_sync(r);
	rig_unlink(r, "a");
	assert_int_equal(rig_finish_sync(r), 0);
	rig_expect_bytes(r, a, one, 9000);
	rig_sync(r); /* now it is gone from flash */
	rig_write(r, "c", two, 9000);
	rig_sync(r);
	rig_expect_bytes(r, a, one, 9000);
	rig_close(r, a);
}

/* Junk that stands on flash, by another tool: the first commit takes it off, the folder
 * keeps it. */
static void flash_with_junk(struct rig *r)
{
	rig_write(r, "x1", one, 9000);
	rig_write(r, "b", two, 9000);
	rig_sync(r);
	rig_detach(r);
	rig_forget_state(r);
	/* The name is in the image once. */
	{
		_cleanup_free_ char *image = malloc(PARTITION);
		_cleanup_fclose_ FILE *file = fopen(r->image, "r+");
		char *at;

		assert_non_null(file);
		assert_int_equal(fread(image, 1, PARTITION, file), PARTITION);
		at = memmem(image, PARTITION, "x1", 2);
		assert_non_null(at);
		assert_int_equal(fseek(file, at - image + 1, SEEK_SET), 0);
		assert_int_equal(fputc('~', file), '~');
	}
	rig_attach(r);
	assert_true(rig_find(r, "x~")->junk);
}

static void test_junk_from_flash(void **state)
{
	struct rig *r = *state;

	flash_with_junk(r);
	assert_false(folder_is_staged(rig_folder(r)));
	rig_write(r, "b", one, 100);
	rig_sync(r);
	rig_expect_image(r, 1);
	rig_expect(r, "x~", one, 9000);
	rig_reattach(r);
	rig_expect(r, "x~", one, 9000);
}

/* And while that commit runs, it gets a name that is none. */
static void test_junk_renamed_during(void **state)
{
	struct rig *r = *state;

	flash_with_junk(r);
	rig_write(r, "b", big, sizeof(big)); /* over the place of the junk */
	rig_start_sync(r);
	rig_rename(r, "x~", "x");
	assert_int_equal(rig_finish_sync(r), 0);
	rig_expect(r, "x", one, 9000);
	rig_sync(r);
	rig_expect(r, "x", one, 9000);
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
	rig_expect(r, "x", one, 9000);
}

/* The other way round: it is on flash as a file, and junk when the commit ends. */
static void test_made_junk_during(void **state)
{
	struct rig *r = *state;

	on_flash_unread(r);
	rig_write(r, "0", one, 100);
	rig_start_sync(r);
	rig_rename(r, "a", "a~");
	assert_int_equal(rig_finish_sync(r), 0);
	/* What the new base holds is not copied. */
	assert_int_equal(rig_find(r, "a~")->content.kind, CONTENT_BASE);
	assert_int_equal(rig_find(r, "b")->content.kind, CONTENT_BASE);
	rig_expect(r, "a~", one, 9000);
	rig_sync(r);
	rig_expect_image(r, 2);
	rig_expect(r, "a~", one, 9000);
	rig_reattach(r);
	rig_expect(r, "a~", one, 9000);
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
		TEST(test_changes_under_way),
		TEST(test_deleted_before),
		TEST(test_deleted_during),
		TEST(test_junk_from_flash),
		TEST(test_junk_renamed_during),
		TEST(test_made_junk_during),
		TEST(test_junk_outlives_the_mount),
	};

	return cmocka_run_group_tests_name("snapshot", tests, NULL, NULL);
}
