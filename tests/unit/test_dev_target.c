/* SPDX-License-Identifier: MIT */
/* Bounds of targets, geometry from what boards say, strict numbers, image files. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "libdev/learn.h"
#include "libdev/quirks.h"
#include "util/io.h"

static unsigned calls;

static int count_erase(struct dev_target *t, uint64_t off, uint64_t len, struct error *err)
{
	calls++;
	return 0;
}

static int count_program(
	struct dev_target *t, uint64_t off, const void *buf, size_t len, struct error *err)
{
	calls++;
	return 0;
}

static int count_read(
	struct dev_target *t, uint64_t off, void *buf, size_t len, struct error *err)
{
	calls++;
	return 0;
}

static void test_bounds(void **state)
{
	static const struct dev_target_ops ops = {
		.erase = count_erase, .program = count_program, .read = count_read};
	struct dev_target t = {.ops = &ops, .geometry = {.kind = DEV_TARGET_PARTIAL,
		.size = 65536, .erase_block = 4096, .write_unit = 256}};
	char buf[512];

	assert_int_equal(dev_target_erase(&t, 4096, 8192, NULL), 0);
	assert_int_equal(dev_target_program(&t, 65536 - 512, buf, 512, NULL), 0);
	assert_int_equal(dev_target_read(&t, 65535, buf, 1, NULL), 0);
	assert_int_equal(calls, 3);
	assert_int_equal(t.counters.erased_blocks, 2);
	assert_int_equal(dev_target_erase(&t, 0, 4095, NULL), -EINVAL);
	assert_int_equal(dev_target_erase(&t, 256, 4096, NULL), -EINVAL);
	assert_int_equal(dev_target_erase(&t, 65536, 4096, NULL), -EINVAL);
	assert_int_equal(dev_target_erase(&t, UINT64_MAX - 4095, 8192, NULL), -EINVAL);
	assert_int_equal(dev_target_program(&t, 0, buf, 255, NULL), -EINVAL);
	assert_int_equal(dev_target_program(&t, 128, buf, 256, NULL), -EINVAL);
	assert_int_equal(dev_target_program(&t, 65536 - 256, buf, 512, NULL), -EINVAL);
	assert_int_equal(dev_target_read(&t, 65536, buf, 1, NULL), -EINVAL);
	t.geometry.prefix_erase = true;
	assert_int_equal(dev_target_erase(&t, 4096, 4096, NULL), -EINVAL);
	t.geometry.kind = DEV_TARGET_READONLY;
	assert_int_equal(dev_target_erase(&t, 0, 4096, NULL), -EROFS);
	assert_int_equal(calls, 3);
}

static void test_numbers(void **state)
{
	static const char *const bad[] = {"", "-", "+1", " 1", "1 ", "0x10", "1e3", "1.0",
		"None", "True", "99999999999999999999", "--1", "1-"};
	int64_t v = 42;

	assert_int_equal(learn_number("4096", &v), 0);
	assert_int_equal(v, 4096);
	assert_int_equal(learn_number("-22", &v), 0);
	assert_int_equal(v, -22);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (learn_number(bad[i], &v) != -EPROTO)
			fail_msg("\"%s\" was taken for a number", bad[i]);
	assert_int_equal(v, -22);
}

static struct dev_geometry geometry(
	const char *platform, const char *machine, struct quirk_facts f)
{
	struct dev_geometry g = {0};
	struct error err = {0};

	f.has_address = f.address != 0;
	if (quirk_geometry(quirk_find(platform, machine, f.has_address, f.address), &f, &g,
		    &err) < 0)
		fail_msg("%s: %s", platform, err.text);
	return g;
}

static void test_geometry(void **state)
{
	struct quirk_facts block = {.is_block = true, .count = 32, .size = 4096, .length = -1,
		.min_prepare = -22};
	struct quirk_facts segment = {.count = -1, .size = -1, .length = 1 << 20,
		.min_prepare = 4096};
	struct quirk_facts old = {.count = -1, .size = -1, .length = 1 << 20,
		.min_prepare = -22, .probe_empty = 4, .probe_range = 4};
	struct dev_geometry g = geometry("rp2", "", block);

	assert_int_equal(g.kind, DEV_TARGET_BLOCK);
	assert_int_equal(g.size, 131072);
	assert_int_equal(g.write_unit, 256);

	g = geometry("something", "new", segment);
	assert_int_equal(g.kind, DEV_TARGET_PARTIAL);
	assert_int_equal(g.erase_block, 4096);

	/* Three arguments: the second was taken for a length of nothing. */
	g = geometry("something", "old", old);
	assert_int_equal(g.kind, DEV_TARGET_WHOLE);
	assert_true(g.prefix_erase);
	old.probe_range = -22; /* the OSPI of stm32 */
	g = geometry("pyboard", "", old);
	assert_int_equal(g.kind, DEV_TARGET_PARTIAL);
	old.probe_empty = -22;
	g = geometry("linux", "", old);
	assert_int_equal(g.kind, DEV_TARGET_READONLY);

	/* Never four arguments, whatever a firmware says. */
	g = geometry("esp8266", "", segment);
	assert_int_equal(g.kind, DEV_TARGET_WHOLE);
	segment.length = 100 * 1024;
	g = geometry("renesas-ra", "", segment);
	assert_int_equal(g.kind, DEV_TARGET_WHOLE);
	assert_int_equal(g.erase_block, 4096);
	assert_int_equal(g.write_unit, 2048);

	segment = (struct quirk_facts){.count = -1, .size = -1, .length = 1 << 20,
		.min_prepare = 16, .address = 0x80300000};
	g = geometry("alif", "", segment);
	assert_true(g.no_erase);
	assert_int_equal(g.write_unit, 16);
	/* Elsewhere, in firmware that nobody has told us of: 16 bytes are no erase block. */
	segment.address = 0x02000000;
	g = geometry("of another port", "", segment);
	assert_true(g.no_erase);
	assert_int_equal(g.write_unit, 16);
	segment.min_prepare = 64;
	g = geometry("of another port", "", segment);
	assert_false(g.no_erase);
	segment.min_prepare = 512;
	segment.address = 0x60000;
	g = geometry("samd", "ItsyBitsy M4 Express with SAMD51G19A", segment);
	assert_int_equal(g.erase_block, 8192);
	assert_int_equal(g.write_unit, 8192);
	segment.min_prepare = 262144;
	segment.length = 262144 + 100;
	segment.address = 0x080c0000;
	g = geometry("pyboard", "NUCLEO-F767ZI", segment);
	assert_int_equal(g.size, 262144);
	assert_int_equal(g.write_unit, 32);
	assert_true(g.erase_ms_max >= 4000);
}

