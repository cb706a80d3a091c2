/* SPDX-License-Identifier: MIT */
/* The tree of objects: what it shows, what it tells, and what becomes of calls. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/api_rig.h"

#define PICO BUS_BOARDS "/pico"
#define PROPERTIES "org.freedesktop.DBus.Properties"

static sd_bus *client;

static int setup(void **state)
{
	rig_setup(false);
	client = rig_connect();
	return 0;
}

static int teardown(void **state)
{
	client = sd_bus_close_unref(client);
	rig_settle();
	rig_teardown();
	return 0;
}

/* --- properties --- */

static void expect_text(
	const char *path, const char *interface, const char *name, const char *want)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	const char *value;

	m = rig_call_ok(client, path, PROPERTIES, "Get", "ss", interface, name);
	assert_true(sd_bus_message_read(m, "v", "s", &value) > 0);
	if (strcmp(value, want) != 0)
		fail_msg("%s of %s is \"%s\", not \"%s\"", name, path, value, want);
}

static void expect_number(const char *path, const char *interface, const char *name,
	const char *type, uint64_t want)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	uint64_t value = 0;

	m = rig_call_ok(client, path, PROPERTIES, "Get", "ss", interface, name);
	assert_true(sd_bus_message_read(m, "v", type, &value) > 0);
	assert_int_equal(value, want);
}

static void test_properties(void **state)
{
	struct board *b = rig_add("pico", 1000, 2);

	b->partitions[1].mounted = false;
	b->partitions[1].pending = 1ull << 33;
	b->partitions[1].pending_files = 3;
	b->partitions[1].address = 0x10100000;
	b->partitions[1].has_address = true;
	expect_text(BUS_ROOT, BUS_MANAGER, "Version", PACKAGE_VERSION);
	expect_text(BUS_ROOT, BUS_MANAGER, "Mode", "system");
	expect_text(BUS_ROOT, BUS_MANAGER, "MountRoot", "/media/romount");
	expect_text(BUS_ROOT, BUS_MANAGER, "StateRoot", "/var/lib/romount");
	expect_text(PICO, BUS_BOARD, "Name", "pico");
	expect_number(PICO, BUS_BOARD, "Present", "b", 1);
	expect_text(PICO, BUS_BOARD, "Port", "/dev/tty-pico");
	expect_text(PICO, BUS_BOARD, "State", "ready");
	expect_text(PICO, BUS_BOARD, "Error", "");
	expect_text(PICO, BUS_BOARD, "Machine", "Fake board");
	expect_text(PICO, BUS_BOARD, "Firmware", "1.27.0");
	expect_text(PICO, BUS_BOARD, "UniqueId", "e660");
	expect_text(PICO, BUS_BOARD, "UsbId", "2e8a:0005");
	expect_text(PICO, BUS_BOARD, "Serial", "E660");
	expect_text(PICO, BUS_BOARD, "Directory", "/media/romount/pico");
	expect_number(PICO, BUS_BOARD, "Owner", "u", 1000);
	expect_number(PICO, BUS_BOARD, "Pid", "u", 4711);
	expect_text(PICO "/rom0", BUS_PARTITION, "Mount", "/media/romount/pico/rom0");
	expect_number(PICO "/rom0", BUS_PARTITION, "Size", "t", 1 << 20);
	expect_number(PICO "/rom0", BUS_PARTITION, "HasAddress", "b", 0);
	expect_number(PICO "/rom1", BUS_PARTITION, "Number", "u", 1);
	expect_text(PICO "/rom1", BUS_PARTITION, "Mount", "");
	expect_number(PICO "/rom1", BUS_PARTITION, "Pending", "t", 1ull << 33);
	expect_number(PICO "/rom1", BUS_PARTITION, "PendingFiles", "u", 3);
	expect_number(PICO "/rom1", BUS_PARTITION, "Address", "t", 0x10100000);
	expect_number(PICO "/rom1", BUS_PARTITION, "HasAddress", "b", 1);
	rig_expect_error(rig_call(client, PICO, PROPERTIES, "Set", "ssv", BUS_BOARD,
				 "Name", "s", "x"),
		SD_BUS_ERROR_PROPERTY_READ_ONLY, "");
}

