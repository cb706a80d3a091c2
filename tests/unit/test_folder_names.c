/* SPDX-License-Identifier: MIT */
/* Names and the space that is reckoned for them. */
#include "config.h"

#include <errno.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define PARTITION (32u << 10)

static uint8_t bytes[PARTITION];

static int setup(void **state)
{
	static struct rig r;

	fault_no_flush = true;
	rig_make(&r, PARTITION);
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

static struct node *root_of(struct rig *r)
{
	return node_root(rig_folder(r)->nodes);
}

static void test_create_and_remove(void **state)
{
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	char name[300];
	struct node *n;

	rig_mkdir(r, "d");
	rig_write(r, "d/f", "x", 1);
	assert_int_equal(folder_create(f, rig_find(r, "d"), "f", &n), -EEXIST);
	assert_int_equal(folder_mkdir(f, root_of(r), "d", &n), -EEXIST);
	assert_int_equal(folder_rmdir(f, root_of(r), "d"), -ENOTEMPTY);
	assert_int_equal(folder_rmdir(f, rig_find(r, "d"), "f"), -ENOTDIR);
	assert_int_equal(folder_unlink(f, root_of(r), "d"), -EISDIR);
	assert_int_equal(folder_unlink(f, root_of(r), "no"), -ENOENT);
	assert_int_equal(folder_rmdir(f, root_of(r), "no"), -ENOENT);
	memset(name, 'n', sizeof(name));
	name[256] = '\0';
	assert_int_equal(folder_create(f, root_of(r), name, &n), -ENAMETOOLONG);
	assert_int_equal(folder_mkdir(f, root_of(r), name, &n), -ENAMETOOLONG);
	name[255] = '\0';
	assert_int_equal(folder_mkdir(f, root_of(r), name, &n), 0);
	rig_unlink(r, "d/f");
	assert_int_equal(folder_rmdir(f, root_of(r), "d"), 0);
	rig_expect_charges(r);
}

/* Nothing can be made in a directory that is gone and that somebody still stands in. */
static void test_removed_directory(void **state)
{
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	struct node *d, *n;

	rig_mkdir(r, "d");
	rig_write(r, "f", "x", 1);
	d = rig_find(r, "d");
	rig_open(d);
	assert_int_equal(folder_rmdir(f, root_of(r), "d"), 0);
	assert_int_equal(folder_create(f, d, "f", &n), -ENOENT);
	assert_int_equal(folder_mkdir(f, d, "f", &n), -ENOENT);
	assert_int_equal(folder_rename(f, root_of(r), "f", d, "f", 0), -ENOENT);
	rig_expect(r, "f", "x", 1);
	d->opens--;
	node_release(f->nodes, d);
}

static void test_rename_rules(void **state)
{
	struct rig *r = *state;

	rig_mkdir(r, "d");
	rig_mkdir(r, "d/sub");
	rig_mkdir(r, "empty");
	rig_write(r, "a", "a", 1);
	rig_write(r, "b", "bb", 2);
	assert_int_equal(rig_try_rename(r, "no", "x", 0), -ENOENT);
	assert_int_equal(rig_try_rename(r, "a", "b", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(rig_try_rename(r, "a", "d", 0), -EISDIR);
	assert_int_equal(rig_try_rename(r, "d", "a", 0), -ENOTDIR);
	assert_int_equal(rig_try_rename(r, "empty", "d", 0), -ENOTEMPTY);
	assert_int_equal(rig_try_rename(r, "d", "d/sub/x", 0), -EINVAL);
	assert_int_equal(rig_try_rename(r, "d", "d/x", 0), -EINVAL);
	assert_int_equal(rig_try_rename(r, "d/sub", "d", RENAME_EXCHANGE), -EINVAL);
	assert_int_equal(rig_try_rename(r, "a", "no", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(rig_try_rename(r, "a", "b", RENAME_WHITEOUT), -EINVAL);
	rig_rename(r, "d", "d"); /* onto itself, full or not */
	rig_rename(r, "a", "a");
	rig_rename(r, "d", "empty");
	rig_rename(r, "a", "b");
	rig_reattach(r);
	rig_expect(r, "b", "a", 1);
	rig_expect_none(r, "a");
	assert_non_null(rig_find(r, "empty/sub"));
	rig_expect_none(r, "d");
}

static void test_exchange(void **state)
{
	struct rig *r = *state;

	rig_mkdir(r, "d");
	rig_write(r, "d/a-file-with-a-long-name", "one", 3);
	rig_write(r, "b", "two2", 4);
	assert_int_equal(
		rig_try_rename(r, "d/a-file-with-a-long-name", "b", RENAME_EXCHANGE), 0);
	rig_expect_charges(r);
	assert_int_equal(rig_try_rename(r, "d", "b", RENAME_EXCHANGE), 0);
	rig_expect_charges(r);
	rig_reattach(r);
	rig_expect(r, "d", "one", 3);
	rig_expect(r, "b/a-file-with-a-long-name", "two2", 4);
}

static void deep(struct rig *r, const char *top, unsigned levels, char *path, size_t cap)
{
	size_t len = (size_t)snprintf(path, cap, "%s", top);

	rig_mkdir(r, path);
	for (unsigned i = 1; i < levels; i++) {
		len += (size_t)snprintf(path + len, cap - len, "/d");
		rig_mkdir(r, path);
	}
}

static void test_depth(void **state)
{
	struct rig *r = *state;
	char path[300], more[320];
	struct node *n;

	deep(r, "x", ROMFS_DEPTH_MAX, path, sizeof(path));
	assert_int_equal(folder_mkdir(rig_folder(r), rig_find(r, path), "d", &n), -ENAMETOOLONG);
	rig_mkdir(r, "low");
	rig_mkdir(r, "low/er");
	rig_mkdir(r, "low/er/still");
	assert_int_equal(rig_try_rename(r, "x", "low/x", 0), -ENAMETOOLONG);
	/* A lower one against a higher one: both must fit where they go. */
	snprintf(more, sizeof(more), "%.*s", (int)strlen("x/d/d"), path);
	assert_int_equal(rig_try_rename(r, "low", path, RENAME_EXCHANGE), -ENAMETOOLONG);
	assert_int_equal(rig_try_rename(r, path, "low", RENAME_EXCHANGE), -ENAMETOOLONG);
	assert_int_equal(rig_try_rename(r, more, "low", RENAME_EXCHANGE), 0);
	rig_expect_charges(r);
	rig_sync(r);
	rig_reattach(r);
	assert_non_null(rig_find(r, "x/d/d/er/still"));
}

/* What the disk does not take has not happened. */
static void test_disk_refuses(void **state)
{
	static const struct fault full = {
		.kind = FAULT_FAIL, .calls = FAULT_ANY, .stays = true, .code = ENOSPC};
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	struct node *n;

	rig_mkdir(r, "d");
	rig_write(r, "a", "a", 1);
	rig_write(r, "b", "b", 1);
	fault_arm(&full);
	assert_int_equal(rig_try_rename(r, "a", "b", 0), -ENOSPC);
	assert_int_equal(rig_try_rename(r, "a", "b", RENAME_EXCHANGE), -ENOSPC);
	assert_int_equal(folder_unlink(f, root_of(r), "a"), -ENOSPC);
	assert_int_equal(folder_rmdir(f, root_of(r), "d"), -ENOSPC);
	assert_int_equal(folder_mkdir(f, root_of(r), "e", &n), -ENOSPC);
	fault_disarm();
	rig_expect(r, "a", "a", 1);
	rig_expect(r, "b", "b", 1);
	rig_expect_none(r, "e");
	rig_expect_charges(r);
	rig_reattach(r);
	rig_expect(r, "a", "a", 1);
	rig_expect(r, "b", "b", 1);
}

/* A file that is being written, put in place of a good one: the crash leaves the new one. */
static void test_rename_of_an_open_file(void **state)
{
	struct rig *r = *state;
	struct node *n;

	rig_write(r, "main.py", "old", 3);
	assert_int_equal(folder_create(rig_folder(r), root_of(r), "tmp", &n), 0);
	rig_open(n);
	assert_int_equal(folder_write(rig_folder(r), n, "new!", 4, 0), 4);
	rig_rename(r, "tmp", "main.py");
	rig_reattach(r); /* never closed */
	rig_expect(r, "main.py", "new!", 4);
	rig_expect_none(r, "tmp");
}

static void test_fresh_leaves_no_trace(void **state)
{
	struct rig *r = *state;
	struct node *n;

	rig_mkdir(r, "d");
	assert_int_equal(folder_create(rig_folder(r), rig_find(r, "d"), "f", &n), 0);
	rig_open(n);
	assert_int_equal(folder_rmdir(rig_folder(r), root_of(r), "d"), -ENOTEMPTY);
	rig_rename(r, "d", "e"); /* its directory moves under it */
	rig_reattach(r);
	assert_non_null(rig_find(r, "e"));
	rig_expect_none(r, "e/f");
	assert_int_equal(folder_create(rig_folder(r), rig_find(r, "e"), "f", &n), 0);
	rig_open(n);
	rig_unlink(r, "e/f");
	assert_int_equal(folder_write(rig_folder(r), n, "x", 1, 0), 1);
	rig_close(r, n);
	assert_int_equal(folder_rmdir(rig_folder(r), root_of(r), "e"), 0);
	rig_reattach(r);
	rig_expect_none(r, "e");
}

/* --- space ------------------------------------------------------------------------------ */

static void test_full(void **state)
{
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	uint64_t room = folder_available(f);
	struct node *n;

	assert_int_equal(rig_try_write(r, "big", bytes, room), -ENOSPC);
	rig_expect(r, "big", NULL, 0);
	rig_write(r, "big", bytes, room - 100);
	assert_true(folder_available(f) < 100);
	assert_int_equal(rig_try_write(r, "more", bytes, 100), -ENOSPC);
	rig_unlink(r, "more");
	rig_write(r, "more~", bytes, 5000); /* junk takes no room there */
	assert_int_equal(rig_try_rename(r, "more~", "more", 0), -ENOSPC);
	assert_int_equal(rig_try_rename(r, "more~", "big", RENAME_EXCHANGE), 0);
	assert_int_equal(rig_try_rename(r, "more~", "big", RENAME_EXCHANGE), 0);
	rig_rename(r, "more~", "big"); /* in its place there is room */
	assert_int_equal(folder_create(f, root_of(r), "x", &n), 0);
	rig_expect_charges(r);
}

/* Exchanging junk for what is smaller needs room too. */
static void test_exchange_with_junk_when_full(void **state)
{
	struct rig *r = *state;
	uint64_t room = folder_available(rig_folder(r));

	rig_write(r, "big", bytes, room - 2000);
	rig_write(r, "small", bytes, 100);
	rig_write(r, "junk~", bytes, 9000);
	assert_int_equal(rig_try_rename(r, "small", "junk~", RENAME_EXCHANGE), -ENOSPC);
	rig_expect_charges(r);
	rig_sync(r);
}

/* A file that is being rewritten counts with what a commit takes in the meantime. */
static void test_rewriting_keeps_its_room(void **state)
{
	struct rig *r = *state;
	uint64_t room = folder_available(rig_folder(r));
	struct node *n;

	rig_write(r, "big", bytes, room - 4000);
	n = rig_find(r, "big");
	rig_open(n);
	assert_int_equal(folder_truncate(rig_folder(r), n, 0), 0);
	assert_int_equal(rig_try_write(r, "other", bytes, 9000), -ENOSPC);
	rig_sync(r);
	rig_close(r, n);
	rig_write(r, "other", bytes, 9000);
	rig_expect_charges(r);
	rig_sync(r);
}

/* Patterns may be about paths: a directory that moves changes what its files need. */
static void test_alignment_by_path(void **state)
{
	static const struct romfs_align aligns[] = {{"models/*", 4096}};
	struct rig *r = *state;
	char path[32];

	r->pack.aligns = aligns;
	r->pack.n_aligns = 1;
	rig_mkdir(r, "plain");
	for (unsigned i = 0; i < 7; i++) {
		snprintf(path, sizeof(path), "plain/%u", i);
		rig_write(r, path, bytes, 10);
	}
	assert_int_equal(rig_try_rename(r, "plain", "models", 0), -0);
	rig_expect_charges(r);
	rig_sync(r);
	assert_int_equal(rig_find(r, "models/3")->content.off % 4096, 0);
	rig_rename(r, "models", "plain");
	rig_write(r, "plain/7", bytes, 3000);
	assert_int_equal(rig_try_rename(r, "plain", "models", 0), -ENOSPC);
	rig_expect_charges(r);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_create_and_remove),
		TEST(test_removed_directory),
		TEST(test_rename_rules),
		TEST(test_exchange),
		TEST(test_depth),
		TEST(test_disk_refuses),
		TEST(test_rename_of_an_open_file),
		TEST(test_fresh_leaves_no_trace),
		TEST(test_full),
		TEST(test_exchange_with_junk_when_full),
		TEST(test_rewriting_keeps_its_room),
		TEST(test_alignment_by_path),
	};

	return cmocka_run_group_tests_name("folder, names", tests, NULL, NULL);
}
