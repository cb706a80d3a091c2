/* SPDX-License-Identifier: MIT */
/* The private socket and clients that mean no good: who may do what, and what one client can
 * cost the others. As root another user is played, too. */
#include "config.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/intake.h"
#include "tests/unit/api_rig.h"

#define PICO BUS_BOARDS "/pico"

static int setup(void **state)
{
	rig_setup(false);
	return 0;
}

static int teardown(void **state)
{
	rig_settle();
	rig_teardown();
	return 0;
}

static int connect_raw(void)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	assert_return_code(fd, errno);
	snprintf(at.sun_path, sizeof(at.sun_path), "%s", rig.socket);
	assert_return_code(connect(fd, (struct sockaddr *)&at, sizeof(at)), errno);
	return fd;
}

/* A good client is served. */
static void expect_service(void)
{
	sd_bus *good = rig_connect();

	sd_bus_message_unref(
		rig_call_ok(good, BUS_ROOT, BUS_MANAGER, "FindBoard", "s", "pico"));
	sd_bus_close_unref(good);
	rig_settle();
}

static bool has_hung_up(int fd)
{
	char bytes[512];
	ssize_t n;

	rig_settle();
	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		;
	return n == 0 || errno == ECONNRESET;
}

/* Writes until all is written or the daemon has hung up. */
static void send_all(int fd, const void *bytes, size_t len)
{
	ssize_t n;

	for (size_t at = 0; at < len;) {
		n = send(fd, (const char *)bytes + at, len - at,
			MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno != EAGAIN)
			return;
		if (n > 0)
			at += (size_t)n;
		rig_settle();
	}
}

static const char hello[] = "\0AUTH EXTERNAL\r\nDATA\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n";

static int connect_authenticated(void)
{
	int fd = connect_raw();

	send_all(fd, hello, sizeof(hello) - 1);
	rig_settle();
	return fd;
}

/* --- bytes --- */

static void test_not_our_language(void **state)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
	} cases[] = {
		{"HTTP", "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 35},
		{"no NUL first", "AUTH EXTERNAL\r\n", 15},
		{"zeros",
			"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
			36},
		{"BEGIN before anything", "\0X\r\nBEGIN\r\nl\1\0\1", 15},
	};
	unsigned before;

	rig_add("pico", 0, 1);
	expect_service();
	before = rig_count_fds();
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = connect_raw();

		send_all(fd, cases[i].bytes, cases[i].len);
		rig_settle();
		expect_service();
		close(fd);
		rig_settle();
		if (rig_count_fds() != before)
			fail_msg("%s: descriptors are left", cases[i].name);
	}
}

static void test_endless_authentication(void **state)
{
	char line[100];
	int fd = connect_raw();

	rig_add("pico", 0, 1);
	memset(line, 'A', sizeof(line));
	send_all(fd, "\0", 1);
	for (unsigned i = 0; i < 100; i++)
		send_all(fd, line, sizeof(line));
	assert_true(has_hung_up(fd));
	close(fd);
	expect_service();
}

