/* SPDX-License-Identifier: MIT */
/* Folders that stand before the board was asked. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/fetch.h"
#include "fuse/intent.h"
#include "fuse/portmemo.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define BLOCK 4096u
#define SIZE (BLOCK * 64)

static struct rig rig;
static uint8_t one[20000], two[20000];

static int setup(void **state)
{
	fault_no_flush = true;
	rig_fill(one, sizeof(one), 1);
	rig_fill(two, sizeof(two), 2);
	rig_make(&rig, 16);
	fakeboard_make(SIZE, BLOCK);
	rig.board = true;
	rig.id = "bench";
	rig_attach(&rig);
	rig_write(&rig, "f", one, sizeof(one));
	rig_mkdir(&rig, "d");
	rig_write(&rig, "d/g", two, 300);
	rig_sync(&rig);
	rig_detach(&rig);
	return 0;
}

static int teardown(void **state)
{
	rig_remove(&rig);
	fakeboard_remove();
	return 0;
}

static unsigned opens_of_attach(void)
{
	unsigned before = fakeboard.opens;

	rig_attach(&rig);
	return fakeboard.opens - before;
}

static bool has_memo(void)
{
	struct portmemo memo;

	return portmemo_read(rig.state, "id bench", 0, &memo) == 0;
}

static void expect_tree(void)
{
	assert_int_equal(rig_find(&rig, "f")->size, sizeof(one));
	assert_int_equal(rig_find(&rig, "d/g")->size, 300);
	assert_int_equal(rig_find(&rig, "d")->type, ROMFS_DIR);
	assert_false(folder_is_staged(rig_folder(&rig)));
}

static int result;
static struct error told;

static void on_fetched(void *ctx, int r, const struct error *err)
{
	result = r;
	told = *err;
	rig.waiting = false;
}

static bool is_told(struct rig *r)
{
	return !r->waiting;
}

/* As a program's read(2) does it. */
static int read_file(const char *path, void *buf, size_t len)
{
	struct node *n = rig_find(&rig, path);
	struct romfs_extent missing;

	if (folder_has_bytes(rig_folder(&rig), n, &missing) == -ENODATA) {
		assert_int_equal(folder_read(rig_folder(&rig), n, buf, len, 0), -ENODATA);
		rig.waiting = true;
		assert_int_equal(
			fetch_start(rig.worker, rig.a.flash, &missing, on_fetched, NULL), 0);
		rig_run_until(&rig, is_told);
		if (result < 0)
			return result;
	}
	return (int)folder_read(rig_folder(&rig), n, buf, len, 0);
}

static void test_listed_without_the_board(void **state)
{
	uint8_t buf[300];

	assert_int_equal(opens_of_attach(), 0);
	expect_tree();
	assert_string_equal(flash_board(rig.a.flash)->machine, "fake board");
	assert_int_equal(flash_geometry(rig.a.flash)->size, SIZE);
	/* Bytes are read when the board has been asked, once. */
	fakeboard.hashed_bytes = 0;
	assert_int_equal(read_file("d/g", buf, 300), 300);
	assert_memory_equal(buf, two, 300);
	assert_true(fakeboard.hashed_bytes >= sizeof(one));
	rig_expect(&rig, "f", one, sizeof(one));
	assert_false(flash_is_stale(rig.a.flash));
}

static void test_asked_when_told_to(void **state)
{
	rig.ask = true;
	assert_int_equal(opens_of_attach(), 1);
	expect_tree();
	rig_detach(&rig);
	rig.ask = false;
	rig.id = "another";
	assert_int_equal(opens_of_attach(), 1);
	rig_detach(&rig);
	rig.id = NULL;
	assert_int_equal(opens_of_attach(), 1); /* nothing tells what is there */
	rig_detach(&rig);
	rig.id = "a\nb";
	assert_int_equal(rig_try_attach(&rig, &told), -EINVAL);
}

static void test_saved_from_memory(void **state)
{
	assert_int_equal(opens_of_attach(), 0);
	rig_write(&rig, "new", two, 5000);
	rig_sync(&rig);
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 0);
	assert_int_equal(rig_find(&rig, "new")->size, 5000);
	rig_detach(&rig);
	rig_forget_state(&rig);
	rig_attach(&rig);
	rig_fetch(&rig, rig_find(&rig, "new"));
	rig_expect(&rig, "new", two, 5000);
}

/* The same bytes again: whether flash holds them must be known first. */
static void test_same_bytes_again(void **state)
{
	unsigned changes = fakeboard.changes;

	assert_int_equal(opens_of_attach(), 0);
	rig_write(&rig, "f", one, sizeof(one));
	assert_int_equal(folder_set_mtime(rig_folder(&rig), rig_find(&rig, "f"), 1), 0);
	fakeboard.flash[rig_find(&rig, "d/g")->content.off] ^= 1;
	assert_int_equal(rig_try_sync(&rig), -ESTALE);
	assert_int_equal(fakeboard.changes, changes);
}