/* A board whose name has bytes that a path cannot have, one that is away. */
static void test_managed_objects(void **state)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	static const char *const want[] = {BUS_BOARDS "/a_2db_2ec",
		BUS_BOARDS "/a_2db_2ec/rom0", PICO, PICO "/rom0", PICO "/rom7"};
	struct board *b = rig_add("pico", 1000, 2);
	unsigned seen = 0, n = 0;
	const char *path;

	b->partitions[1].number = 7;
	rig_add("a-b.c", 1000, 1)->place.n_ttys = 0;
	m = rig_call_ok(client, BUS_ROOT, "org.freedesktop.DBus.ObjectManager",
		"GetManagedObjects", "");
	assert_true(sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}") > 0);
	while (sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}") > 0) {
		assert_true(sd_bus_message_read(m, "o", &path) > 0);
		for (unsigned i = 0; i < ARRAY_SIZE(want); i++)
			seen |= (unsigned)(strcmp(path, want[i]) == 0) << i;
		n++;
		assert_return_code(sd_bus_message_skip(m, "a{sa{sv}}"), 0);
		assert_return_code(sd_bus_message_exit_container(m), 0);
	}
	assert_int_equal(seen, (1 << ARRAY_SIZE(want)) - 1);
	assert_int_equal(n, ARRAY_SIZE(want));
	expect_text(BUS_BOARDS "/a_2db_2ec", BUS_BOARD, "Port", "");
}

/* --- signals --- */

static char told[4096]; /* "changed PATH: Name Name\n" ... */

static format_like(1, 2) void tell(const char *fmt, ...)
{
	size_t len = strlen(told);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(told + len, sizeof(told) - len, fmt, ap);
	va_end(ap);
}

static int on_changed(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *name;

	tell("changed %s:", sd_bus_message_get_path(m));
	assert_true(sd_bus_message_skip(m, "s") >= 0);
	assert_true(sd_bus_message_enter_container(m, 'a', "{sv}") > 0);
	while (sd_bus_message_enter_container(m, 'e', "sv") > 0) {
		assert_true(sd_bus_message_read(m, "s", &name) > 0);
		tell(" %s", name);
		assert_return_code(sd_bus_message_skip(m, "v"), 0);
		assert_return_code(sd_bus_message_exit_container(m), 0);
	}
	tell("\n");
	return 0;
}

static int on_objects(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *path;

	assert_true(sd_bus_message_read(m, "o", &path) > 0);
	tell("%s %s\n",
		strcmp(sd_bus_message_get_member(m), "InterfacesAdded") == 0 ? "added"
									     : "removed",
		path);
	return 0;
}

static void listen_to_signals(void)
{
	static const char *const members[] = {"InterfacesAdded", "InterfacesRemoved"};

	*told = '\0';
	assert_return_code(sd_bus_match_signal(client, NULL, NULL, NULL, PROPERTIES,
				   "PropertiesChanged", on_changed, NULL),
		0);
	for (unsigned i = 0; i < ARRAY_SIZE(members); i++)
		assert_return_code(sd_bus_match_signal(client, NULL, NULL, BUS_ROOT,
					   "org.freedesktop.DBus.ObjectManager",
					   members[i], on_objects, NULL),
			0);
	expect_text(BUS_ROOT, BUS_MANAGER, "Mode", "system"); /* connected */
}

static void expect_told(const char *want)
{
	rig_settle();
	if (strcmp(told, want) != 0)
		fail_msg("told:\n%sinstead of:\n%s", told, want);
	*told = '\0';
}

static void test_changes_are_told_once(void **state)
{
	struct board *b;

	listen_to_signals();
	b = rig_add("pico", 1000, 1);
	expect_told("added " PICO "\nadded " PICO "/rom0\n");
	for (unsigned i = 0; i < 100; i++) {
		b->partitions[0].done = i;
		b->partitions[0].pending = 100 + i;
		registry_partition_changed(rig.registry, b, &b->partitions[0]);
	}
	snprintf(b->state, sizeof(b->state), "asking");
	registry_changed(rig.registry, b);
	expect_told("changed " PICO ": State\nchanged " PICO "/rom0: Pending Done\n");
	registry_changed(rig.registry, b); /* nothing differs */
	expect_told("");
}

