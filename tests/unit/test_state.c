/* SPDX-License-Identifier: MIT */
/* The state directory: where it is, whose it may be, one process at a time, its status. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "fuse/state.h"
#include "tests/unit/fault.h"
#include "tests/unit/scratch.h"

static struct scratch dir;
static char root[PATH_MAX];

static int setup(void **state)
{
	char cwd[PATH_MAX - 100];

	fault_disarm();
	scratch_make(&dir);
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_true(snprintf(root, sizeof(root), "%s/%s/a/root", cwd, dir.path) > 0);
	return 0;
}

static int teardown(void **state)
{
	fault_disarm();
	scratch_remove(&dir);
	return 0;
}

static void check_root(const char *given, const char *want, int code)
{
	char *out = NULL;

	assert_int_equal(state_root(given, &out, NULL), code);
	if (code == 0)
		assert_string_equal(out, want);
	free(out);
}

static void test_root(void **state)
{
	char want[PATH_MAX + 8];
	char cwd[PATH_MAX];

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	setenv("XDG_STATE_HOME", "/xdg", 1);
	setenv("HOME", "/home/me", 1);
	check_root("/some/where", "/some/where", 0);
	snprintf(want, sizeof(want), "%s/here", cwd);
	check_root("here", want, 0);
	if (geteuid() == 0) {
		check_root(NULL, "/var/lib/romount", 0);
		return;
	}
	check_root(NULL, "/xdg/romount", 0);
	setenv("XDG_STATE_HOME", "relative", 1);
	check_root("", "/home/me/.local/state/romount", 0);
	unsetenv("XDG_STATE_HOME");
	check_root(NULL, "/home/me/.local/state/romount", 0);
	unsetenv("HOME");
	check_root(NULL, NULL, -ENOENT);
}

static void assert_key(const char *key)
{
	assert_true(strlen(key) >= 16 && strlen(key) < STATE_KEY_SIZE);
	assert_true(key[0] != '.' && key[0] != '-');
	assert_int_equal(strspn(key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789._-"),
		strlen(key));
}

static void test_keys(void **state)
{
	static const char *const texts[] = {"", "/", "..", "../../etc/passwd", "-rf", ".hidden",
		"Raspberry Pi Pico with RP2040", "\n\x1b[31m", "\xff\xfe", "a b", "a_b", "a/b",
		"Raspberry Pi Pico with RP2040, and a name that is longer than all the others"};
	char keys[ARRAY_SIZE(texts) * ARRAY_SIZE(texts) * 2 + 1][STATE_KEY_SIZE];
	size_t n = 0, i, k;

	for (i = 0; i < ARRAY_SIZE(texts); i++)
		for (k = 0; k < ARRAY_SIZE(texts); k++)
			state_key_board(texts[i], texts[k], NULL, keys[n++]);
	for (i = 0; i < ARRAY_SIZE(texts); i++)
		state_key_image(texts[i], keys[n++]);
	for (i = 1; i < ARRAY_SIZE(texts); i++)
		state_key_board("", "Pico", texts[i], keys[n++]);
	for (i = 0; i < n; i++) {
		assert_key(keys[i]);
		for (k = 0; k < i; k++)
			assert_string_not_equal(keys[i], keys[k]);
	}
	/* a port says nothing where there is an id */
	state_key_board("e661", "Pico", "/dev/ttyACM0", keys[0]);
	state_key_board("e661", "Pico", "/dev/ttyACM1", keys[1]);
	assert_string_equal(keys[0], keys[1]);
	assert_int_equal(strncmp(keys[0], "Pico-", 5), 0);
	/* names on disk: these must never change */
	state_key_image("/home/me/my rom.img", keys[0]);
	assert_int_equal(strncmp(keys[0], "my_rom.img-", 11), 0);
}

