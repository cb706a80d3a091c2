/* SPDX-License-Identifier: MIT */
/* Commits to a board that has its faults. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fuse/intent.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define BLOCK 1024u
#define SIZE (64u * BLOCK)

static uint8_t one[20000], two[20000];

static int setup(void **state)
{
	static struct rig r;

	fault_no_flush = true;
	rig_fill(one, sizeof(one), 1);
	rig_fill(two, sizeof(two), 2);
	rig_make(&r, 16);
	fakeboard_make(SIZE, BLOCK);
	r.board = true;
	rig_attach(&r);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	rig_remove(*state);
	fakeboard_remove();
	return 0;
}

static void fail_from(int at, int count, enum fakeboard_fault fault, int code)
{
	fakeboard.changes = 0;
	fakeboard.fault_at = at;
	fakeboard.fault_count = count;
	fakeboard.fault = fault;
	fakeboard.fault_code = code;
}

static void mend(void)
{
	fakeboard.fault_at = -1;
}

/* Flash that has to be erased, block by block. */
static void start_used(struct rig *r)
{
	rig_detach(r);
	rig_forget_state(r);
	memset(fakeboard.flash, 0, SIZE);
	rig_attach(r);
}

/* Another host finds these files, and no others, on the board. */
static void expect_on_board(struct rig *r, const char *path, const void *buf, size_t len)
{
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
	rig_expect(r, path, buf, len);
}

static void test_port_is_closed_after_it(void **state)
{
	struct rig *r = *state;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	assert_int_equal(fakeboard.finishes, 1);
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	expect_on_board(r, "a", one, 9000);
}

/* A tree that flash holds already costs nothing, not even opening the port. */
static void test_nothing_to_do(void **state)
{
	struct rig *r = *state;
	unsigned opens, changes;

	rig_mkdir(r, "d");
	rig_write(r, "d/a", one, 9000);
	rig_sync(r);
	opens = fakeboard.opens;
	changes = fakeboard.changes;
	rig_write(r, "d/a", two, 9000);
	rig_write(r, "d/a", one, 9000);
	assert_int_equal(folder_set_mtime(rig_folder(r), rig_find(r, "d/a"), 1000), 0);
	rig_rename(r, "d/a", "d/b");
	assert_true(folder_is_staged(rig_folder(r)));
	rig_rename(r, "d/b", "d/a");
	rig_sync(r);
	changes = fakeboard.changes - changes;
	assert_true(changes > 0); /* the time */
	opens = fakeboard.opens;
	changes = fakeboard.changes;
	rig_write(r, "d/a", two, 9000);
	rig_write(r, "d/a", one, 9000);
	assert_int_equal(folder_set_mtime(rig_folder(r), rig_find(r, "d/a"), 1000), 0);
	assert_true(folder_is_staged(rig_folder(r)));
	rig_sync(r);
	assert_int_equal(fakeboard.opens, opens);
	assert_int_equal(fakeboard.changes, changes);
	assert_int_equal(rig_find(r, "d/a")->content.kind, CONTENT_BASE);
	rig_expect(r, "d/a", one, 9000);
}

/* A folder that was made empty is a file system too: the board shall mount it. */
static void test_empty_is_written(void **state)
{
	struct rig *r = *state;

	rig_write(r, "a", one, 9000);
	rig_unlink(r, "a");
	rig_sync(r);
	assert_true(fakeboard.changes > 0);
	rig_reattach(r);
	assert_int_equal(r->a.base.image->status, ROMFS_VALID);
}

static void test_another_program_wrote(void **state)
{
	struct rig *r = *state;
	unsigned changes;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	changes = fakeboard.changes;
	fakeboard.flash[6] ^= 1; /* in the records */
	rig_write(r, "b", two, 9000);
	assert_int_equal(rig_try_sync(r), -ESTALE);
	assert_int_equal(fakeboard.changes, changes);
	assert_non_null(strstr(r->log, "another program"));
	rig_expect(r, "b", two, 9000);
}