static void test_objects_come_and_go(void **state)
{
	const struct board_partition one = {.number = 1}, two = {.number = 2};
	struct board *b;

	listen_to_signals();
	b = rig_add("pico", 1000, 1);
	registry_remove(rig.registry, b); /* nobody has seen it */
	expect_told("");
	b = rig_add("pico", 1000, 1);
	assert_return_code(registry_add_partition(rig.registry, b, &one), 0);
	expect_told("added " PICO "\nadded " PICO "/rom0\nadded " PICO "/rom1\n");
	registry_remove_partition(rig.registry, b, 0);
	assert_return_code(registry_add_partition(rig.registry, b, &two), 0);
	expect_told("removed " PICO "/rom0\nadded " PICO "/rom2\n");
	registry_remove(rig.registry, b);
	expect_told("removed " PICO "/rom1\nremoved " PICO "/rom2\nremoved " PICO "\n");
	rig_expect_error(rig_call(client, PICO, BUS_BOARD, "Sync", ""),
		SD_BUS_ERROR_UNKNOWN_OBJECT, "");
}

/* --- calls --- */

static sd_bus_message *answer;

static int on_answer(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	sd_bus_message_unref(answer);
	answer = sd_bus_message_ref(m);
	return 0;
}

/* Begins a call and waits until the board has its order. */
static struct board_order *begin(const char *path, const char *interface,
	const char *member, const char *types, ...)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	unsigned n = rig.n_orders;
	va_list ap;

	answer = sd_bus_message_unref(answer);
	assert_return_code(
		sd_bus_message_new_method_call(client, &m, NULL, path, interface, member),
		0);
	va_start(ap, types);
	assert_return_code(sd_bus_message_appendv(m, types, ap), 0);
	va_end(ap);
	assert_return_code(
		sd_bus_call_async(client, NULL, m, on_answer, NULL, UINT64_MAX), 0);
	rig_until(rig.n_orders > n || answer);
	if (answer)
		rig_must_be_ok(answer);
	return &rig.orders[n];
}

static sd_bus_message *answered(void)
{
	rig_until(answer);
	return TAKE_PTR(answer);
}

static void test_orders(void **state)
{
	static const struct {
		const char *member;
		bool of_board;
		enum board_order_kind kind;
	} plain[] = {
		{"Sync", true, ORDER_SYNC},
		{"Eject", true, ORDER_EJECT},
		{"Attach", true, ORDER_ATTACH},
		{"Sync", false, ORDER_SYNC},
		{"Format", false, ORDER_FORMAT},
	};
	struct board_order *order;

	rig_add("other", 1000, 2);
	rig_add("pico", 1000, 4);
	for (unsigned i = 0; i < ARRAY_SIZE(plain); i++) {
		order = begin(plain[i].of_board ? PICO : PICO "/rom3",
			plain[i].of_board ? BUS_BOARD : BUS_PARTITION, plain[i].member,
			"");
		assert_int_equal(order->kind, plain[i].kind);
		assert_int_equal(
			order->partition, plain[i].of_board ? BUS_ALL_PARTITIONS : 3);
		assert_string_equal(rig.order_boards[0], "pico");
		rig_settle();
		assert_null(answer); /* not before it is done */
		rig_finish(0, NULL, NULL, NULL);
		sd_bus_message_unref(rig_must_be_ok(answered()));
	}
	order = begin(PICO, BUS_BOARD, "Release", "u", 77u);
	assert_int_equal(order->kind, ORDER_RELEASE);
	assert_int_equal(order->seconds, 77);
	rig_finish(-EBUSY, BUS_ERROR_BUSY, "pico is being written", NULL);
	rig_expect_error(answered(), BUS_ERROR_BUSY, "pico is being written");
	order = begin(PICO "/rom1", BUS_PARTITION, "Compact", "b", true);
	assert_int_equal(order->kind, ORDER_COMPACT);
	assert_true(order->flag);
	rig_finish(-EIO, "com.example.Made\nUp", "line\nof \x1b[2J", NULL);
	rig_expect_error(answered(), BUS_ERROR_FAILED, "line?of ?[2J");
	rig.refuse = -ENODEV;
	rig_expect_error(rig_call(client, PICO, BUS_BOARD, "Sync", ""), BUS_ERROR_GONE,
		"pico is busy with something else");
}