/* Another program deployed meanwhile. */
static void test_stale(void **state)
{
	uint8_t buf[300];
	unsigned opens;

	fakeboard.flash[BLOCK * 63] = 0; /* unused: not ours to look at */
	assert_int_equal(opens_of_attach(), 0);
	fakeboard.flash[rig_find(&rig, "f")->content.off + 5] ^= 1;
	opens = fakeboard.opens;
	assert_int_equal(read_file("d/g", buf, 300), -ESTALE);
	assert_non_null(strstr(told.text, "another program has changed rom0"));
	assert_true(flash_is_stale(rig.a.flash));
	assert_false(has_memo());
	/* Nor anything else, and the board's program is not stopped for it again. */
	assert_int_equal(read_file("f", buf, 300), -ESTALE);
	assert_int_equal(fakeboard.opens, opens + 1);
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 1);
	rig_fetch(&rig, rig_find(&rig, "f"));
	one[5] ^= 1;
	rig_expect(&rig, "f", one, sizeof(one));
}

static void test_stale_and_staged(void **state)
{
	assert_int_equal(opens_of_attach(), 0);
	fakeboard.flash[rig_find(&rig, "f")->content.off + 5] ^= 1;
	rig_write(&rig, "new", two, 5000);
	assert_int_equal(rig_try_sync(&rig), -ESTALE);
	assert_false(has_memo());
	rig_expect(&rig, "new", two, 5000);
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 1);
	assert_non_null(strstr(rig.a.notes, "another program has written this partition"));
	rig_expect_none(&rig, "new");
}

static void test_another_board(void **state)
{
	uint8_t buf[300];

	snprintf(fakeboard.info.unique_id, sizeof(fakeboard.info.unique_id), "0ddba11");
	assert_int_equal(opens_of_attach(), 0);
	assert_int_equal(read_file("f", buf, 300), -ENODEV);
	assert_non_null(strstr(told.text, "another board"));
	assert_false(has_memo());
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 1);
	assert_true(has_memo());
}

static void test_another_geometry(void **state)
{
	uint8_t buf[300];

	fakeboard.geometry.erase_block *= 2;
	assert_int_equal(opens_of_attach(), 0);
	assert_int_equal(read_file("f", buf, 300), -ENODEV);
	assert_false(has_memo());
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 1);
}

/* What is told of it must be right the next time. */
static void test_new_firmware(void **state)
{
	uint8_t buf[300];

	snprintf(fakeboard.info.firmware, sizeof(fakeboard.info.firmware), "2.0");
	assert_int_equal(opens_of_attach(), 0);
	assert_int_equal(read_file("f", buf, 300), 300);
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 1);
	assert_string_equal(flash_board(rig.a.flash)->firmware, "2.0");
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 0);
}

static void test_staged_asks(void **state)
{
	rig_attach(&rig);
	rig_write(&rig, "new", two, 5000);
	rig_detach(&rig); /* a crash */
	assert_int_equal(opens_of_attach(), 1);
	rig_expect(&rig, "new", two, 5000);
	rig_sync(&rig);
	rig_detach(&rig);
	/* Junk never goes to flash. */
	assert_int_equal(opens_of_attach(), 0);
	rig_write(&rig, ".DS_Store", two, 5);
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 0);
	rig_expect(&rig, ".DS_Store", two, 5);
}

static void test_intent_asks(void **state)
{
	const struct intent intent = {.next_name = "next-00000000"};
	_cleanup_close_ int dir = -1;

	rig_attach(&rig);
	dir = dup(rig_folder(&rig)->dirfd);
	rig_detach(&rig);
	assert_int_equal(intent_write(dir, &intent), 0);
	assert_int_equal(opens_of_attach(), 1);
}

static void test_unknown_records_ask(void **state)
{
	rig_attach(&rig);
	assert_int_equal(mirror_forget(rig_folder(&rig)->mirror, 0, 1), 0);
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 1);
	expect_tree();
	rig_detach(&rig);
	assert_int_equal(opens_of_attach(), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_listed_without_the_board),
		TEST(test_asked_when_told_to),
		TEST(test_saved_from_memory),
		TEST(test_same_bytes_again),
		TEST(test_stale),
		TEST(test_stale_and_staged),
		TEST(test_another_board),
		TEST(test_another_geometry),
		TEST(test_new_firmware),
		TEST(test_staged_asks),
		TEST(test_intent_asks),
		TEST(test_unknown_records_ask),
	};

	return cmocka_run_group_tests_name("recall", tests, NULL, NULL);
}