/* Taken for granted only where the memory is known to bear it. */
static void test_twice_by_table(void **state)
{
	static const struct {
		const char *platform, *machine;
		uint64_t address;
		enum dev_twice twice;
	} cases[] = {
		{"rp2", "Raspberry Pi Pico 2 W with RP2350", 0x10100000, DEV_TWICE_YES},
		{"esp32", "Generic ESP32 module with ESP32", 0x3f400000, DEV_TWICE_UNKNOWN},
		{"pyboard", "WEACT_F411_BLACKPILL with STM32F411CE", 0x08060000, DEV_TWICE_YES},
		{"pyboard", "NUCLEO-F767ZI with STM32F767", 0x080c0000, DEV_TWICE_YES},
		{"pyboard", "NUCLEO-H743ZI2 with STM32H743", 0x08100000, DEV_TWICE_NO},
		{"pyboard", "NUCLEO-H563ZI with STM32H573", 0x08100000, DEV_TWICE_NO},
		{"pyboard", "Portenta H7 with STM32H747", 0x90000000, DEV_TWICE_YES},
		{"nrf52", "", 0x60000, DEV_TWICE_NO},
		{"alif", "", 0x80300000, DEV_TWICE_NO},
		{"alif", "", 0xa0000000, DEV_TWICE_YES},
		{"renesas-ra", "", 0x60000, DEV_TWICE_NO},
		{"samd", "ItsyBitsy M4 Express with SAMD51G19A", 0x60000, DEV_TWICE_NO},
		{"esp8266", "", 0x40300000, DEV_TWICE_YES},
		{"something", "new", 0x10000000, DEV_TWICE_UNKNOWN},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct quirk_facts f = {.count = -1, .size = -1, .length = 1 << 20,
			.min_prepare = 4096, .address = cases[i].address};

		if (geometry(cases[i].platform, cases[i].machine, f).twice != cases[i].twice)
			fail_msg("%s %s", cases[i].platform, cases[i].machine);
	}
}

