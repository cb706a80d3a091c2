/* SPDX-License-Identifier: MIT */
/* State directories of boards, whose contents a board's process may have made; and the notes
 * for people. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "daemon/notes.h"
#include "daemon/store.h"
#include "fault.h"
#include "fuse/state.h"
#include "scratch.h"
#include "util/text.h"

#define HANGS_AFTER 30 /* seconds: a pipe that was opened would wait for ever */

struct rig {
	struct scratch scratch;
	struct store *store;
	sd_event *event;
	struct log_sink log;
	char logged[300]; /* the last line */
};

static void take_line(void *data, int level, const char *text)
{
	struct rig *rig = data;

	(void)level;
	snprintf(rig->logged, sizeof(rig->logged), "%s", text);
}

static void open_store(struct rig *rig)
{
	const struct store_options options = {
		.root = rig->scratch.path, .event = rig->event, .log = &rig->log};
	struct error err = {0};

	if (store_open(&options, &rig->store, &err) < 0)
		fail_msg("%s", err.text);
}

/* As the next romountd finds it. */
static void open_again(struct rig *rig)
{
	store_free(rig->store);
	open_store(rig);
}

static int set_up(void **state)
{
	static struct rig rig;

	rig = (struct rig){.log = {.write = take_line, .data = &rig}};
	scratch_make(&rig.scratch);
	assert_int_equal(sd_event_new(&rig.event), 0);
	open_store(&rig);
	*state = &rig;
	alarm(HANGS_AFTER);
	return 0;
}

static int tear_down(void **state)
{
	struct rig *rig = *state;

	alarm(0);
	store_free(rig->store);
	sd_event_unref(rig->event);
	scratch_remove(&rig->scratch);
	return 0;
}

static int open_board(struct rig *rig, const char *ident)
{
	struct error err = {0};
	int fd = -1;

	if (store_open_board(rig->store, ident, true, &fd, &err) < 0)
		fail_msg("%s: %s", ident, err.text);
	return fd;
}

static void remember(struct rig *rig, const char *ident, const struct store_memo *memo)
{
	struct error err = {0};

	if (store_write_memo(rig->store, ident, memo, &err) < 0)
		fail_msg("%s", err.text);
}

static struct store_memo recall(struct rig *rig, const char *ident)
{
	struct store_memo memo;

	assert_int_equal(store_read_memo(rig->store, ident, &memo), 0);
	return memo;
}

static void test_memo(void **state)
{
	struct store_memo memo = {.name = "pico", .identity = "usb 2e8a:0005 if00 E66",
		.usb = "2e8a:0005",
		.serial = "E66", .port = "/dev/ttyACM0", .machine = "A board\nname evil",
		.interface = 2, .attached = true};
	struct store_memo back;
	struct rig *rig = *state;

	assert_int_equal(store_read_memo(rig->store, "E66", &back), -ENOENT);
	text_make_printable(memo.machine); /* as hostlink.c has read it */
	remember(rig, "E66", &memo);
	for (int i = 0; i < 2; i++) {
		back = recall(rig, "E66");
		assert_string_equal(back.name, "pico");
		assert_string_equal(back.identity, memo.identity);
		assert_string_equal(back.machine, "A board?name evil");
		assert_int_equal(back.interface, 2);
		assert_true(back.attached);
		open_again(rig);
	}
	memo.interface = -1;
	memo.attached = false;
	remember(rig, "E66", &memo);
	open_again(rig);
	back = recall(rig, "E66");
	assert_int_equal(back.interface, -1);
	assert_false(back.attached);
}

/* The last one counts, however many are written meanwhile. */
static void test_memos_in_a_row(void **state)
{
	struct store_memo memo = {.name = "pico", .attached = true};
	struct rig *rig = *state;
	char ident[16];

	for (int i = 0; i < 200; i++) {
		memo.interface = i;
		snprintf(ident, sizeof(ident), "E%d", i % 3);
		remember(rig, ident, &memo);
		assert_int_equal(recall(rig, ident).interface, i);
		if (i % 7 == 0)
			(void)!sd_event_run(rig->event, 0);
	}
	open_again(rig);
	for (int i = 197; i < 200; i++) {
		snprintf(ident, sizeof(ident), "E%d", i % 3);
		assert_int_equal(recall(rig, ident).interface, i);
	}
}