static void test_open(void **state)
{
	struct state_dir *d;
	struct stat st;

	assert_int_equal(state_open(root, "Pico-1", 3, &d, NULL), 0);
	assert_true(strlen(state_path(d)) > 12);
	assert_string_equal(state_path(d) + strlen(root), "/Pico-1/rom3");
	assert_int_equal(fstat(state_fd(d), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0700);
	assert_int_equal(stat(state_path(d), &st), 0);
	state_close(d);
	assert_int_equal(state_open(root, "../x", 0, &d, NULL), -EINVAL);
	assert_int_equal(state_open(root, "", 0, &d, NULL), -EINVAL);
}

static void test_busy(void **state)
{
	struct state_dir *d, *other;
	struct error err = {0};
	char want[32];
	int pipes[2], status, fd;
	pid_t pid, holder = 5;
	char c;

	assert_int_equal(state_open(root, "k", 0, &d, NULL), 0);
	assert_int_equal(state_open(root, "k", 0, &other, &err), -EBUSY);
	snprintf(want, sizeof(want), "(pid %d)", (int)getpid());
	assert_non_null(strstr(err.text, want));
	/* another partition is no matter */
	assert_int_equal(state_open(root, "k", 1, &other, NULL), 0);
	state_close(other);
	assert_int_equal(state_peek(root, "k", 0, &fd, &holder, NULL), 0);
	assert_int_equal(holder, getpid());
	close(fd);
	state_close(d);
	assert_int_equal(state_peek(root, "k", 0, &fd, &holder, NULL), 0);
	assert_int_equal(holder, 0);
	close(fd);
	assert_int_equal(state_peek(root, "never", 0, &fd, &holder, NULL), -ENOENT);

	/* going into the background: the child keeps the lock and names itself */
	assert_int_equal(state_open(root, "k", 0, &d, NULL), 0);
	assert_int_equal(pipe(pipes), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		c = state_claim(d) == 0 ? 'y' : 'n';
		if (write(pipes[1], &c, 1) != 1)
			_exit(1);
		pause();
		_exit(0);
	}
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_int_equal(c, 'y');
	state_close(d);
	error_clear(&err);
	assert_int_equal(state_open(root, "k", 0, &other, &err), -EBUSY);
	snprintf(want, sizeof(want), "(pid %d)", (int)pid);
	assert_non_null(strstr(err.text, want));
	/* a killed process holds nothing */
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(state_open(root, "k", 0, &other, NULL), 0);
	state_close(other);
	close(pipes[0]);
	close(pipes[1]);
}

/* Whatever stands in the lock file: a sentence, and no guess. */
static void test_busy_nameless(void **state)
{
	static const char *const texts[] = {"", "x", "12", "99999999999999\n", "-1\n", "1 2\n"};
	struct state_dir *d, *other;
	char path[PATH_MAX + 32];
	size_t i;

	assert_int_equal(state_open(root, "k", 0, &d, NULL), 0);
	for (i = 0; i < ARRAY_SIZE(texts); i++) {
		struct error err = {0};
		int fd;

		snprintf(path, sizeof(path), "%s/lock", state_path(d));
		fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
		assert_int_equal(
			write(fd, texts[i], strlen(texts[i])), (ssize_t)strlen(texts[i]));
		close(fd);
		assert_int_equal(state_open(root, "k", 0, &other, &err), -EBUSY);
		assert_non_null(strstr(err.text, "(another process)"));
	}
	state_close(d);
}

static void test_refuses(void **state)
{
	char path[PATH_MAX + 32];
	struct state_dir *d;
	struct error err = {0};
	struct stat st;
	int fd;
	pid_t pid;

	assert_int_equal(state_open(root, "k", 0, &d, NULL), 0);
	state_close(d);
	snprintf(path, sizeof(path), "%s/link", root);
	assert_int_equal(symlink("k", path), 0);
	assert_int_equal(state_open(root, "link", 0, &d, &err), -ENOTDIR);
	assert_non_null(strstr(err.text, "'link'"));
	assert_int_equal(state_peek(root, "link", 0, &fd, &pid, NULL), -ENOTDIR);
	snprintf(path, sizeof(path), "%s/k/rom1", root);
	assert_int_equal(symlink("rom0", path), 0);
	assert_int_equal(state_open(root, "k", 1, &d, NULL), -ENOTDIR);
	/* a lock that is a link does not lock elsewhere */
	assert_int_equal(state_open(root, "k", 2, &d, NULL), 0);
	snprintf(path, sizeof(path), "%s/lock", state_path(d));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("../../victim", path), 0);
	state_close(d);
	assert_int_equal(state_open(root, "k", 2, &d, NULL), -ELOOP);
	snprintf(path, sizeof(path), "%s/victim", root);
	assert_int_equal(stat(path, &st), -1);
	/* others may write there */
	snprintf(path, sizeof(path), "%s/k/rom0", root);
	assert_int_equal(chmod(path, 0720), 0);
	error_clear(&err);
	assert_int_equal(state_open(root, "k", 0, &d, &err), -EPERM);
	assert_non_null(strstr(err.text, "chmod"));
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(chmod(root, 0777), 0);
	assert_int_equal(state_open(root, "k", 0, &d, NULL), -EPERM);
	assert_int_equal(chmod(root, 0700), 0);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 12345), 0);
		error_clear(&err);
		assert_int_equal(state_open(root, "k", 0, &d, &err), -EPERM);
		assert_non_null(strstr(err.text, "12345"));
	}
}