/* A board must not make this computer keep tables of any size. */
static void test_hostile_geometry(void **state)
{
	static const struct {
		int64_t count, size;
		bool good;
	} cases[] = {
		{256 << 20, 1, false}, {1 << 10, 8, false}, {16 << 20, 16, false},
		{(1 << 20) + 1, 16, false}, {1 << 20, 16, true}, {1 << 16, 4096, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct quirk_facts f = {.number = 3, .is_block = true, .length = -1,
			.min_prepare = -22, .count = cases[i].count, .size = cases[i].size};
		struct dev_geometry g = {0};
		struct error err = {0};
		int r = quirk_geometry(quirk_find("any", "", false, 0), &f, &g, &err);

		if (r != (cases[i].good ? 0 : -EINVAL))
			fail_msg("case %zu: %d %s", i, r, err.text);
		if (!cases[i].good && !strstr(err.text, "rom3 claims"))
			fail_msg("case %zu: %s", i, err.text);
	}
}

/* Flash of one write unit of 16 bytes, of several natures. */
static struct {
	enum { ANDS, OVERWRITES, REFUSES, KEEPS } nature;
	uint8_t bytes[64];
	unsigned programs;
} nor;

static int nor_read(
	struct dev_target *t, uint64_t off, void *buf, size_t len, struct error *err)
{
	memcpy(buf, nor.bytes + off, len);
	return 0;
}

static int nor_program(
	struct dev_target *t, uint64_t off, const void *buf, size_t len, struct error *err)
{
	const uint8_t *from = buf;

	if (nor.programs++ > 0 && nor.nature == REFUSES)
		return 1;
	for (size_t i = 0; i < len && !(nor.programs > 1 && nor.nature == KEEPS); i++)
		nor.bytes[off + i] = nor.nature == OVERWRITES ? from[i] & 0xF0
							       : nor.bytes[off + i] & from[i];
	return 0;
}

static int nor_hash(struct dev_target *t, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	for (uint64_t i = 0; i < len; i += step)
		sha256_of(nor.bytes + off + i, (size_t)MIN(step, len - i), *out++);
	return 0;
}

static const struct dev_target_ops nor_ops = {
	.read = nor_read, .try_program = nor_program, .hash = nor_hash};

static void test_probe_twice(void **state)
{
	struct dev_target t = {.ops = &nor_ops, .geometry = {.kind = DEV_TARGET_PARTIAL,
		.size = 64, .erase_block = 64, .write_unit = 16}};
	struct error err = {0};
	bool twice;

	for (int nature = ANDS; nature <= KEEPS; nature++) {
		nor.nature = nature;
		nor.programs = 0;
		memset(nor.bytes, 0xFF, sizeof(nor.bytes));
		twice = nature != ANDS;
		assert_int_equal(dev_target_probe_twice(&t, 16, &twice, &err), 0);
		assert_int_equal(twice, nature == ANDS);
		for (size_t i = 0; i < sizeof(nor.bytes); i++)
			if (nor.bytes[i] != 0xFF && (i < 16 || i >= 20) && nature != OVERWRITES)
				fail_msg("nature %d: byte %zu is %02x", nature, i, nor.bytes[i]);
	}
	nor.bytes[47] = 0xFE;
	nor.programs = 0;
	assert_int_equal(dev_target_probe_twice(&t, 32, &twice, &err), -EINVAL);
	assert_int_equal(dev_target_probe_twice(&t, 8, &twice, NULL), -EINVAL);
	assert_int_equal(nor.programs, 0);
	t.geometry.kind = DEV_TARGET_READONLY;
	assert_int_equal(dev_target_probe_twice(&t, 0, &twice, NULL), -EROFS);
}

static void test_hash_list(void **state)
{
	static const struct dev_extent some[] = {{60, 4}, {0, 64}, {3, 1}};
	static const struct dev_extent bad[][1] = {{{0, 0}}, {{0, 65}}, {{64, 1}},
		{{UINT64_MAX, 2}}};
	struct dev_target t = {.ops = &nor_ops, .geometry = {.size = 64, .erase_block = 64,
		.write_unit = 16}};
	uint8_t got[3][SHA256_SIZE], want[SHA256_SIZE];

	for (size_t i = 0; i < sizeof(nor.bytes); i++)
		nor.bytes[i] = (uint8_t)(7 * i);
	assert_int_equal(dev_target_hash_list(&t, some, 3, got, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(some); i++) {
		sha256_of(nor.bytes + some[i].off, some[i].len, want);
		assert_memory_equal(got[i], want, SHA256_SIZE);
	}
	assert_int_equal(t.counters.hashed_bytes, 69);
	assert_int_equal(dev_target_hash_list(&t, some, 0, got, NULL), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(dev_target_hash_list(&t, bad[i], 1, got, NULL), -EINVAL);
}

static char *make_file(size_t size)
{
	static char path[64];
	char byte = 'x';
	int fd;

	snprintf(path, sizeof(path), "test_dev_target.%d.img", (int)getpid());
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (size_t i = 0; i < size; i++)
		assert_int_equal(write(fd, &byte, 1), 1);
	close(fd);
	return path;
}

static void test_image(void **state)
{
	char *path = make_file(5000), buf[8192];
	uint8_t want[SHA256_SIZE], got[2][SHA256_SIZE];
	struct dev_target *t = NULL, *second = NULL;
	struct error err = {0};

	assert_int_equal(dev_image_open(path, 8192, true, &t, &err), 0);
	assert_int_equal(dev_image_open(path, 0, true, &second, &err), -EBUSY);
	assert_non_null(strstr(err.text, path));
	assert_int_equal(dev_image_open(path, 0, false, &second, NULL), 0);
	dev_target_free(second);
	assert_int_equal(t->geometry.size, 8192);
	assert_int_equal(dev_target_read(t, 0, buf, 8192, NULL), 0);
	assert_int_equal(buf[4999], 'x');
	assert_int_equal((uint8_t)buf[5000], 0xFF);
	assert_int_equal((uint8_t)buf[8191], 0xFF);
	assert_int_equal(dev_target_erase(t, 0, 4096, NULL), 0);
	assert_int_equal(dev_target_program(t, 1, "abc", 3, NULL), 0);
	assert_int_equal(dev_target_finish(t, NULL), 0);
	assert_int_equal(dev_target_read(t, 0, buf, 8192, NULL), 0);
	assert_memory_equal(buf, "\xff" "abc\xff", 5);
	assert_int_equal(dev_target_hash(t, 0, 8192, 4096, got, NULL), 0);
	sha256_of(buf + 4096, 4096, want);
	assert_memory_equal(got[1], want, SHA256_SIZE);
	dev_target_free(t);

	error_clear(&err);
	assert_int_equal(dev_image_open(path, 0, false, &t, &err), 0);
	assert_int_equal(t->geometry.size, 8192);
	assert_int_equal(dev_target_program(t, 0, "abc", 3, &err), -EROFS);
	dev_target_free(t);
	unlink(path);
	error_clear(&err);
	assert_int_equal(dev_image_open(path, 0, true, &t, &err), -ENOENT);
	path = make_file(0);
	assert_int_equal(dev_image_open(path, 0, true, &t, NULL), -EINVAL);
	unlink(path);
}

/* A file need not end with a whole block: a writer fills the block up, a reader leaves it. */
static void test_odd_image(void **state)
{
	static const struct {
		uint64_t asked, size;
	} cases[] = {{0, 8192}, {5000, 8192}, {9000, 12288}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *path = make_file(5000), buf[2] = {0};
		struct dev_target *t = NULL;
		struct stat st;

		assert_int_equal(dev_image_open(path, 0, false, &t, NULL), 0);
		assert_int_equal(t->geometry.size, 5000);
		assert_int_equal(dev_target_read(t, 4999, buf, 2, NULL), -EINVAL);
		dev_target_free(t);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, 5000);
		assert_int_equal(dev_image_open(path, cases[i].asked, true, &t, NULL), 0);
		assert_int_equal(t->geometry.size, cases[i].size);
		assert_int_equal(dev_target_read(t, 4999, buf, 2, NULL), 0);
		assert_memory_equal(buf, "x\xff", 2);
		assert_int_equal(dev_target_erase(t, 4096, 904, NULL), -EINVAL);
		assert_int_equal(dev_target_erase(t, 4096, 4096, NULL), 0);
		assert_int_equal(t->counters.erased_blocks, 1);
		dev_target_free(t);
		assert_int_equal(stat(path, &st), 0);
		assert_int_equal(st.st_size, cases[i].size);
		unlink(path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_geometry),
		cmocka_unit_test(test_twice_by_table),
		cmocka_unit_test(test_probe_twice),
		cmocka_unit_test(test_hash_list),
		cmocka_unit_test(test_hostile_geometry),
		cmocka_unit_test(test_image),
		cmocka_unit_test(test_odd_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