static void test_answers(void **state)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *bytes = NULL, *layout = NULL,
							*got = NULL;
	const char *kind, *name;
	uint64_t a, b;

	rig_add("pico", 1000, 1);
	bytes = rig_message(client, "t", (uint64_t)4711);
	layout = rig_message(client, "tta(ttss)", (uint64_t)65536, (uint64_t)4096, 2,
		(uint64_t)0, (uint64_t)16, "head", "", (uint64_t)16, (uint64_t)100,
		"a kind that is much too long", "evil\x1b[2J\n");
	begin(PICO "/rom0", BUS_PARTITION, "Verify", "");
	rig_finish(0, NULL, NULL, bytes);
	got = rig_must_be_ok(answered());
	assert_true(sd_bus_message_read(got, "t", &a) > 0);
	assert_int_equal(a, 4711);
	got = sd_bus_message_unref(got);
	begin(PICO "/rom0", BUS_PARTITION, "Layout", "");
	rig_finish(0, NULL, NULL, layout);
	got = rig_must_be_ok(answered());
	assert_true(sd_bus_message_has_signature(got, "tta(ttss)"));
	assert_true(sd_bus_message_read(got, "tt", &a, &b) > 0);
	assert_int_equal(a, 65536);
	assert_int_equal(b, 4096);
	assert_true(sd_bus_message_enter_container(got, 'a', "(ttss)") > 0);
	assert_true(sd_bus_message_read(got, "(ttss)", &a, &b, &kind, &name) > 0);
	assert_string_equal(kind, "head");
	assert_true(sd_bus_message_read(got, "(ttss)", &a, &b, &kind, &name) > 0);
	assert_int_equal(b, 100);
	assert_string_equal(kind, "a kind that is ");
	assert_string_equal(name, "evil?[2J?");
	/* What is no answer is told as such. */
	begin(PICO "/rom0", BUS_PARTITION, "Layout", "");
	assert_return_code(sd_bus_message_rewind(bytes, true), 0);
	rig_finish(0, NULL, NULL, bytes);
	rig_expect_error(answered(), BUS_ERROR_FAILED, "makes no sense");
	begin(PICO "/rom0", BUS_PARTITION, "Verify", "");
	rig_finish(0, NULL, NULL, NULL);
	rig_expect_error(answered(), BUS_ERROR_FAILED, "makes no sense");
}

static void test_news_come_before_answers(void **state)
{
	struct board *b = rig_add("pico", 1000, 1);

	listen_to_signals();
	*told = '\0';
	begin(PICO, BUS_BOARD, "Sync", "");
	b->partitions[0].used = 9999;
	registry_partition_changed(rig.registry, b, &b->partitions[0]);
	rig_finish(0, NULL, NULL, NULL);
	while (!answer) {
		rig_turn();
		if (answer && !*told)
			fail_msg("the answer came before what had changed");
	}
	sd_bus_message_unref(answered());
	expect_told("changed " PICO "/rom0: Used\n");
}

/* --- files --- */

static void test_files(void **state)
{
	int pair[2], fd = memfd_create("image", MFD_CLOEXEC), read_only;
	char path[64], bytes[3];
	struct board_order *order;
	unsigned before;

	rig_add("pico", 1000, 1);
	rig_settle();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	read_only = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && read_only >= 0);
	assert_return_code(pipe2(pair, O_CLOEXEC), errno);
	expect_text(PICO, BUS_BOARD, "Name", "pico");
	before = rig_count_fds();
	order = begin(PICO "/rom0", BUS_PARTITION, "Restore", "hb", read_only, true);
	assert_int_equal(order->kind, ORDER_RESTORE);
	assert_true(order->flag);
	rig_finish(0, NULL, NULL, NULL);
	sd_bus_message_unref(rig_must_be_ok(answered()));
	order = begin(PICO "/rom0", BUS_PARTITION, "Save", "h", fd);
	assert_int_equal(order->kind, ORDER_SAVE);
	assert_int_equal(write(order->fd, "abc", 3), 3); /* the same file */
	assert_int_equal(pread(fd, bytes, 3, 0), 3);
	assert_memory_equal(bytes, "abc", 3);
	rig_finish(0, NULL, NULL, NULL);
	sd_bus_message_unref(rig_must_be_ok(answered()));
	rig_expect_error(
		rig_call(client, PICO "/rom0", BUS_PARTITION, "Save", "h", read_only),
		BUS_ERROR_INVALID, "not open for writing");
	rig_expect_error(
		rig_call(client, PICO "/rom0", BUS_PARTITION, "Save", "h", pair[1]),
		BUS_ERROR_INVALID, "ordinary file");
	rig_expect_error(rig_call(client, PICO "/rom0", BUS_PARTITION, "Restore", "hb",
				 pair[0], false),
		BUS_ERROR_INVALID, "ordinary file");
	assert_int_equal(rig.n_orders, 0);
	assert_int_equal(rig_count_fds(), before);
	close(fd);
	close(read_only);
	close(pair[0]);
	close(pair[1]);
}

