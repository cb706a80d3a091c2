/* SPDX-License-Identifier: MIT */
/* Bytes, and how they become safe. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define PARTITION (64u << 10)

static uint8_t bytes[PARTITION], zeros[PARTITION];

static const struct fault full = {.kind = FAULT_FAIL,
	.calls = FAULT_PWRITE | FAULT_WRITE | FAULT_ALLOCATE,
	.stays = true,
	.code = ENOSPC};

static int setup(void **state)
{
	static struct rig r;

	fault_no_flush = true;
	rig_fill(bytes, sizeof(bytes), 5);
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

static struct node *open_file(struct rig *r, const char *path, size_t len)
{
	struct node *n;

	rig_write(r, path, bytes, len);
	n = rig_find(r, path);
	rig_open(n);
	return n;
}

static void test_holes_are_zero(void **state)
{
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	struct node *n = open_file(r, "f", 3000);
	uint8_t want[9000] = {0};

	memcpy(want, bytes, 3000);
	assert_int_equal(folder_write(f, n, "end", 3, 8997), 3);
	memcpy(want + 8997, "end", 3);
	rig_expect_bytes(r, n, want, 9000);
	assert_int_equal(folder_truncate(f, n, 100), 0);
	assert_int_equal(folder_truncate(f, n, 9000), 0);
	memset(want + 100, 0, 8900);
	rig_expect_bytes(r, n, want, 9000);
	rig_close(r, n);
	rig_reattach(r);
	rig_expect(r, "f", want, 9000);
}

static void test_limits(void **state)
{
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	struct node *n = open_file(r, "f", 10);
	uint8_t buf[20];

	assert_int_equal(folder_write(f, n, "x", 1, UINT64_MAX), -EFBIG);
	assert_int_equal(folder_write(f, n, "x", 1, ROMFS_SIZE_MAX), -EFBIG);
	assert_int_equal(folder_truncate(f, n, UINT64_MAX), -EFBIG);
	assert_int_equal(folder_allocate(f, n, UINT64_MAX, 2, false, false, false), -EFBIG);
	assert_int_equal(folder_truncate(f, n, PARTITION), -ENOSPC);
	assert_int_equal(folder_write(f, n, "x", 0, 5000), 0); /* no byte, no change */
	assert_int_equal(folder_read(f, n, buf, sizeof(buf), 4), 6);
	assert_memory_equal(buf, bytes + 4, 6);
	assert_int_equal(folder_read(f, n, buf, sizeof(buf), 10), 0);
	assert_int_equal(folder_read(f, n, buf, sizeof(buf), UINT64_MAX), 0);
	rig_close(r, n);
}

static void test_allocate(void **state)
{
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	struct node *n = open_file(r, "f", 5000);
	uint8_t want[9000] = {0};

	memcpy(want, bytes, 5000);
	assert_int_equal(folder_allocate(f, n, 0, 20000, true, false, false), 0);
	rig_expect_bytes(r, n, want, 5000);
	assert_int_equal(folder_allocate(f, n, 1000, 2000, true, true, false), 0);
	memset(want + 1000, 0, 2000);
	rig_expect_bytes(r, n, want, 5000);
	assert_int_equal(folder_allocate(f, n, 4000, 2000, true, false, true), 0);
	memset(want + 4000, 0, 1000);
	rig_expect_bytes(r, n, want, 5000);
	assert_int_equal(folder_allocate(f, n, 4000, 5000, false, false, false), 0);
	rig_expect_bytes(r, n, want, 9000);
	assert_int_equal(folder_allocate(f, n, 0, PARTITION, false, false, false), -ENOSPC);
	rig_expect_bytes(r, n, want, 9000);
	rig_close(r, n);
}

/* A write that fails half-way leaves nothing behind the end of the file. */
static void test_failed_write(void **state)
{
	static const struct fault half = {
		.kind = FAULT_FAIL, .calls = FAULT_PWRITE, .code = ENOSPC, .part = 2500};
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	struct node *n = open_file(r, "f", 1000);
	uint64_t charged;

	assert_int_equal(folder_prepare_write(f, n, false), 0);
	charged = f->charged;
	fault_arm(&half);
	assert_int_equal(folder_write(f, n, bytes, 4000, 1000), -ENOSPC);
	fault_disarm();
	assert_int_equal(n->size, 1000);
	assert_int_equal(f->charged, charged);
	assert_int_equal(folder_truncate(f, n, 3000), 0);
	memcpy(zeros, bytes, 1000);
	rig_expect_bytes(r, n, zeros, 3000);
	memset(zeros, 0, 1000);
	rig_close(r, n);
}

