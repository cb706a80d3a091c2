/* SPDX-License-Identifier: MIT */
/* A commit is killed, or refused by the host's disk, at every call that changes a file: what
 * was staged before it is in the folder afterwards, comes to flash with the next commit, and
 * is what another host finds there. FROM and TO in the environment narrow the calls. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define PARTITION (64u << 10)
#define LARGE 9000u

static uint8_t old_bytes[LARGE], new_bytes[LARGE], tail_bytes[300];
static int *calls; /* shared with the children: how many there were */

/* --- scenarios: what is on flash, and what is staged on it ------------------------------- */

static void base_none(struct rig *r)
{
}

static void base_files(struct rig *r)
{
	rig_mkdir(r, "lib");
	rig_write(r, "lib/keep.bin", old_bytes, LARGE);
	rig_write(r, "change.bin", old_bytes, 5000);
	rig_write(r, "gone.py", old_bytes, 700);
	rig_write(r, "move.py", old_bytes, 1200);
	rig_write(r, "empty", NULL, 0);
	rig_sync(r);
}

static void change_nothing(struct rig *r)
{
}

static void change_files(struct rig *r)
{
	rig_write(r, "change.bin", new_bytes, 6000);
	rig_unlink(r, "gone.py");
	rig_mkdir(r, "sub");
	rig_rename(r, "move.py", "sub/moved.py");
	rig_write(r, "sub/new.bin", new_bytes, LARGE);
	rig_write(r, ".note.swp", tail_bytes, sizeof(tail_bytes));
}

static void expect_base(struct rig *r)
{
	rig_expect(r, "lib/keep.bin", old_bytes, LARGE);
	rig_expect(r, "change.bin", old_bytes, 5000);
	rig_expect(r, "gone.py", old_bytes, 700);
	rig_expect(r, "move.py", old_bytes, 1200);
	rig_expect(r, "empty", NULL, 0);
	rig_expect_none(r, "sub");
}

static void expect_changed(struct rig *r, bool junk)
{
	rig_expect(r, "lib/keep.bin", old_bytes, LARGE);
	rig_expect(r, "change.bin", new_bytes, 6000);
	rig_expect(r, "sub/moved.py", old_bytes, 1200);
	rig_expect(r, "sub/new.bin", new_bytes, LARGE);
	rig_expect(r, "empty", NULL, 0);
	rig_expect_none(r, "gone.py");
	rig_expect_none(r, "move.py");
	if (junk)
		rig_expect(r, ".note.swp", tail_bytes, sizeof(tail_bytes));
	else
		rig_expect_none(r, ".note.swp");
}

static void first_files(struct rig *r)
{
	rig_mkdir(r, "lib");
	rig_write(r, "lib/keep.bin", old_bytes, LARGE);
	rig_write(r, "change.bin", new_bytes, 6000);
}

static void expect_first(struct rig *r, bool junk)
{
	rig_expect(r, "lib/keep.bin", old_bytes, LARGE);
	rig_expect(r, "change.bin", new_bytes, 6000);
}

static void revert(struct rig *r)
{
	rig_write(r, "change.bin", old_bytes, 5000);
	rig_rename(r, "sub/moved.py", "move.py");
	rig_write(r, "gone.py", old_bytes, 700);
	rig_unlink(r, "sub/new.bin");
	rig_unlink(r, ".note.swp");
	assert_int_equal(
		folder_rmdir(rig_folder(r), node_root(rig_folder(r)->nodes), "sub"), 0);
}

static void expect_reverted(struct rig *r, bool junk)
{
	expect_base(r);
}

struct scenario {
	const char *name;
	void (*base)(struct rig *r);
	void (*change)(struct rig *r);
	void (*expect)(struct rig *r, bool junk);
	unsigned entries; /* on flash at the end */
};

static const struct scenario scenarios[] = {
	{"blank flash", base_none, first_files, expect_first, 3},
	{"files changed", base_files, change_files, expect_changed, 7},
};

/* --- running --------------------------------------------------------------------------- */

static void prepare(struct rig *r, const struct scenario *s)
{
	rig_make(r, PARTITION);
	rig_attach(r);
	s->base(r);
	rig_detach(r);
	/* The mirror knows no more than it must. */
	rig_forget_state(r);
}

/* In a process of its own: attaches, changes, and commits with the fault. True: it ended by
 * itself. */
static bool commit_apart(struct rig *r, void (*change)(struct rig *r), const struct fault *fault)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0) {
		rig_attach(r);
		change(r);
		fault_arm(fault);
		(void)!rig_try_sync(r);
		*calls = fault_count();
		fault_disarm();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return false;
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	return true;
}

static void check_flash(struct rig *r, const struct scenario *s)
{
	rig_expect_image(r, s->entries);
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
	s->expect(r, false);
}

static void check(struct rig *r, const struct scenario *s)
{
	rig_attach(r);
	s->expect(r, true);
	rig_expect_charges(r);
	rig_sync(r);
	s->expect(r, true);
	rig_reattach(r);
	s->expect(r, true);
	check_flash(r, s);
}

static int from_env(const char *name, int otherwise)
{
	const char *text = getenv(name);

	return text ? (int)strtol(text, NULL, 0) : otherwise;
}

#define SURE_CALLS 20

static const struct fault count_only = {.calls = FAULT_ANY, .at = INT32_MAX};

