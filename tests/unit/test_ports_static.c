/* SPDX-License-Identifier: MIT */
/* Boards at paths that somebody named: ptys behind links, in place of what udev would tell. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "ports_rig.h"

struct pty {
	int master;
	char node[64];
};

static struct ports_rig rig;
static char told[2048];

static int setup(void **state)
{
	ports_rig_init(&rig, "");
	ports_rig_start(&rig, false);
	return 0;
}

static int teardown(void **state)
{
	ports_rig_free(&rig);
	return 0;
}

static void closing(struct pty *p)
{
	if (p->master >= 0)
		close(p->master);
	p->master = -1;
}
#define _cleanup_pty_ _cleanup_(closing)

static struct pty open_pty(void)
{
	struct pty p;
	int slave;

	assert_int_equal(openpty(&p.master, &slave, p.node, NULL, NULL), 0);
	close(slave);
	return p;
}

/* In the test's folder. */
static const char *at(const char *name)
{
	static char paths[4][512];
	static unsigned i;
	char *path = paths[i++ % ARRAY_SIZE(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", rig.dir, name);
	return path;
}

static void make_link(const char *target, const char *name)
{
	assert_int_equal(symlink(target, at(name)), 0);
}

/* As ln -sfn does it. */
static void replace_link(const char *target, const char *name)
{
	make_link(target, "new");
	assert_int_equal(rename(at("new"), at(name)), 0);
}

static void add(const char *name)
{
	struct config_static board = {0};
	struct error err = {0};

	snprintf(board.tty, sizeof(board.tty), "%s", at(name));
	if (ports_add_static(rig.ports, &board, &err) < 0)
		fail_msg("%s", err.text);
}

/* "+" and "-" for the path of that name. */
#define expect_signs(signs, name)                                                        \
	do {                                                                             \
		told[0] = '\0';                                                          \
		for (const char *s = (signs); *s; s++)                                   \
			snprintf(told + strlen(told), sizeof(told) - strlen(told),       \
				*s == '+' ? "+%s %s\n" : "-%s\n", at(name), at(name));   \
		expect_told(&rig, told);                                                 \
	} while (0)

static void test_there_at_once(void **state)
{
	_cleanup_pty_ struct pty p = open_pty();

	make_link(p.node, "board");
	add("board");
	expect_signs("+", "board");
	assert_true(rig.last.is_static);
	assert_false(rig.last.is_socket);
	assert_int_equal(rig.last.ttys[0].interface, -1);
}

static void test_comes_later(void **state)
{
	_cleanup_pty_ struct pty p = open_pty();

	add("board");
	expect_signs("", "board");
	make_link(p.node, "other");
	expect_signs("", "board");
	make_link(p.node, "board");
	expect_signs("+", "board");
	assert_int_equal(unlink(at("board")), 0);
	expect_signs("-", "board");
	make_link(p.node, "board");
	expect_signs("+", "board");
}

static void test_folders_come_later(void **state)
{
	_cleanup_pty_ struct pty p = open_pty();

	add("by-id/more/board");
	assert_int_equal(mkdir(at("by-id"), 0700), 0);
	expect_signs("", "by-id/more/board");
	/* made elsewhere, and put there in one piece */
	assert_int_equal(mkdir(at("tmp"), 0700), 0);
	make_link(p.node, "tmp/board");
	assert_int_equal(rename(at("tmp"), at("by-id/more")), 0);
	expect_signs("+", "by-id/more/board");
	assert_int_equal(rename(at("by-id"), at("away")), 0);
	expect_signs("-", "by-id/more/board");
	assert_int_equal(rename(at("away"), at("by-id")), 0);
	expect_signs("+", "by-id/more/board");
}

static void test_link_is_replaced(void **state)
{
	_cleanup_pty_ struct pty a = open_pty(), b = open_pty();

	make_link(a.node, "board");
	add("board");
	expect_signs("+", "board");
	replace_link(b.node, "board");
	expect_signs("-+", "board");
	/* by one that leads to the same */
	replace_link(b.node, "board");
	expect_signs("", "board");
}

static void test_chain_of_links(void **state)
{
	_cleanup_pty_ struct pty a = open_pty(), b = open_pty();

	assert_int_equal(mkdir(at("dir"), 0700), 0);
	make_link("dir/../dir/./two", "one");
	make_link("../three", "dir/two");
	make_link(a.node, "three");
	add("one");
	expect_signs("+", "one");
	replace_link(b.node, "three");
	expect_signs("-+", "one");
	assert_int_equal(unlink(at("dir/two")), 0);
	expect_signs("-", "one");
}

/* A board that is emulated ends, and is started again. */
static void test_tty_goes_and_comes(void **state)
{
	_cleanup_pty_ struct pty p = open_pty();

	make_link(p.node, "board");
	add("board");
	expect_signs("+", "board");
	closing(&p);
	expect_signs("-", "board");
	p = open_pty();
	replace_link(p.node, "board");
	expect_signs("+", "board");
}

static void test_quick_replug(void **state)
{
	_cleanup_pty_ struct pty p = open_pty();

	make_link(p.node, "board");
	add("board");
	expect_signs("+", "board");
	for (unsigned i = 0; i < 50; i++) {
		assert_int_equal(unlink(at("board")), 0);
		make_link(p.node, "board");
		expect_signs("-+", "board");
	}
}

static void test_no_tty(void **state)
{
	_cleanup_pty_ struct pty p = open_pty();
	FILE *f = fopen(at("file"), "we");

	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
	make_link("file", "board");
	add("board");
	expect_signs("", "board");
	replace_link(".", "board");
	expect_signs("", "board");
	replace_link("/dev/null/x", "board");
	expect_signs("", "board");
	replace_link(p.node, "board");
	expect_signs("+", "board");
}

static void test_endless_links(void **state)
{
	struct config_static board = {0};
	struct error err = {0};

	make_link("b", "a");
	make_link("a", "b");
	snprintf(board.tty, sizeof(board.tty), "%s", at("a"));
	assert_int_equal(ports_add_static(rig.ports, &board, &err), -ELOOP);
	assert_non_null(strstr(err.text, at("a")));
	expect_told(&rig, "");
}

/* As the daemon of a user sees it: udev makes the node first, and gives it away then. */
static void test_rights_come_after_the_node(void **state)
{
	_cleanup_pty_ struct pty p = open_pty();
	uid_t me = geteuid();
	bool reachable;

	assert_int_equal(chmod(p.node, 0), 0);
	assert_int_equal(chmod(rig.dir, 0755), 0);
	make_link(p.node, "board");
	if (me == 0) /* root may open anything */
		assert_int_equal(seteuid(65534), 0);
	reachable = faccessat(AT_FDCWD, rig.dir, R_OK | X_OK, AT_EACCESS) == 0;
	if (reachable) {
		add("board");
		expect_signs("+", "board");
		assert_int_equal(seteuid(me), 0);
		assert_int_equal(chmod(p.node, 0666), 0);
		if (me == 0)
			assert_int_equal(seteuid(65534), 0);
		expect_signs("-+", "board");
	}
	assert_int_equal(seteuid(me), 0);
	if (!reachable)
		skip();
}

static void test_14_is_never_opened(void **state)
{
	_cleanup_pty_ struct pty p = open_pty();
	_cleanup_close_ int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), slave = -1;
	char buf[4096];

	assert_true(inotify_add_watch(fd, p.node, IN_OPEN | IN_CLOSE | IN_ACCESS) >= 0);
	add("board");
	make_link(p.node, "board");
	expect_signs("+", "board");
	assert_int_equal(unlink(at("board")), 0);
	expect_signs("-", "board");
	assert_int_equal(read(fd, buf, sizeof(buf)), -1);
	assert_int_equal(errno, EAGAIN);
	slave = open(p.node, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(read(fd, buf, sizeof(buf)) > 0);
}

static void test_socket(void **state)
{
	struct config_static board = {.socket = "localhost:2217", .alias = "qemu", .baud = 9600};
	struct error err = {0};

	assert_int_equal(ports_add_static(rig.ports, &board, &err), 0);
	expect_told(&rig, "+localhost:2217 localhost:2217\n");
	assert_true(rig.last.is_static && rig.last.is_socket);
	assert_string_equal(rig.last.policy.alias, "qemu");
	assert_int_equal(rig.last.policy.baud, 9600);
	assert_int_equal(ports_add_static(rig.ports, &board, &err), -EEXIST);
	assert_non_null(strstr(err.text, "localhost:2217"));
	expect_told(&rig, "");
}

static void test_reload(void **state)
{
	_cleanup_pty_ struct pty p = open_pty(), q = open_pty();
	char text[2048];

	make_link(p.node, "a");
	make_link(q.node, "b");
	add("b"); /* on the command line */
	expect_signs("+", "b");
	snprintf(text, sizeof(text), "[board sim]\ntty = %s\n", at("a"));
	ports_rig_reload(&rig, text);
	expect_signs("+", "a");
	assert_string_equal(rig.last.policy.alias, "sim");
	ports_rig_reload(&rig, text);
	expect_signs("", "a");
	/* in other words */
	snprintf(text, sizeof(text), "[board new]\ntty = %s\nquiet = 7\n", at("a"));
	ports_rig_reload(&rig, text);
	expect_signs("+", "a");
	assert_string_equal(rig.last.policy.alias, "new");
	assert_int_equal(rig.last.policy.quiet_ms, 7);
	snprintf(text, sizeof(text), "[board new]\ntty = %s\nignore = yes\n", at("a"));
	ports_rig_reload(&rig, text);
	expect_signs("-", "a");
	ports_rig_reload(&rig, "");
	expect_signs("", "a");
	/* it is not waited for any more, and the other one still is */
	assert_int_equal(unlink(at("a")), 0);
	make_link(p.node, "a");
	assert_int_equal(unlink(at("b")), 0);
	expect_signs("-", "b");
}

static unsigned count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_64_boards(void **state)
{
	struct pty ptys[64];
	unsigned before = count_fds(), after;
	char name[16];

	for (unsigned i = 0; i < ARRAY_SIZE(ptys); i++) {
		snprintf(name, sizeof(name), "board%u", i);
		add(name);
		expect_told(&rig, "");
		ptys[i] = open_pty();
		make_link(ptys[i].node, name);
		expect_signs("+", name);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(ptys); i++) {
		snprintf(name, sizeof(name), "board%u", i);
		closing(&ptys[i]);
		expect_signs("-", name);
	}
	after = count_fds();
	/* one inotify for all */
	assert_true(after <= before + 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(there_at_once),
		TEST(comes_later),
		TEST(folders_come_later),
		TEST(link_is_replaced),
		TEST(chain_of_links),
		TEST(tty_goes_and_comes),
		TEST(quick_replug),
		TEST(no_tty),
		TEST(endless_links),
		TEST(rights_come_after_the_node),
		TEST(14_is_never_opened),
		TEST(socket),
		TEST(reload),
		TEST(64_boards),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