static void test_second_attempt(void **state)
{
	static const int codes[] = {EIO, ETIMEDOUT, EPROTO};
	struct rig *r = *state;

	start_used(r);
	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		unsigned opens = fakeboard.opens;

		rig_write(r, "a", i % 2 ? one : two, 9000 + i);
		fail_from(3, 1, FAKEBOARD_HALF, -codes[i]);
		rig_sync(r);
		assert_int_equal(fakeboard.opens, opens + 2);
	}
	expect_on_board(r, "a", two, 9002);
}

/* Operations that do nothing and say nothing are found by the hashes. */
static void test_silent_faults(void **state)
{
	struct rig *r = *state;

	rig_write(r, "a", one, 20000);
	rig_sync(r);
	rig_write(r, "a", two, 20000);
	fail_from(0, 1000, FAKEBOARD_SILENT, 0);
	assert_int_equal(rig_try_sync(r), -EIO);
	mend();
	rig_sync(r);
	expect_on_board(r, "a", two, 20000);
}

/* A board that goes away at each of the operations, and comes back. */
static void test_gone_and_back(void **state)
{
	struct rig *r = *state;
	unsigned count;

	start_used(r);
	rig_write(r, "a", one, 9000);
	fakeboard.changes = 0;
	rig_write(r, "b", one, 9000);
	rig_sync(r);
	count = fakeboard.changes;
	assert_true(count > 1);
	for (unsigned at = 0; at < count; at++) {
		const uint8_t *now = at % 2 ? two : one;

		rig_write(r, "a", now, 9000);
		fail_from((int)at, 1, FAKEBOARD_HALF, -ENODEV);
		(void)!rig_try_sync(r);
		rig_expect(r, "a", now, 9000);
		rig_expect(r, "b", one, 9000);
		if (at % 3 == 0)
			rig_reattach(r);
		mend();
		rig_sync(r);
		rig_expect(r, "a", now, 9000);
		rig_expect(r, "b", one, 9000);
	}
	expect_on_board(r, "b", one, 9000);
}

/* The blocks of a first try are strange to the second one's images. A crash then must not
 * take our own half-written flash for another program's. False: it was not cut. */
static bool try_something_else(struct rig *r, int at)
{
	start_used(r);
	rig_write(r, "keep", one, 20000);
	rig_sync(r);
	rig_write(r, "a", one, 20000);
	fail_from(at, 1000, FAKEBOARD_HALF, -ENODEV);
	if (rig_try_sync(r) == 0)
		return false;
	rig_write(r, "a", two, 18000); /* and now it shall be another */
	fail_from(1, 1000, FAKEBOARD_FAILS, -ENODEV);
	(void)!rig_try_sync(r);
	mend();
	rig_reattach(r);
	if (strstr(r->a.notes, "another program"))
		fail_msg("cut at %d: %s", at, r->a.notes);
	rig_expect(r, "keep", one, 20000);
	rig_expect(r, "a", two, 18000);
	rig_sync(r);
	expect_on_board(r, "keep", one, 20000);
	rig_expect(r, "a", two, 18000);
	return true;
}

static void test_second_try_of_something_else(void **state)
{
	int at = 0;

	while (try_something_else(*state, at))
		at++;
	assert_true(at > 1);
	mend();
}

/* While the board was away, another program wrote it: ours is kept, theirs as well. */
static void test_rewritten_while_away(void **state)
{
	struct rig *r = *state;

	rig_write(r, "keep", one, 20000);
	rig_sync(r);
	rig_write(r, "a", two, 9000);
	fail_from(2, 1000, FAKEBOARD_FAILS, -ENODEV);
	assert_int_equal(rig_try_sync(r), -ENODEV);
	mend();
	rig_fill(fakeboard.flash, SIZE, 99);
	fakeboard.changes = 0;
	assert_int_equal(rig_try_sync(r), -ESTALE);
	assert_int_equal(fakeboard.changes, 0);
	rig_reattach(r);
	assert_non_null(strstr(r->a.notes, "another program"));
	assert_int_equal(fakeboard.changes, 0);
}

/* Cut when the old header is gone; then the user takes back what he did, and the tree that
 * is wanted is the one that flash no longer shows. */