static void test_headers(void **state)
{
	static const struct {
		const char *name;
		uint8_t header[16];
		bool is_cut_off;
	} cases[] = {
		{"a body of 4 GiB",
			{'l', 1, 0, 1, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 8, 0, 0, 0},
			true},
		{"fields of 4 GiB",
			{'l', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
			true},
		{"64 KiB", {'l', 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0}, true},
		{"64 KiB, big endian", {'B', 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0},
			true},
		{"no byte order", {'x', 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
			true},
		{"no such type", {'l', 77, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
			false},
		{"half a message", {'l', 1, 0, 1, 0, 16, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0},
			false},
	};
	unsigned before;

	rig_add("pico", 0, 1);
	expect_service();
	before = rig_count_fds();
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = connect_authenticated();

		send_all(fd, cases[i].header, sizeof(cases[i].header));
		if (cases[i].is_cut_off && !has_hung_up(fd))
			fail_msg("%s: still connected", cases[i].name);
		expect_service();
		close(fd);
		rig_settle();
		if (rig_count_fds() != before)
			fail_msg("%s: descriptors are left", cases[i].name);
	}
}

/* The bytes that sd-bus would send. */
static size_t capture(uint8_t *call, size_t cap, const char *interface,
	const char *member, const char *types, ...)
{
	static const char welcome[] =
		"DATA\r\nOK 0123456789abcdef0123456789abcdef\r\nAGREE_UNIX_FD\r\n";
	_cleanup_(sd_bus_unrefp) sd_bus *writer = NULL;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	uint64_t cookie;
	size_t len = 0;
	int pair[2];
	va_list ap;
	ssize_t n;

	assert_return_code(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
		errno);
	assert_return_code(sd_bus_new(&writer), 0);
	assert_return_code(sd_bus_set_fd(writer, pair[0], pair[0]), 0);
	assert_return_code(sd_bus_negotiate_fds(writer, true), 0);
	assert_return_code(sd_bus_start(writer), 0);
	assert_return_code(send(pair[1], welcome, sizeof(welcome) - 1, 0), errno);
	while (sd_bus_is_ready(writer) <= 0)
		assert_return_code(sd_bus_process(writer, NULL), 0);
	while (recv(pair[1], call, cap, MSG_DONTWAIT) > 0)
		;
	assert_return_code(sd_bus_message_new_method_call(
				   writer, &m, NULL, BUS_ROOT, interface, member),
		0);
	va_start(ap, types);
	assert_return_code(sd_bus_message_appendv(m, types, ap), 0);
	va_end(ap);
	assert_return_code(
		sd_bus_send(writer, m, &cookie), 0); /* without: no answer wanted */
	assert_return_code(sd_bus_flush(writer), 0);
	while ((n = recv(pair[1], call + len, cap - len, MSG_DONTWAIT)) > 0)
		len += (size_t)n;
	close(pair[1]);
	assert_in_range(len, 64, cap - 1);
	return len;
}

/* A client that does not wait for the answers to its first lines loses nothing. */
static void test_all_at_once(void **state)
{
	uint8_t all[2048], reply[512];
	size_t len = sizeof(hello) - 1;
	int fd = connect_raw();

	rig_add("pico", 0, 1);
	memcpy(all, hello, len);
	len += capture(all + len, sizeof(all) - len, BUS_MANAGER, "FindBoard", "s", "pico");
	assert_int_equal(send(fd, all, len, MSG_NOSIGNAL), len);
	rig_settle();
	len = (size_t)recv(fd, reply, sizeof(reply), MSG_DONTWAIT);
	assert_in_range(len, 1, sizeof(reply));
	assert_non_null(memmem(reply, len, PICO, sizeof(PICO)));
	close(fd);
}

/* Every byte of a good call changed, then every length of it. */
static void test_damaged_call(void **state)
{
	uint8_t call[1024], damaged[1024];
	size_t len = capture(call, sizeof(call), BUS_MANAGER, "FindBoard", "s", "pico");
	unsigned before;
	int fd;

	rig_add("pico", 0, 1);
	expect_service();
	before = rig_count_fds();
	for (size_t i = 0; i < 2 * len; i++) {
		memcpy(damaged, call, len);
		if (i < len)
			damaged[i] ^= (uint8_t)(1 + i % 255);
		fd = connect_authenticated();
		send_all(fd, damaged, i < len ? len : i - len);
		rig_settle();
		close(fd);
		rig_settle();
	}
	expect_service();
	assert_int_equal(rig.n_orders, 0);
	assert_int_equal(rig_count_fds(), before);
}

/* Descriptors that no message has asked for, and more than any has. */
static void test_descriptors(void **state)
{
	static const unsigned numbers[] = {1, INTAKE_FDS_MAX, INTAKE_FDS_MAX + 1, 100};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(100 * sizeof(int))];
	} control;
	uint8_t call[1024];
	size_t len = capture(call, sizeof(call), BUS_MANAGER, "FindBoard", "s", "pico");
	unsigned before;
	int fd;

	rig_add("pico", 0, 1);
	expect_service();
	before = rig_count_fds();
	for (unsigned i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct iovec iov = {call, len};
		struct msghdr msg = {.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = control.bytes,
			.msg_controllen = CMSG_SPACE(numbers[i] * sizeof(int))};

		fd = connect_authenticated();
		control.align = (struct cmsghdr){.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS,
			.cmsg_len = CMSG_LEN(numbers[i] * sizeof(int))};
		for (unsigned k = 0; k < numbers[i]; k++)
			memcpy(CMSG_DATA(&control.align) + k * sizeof(int), &fd,
				sizeof(int));
		assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), len);
		rig_settle();
		expect_service();
		close(fd);
		rig_settle();
		if (rig_count_fds() != before)
			fail_msg("descriptors are left of %u", numbers[i]);
	}
}

/* --- numbers --- */

static unsigned n_answers, n_busy;

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	n_answers++;
	n_busy += sd_bus_message_is_method_error(m, BUS_ERROR_BUSY) > 0;
	return 0;
}