/* What it did change in front of the end is seen, so it must become safe as well. */
static void test_failed_overwrite(void **state)
{
	static const struct fault half = {
		.kind = FAULT_FAIL, .calls = FAULT_PWRITE, .code = EIO, .part = 500};
	struct rig *r = *state;
	struct node *n = open_file(r, "f", 1000);
	uint8_t want[1000] = {0};

	assert_int_equal(folder_prepare_write(rig_folder(r), n, false), 0);
	fault_arm(&half);
	assert_int_equal(folder_write(rig_folder(r), n, zeros, 1000, 0), -EIO);
	fault_disarm();
	memcpy(want + 500, bytes + 500, 500);
	rig_expect_bytes(r, n, want, 1000);
	rig_close(r, n);
	rig_reattach(r);
	rig_expect(r, "f", want, 1000);
}

/* --- becoming safe ---------------------------------------------------------------------- */

static void test_same_bytes_cost_nothing(void **state)
{
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	uint64_t change, seq;

	rig_write(r, "f", bytes, 9000);
	change = f->change;
	seq = journal_seq(f->journal);
	rig_write(r, "f", bytes, 9000); /* from the journal */
	assert_int_equal(journal_seq(f->journal), seq);
	rig_sync(r);
	seq = journal_seq(f->journal);
	rig_write(r, "f", bytes, 9000); /* from flash */
	assert_int_equal(journal_seq(f->journal), seq);
	assert_int_equal(f->change, change);
	assert_int_equal(rig_find(r, "f")->content.kind, CONTENT_BASE);
	rig_write(r, "f", zeros, 9000);
	assert_true(f->change > change);
	rig_expect(r, "f", zeros, 9000);
}

/* A close that the disk refuses changes nothing; the next one does it all. */
static void test_failed_close(void **state)
{
	static const size_t sizes[] = {0, 4000};
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct node *n = open_file(r, "f", 3000);
		uint64_t seq;

		assert_int_equal(folder_truncate(rig_folder(r), n, sizes[i]), 0);
		fault_arm(&full);
		assert_int_equal(folder_stage(rig_folder(r), n, &seq), -ENOSPC);
		fault_disarm();
		assert_int_equal(n->content.size, 3000);
		rig_close(r, n);
		rig_reattach(r);
		assert_int_equal(rig_find(r, "f")->size, sizes[i]);
	}
}

/* A file that could not be staged when it was closed is taken along by the next commit. */
static void test_leftovers(void **state)
{
	struct rig *r = *state;
	struct node *n, *empty;

	n = open_file(r, "f", 100);
	assert_int_equal(folder_write(rig_folder(r), n, "late", 4, 0), 4);
	assert_int_equal(
		folder_create(rig_folder(r), node_root(rig_folder(r)->nodes), "e", &empty), 0);
	rig_open(empty);
	fault_arm(&full);
	assert_int_equal(rig_try_close(r, n), -ENOSPC);
	assert_int_equal(rig_try_close(r, empty), -ENOSPC);
	fault_disarm();
	rig_write(r, "other", bytes, 10);
	rig_sync(r);
	rig_reattach(r);
	memcpy(zeros, "late", 4);
	memcpy(zeros + 4, bytes + 4, 96);
	rig_expect(r, "f", zeros, 100);
	memset(zeros, 0, 100);
	rig_expect(r, "e", NULL, 0);
}

