/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/base.h"

static uint8_t flash[4096];

static int read_flash(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	const bool *fails = ctx;

	if (*fails)
		return error_set(err, -EIO, "no");
	memcpy(buf, flash + off, len);
	return 0;
}

/* "f" with the bytes "abc", as FORMAT.md has it. */
static void make_image(void)
{
	static const uint8_t image[] = {
		0xD2, 0xCD, 0x31, 9, 5, 7, 1, 'f', 2, 3, 'a', 'b', 'c'};

	memset(flash, 0xFF, sizeof(flash));
	memcpy(flash, image, sizeof(image));
}

static void print_of(uint8_t out[SHA256_SIZE])
{
	bool fails = false;
	const struct romfs_source s = {.read = read_flash, .ctx = &fails, .size = sizeof(flash)};
	struct base b;
	struct error err = {0};

	if (base_read(&s, &b, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(b.image->status, flash[0] == 0xFF ? ROMFS_BLANK : ROMFS_VALID);
	memcpy(out, b.fingerprint, SHA256_SIZE);
	base_clear(&b);
	assert_null(b.image);
	base_clear(&b);
}

static void test_fingerprint(void **state)
{
	uint8_t first[SHA256_SIZE], now[SHA256_SIZE];

	make_image();
	print_of(first);
	print_of(now);
	assert_memory_equal(first, now, SHA256_SIZE);
	flash[7] = 'g'; /* a name */
	print_of(now);
	assert_memory_not_equal(first, now, SHA256_SIZE);
	make_image();
	flash[11] = 'x'; /* a file's bytes are for others to compare */
	print_of(now);
	assert_memory_equal(first, now, SHA256_SIZE);
	memset(flash, 0xFF, sizeof(flash));
	print_of(now);
	assert_memory_not_equal(first, now, SHA256_SIZE);
}

/* The same file at the same place, said in another way: a record in front that is skipped,
 * digits that change nothing. */
static void test_records_do_not_matter(void **state)
{
	static const uint8_t one[] = {
		0xD2, 0xCD, 0x31, 0x7C, 5, 6, 1, 'f', 3, 2, 5, 0x40 - 4, 1, 0x72};
	static const uint8_t two[] = {0xD2, 0xCD, 0x31, 0x7C, 1, 2, 0xF5, 9, 0x80, 5, 7, 1, 'f',
		3, 3, 5, 0x80, 0x40 - 4, 1, 0x6C};
	uint8_t first[SHA256_SIZE], now[SHA256_SIZE];

	memset(flash, 0xFF, sizeof(flash));
	memcpy(flash, one, sizeof(one));
	print_of(first);
	memcpy(flash, two, sizeof(two));
	print_of(now);
	assert_memory_equal(first, now, SHA256_SIZE);
	flash[17]++; /* but its place does */
	print_of(now);
	assert_memory_not_equal(first, now, SHA256_SIZE);
}

static void test_unreadable(void **state)
{
	bool fails = true;
	const struct romfs_source s = {.read = read_flash, .ctx = &fails, .size = sizeof(flash)};
	struct base b = {0};
	struct error err = {0};

	assert_int_equal(base_read(&s, &b, &err), -EIO);
	assert_null(b.image);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fingerprint),
		cmocka_unit_test(test_records_do_not_matter),
		cmocka_unit_test(test_unreadable),
	};

	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