/* File and directory before and after the new name; nothing where nothing is new. */
static void test_memo_is_flushed(void **state)
{
	const struct fault count = {.kind = FAULT_NONE, .calls = FAULT_FSYNC};
	struct store_memo memo = {.name = "pico", .interface = -1};
	struct rig *rig = *state;

	fault_arm(&count);
	close(open_board(rig, "E66"));
	assert_int_equal(fault_count(), 1); /* of the root */
	remember(rig, "E66", &memo);
	open_again(rig);
	assert_int_equal(fault_count(), 3);
	remember(rig, "E66", &memo);
	open_again(rig);
	assert_int_equal(fault_count(), 3);
	fault_disarm();
}

/* Any one step of it fails: the old memo stays, and it is told. */
static void test_memo_fails(void **state)
{
	static const unsigned calls[] = {FAULT_WRITE, FAULT_FSYNC, FAULT_RENAME};
	struct store_memo memo = {.name = "pico", .interface = 1};
	struct rig *rig = *state;

	remember(rig, "E66", &memo);
	open_again(rig);
	memo.interface = 2;
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		fault_arm(&(struct fault){.kind = FAULT_FAIL, .calls = calls[i], .code = EIO});
		remember(rig, "E66", &memo);
		store_free(rig->store);
		fault_disarm();
		open_store(rig);
		assert_string_equal(
			rig->logged, "E66: cannot keep 'board': Input/output error");
		rig->logged[0] = '\0';
		assert_int_equal(recall(rig, "E66").interface, 1);
	}
	remember(rig, "E66", &memo);
	open_again(rig);
	assert_int_equal(recall(rig, "E66").interface, 2);
}

