/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#include "bus/names.h"
#include "bus/wire.h"

struct thing {
	char text[8], name[8];
	bool flag;
	unsigned number;
	uint64_t size;
	char list[3][6];
	unsigned n_list;
};

static const struct wire_field fields[] = {
	WIRE_TEXT("text", struct thing, text),
	WIRE_NAME("name", struct thing, name),
	WIRE_BOOL("flag", struct thing, flag),
	WIRE_U32("number", struct thing, number),
	WIRE_U64("size", struct thing, size),
	WIRE_NAMES("list", struct thing, list, n_list),
};
#define N_FIELDS ARRAY_SIZE(fields)

static sd_bus *bus;
static int other_end = -1;

static int setup(void **state)
{
	int pair[2];

	assert_return_code(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
		0);
	assert_return_code(sd_bus_new(&bus), 0);
	assert_return_code(sd_bus_set_fd(bus, pair[0], pair[0]), 0);
	assert_return_code(sd_bus_start(bus), 0);
	other_end = pair[1];
	return 0;
}

static int teardown(void **state)
{
	bus = sd_bus_close_unref(bus);
	close(other_end);
	return 0;
}

static sd_bus_message *new_message(void)
{
	sd_bus_message *m;

	assert_return_code(sd_bus_message_new_signal(bus, &m, "/a", "a.b", "C"), 0);
	return m;
}

static sd_bus_message *sealed(sd_bus_message *m)
{
	assert_return_code(sd_bus_message_seal(m, 1, 0), 0);
	assert_return_code(sd_bus_message_rewind(m, true), 0);
	return m;
}

static void test_there_and_back(void **state)
{
	const struct thing in = {"text\xc3\xbc", "name", true, 4000000000u, 1ull << 40,
		{"one", "two", "three"}, 3};
	struct thing out = {0};
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message();
	struct error err = {0};
	uint64_t seen;

	assert_return_code(wire_append(m, fields, N_FIELDS, &in, WIRE_ALL), 0);
	assert_return_code(wire_read(sealed(m), fields, N_FIELDS, &out, &seen, &err), 0);
	assert_int_equal(seen, (1u << N_FIELDS) - 1);
	assert_string_equal(out.text, in.text);
	assert_string_equal(out.name, in.name);
	assert_true(out.flag);
	assert_int_equal(out.number, in.number);
	assert_int_equal(out.size, in.size);
	assert_int_equal(out.n_list, 3);
	for (unsigned i = 0; i < 3; i++)
		assert_string_equal(out.list[i], in.list[i]);
}

static void test_some_fields(void **state)
{
	const struct thing in = {.text = "text", .number = 3, .size = 4};
	struct thing out = {.text = "before", .size = 9};
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message();
	uint64_t seen;

	assert_return_code(wire_append(m, fields, N_FIELDS, &in, 1 << 3), 0);
	assert_return_code(wire_read(sealed(m), fields, N_FIELDS, &out, &seen, NULL), 0);
	assert_int_equal(seen, 1 << 3);
	assert_int_equal(out.number, 3);
	assert_string_equal(out.text, "before");
	assert_int_equal(out.size, 9);
}

static void test_texts_are_cut(void **state)
{
	struct thing out = {0};
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = new_message();

	assert_return_code(
		sd_bus_message_append(m, "a{sv}", 1, "text", "s", "a\x1b\ncdef\xc3\xbc"),
		0);
	assert_return_code(wire_read(sealed(m), fields, N_FIELDS, &out, NULL, NULL), 0);
	assert_string_equal(out.text, "a??cdef");
	wire_copy_text(out.text, sizeof(out.text), "abcdef\xc3\xbc");
	assert_string_equal(out.text, "abcdef");
}

static void refused(sd_bus_message *m, const char *why)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *owned = m;
	struct thing out = {0};
	struct error err = {0};

	assert_int_equal(
		wire_read(sealed(m), fields, N_FIELDS, &out, NULL, &err), -EBADMSG);
	if (!strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\"", err.text, why);
}