static void test_taken_back_after_a_cut(void **state)
{
	struct rig *r = *state;
	unsigned count;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	rig_write(r, "b", two, 9000);
	fakeboard.changes = 0;
	rig_sync(r);
	count = fakeboard.changes;
	rig_unlink(r, "b");
	rig_sync(r);
	for (unsigned at = 0; at < count; at++) {
		rig_write(r, "b", two, 9000);
		fail_from((int)at, 1000, FAKEBOARD_HALF, -ENODEV);
		(void)!rig_try_sync(r);
		mend();
		rig_unlink(r, "b");
		rig_sync(r);
		expect_on_board(r, "a", one, 9000);
		rig_expect_none(r, "b");
	}
}

/* Only what the host has known from the start is read: a file that is on flash is not, until
 * the blocks that it shares are written. */
static void test_files_never_read_survive(void **state)
{
	struct rig *r = *state;

	rig_write(r, "a", one, 700);
	rig_write(r, "b", two, 700);
	rig_sync(r);
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
	rig_write(r, "c", one, 300);
	fail_from(2, 1000, FAKEBOARD_HALF, -ENODEV);
	assert_int_equal(rig_try_sync(r), -ENODEV);
	rig_expect(r, "a", one, 700);
	mend();
	rig_reattach(r);
	rig_expect(r, "b", two, 700);
	rig_sync(r);
	expect_on_board(r, "a", one, 700);
}

/* --- the order of what is made last ----------------------------------------------------- */

static struct {
	pthread_mutex_t lock;
	char names[8][32]; /* of files of the state directory, written and not flushed */
	bool violated;
} disk = {.lock = PTHREAD_MUTEX_INITIALIZER};

static const char *name_of(int fd, char *buf, size_t cap)
{
	char link[64];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, buf, cap - 1);
	buf[MAX(n, 0)] = '\0';
	return strrchr(buf, '/') ? strrchr(buf, '/') + 1 : buf;
}

static bool matters(const char *name)
{
	return strcmp(name, "base") == 0 || strncmp(name, "next-", 5) == 0;
}

static void on_pwrite(int fd, const void *buf, size_t len, off_t off)
{
	char path[300];
	const char *name = name_of(fd, path, sizeof(path));

	pthread_mutex_lock(&disk.lock);
	for (size_t i = 0; matters(name) && i < ARRAY_SIZE(disk.names); i++) {
		if (strcmp(disk.names[i], name) == 0)
			break;
		if (!disk.names[i][0]) {
			snprintf(disk.names[i], sizeof(disk.names[i]), "%.31s", name);
			break;
		}
	}
	pthread_mutex_unlock(&disk.lock);
}

static int on_flush(int fd)
{
	char path[300];
	const char *name = name_of(fd, path, sizeof(path));

	pthread_mutex_lock(&disk.lock);
	for (size_t i = 0; i < ARRAY_SIZE(disk.names); i++)
		if (strcmp(disk.names[i], name) == 0)
			disk.names[i][0] = '\0';
	pthread_mutex_unlock(&disk.lock);
	return 0;
}

static void on_change(struct fakeboard *b)
{
	pthread_mutex_lock(&disk.lock);
	for (size_t i = 0; i < ARRAY_SIZE(disk.names); i++)
		if (disk.names[i][0]) {
			print_message("%s is not flushed\n", disk.names[i]);
			disk.violated = true;
		}
	pthread_mutex_unlock(&disk.lock);
}

/* Before flash loses a byte, what the host knows of it is on disk: bytes and map. */
static void test_base_is_on_disk_first(void **state)
{
	static const struct fault_watch watch = {.pwrite = on_pwrite, .flush = on_flush};
	struct rig *r = *state;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	rig_detach(r);
	rig_forget_state(r);
	fakeboard.on_change = on_change;
	fault_watch = &watch;
	rig_attach(r);
	rig_write(r, "b", two, 9000);
	rig_sync(r);
	rig_detach(r);
	fault_watch = NULL;
	assert_false(disk.violated);
}

/* --- by appending ----------------------------------------------------------------------- */

static unsigned count_files(struct rig *r, const char *prefix)
{
	DIR *d = fdopendir(dup(rig_folder(r)->dirfd));
	const struct dirent *e;
	unsigned n = 0;

	assert_non_null(d);
	rewinddir(d);
	while ((e = readdir(d)))
		n += strncmp(e->d_name, prefix, strlen(prefix)) == 0;
	closedir(d);
	return n;
}