static int count_calls(const struct scenario *s)
{
	struct rig r;

	prepare(&r, s);
	assert_true(commit_apart(&r, s->change, &count_only));
	rig_remove(&r);
	assert_true(*calls > SURE_CALLS);
	return MIN(*calls, from_env("TO", *calls));
}

/* Flushes that join make one call of two, so the last ones may not come; then the commit was
 * simply done. */
static void commit_killed(
	struct rig *r, void (*change)(struct rig *r), const struct fault *fault)
{
	bool ended = commit_apart(r, change, fault);

	assert_true(!ended || fault->at > SURE_CALLS);
}

static void kill_at(const struct scenario *s, int at, size_t part)
{
	const struct fault fault = {
		.kind = FAULT_KILL, .calls = FAULT_ANY, .at = at, .part = part};
	struct rig r;

	print_message("%s: killed at FROM=%d\n", s->name, at);
	prepare(&r, s);
	commit_killed(&r, s->change, &fault);
	check(&r, s);
	rig_remove(&r);
}

static void test_killed(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
		int count = count_calls(&scenarios[i]);

		for (int at = from_env("FROM", 0); at < count; at++)
			kill_at(&scenarios[i], at, at % 2 ? 100 : 0);
	}
}

/* The user takes everything back before the cut is healed: the tree that is wanted is the
 * old one, and flash holds it no more. */
static void test_killed_and_reverted(void **state)
{
	static const struct scenario old = {
		"reverted", base_files, revert, expect_reverted, 6};
	int count = count_calls(&scenarios[1]);

	for (int at = from_env("FROM", 0); at < count; at += 3) {
		const struct fault fault = {.kind = FAULT_KILL, .calls = FAULT_ANY, .at = at};
		struct rig r;

		print_message("reverted: killed at FROM=%d\n", at);
		prepare(&r, &scenarios[1]);
		commit_killed(&r, change_files, &fault);
		rig_attach(&r);
		revert(&r);
		rig_sync(&r);
		expect_base(&r);
		check_flash(&r, &old);
		rig_remove(&r);
	}
}

/* And a second time, while the first one is healed. */
static void test_killed_twice(void **state)
{
	const struct scenario *s = &scenarios[1];
	int count = count_calls(s);

	for (int at = from_env("FROM", 4); at < count; at += 7) {
		for (int again = 1; again < 2 * count; again += 11) {
			struct fault fault = {.kind = FAULT_KILL, .calls = FAULT_ANY, .at = at};
			struct rig r;
			bool ended;

			prepare(&r, s);
			commit_killed(&r, s->change, &fault);
			fault.at = again;
			ended = commit_apart(&r, change_nothing, &fault);
			print_message("killed at FROM=%d and %d\n", at, again);
			check(&r, s);
			rig_remove(&r);
			if (ended)
				break;
		}
	}
}

/* A call fails once: the commit says so or not, the folder is right all the time, and the
 * next one succeeds. */
static void fail_at(const struct scenario *s, int at, int code, bool stays)
{
	const struct fault fault = {
		.kind = FAULT_FAIL, .calls = FAULT_ANY, .at = at, .code = code, .stays = stays};
	struct rig r;

	print_message("%s: FROM=%d fails with %s%s\n", s->name, at, strerror(code),
		stays ? ", and all that follow" : "");
	prepare(&r, s);
	rig_attach(&r);
	s->change(&r);
	fault_arm(&fault);
	(void)!rig_try_sync(&r);
	fault_disarm();
	if (!rig_folder(&r)->base_away)
		s->expect(&r, true);
	rig_sync(&r);
	s->expect(&r, true);
	rig_expect_charges(&r);
	rig_reattach(&r);
	s->expect(&r, true);
	check_flash(&r, s);
	rig_remove(&r);
}

static void test_failing(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(scenarios); i++) {
		int count = count_calls(&scenarios[i]);

		for (int at = from_env("FROM", 0); at < count; at++) {
			fail_at(&scenarios[i], at, at % 2 ? EIO : ENOSPC, false);
			fail_at(&scenarios[i], at, ENOSPC, true);
		}
	}
}

/* A call fails, and before anybody tries again the process is gone. */
static void test_failing_then_gone(void **state)
{
	const struct scenario *s = &scenarios[1];
	int count = count_calls(s);

	for (int at = from_env("FROM", 0); at < count; at++) {
		const struct fault fault = {.kind = FAULT_FAIL,
			.calls = FAULT_ANY,
			.at = at,
			.code = EIO,
			.stays = true};
		struct rig r;

		print_message("%s: FROM=%d fails, then gone\n", s->name, at);
		prepare(&r, s);
		assert_true(commit_apart(&r, s->change, &fault));
		check(&r, s);
		rig_remove(&r);
	}
}

static int setup(void **state)
{
	fault_no_flush = true;
	rig_fill(old_bytes, sizeof(old_bytes), 1);
	rig_fill(new_bytes, sizeof(new_bytes), 2);
	rig_fill(tail_bytes, sizeof(tail_bytes), 3);
	calls = mmap(NULL, sizeof(*calls), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		-1, 0);
	return calls == MAP_FAILED ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed),
		cmocka_unit_test(test_killed_and_reverted),
		cmocka_unit_test(test_killed_twice),
		cmocka_unit_test(test_failing),
		cmocka_unit_test(test_failing_then_gone),
	};

	return cmocka_run_group_tests_name("commit, with faults", tests, setup, NULL);
}