static void test_refused(void **state)
{
	sd_bus_message *m;

#define REFUSED(why, ...)                                                                \
	do {                                                                             \
		m = new_message();                                                       \
		assert_return_code(sd_bus_message_append(m, __VA_ARGS__), 0);            \
		refused(m, why);                                                         \
	} while (0)
	REFUSED("type s instead of u", "a{sv}", 1, "number", "s", "4");
	REFUSED("type u instead of t", "a{sv}", 1, "size", "u", 4u);
	REFUSED("type t instead of s", "a{sv}", 1, "text", "t", (uint64_t)4);
	REFUSED("type a{sv} instead of b", "a{sv}", 1, "flag", "a{sv}", 0);
	REFUSED("flag comes twice", "a{sv}", 2, "flag", "b", 1, "flag", "b", 1);
	REFUSED("name is too long, 7 bytes", "a{sv}", 1, "name", "s", "12345678");
	REFUSED("name holds bytes", "a{sv}", 1, "name", "s", "a\nb");
	REFUSED("list is too long", "a{sv}", 1, "list", "as", 1, "123456");
	REFUSED("list has too many", "a{sv}", 1, "list", "as", 4, "1", "2", "3", "4");
	REFUSED("the message is damaged", "s", "no dict");
	REFUSED("the message is damaged", "a{ss}", 1, "text", "s");
	REFUSED("the message is damaged", "");
#undef REFUSED
}

static void test_many_and_unknown(void **state)
{
	sd_bus_message *m = new_message();
	struct thing out = {0};

	for (unsigned n = WIRE_ENTRIES_MAX; n <= WIRE_ENTRIES_MAX + 1; n++) {
		_cleanup_(sd_bus_message_unrefp) sd_bus_message *owned = m;

		assert_return_code(sd_bus_message_open_container(m, 'a', "{sv}"), 0);
		for (unsigned i = 1; i < n; i++)
			assert_return_code(
				sd_bus_message_append(m, "{sv}", "news", "(ss)", "", ""),
				0);
		assert_return_code(sd_bus_message_append(m, "{sv}", "number", "u", n), 0);
		assert_return_code(sd_bus_message_close_container(m), 0);
		assert_int_equal(wire_read(sealed(m), fields, N_FIELDS, &out, NULL, NULL),
			n > WIRE_ENTRIES_MAX ? -EBADMSG : 0);
		m = new_message();
	}
	sd_bus_message_unref(m);
	assert_int_equal(out.number, WIRE_ENTRIES_MAX);
}

static void test_errors(void **state)
{
	static const int codes[] = {EIO, EBUSY, ENODEV, EACCES, ENOENT, ESTALE, EINVAL,
		ETIMEDOUT, ENOSPC, EOPNOTSUPP};
	const sd_bus_error hostile = {BUS_ERROR_BUSY, "held by \x1b[2J", 0};
	const sd_bus_error silent = {"com.example.Odd", "", 0};
	struct error err = {0};

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++)
		assert_int_equal(wire_error_code(wire_error_name(-codes[i])), -codes[i]);
	assert_string_equal(wire_error_name(-EDOM), BUS_ERROR_FAILED);
	assert_string_equal(wire_error_name(-EIO), BUS_ERROR_FAILED);
	assert_int_equal(wire_error_code("com.example.Odd"), -EIO);
	assert_int_equal(wire_error_code(NULL), -EIO);
	assert_int_equal(wire_take_error(&hostile, &err), -EBUSY);
	assert_string_equal(err.text, "held by ?[2J");
	error_clear(&err);
	assert_int_equal(wire_take_error(&silent, &err), -EIO);
	assert_string_equal(err.text, strerror(EIO));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_some_fields),
		cmocka_unit_test(test_texts_are_cut),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_many_and_unknown),
		cmocka_unit_test(test_errors),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
