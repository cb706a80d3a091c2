/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "util/macros.h"
#include "util/text.h"

static const struct {
	const char *in, *printable, *escaped;
} cases[] = {
	{"plain", "plain", "plain"},
	{"", "", ""},
	{"gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F", "gr\xC3\xBC\xC3\x9F"},
	{"\xF0\x9F\x90\x8D", "\xF0\x9F\x90\x8D", "\xF0\x9F\x90\x8D"},
	{"a\nb\tc\x7F", "a?b?c?", "a\\x0ab\\x09c\\x7f"},
	{"\x1B[31mred", "?[31mred", "\\x1b[31mred"},
	{"back\\slash", "back\\slash", "back\\\\slash"},
	{"cut \xC3", "cut ?", "cut \\xc3"},
	{"\xC0\xAF", "??", "\\xc0\\xaf"},		 /* overlong '/' */
	{"\xE0\x80\xAF", "???", "\\xe0\\x80\\xaf"},	 /* the same, longer */
	{"\xED\xA0\x80", "???", "\\xed\\xa0\\x80"},	 /* a surrogate */
	{"\xF4\x90\x80\x80", "????", "\\xf4\\x90\\x80\\x80"}, /* over U+10FFFF */
	{"\xFF\xFE", "??", "\\xff\\xfe"},
};

static void test_cases(void **state)
{
	char buf[64];

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(buf, sizeof(buf), "%s", cases[i].in);
		text_make_printable(buf);
		assert_string_equal(buf, cases[i].printable);
		assert_int_equal(
			text_escape(buf, sizeof(buf), cases[i].in, strlen(cases[i].in)),
			strlen(cases[i].escaped));
		assert_string_equal(buf, cases[i].escaped);
	}
}

/* Controls above ASCII, and what turns text round on a screen. */
static void test_invisible(void **state)
{
	static const char *const bad[] = {"\xC2\x9B" "31m", "\xE2\x80\xAE" "txt", "\xE2\x81\xA6x"};
	char buf[64];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(buf, sizeof(buf), "%s", bad[i]);
		text_make_printable(buf);
		for (const char *p = buf; *p; p++)
			if (*p & 0x80)
				fail_msg("case %zu", i);
		text_escape(buf, sizeof(buf), bad[i], strlen(bad[i]));
		assert_int_equal(buf[0], '\\');
	}
}

static void test_escape_in_no_room(void **state)
{
	char buf[6];

	assert_int_equal(text_escape(buf, sizeof(buf), "ab\n\n", 4), 10);
	assert_true(strlen(buf) < sizeof(buf));
	assert_memory_equal(buf, "ab", 2);
	assert_int_equal(text_escape(NULL, 0, "ab\0c", 4), 7); /* NUL is a byte too */
}

static void test_is_utf8(void **state)
{
	assert_true(text_is_utf8("gr\xC3\xBC\xC3\x9F", 6));
	assert_false(text_is_utf8("gr\xC3\xBC\xC3\x9F", 5)); /* cut */
	assert_false(text_is_utf8("\x80", 1));
	assert_false(text_is_utf8("\xC0\xAF", 2));
	assert_false(text_is_utf8("\xED\xA0\x80", 3));
	assert_false(text_is_utf8("\xF4\x90\x80\x80", 4));
	assert_true(text_is_utf8("\xF4\x8F\xBF\xBF", 4));
	assert_true(text_is_utf8("", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_invisible),
		cmocka_unit_test(test_escape_in_no_room),
		cmocka_unit_test(test_is_utf8),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