static void test_many_calls(void **state)
{
	sd_bus *client = rig_connect();

	n_answers = n_busy = 0;
	rig_add("pico", 0, 1);
	for (unsigned i = 0; i < 10000; i++)
		assert_return_code(sd_bus_call_method_async(client, NULL, NULL, PICO,
					   BUS_BOARD, "Sync", on_answer, NULL, ""),
			0);
	rig_until(n_answers + rig.n_orders >= 10000);
	assert_int_equal(rig.n_orders, 32);
	assert_int_equal(n_busy, 10000 - 32);
	expect_service();
	while (rig.n_orders > 0)
		rig_finish(0, NULL, NULL, NULL);
	rig_until(n_answers == 10000);
	assert_int_equal(n_busy, 10000 - 32);
	sd_bus_close_unref(client);
}

static size_t memory_in_use(void)
{
	struct mallinfo2 info = mallinfo2();

	return info.uordblks + info.hblkhd;
}

/* Asks 10,000 times for everything, and reads nothing: no memory is spent on the answers. */
static void test_answers_not_fetched(void **state)
{
	uint8_t call[1024];
	size_t len = capture(call, sizeof(call), "org.freedesktop.DBus.ObjectManager",
		"GetManagedObjects", "");
	size_t memory;
	char name[16];
	int fd;

	rig_add("pico", 0, 1);
	for (unsigned i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "board%u", i);
		rig_add(name, 0, 4);
	}
	rig_settle();
	fd = connect_authenticated();
	memory = memory_in_use();
	for (unsigned i = 0; i < 10000; i++) {
		if (send(fd, call, len, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 &&
			errno != EAGAIN)
			fail_msg("hung up on: %s", strerror(errno));
		rig_settle();
	}
	memory = memory_in_use() - memory;
	if (memory > 16u << 20)
		fail_msg("%zu bytes are held for a client that reads nothing", memory);
	expect_service();
	assert_false(has_hung_up(fd)); /* it goes on where it fetches them */
	close(fd);
	rig_settle();
}

/* Signals do not wait for ever for one who never reads. */
static void test_signals_not_fetched(void **state)
{
	struct board *b = rig_add("pico", 0, 1);
	int fd = connect_authenticated();
	unsigned before = rig_count_fds();

	for (unsigned i = 0; rig_count_fds() == before; i++) {
		if (i > 100000)
			fail_msg("%u signals wait for a client that reads nothing", i);
		b->partitions[0].done++;
		registry_partition_changed(rig.registry, b, &b->partitions[0]);
		rig_settle();
	}
	expect_service();
	close(fd);
}

static void test_many_connections(void **state)
{
	int fds[40];
	unsigned n = 0;

	rig_add("pico", 0, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = connect_raw();
		rig_settle();
		n += !has_hung_up(fds[i]);
	}
	assert_int_equal(n, 32);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	rig_settle();
	expect_service();
}

/* --- other users --- */

static bool is_refused(sd_bus *bus, const char *path, const char *interface,
	const char *member, const char *error_name)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	bool is = sd_bus_call_method(
			  bus, NULL, path, interface, member, &error, NULL, "") < 0 &&
		  sd_bus_error_has_name(&error, error_name);

	sd_bus_error_free(&error);
	return is;
}

/* The tree of another user: his own board, and no trace of root's. */
static int look_as_other(sd_bus *bus)
{
	sd_bus_message *m;
	const char *xml;
	unsigned n = 0;
	char *name;

	if (sd_bus_call_method(bus, NULL, BUS_ROOT, "org.freedesktop.DBus.ObjectManager",
		    "GetManagedObjects", NULL, &m, "") < 0 ||
		sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}") < 0)
		return 1;
	while (sd_bus_message_skip(m, "{oa{sa{sv}}}") > 0)
		n++;
	if (n != 2)
		return 2;
	if (sd_bus_get_property_string(
		    bus, NULL, BUS_BOARDS "/mine", BUS_BOARD, "Name", NULL, &name) < 0)
		return 3;
	if (sd_bus_get_property_string(bus, NULL, PICO, BUS_BOARD, "Name", NULL, &name) >=
		0)
		return 4;
	if (sd_bus_call_method(bus, NULL, BUS_BOARDS,
		    "org.freedesktop.DBus.Introspectable", "Introspect", NULL, &m,
		    "") < 0 ||
		sd_bus_message_read(m, "s", &xml) < 0)
		return 5;
	if (!strstr(xml, "mine") || strstr(xml, "pico"))
		return 6;
	if (sd_bus_call_method(bus, NULL, BUS_ROOT, BUS_MANAGER, "FindBoard", NULL, NULL,
		    "s", "pico") >= 0)
		return 7;
	if (!is_refused(bus, PICO, BUS_BOARD, "Sync", SD_BUS_ERROR_UNKNOWN_OBJECT))
		return 8;
	if (!is_refused(bus, PICO "/rom0", BUS_PARTITION, "Format",
		    SD_BUS_ERROR_UNKNOWN_OBJECT))
		return 9;
	if (!is_refused(bus, BUS_ROOT, BUS_MANAGER, "Reload", BUS_ERROR_DENIED))
		return 10;
	if (sd_bus_call_method(bus, NULL, BUS_ROOT, BUS_MANAGER, "AddBoard", NULL, NULL,
		    "a{sv}", 1, "tty", "s", "/dev/tty1") >= 0)
		return 11;
	return 0;
}