static void test_status(void **state)
{
	struct state_line in[] = {{"error", "cannot program block 7:\nboard\x1b[0m gone"},
		{"staged-bytes", "6291456"}, {"empty", ""}};
	struct state_line out[STATE_LINES_MAX];
	size_t n = 99;
	int at;

	assert_int_equal(state_read_status(dir.dirfd, out, STATE_LINES_MAX, &n), -ENOENT);
	assert_int_equal(state_write_status(dir.dirfd, in, 3), 0);
	assert_int_equal(state_read_status(dir.dirfd, out, STATE_LINES_MAX, &n), 0);
	assert_int_equal(n, 3);
	assert_string_equal(
		state_status_get(out, n, "error"), "cannot program block 7:?board?[0m gone");
	assert_string_equal(state_status_get(out, n, "staged-bytes"), "6291456");
	assert_string_equal(state_status_get(out, n, "empty"), "");
	assert_null(state_status_get(out, n, "stage"));
	assert_int_equal(state_read_status(dir.dirfd, out, 1, &n), 0);
	assert_int_equal(n, 1);
	/* a full disk leaves the old one, whole */
	for (at = 0; at < 2; at++) {
		fault_arm(&(struct fault){FAULT_FAIL, FAULT_WRITE | FAULT_RENAME, at, true,
			ENOSPC, 5});
		assert_int_equal(state_write_status(dir.dirfd, in + 1, 1), -ENOSPC);
		fault_disarm();
		assert_int_equal(state_read_status(dir.dirfd, out, STATE_LINES_MAX, &n), 0);
		assert_int_equal(n, 3);
		assert_int_equal(faccessat(dir.dirfd, "status.new", F_OK, 0), -1);
	}
}

/* Any bytes in the file give lines that can be printed, or none. */
static void test_status_hostile(void **state)
{
	static const char text[] = "good 1\n\n nokey\nBAD x\nnovalue\nesc \x1b[2J\n"
				   "averyveryveryverylongkeythatdoesnotfit x\nlast 2";
	uint64_t rng = scratch_seed(__func__);
	struct state_line out[STATE_LINES_MAX];
	char *noise = malloc(100000);
	size_t n, i, k;

	scratch_put(&dir, "status", text, sizeof(text) - 1);
	assert_int_equal(state_read_status(dir.dirfd, out, STATE_LINES_MAX, &n), 0);
	assert_int_equal(n, 3);
	assert_string_equal(state_status_get(out, n, "good"), "1");
	assert_string_equal(state_status_get(out, n, "esc"), "?[2J");
	assert_string_equal(state_status_get(out, n, "last"), "2");
	for (i = 0; i < 100; i++) {
		size_t len = (size_t)(scratch_random(&rng) % 100000);

		for (k = 0; k < len; k++)
			noise[k] = "ab \n\0\x80\xff-"[scratch_random(&rng) % 8];
		scratch_put(&dir, "status", noise, len);
		assert_int_equal(
			state_read_status(dir.dirfd, out, STATE_LINES_MAX, &n), 0);
		assert_true(n <= STATE_LINES_MAX);
		for (k = 0; k < n; k++)
			assert_null(strpbrk(out[k].value, "\n\x80\xff"));
	}
	free(noise);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_root, setup, teardown),
		cmocka_unit_test_setup_teardown(test_keys, setup, teardown),
		cmocka_unit_test_setup_teardown(test_open, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busy_nameless, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_status_hostile, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