static void test_times(void **state)
{
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	struct node *n = open_file(r, "f", 100);
	int64_t first = 1000000000000000001, second = 1100000000000000002;
	uint64_t change;

	assert_int_equal(folder_set_mtime(f, n, first), 0);
	rig_close(r, n); /* nothing was written */
	assert_int_equal(n->mtime_ns, first);
	rig_reattach(r);
	f = rig_folder(r);
	n = rig_find(r, "f");
	assert_int_equal(n->mtime_ns, first);
	/* Set before the close, as cp -p and rsync do it, on bytes that are the same. */
	rig_open(n);
	assert_int_equal(folder_write(f, n, bytes, 100, 0), 100);
	assert_true(n->mtime_ns > second);
	assert_int_equal(folder_set_mtime(f, n, second), 0);
	rig_close(r, n);
	assert_int_equal(n->mtime_ns, second);
	rig_reattach(r);
	f = rig_folder(r);
	n = rig_find(r, "f");
	assert_int_equal(n->mtime_ns, second);
	change = f->change;
	assert_int_equal(folder_set_mtime(f, n, second), 0);
	assert_int_equal(f->change, change); /* nothing new */
	rig_sync(r);
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
	assert_int_equal(rig_find(r, "f")->mtime_ns, second); /* from flash */
}

/* A crash between the new time and the close must not leave the new time on old bytes: to
 * rsync that would look done. */
static void test_time_comes_with_its_bytes(void **state)
{
	struct rig *r = *state;
	struct node *n = open_file(r, "f", 100);
	int64_t stamp = 1000000000000000001;

	assert_int_equal(folder_write(rig_folder(r), n, zeros, 100, 0), 100);
	assert_int_equal(folder_set_mtime(rig_folder(r), n, stamp), 0);
	rig_reattach(r);
	rig_expect(r, "f", bytes, 100);
	assert_int_not_equal(rig_find(r, "f")->mtime_ns, stamp);
}

static void test_time_refused(void **state)
{
	struct rig *r = *state;
	struct node *n;
	int64_t before;

	rig_write(r, "f", bytes, 100);
	n = rig_find(r, "f");
	before = n->mtime_ns;
	fault_arm(&full);
	assert_int_equal(folder_set_mtime(rig_folder(r), n, 12345), -ENOSPC);
	fault_disarm();
	assert_int_equal(n->mtime_ns, before);
	assert_int_equal(n->note_ns, before);
}

/* Bytes of deleted files that are still open outlive the journal that held them. */
static void test_deleted_and_open(void **state)
{
	struct rig *r = *state;
	struct node *n = open_file(r, "f", 5000);

	rig_write(r, "other", zeros, 3000);
	rig_unlink(r, "f");
	rig_expect_bytes(r, n, bytes, 5000);
	rig_sync(r); /* the journal starts anew */
	rig_write(r, "third", zeros, 6000);
	rig_expect_bytes(r, n, bytes, 5000);
	assert_int_equal(folder_write(rig_folder(r), n, "more", 4, 5000), 4);
	rig_close(r, n);
	rig_expect_none(r, "f");
	rig_expect_charges(r);
}

/* Junk that comes and goes all day does not fill the host's disk. */
static void test_journal_does_not_grow_with_junk(void **state)
{
	struct rig *r = *state;
	_cleanup_free_ uint8_t *big = calloc(1, 15u << 20);

	assert_non_null(big);
	for (unsigned i = 0; i < 8; i++) {
		big[0] = (uint8_t)(i + 1);
		rig_write(r, ".big.swp", big, 15u << 20);
		assert_int_equal(folder_compact_journal(rig_folder(r)), 0);
	}
	assert_true(journal_bytes(rig_folder(r)->journal) < 100u << 20);
	rig_reattach(r);
	assert_int_equal(rig_find(r, ".big.swp")->size, 15u << 20);
	rig_expect(r, ".big.swp", big, 15u << 20);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_holes_are_zero),
		TEST(test_limits),
		TEST(test_allocate),
		TEST(test_failed_write),
		TEST(test_failed_overwrite),
		TEST(test_same_bytes_cost_nothing),
		TEST(test_failed_close),
		TEST(test_leftovers),
		TEST(test_times),
		TEST(test_time_comes_with_its_bytes),
		TEST(test_time_refused),
		TEST(test_deleted_and_open),
		TEST(test_journal_does_not_grow_with_junk),
	};

	return cmocka_run_group_tests_name("folder, bytes", tests, NULL, NULL);
}