static void test_other_user_sees_his_own(void **state)
{
	rig_skip_unless_root();
	rig_add("pico", 0, 3);
	rig_add("mine", RIG_OTHER_UID, 1);
	rig_run_as_other(false, look_as_other);
	assert_int_equal(rig.n_orders, 0);
	assert_int_equal(rig.n_added, 0);
	assert_int_equal(rig.n_reloads, 0);
}

static int sync_as_other(sd_bus *bus)
{
	return sd_bus_call_method(bus, NULL, BUS_BOARDS "/mine", BUS_BOARD, "Sync", NULL,
		       NULL, "") < 0;
}

static int on_turn(sd_event_source *s, void *userdata)
{
	while (rig.n_orders > 0)
		rig_finish(0, NULL, NULL, NULL);
	return 0;
}

static void test_owner_may(void **state)
{
	_cleanup_(sd_event_source_unrefp) sd_event_source *finisher = NULL;

	rig_skip_unless_root();
	rig_add("mine", RIG_OTHER_UID, 1);
	assert_return_code(sd_event_add_post(rig.event, &finisher, on_turn, NULL), 0);
	rig_run_as_other(false, sync_as_other);
}

static int on_change_of_owner(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *path;

	if (sd_bus_message_read(m, "o", &path) > 0 && strcmp(path, PICO) == 0)
		*(int *)userdata =
			strcmp(sd_bus_message_get_member(m), "InterfacesAdded") == 0;
	return 0;
}

static int wait_for(sd_bus *bus, const int *flag, int value)
{
	int r = 0;

	while (r >= 0 && *flag != value) {
		r = sd_bus_process(bus, NULL);
		if (r == 0)
			r = sd_bus_wait(bus, RIG_SECONDS * 1000000ull);
	}
	return r;
}

/* Syncs his own, gets root's, syncs that, and loses it again. */
static int change_hands_as_other(sd_bus *bus)
{
	int is_there = -1;

	if (sd_bus_match_signal(bus, NULL, NULL, BUS_ROOT,
		    "org.freedesktop.DBus.ObjectManager", NULL, on_change_of_owner,
		    &is_there) < 0)
		return 1;
	if (sd_bus_call_method(
		    bus, NULL, BUS_BOARDS "/mine", BUS_BOARD, "Sync", NULL, NULL, "") < 0)
		return 2;
	if (wait_for(bus, &is_there, 1) < 0)
		return 3;
	if (sd_bus_call_method(bus, NULL, PICO, BUS_BOARD, "Sync", NULL, NULL, "") < 0)
		return 4;
	if (wait_for(bus, &is_there, 0) < 0)
		return 5;
	return is_refused(bus, PICO, BUS_BOARD, "Sync", SD_BUS_ERROR_UNKNOWN_OBJECT) ? 0
										     : 6;
}

static int on_turn_change_hands(sd_event_source *s, void *userdata)
{
	struct board *b = userdata;

	while (rig.n_orders > 0) {
		b->owner = strcmp(rig.order_boards[0], "mine") == 0 ? RIG_OTHER_UID : 0;
		registry_changed(rig.registry, b);
		rig_finish(0, NULL, NULL, NULL);
	}
	return 0;
}

static void test_board_changes_hands(void **state)
{
	_cleanup_(sd_event_source_unrefp) sd_event_source *source = NULL;
	struct board *b;

	rig_skip_unless_root();
	rig_add("mine", RIG_OTHER_UID, 0);
	b = rig_add("pico", 0, 1);
	assert_return_code(
		sd_event_add_post(rig.event, &source, on_turn_change_hands, b), 0);
	rig_run_as_other(false, change_hands_as_other);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_not_our_language),
		TEST(test_endless_authentication),
		TEST(test_headers),
		TEST(test_all_at_once),
		TEST(test_damaged_call),
		TEST(test_descriptors),
		TEST(test_many_calls),
		TEST(test_answers_not_fetched),
		TEST(test_signals_not_fetched),
		TEST(test_many_connections),
		TEST(test_other_user_sees_his_own),
		TEST(test_owner_may),
		TEST(test_board_changes_hands),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