static void start_appending(struct rig *r)
{
	rig_write(r, "a", one, 9000);
	rig_write(r, "keep", two, 5000);
	rig_sync(r);
	rig_write(r, "a", two, 9000);
	rig_sync(r);
}

static atomic_uint flushes, flushes_before_answer;

static int count_flush(int fd)
{
	atomic_fetch_add(&flushes, 1);
	return 0;
}

static void on_answer(void *ctx, int result)
{
	bool *answered = ctx;

	assert_int_equal(result, 0);
	atomic_store(&flushes_before_answer, atomic_load(&flushes));
	*answered = true;
}

/* A save waits for three flushes (of what was staged, of the intent, of the mirror's map), and
 * leaves no image on the host. */
static void test_append_is_light(void **state)
{
	static const struct fault_watch watch = {.flush = count_flush};
	struct rig *r = *state;
	bool answered = false;
	struct committer_waiter w = {.done = on_answer, .ctx = &answered};
	unsigned erases;

	start_appending(r);
	rig_write(r, "a", one, 8000);
	flash_rest(r->a.flash);
	erases = fakeboard.erases;
	atomic_store(&flushes, 0);
	fault_watch = &watch;
	committer_sync(r->committer, &w);
	assert_int_equal(count_files(r, "next-"), 0);
	while (!answered)
		assert_true(sd_event_run(r->event, 20000000) > 0);
	fault_watch = NULL;
	assert_true(atomic_load(&flushes_before_answer) <= 3);
	assert_int_equal(fakeboard.erases, erases);
	assert_int_equal(count_files(r, "next-"), 0);
	expect_on_board(r, "a", one, 8000);
	rig_expect(r, "keep", two, 5000);
}

/* The board is cut off at each operation of an append, and half of it is done; then the host
 * starts anew, or goes on. Nothing is lost, and nothing is taken for another program's. */
static bool cut_append(struct rig *r, int at, bool restart)
{
	struct intent intent;

	start_used(r);
	start_appending(r);
	rig_write(r, "a", one, 7000);
	rig_write(r, "b", one, 3000);
	fail_from(at, 1000, FAKEBOARD_HALF, -ENODEV);
	if (rig_try_sync(r) == 0)
		return false;
	mend();
	if (restart)
		rig_reattach(r);
	if (strstr(r->a.notes, "another program"))
		fail_msg("cut at %d: %s", at, r->a.notes);
	rig_expect(r, "a", one, 7000);
	rig_expect(r, "keep", two, 5000);
	rig_write(r, "c", two, 100);
	rig_sync(r);
	assert_int_equal(intent_read(rig_folder(r)->dirfd, &intent), -ENOENT);
	rig_reattach(r);
	rig_expect(r, "c", two, 100);
	expect_on_board(r, "a", one, 7000);
	rig_expect(r, "b", one, 3000);
	rig_expect(r, "c", two, 100);
	rig_expect(r, "keep", two, 5000);
	return true;
}

static void test_append_cut(void **state)
{
	for (int restart = 0; restart < 2; restart++) {
		int at = 0;

		while (cut_append(*state, at, restart))
			at++;
		assert_true(at > 1);
		mend();
	}
}

/* Flash had the new tree when the line was lost, and nobody on the host knew. */
static void test_append_had_happened(void **state)
{
	struct rig *r = *state;
	unsigned last;

	start_appending(r);
	rig_write(r, "a", one, 7000);
	fakeboard.changes = 0;
	rig_sync(r);
	last = fakeboard.changes - 1;
	for (int restart = 0; restart < 2; restart++) {
		rig_write(r, "a", two, 7000 + (size_t)restart);
		fakeboard.after = (int)last;
		fakeboard.changes = 0;
		assert_int_equal(rig_try_sync(r), -ENODEV);
		fakeboard.after = -1;
		fakeboard.changes = fakeboard.programs = 0;
		if (restart)
			rig_reattach(r);
		rig_expect(r, "a", two, 7000 + (size_t)restart);
		rig_sync(r);
		/* The slot's bit is made to last, and nothing else is done. */
		assert_int_equal(fakeboard.changes, 1);
		assert_int_equal(fakeboard.programs, 1);
		assert_int_equal(fakeboard.last_program, 0);
		rig_expect(r, "a", two, 7000 + (size_t)restart);
		rig_expect(r, "keep", two, 5000);
	}
	expect_on_board(r, "a", two, 7001);
}