/* Whoever goes away does not stop what was ordered, and leaves nothing open. */
static void test_client_goes_away(void **state)
{
	int fd = memfd_create("image", MFD_CLOEXEC);
	unsigned before;
	sd_bus *watcher;

	rig_add("pico", 1000, 1);
	rig_settle();
	before = rig_count_fds();
	begin(PICO "/rom0", BUS_PARTITION, "Save", "h", fd);
	begin(PICO, BUS_BOARD, "Sync", "");
	client = sd_bus_close_unref(client);
	rig_settle();
	assert_int_equal(rig.n_orders, 2);
	watcher = rig_connect();
	client = watcher;
	expect_text(PICO, BUS_BOARD, "Name", "pico");
	assert_int_equal(rig_count_fds(), before);
	rig_finish(0, NULL, NULL, NULL);
	rig_finish(-EIO, NULL, "failed", NULL);
	rig_settle();
	expect_text(PICO, BUS_BOARD, "Name", "pico");
	close(fd);
}

/* --- the manager --- */

static void expect_path(sd_bus_message *reply, const char *want)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *owned = rig_must_be_ok(reply);
	const char *path;

	assert_true(sd_bus_message_read(owned, "o", &path) > 0);
	assert_string_equal(path, want);
}

static void test_find_board(void **state)
{
	rig_add("a-b", 1000, 0);
	rig_add("pico", 1000, 0);
	expect_path(
		rig_call(client, BUS_ROOT, BUS_MANAGER, "FindBoard", "s", "pico"), PICO);
	expect_path(rig_call(client, BUS_ROOT, BUS_MANAGER, "FindBoard", "s", "a-b"),
		BUS_BOARDS "/a_2db");
	expect_path(rig_call(client, BUS_ROOT, BUS_MANAGER, "FindBoard", "s",
			    "/dev/tty-pico"),
		PICO);
	rig_expect_error(
		rig_call(client, BUS_ROOT, BUS_MANAGER, "FindBoard", "s", "pic\n"),
		BUS_ERROR_NO_BOARD, "no board 'pic?'");
	rig_expect_error(rig_call(client, BUS_ROOT, BUS_MANAGER, "FindBoard", "s", ""),
		BUS_ERROR_NO_BOARD, "");
}

static sd_bus_message *add(const char *key, const char *value, const char *alias)
{
	return rig_call(client, BUS_ROOT, BUS_MANAGER, "AddBoard", "a{sv}", 2, key, "s",
		value, "alias", "s", alias);
}

static void test_add_board(void **state)
{
	expect_path(add("socket", "localhost:2000", "far"), "/"); /* it may come later */
	assert_string_equal(rig.added.socket, "localhost:2000");
	rig.add_to_registry = true;
	expect_path(add("tty", "/dev/ttyS7", "near"), BUS_BOARDS "/near");
	assert_string_equal(rig.added.tty, "/dev/ttyS7");
	assert_string_equal(rig.added.alias, "near");
	assert_int_equal(rig.n_added, 2);
	rig_expect_error(add("tty", "ttyS7", "x"), BUS_ERROR_INVALID, "'ttyS7'");
	rig_expect_error(add("socket", "host", "x"), BUS_ERROR_INVALID, "HOST:PORT");
	rig_expect_error(add("tty", "/dev/ttyS8", "../x"), BUS_ERROR_INVALID, "'../x'");
	rig_expect_error(
		add("tty", "/dev/ttyS8", "a\033[1m"), BUS_ERROR_INVALID, "alias");
	rig_expect_error(
		add("other", "x", "x"), BUS_ERROR_INVALID, "either a tty or a socket");
	rig_expect_error(rig_call(client, BUS_ROOT, BUS_MANAGER, "AddBoard", "a{sv}", 2,
				 "tty", "s", "/dev/ttyS8", "baud", "u", 1u),
		BUS_ERROR_INVALID, "");
	assert_int_equal(rig.n_added, 2);
	sd_bus_message_unref(rig_call_ok(client, BUS_ROOT, BUS_MANAGER, "Reload", ""));
	assert_int_equal(rig.n_reloads, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	static const struct CMUnitTest tests[] = {
		TEST(test_properties),
		TEST(test_managed_objects),
		TEST(test_changes_are_told_once),
		TEST(test_objects_come_and_go),
		TEST(test_orders),
		TEST(test_answers),
		TEST(test_news_come_before_answers),
		TEST(test_files),
		TEST(test_client_goes_away),
		TEST(test_find_board),
		TEST(test_add_board),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
