/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fuse/portguard.h"

#define LINK "guarded-port"

struct port {
	int master;
	char path[64];
	struct portguard *guard;
};

/* A pty whose slave is open nowhere, as a port that waits for somebody. */
static int make_pty(char path[64])
{
	int master, slave;

	assert_int_equal(openpty(&master, &slave, path, NULL, NULL), 0);
	close(slave);
	return master;
}

static int setup(void **state)
{
	static struct port p;

	p.master = make_pty(p.path);
	(void)!unlink(LINK);
	assert_int_equal(symlink(p.path, LINK), 0);
	assert_int_equal(portguard_new(LINK, &p.guard), 0);
	*state = &p;
	return 0;
}

static int teardown(void **state)
{
	struct port *p = *state;

	portguard_free(p->guard);
	close(p->master);
	return unlink(LINK);
}

static int open_port(const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* A session of ours, in which somebody looks at all that is known. */
static void trusting_session(struct port *p)
{
	int fd;

	portguard_enter(p->guard);
	fd = open_port(LINK);
	portguard_reset(p->guard);
	assert_int_equal(write(fd, "a", 1), 1);
	assert_int_equal(write(fd, "b", 1), 1);
	close(fd);
	portguard_leave(p->guard);
}

static bool session_alone(struct port *p)
{
	int fd;
	bool alone;

	portguard_enter(p->guard);
	alone = portguard_alone(p->guard);
	fd = open_port(LINK);
	assert_int_equal(write(fd, "a", 1), 1);
	close(fd);
	portguard_leave(p->guard);
	return alone;
}

static void test_our_own_sessions(void **state)
{
	struct port *p = *state;

	/* Nobody knows what was before. */
	assert_false(session_alone(p));
	assert_false(portguard_alone(p->guard));
	trusting_session(p);
	for (int i = 0; i < 5; i++)
		assert_true(session_alone(p));
	/* An attempt that did not come to an open port. */
	portguard_enter(p->guard);
	portguard_leave(p->guard);
	assert_true(session_alone(p));
}

static void test_others_between(void **state)
{
	static const int flags[] = {O_RDONLY, O_WRONLY, O_RDWR};
	struct port *p = *state;

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		int fd;

		trusting_session(p);
		fd = open(p->path, flags[i] | O_NOCTTY | O_CLOEXEC);
		assert_true(fd >= 0);
		close(fd);
		assert_false(session_alone(p));
		assert_false(session_alone(p)); /* until it has been looked at */
		trusting_session(p);
		assert_true(session_alone(p));
	}
}

/* It came before our session, and stays. */
static void test_others_around(void **state)
{
	struct port *p = *state;
	int fd = open_port(p->path);

	trusting_session(p); /* with the other one there */
	assert_true(session_alone(p));
	assert_int_equal(write(fd, "x", 1), 1);
	assert_false(session_alone(p));
	trusting_session(p);
	close(fd);
	assert_false(session_alone(p));
}

static void test_others_within(void **state)
{
	struct port *p = *state;
	int ours, other;

	trusting_session(p);
	portguard_enter(p->guard);
	assert_true(portguard_alone(p->guard));
	ours = open_port(LINK);
	assert_int_equal(write(ours, "a", 1), 1);
	other = open_port(p->path);
	portguard_reset(p->guard); /* does not cover who has come already */
	close(ours);
	portguard_leave(p->guard);
	assert_false(portguard_alone(p->guard));
	trusting_session(p);
	close(other);
	portguard_enter(p->guard);
	assert_false(portguard_alone(p->guard));
	portguard_leave(p->guard);
}

/* Root passes TIOCEXCL: no lock keeps it away, the kernel tells all the same. */
static void test_root_and_exclusive(void **state)
{
	struct port *p = *state;
	int ours, other;

	if (geteuid() != 0)
		skip();
	trusting_session(p);
	portguard_enter(p->guard);
	ours = open_port(LINK);
	assert_int_equal(ioctl(ours, TIOCEXCL), 0);
	assert_int_equal(write(ours, "a", 1), 1);
	other = open_port(p->path);
	close(other);
	assert_int_equal(ioctl(ours, TIOCNXCL), 0);
	close(ours);
	portguard_leave(p->guard);
	assert_false(portguard_alone(p->guard));
}

static void test_attributes(void **state)
{
	struct port *p = *state;

	trusting_session(p);
	assert_int_equal(chmod(p->path, 0640), 0);
	assert_false(session_alone(p));
}

/* The board was away, and may have been anywhere. */
static void test_plugged_in_again(void **state)
{
	struct port *p = *state;

	trusting_session(p);
	close(p->master);
	assert_int_equal(unlink(LINK), 0);
	portguard_enter(p->guard);
	assert_false(portguard_alone(p->guard)); /* nothing is there */
	portguard_reset(p->guard);
	portguard_leave(p->guard);
	assert_false(portguard_alone(p->guard));
	p->master = make_pty(p->path);
	assert_int_equal(symlink(p->path, LINK), 0);
	assert_false(session_alone(p));
	trusting_session(p);
	assert_true(session_alone(p));
}

static void test_another_device(void **state)
{
	struct port *p = *state;
	char path[64];
	int master = make_pty(path);

	trusting_session(p);
	assert_int_equal(unlink(LINK), 0);
	assert_int_equal(symlink(path, LINK), 0);
	assert_false(session_alone(p));
	trusting_session(p);
	assert_true(session_alone(p));
	close(open_port(path));
	assert_false(session_alone(p));
	close(master);
}

/* More than the kernel keeps. */
static void test_overflow(void **state)
{
	struct port *p = *state;
	int other = open_port(p->path);
	unsigned i;

	trusting_session(p);
	portguard_enter(p->guard);
	for (i = 0; i < 20000; i++)
		close(open_port(p->path));
	close(other);
	portguard_leave(p->guard);
	assert_false(portguard_alone(p->guard));
	trusting_session(p);
	assert_true(session_alone(p));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_our_own_sessions),
		TEST(test_others_between),
		TEST(test_others_around),
		TEST(test_others_within),
		TEST(test_root_and_exclusive),
		TEST(test_attributes),
		TEST(test_plugged_in_again),
		TEST(test_another_device),
		TEST(test_overflow),
	};

	return cmocka_run_group_tests_name("portguard", tests, NULL, NULL);
}