/* What stands where the memo should, or where it is written first. */
static void test_memo_is_hostile(void **state)
{
	struct rig *rig = *state;
	struct store_memo memo = {.name = "pico", .interface = -1}, back;
	static const char text[] = "name ../../etc\nmachine a\x1b[2Jb\xff\ninterface 4711\n"
				   "interface -3\nnobody knows\nattached\n\n name x\n";
	int fd = open_board(rig, "evil");
	struct stat st;

	assert_int_equal(mkfifoat(fd, ".board.new", 0666), 0);
	remember(rig, "evil", &memo);
	open_again(rig);
	assert_int_equal(fstatat(fd, "board", &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_true(S_ISREG(st.st_mode));
	scratch_put(&rig->scratch, "evil/board", text, sizeof(text) - 1);
	back = recall(rig, "evil");
	assert_string_equal(back.name, "");
	assert_string_equal(back.machine, "a?[2Jb?");
	assert_int_equal(back.interface, -1);
	assert_false(back.attached);
	assert_int_equal(unlinkat(fd, "board", 0), 0);
	assert_int_equal(mkfifoat(fd, "board", 0666), 0);
	assert_int_equal(store_read_memo(rig->store, "evil", &back), -ENOENT);
	assert_int_equal(unlinkat(fd, "board", 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", fd, "board"), 0);
	assert_int_equal(store_read_memo(rig->store, "evil", &back), -ELOOP);
	close(fd);
}

static void put_status(struct rig *rig, const char *path, const char *text)
{
	scratch_put(&rig->scratch, path, text, strlen(text));
}

static void test_staged(void **state)
{
	struct rig *rig = *state;
	struct board b = {0};
	int fd = open_board(rig, "one");

	assert_int_equal(mkdirat(fd, "KEY-1", 0700), 0);
	assert_int_equal(mkdirat(fd, "KEY-1/rom0", 0700), 0);
	assert_int_equal(mkdirat(fd, "KEY-1/rom1", 0700), 0);
	assert_int_equal(mkdirat(fd, "KEY-1/rom2", 0700), 0);
	assert_int_equal(mkdirat(fd, "KEY-1/romx", 0700), 0);
	put_status(rig, "one/KEY-1/rom0/status",
		"state staged\nsize 4096\nused 24\nfree 4072\npending 17\npending-files 2\n");
	put_status(rig, "one/KEY-1/rom1/status", "state on flash\npending 0\npending-files 0\n");
	put_status(rig, "one/KEY-1/romx/status", "pending 5\n");
	assert_int_equal(mkfifoat(fd, "KEY-1/rom2/status", 0666), 0);
	assert_int_equal(symlinkat("/", fd, "KEY-2"), 0);
	store_read_staged(fd, &b);
	assert_int_equal(b.n_partitions, 1);
	assert_int_equal(b.partitions[0].number, 0);
	assert_int_equal(b.partitions[0].size, 4096);
	assert_int_equal(b.partitions[0].pending, 17);
	assert_int_equal(b.partitions[0].pending_files, 2);
	close(fd);
}

static void test_idents(void **state)
{
	static const char *const bad[] = {"", ".", "..", "../x", "a/b", ".hidden", "a b", "\xff",
		"x123456789012345678901234567890123456789012345678901234567890123456789"};
	struct rig *rig = *state;
	struct error err = {0};
	int fd = -1;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(store_open_board(rig->store, bad[i], true, &fd, &err), -EINVAL);
	assert_int_equal(store_open_board(rig->store, "none", false, &fd, &err), -ENOENT);
	assert_int_equal(symlinkat("/", rig->scratch.dirfd, "link"), 0);
	assert_true(store_open_board(rig->store, "link", true, &fd, &err) < 0);
	assert_int_equal(fd, -1);
}

static void test_one_at_a_time(void **state)
{
	struct rig *rig = *state;
	struct store_options options = {.root = rig->scratch.path, .event = rig->event};
	struct store *other;
	struct error err = {0};

	assert_int_equal(store_open(&options, &other, &err), -EBUSY);
	assert_non_null(strstr(err.text, rig->scratch.path));
}

/* --- notes --- */

static void test_notes(void **state)
{
	struct board b = {.name = "pico", .present = true, .state = "ready",
		.machine = "Raspberry Pi Pico2", .n_partitions = 2};
	char text[2000];

	(void)state;
	snprintf(b.place.ttys[0].node, sizeof(b.place.ttys[0].node), "/dev/ttyACM7");
	b.partitions[0] = (struct board_partition){.size = 1 << 20, .used = 12288,
		.free = (1 << 20) - 12288, .state = "writing", .job = "commit", .done = 1,
		.total = 4, .pending = 3000, .pending_files = 1, .image = "valid"};
	b.partitions[1] = (struct board_partition){
		.number = 1, .size = 4096, .state = "failed", .error = "flash is worn out"};
	notes_board_text(&b, text, sizeof(text));
	assert_non_null(strstr(text, "Raspberry Pi Pico2\n"));
	assert_non_null(strstr(text, "/dev/ttyACM7"));
	assert_non_null(strstr(text, "rom0  1 MiB: 12 KiB used, 1012 KiB free"));
	notes_status_text(&b, text, sizeof(text));
	assert_non_null(strstr(text, "pico is ready."));
	assert_non_null(strstr(text, "rom0: 1 file (2.9 KiB) not on flash yet"));
	assert_non_null(strstr(text, "writing: 25 %"));
	assert_non_null(strstr(text, "rom1: failed\n  flash is worn out"));
}

/* All that fits, never more, and always an end. */
static void test_notes_are_capped(void **state)
{
	struct board b = {.name = "pico", .state = "failed", .n_partitions = BOARD_PARTITIONS_MAX};
	char text[4000];

	(void)state;
	memset(b.error, 'e', sizeof(b.error) - 1);
	for (unsigned i = 0; i < BOARD_PARTITIONS_MAX; i++) {
		b.partitions[i].number = i;
		b.partitions[i].done = UINT64_MAX;
		b.partitions[i].total = 1;
		snprintf(b.partitions[i].job, sizeof(b.partitions[i].job), "verify");
		memset(b.partitions[i].error, 'p', sizeof(b.partitions[i].error) - 1);
	}
	for (size_t cap = 1; cap < sizeof(text); cap += 7) {
		memset(text, '#', sizeof(text));
		notes_status_text(&b, text, cap);
		assert_non_null(memchr(text, '\0', cap));
		assert_int_equal(text[cap], '#');
		notes_board_text(&b, text, cap);
		assert_non_null(memchr(text, '\0', cap));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_memo, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memos_in_a_row, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memo_is_flushed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memo_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_memo_is_hostile, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_staged, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_idents, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_one_at_a_time, set_up, tear_down),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_notes_are_capped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