/* A slot that came out as nonsense: the board shows no tree, and gets it back with all its
 * files, those of the folder that were never read too. */
static void test_torn_slot(void **state)
{
	for (int restart = 0; restart < 2; restart++) {
		struct rig *r = *state;
		unsigned last;

		start_used(r);
		start_appending(r);
		rig_write(r, "a", one, 7000);
		fakeboard.changes = 0;
		rig_sync(r);
		last = fakeboard.changes - 1; /* the last step of a slot's use */
		expect_on_board(r, "keep", two, 5000);
		rig_detach(r);
		rig_forget_state(r);
		rig_attach(r);
		rig_write(r, "a", one, 6900);
		fail_from((int)last, 1000, FAKEBOARD_FAILS, -ENODEV);
		assert_int_equal(rig_try_sync(r), -ENODEV);
		mend();
		assert_true(fakeboard.tried < 4 * BLOCK);
		memset(fakeboard.flash + fakeboard.tried, 0, 4);
		if (restart)
			rig_reattach(r);
		rig_expect(r, "a", one, 6900);
		rig_sync(r);
		rig_expect(r, "keep", two, 5000);
		expect_on_board(r, "a", one, 6900);
		rig_expect(r, "keep", two, 5000);
	}
}

/* --- blocks that fail -------------------------------------------------------------------- */

static void wear_block(uint64_t at, enum fakeboard_fault how)
{
	fakeboard.bad_at = at;
	fakeboard.bad_len = BLOCK;
	fakeboard.bad = how;
}

/* A block that refuses, or does not keep what is written: the user is told once, the data
 * goes elsewhere in the same commit, and it is left alone from then on. */
static void test_block_set_aside(void **state)
{
	static const enum fakeboard_fault how[] = {FAKEBOARD_FAILS, FAKEBOARD_SILENT};
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		uint64_t at;

		start_used(r);
		start_appending(r);
		at = rig_find(r, "a")->content.off + 12 * BLOCK;
		wear_block(at - at % BLOCK, how[i]);
		r->log[0] = '\0';
		for (unsigned k = 0; k < 12; k++) {
			one[0] = (uint8_t)k;
			rig_write(r, "a", one, 9000);
			rig_sync(r);
			rig_expect(r, "keep", two, 5000);
		}
		assert_non_null(strstr(r->log, "set aside"));
		r->log[0] = '\0';
		rig_reattach(r); /* and not forgotten */
		for (unsigned k = 0; k < 12; k++) {
			two[0] = (uint8_t)k;
			rig_write(r, "a", two, 9000);
			rig_sync(r);
		}
		assert_string_equal(r->log, "");
		fakeboard.bad_len = 0;
		expect_on_board(r, "a", two, 9000);
		two[0] = 11;
	}
}

/* Where everything fails, it is not the blocks. */
static void test_failing_board(void **state)
{
	struct rig *r = *state;

	start_appending(r);
	fakeboard.bad_at = BLOCK;
	fakeboard.bad_len = SIZE - BLOCK;
	rig_write(r, "a", one, 7000);
	assert_true(rig_try_sync(r) < 0);
	assert_non_null(strstr(r->log, "failing"));
	rig_expect(r, "a", one, 7000);
	fakeboard.bad_len = 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_port_is_closed_after_it),
		TEST(test_nothing_to_do),
		TEST(test_empty_is_written),
		TEST(test_another_program_wrote),
		TEST(test_second_attempt),
		TEST(test_silent_faults),
		TEST(test_gone_and_back),
		TEST(test_second_try_of_something_else),
		TEST(test_rewritten_while_away),
		TEST(test_taken_back_after_a_cut),
		TEST(test_files_never_read_survive),
		TEST(test_base_is_on_disk_first),
		TEST(test_append_is_light),
		TEST(test_append_cut),
		TEST(test_append_had_happened),
		TEST(test_torn_slot),
		TEST(test_block_set_aside),
		TEST(test_failing_board),
	};

	return cmocka_run_group_tests_name("commit", tests, NULL, NULL);
}
