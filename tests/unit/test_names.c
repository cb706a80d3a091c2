/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/names.h"

struct others {
	char names[100][NAMES_MAX + 1];
	unsigned n;
	bool all;
};

static bool taken(void *ctx, const char *name)
{
	const struct others *o = ctx;

	for (unsigned i = 0; i < o->n; i++)
		if (!strcmp(o->names[i], name))
			return true;
	return o->all;
}

/* Its name, which is another's for the next one. */
static const char *make(
	struct others *o, const char *alias, const char *product, const char *serial)
{
	char *name = o->names[o->n];

	assert_int_equal(names_make(alias, product, serial, taken, o, name), 0);
	o->n++;
	return name;
}

static void test_readable(void **state)
{
	static const struct {
		const char *alias, *product, *serial, *want;
	} cases[] = {
		{"", "Raspberry Pi Pico", "E6614104032B6A22", "Raspberry-Pi-Pico-6A22"},
		{"", "Board in FS mode", "e6614104032b6a22", "Board-in-FS-mode-6a22"},
		{"weather", "Raspberry Pi Pico", "E6614104032B6A22", "weather"},
		{"", "CP2102 USB to UART", "0001", "CP2102-USB-to-UART-0001"},
		{"", "USB Serial", "", "USB-Serial"},
		{"", "", "", "board"},
		{"", "", "12", "board-12"},
		{"", "Feather S3 (TinyUF2)", "7c:df:a1:00:11:22", "Feather-S3-TinyUF2-1122"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct others none = {0};

		assert_string_equal(
			make(&none, cases[i].alias, cases[i].product, cases[i].serial),
			cases[i].want);
	}
}

static void test_7_collisions(void **state)
{
	struct others o = {0};

	assert_string_equal(make(&o, "", "Pico", "AAAABBBB6A22"), "Pico-6A22");
	assert_string_equal(make(&o, "", "Pico", "AAAACCCC6A22"), "Pico-CCCC6A22");
	assert_string_equal(make(&o, "", "Pico", "DDDDCCCC6A22"), "Pico-DDDDCCCC6A22");
	/* the same number again, and again */
	assert_string_equal(make(&o, "", "Pico", "DDDDCCCC6A22"), "Pico-6A22-2");
	assert_string_equal(make(&o, "", "Pico", "DDDDCCCC6A22"), "Pico-6A22-3");
	assert_string_equal(make(&o, "", "Pico", ""), "Pico");
	assert_string_equal(make(&o, "", "Pico", ""), "Pico-2");
	/* an alias for a kind of boards */
	assert_string_equal(make(&o, "pump", "Pico", "AAAABBBB6A22"), "pump");
	assert_string_equal(make(&o, "pump", "Pico", "AAAACCCC6A22"), "pump-6A22");
	assert_string_equal(make(&o, "pump", "Pico", "AAAACCCC6A22"), "pump-CCCC6A22");
	assert_string_equal(make(&o, "pump", "", ""), "pump-2");
}

static void test_stable(void **state)
{
	struct others a = {0}, b = {0};

	assert_string_equal(make(&a, "", "Pico", "1234567890"), make(&b, "", "Pico", "1234567890"));
	assert_string_equal(make(&a, "", "Pico", "1234567890"), make(&b, "", "Pico", "1234567890"));
}

static void check_safe(const char *name)
{
	size_t n = strlen(name);

	assert_true(n > 0 && n <= NAMES_MAX);
	assert_int_equal(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-"),
		n);
	assert_false(name[0] == '.' || name[0] == '-' || name[0] == '_');
	assert_false(name[n - 1] == '.' || name[n - 1] == '-');
}

static void test_6_hostile(void **state)
{
	static const char *const strings[] = {"..", ".", "/", "../../etc/passwd", "-rf", "--",
		"$(reboot)", "`x`", "%s%n%n", "a\nb", "\x1b[2J", "\xff\xfe", "\xd0\x9f\xd0\xbb",
		".hidden", "_", "a/../b", "con\\..\\x", " ", "\t", ";rm -rf /", "&&", "'\"",
		"rom0/../..", "a..", "a--", "-.-", "~"};
	char endless[1000];
	struct others o = {0};

	memset(endless, 'x', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		for (size_t j = 0; j < ARRAY_SIZE(strings); j++) {
			o.n = 0;
			check_safe(make(&o, "", strings[i], strings[j]));
			check_safe(make(&o, strings[i], "", strings[j]));
			check_safe(make(&o, strings[i], strings[i], strings[j]));
		}
	for (o.n = 0; o.n < 40;)
		check_safe(make(&o, "", endless, endless));
	for (unsigned i = 0; i < 40; i++)
		for (unsigned j = 0; j < i; j++)
			assert_string_not_equal(o.names[i], o.names[j]);
}

static void test_random_bytes(void **state)
{
	const char *text = getenv("SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)getpid();

	print_message("SEED=%u\n", seed);
	srand(seed);
	for (unsigned i = 0; i < 20000; i++) {
		char strings[3][200];
		struct others o = {0};

		for (unsigned s = 0; s < 3; s++) {
			size_t n = (size_t)rand() % sizeof(strings[s]);

			for (size_t k = 0; k < n; k++)
				strings[s][k] = (char)(rand() % 255 + 1);
			strings[s][n] = '\0';
		}
		check_safe(make(&o, "", strings[0], strings[1]));
		check_safe(make(&o, strings[2], strings[0], strings[1]));
	}
}

static void test_all_taken(void **state)
{
	struct others o = {.all = true};
	char name[NAMES_MAX + 1] = "untouched";

	assert_int_equal(names_make("", "Pico", "1234", taken, &o, name), -EEXIST);
	assert_string_equal(name, "untouched");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_readable),
		cmocka_unit_test(test_7_collisions),
		cmocka_unit_test(test_stable),
		cmocka_unit_test(test_6_hostile),
		cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_all_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
