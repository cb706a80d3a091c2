/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fuse/portmemo.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"
#include "util/io.h"

#define IDENTITY "usb 2e8a:0005 if00 e66164084319392a"

static struct rig rig;

static int setup(void **state)
{
	fault_no_flush = true;
	rig_make(&rig, 16);
	return 0;
}

static int teardown(void **state)
{
	rig_remove(&rig);
	return 0;
}

static struct portmemo sample(void)
{
	return (struct portmemo){
		.identity = IDENTITY,
		.key = "Pico-0123456789abcdef",
		.board = {.unique_id = "e661", .machine = "Raspberry Pi Pico with RP2040",
			.firmware = "1.29.0 v1.29.0 on 2026-07-01", .platform = "rp2",
			.n_partitions = 2,
			.partitions = {{.kind = DEV_TARGET_BLOCK, .number = 0, .size = 1 << 20,
					       .erase_block = 4096, .write_unit = 256,
					       .twice = DEV_TWICE_YES, .has_address = true,
					       .address = 0x10100000, .erase_ms_max = 400,
					       .program_ms_max = 100},
				{.kind = DEV_TARGET_WHOLE, .number = 3, .size = 12345 * 16,
					.erase_block = 16, .write_unit = 16, .no_erase = true,
					.prefix_erase = true, .program_ms_max = 1}}},
	};
}

static void expect_sample(void)
{
	const struct portmemo want = sample();
	struct portmemo have;

	memset(&have, 0, sizeof(have));
	assert_int_equal(portmemo_read(rig.state, IDENTITY, 0, &have), 0);
	assert_string_equal(have.identity, want.identity);
	assert_string_equal(have.key, want.key);
	assert_string_equal(have.board.unique_id, want.board.unique_id);
	assert_string_equal(have.board.machine, want.board.machine);
	assert_string_equal(have.board.firmware, want.board.firmware);
	assert_string_equal(have.board.implementation, "");
	assert_string_equal(have.board.platform, want.board.platform);
	assert_int_equal(have.board.n_partitions, 2);
	for (size_t i = 0; i < 2; i++) {
		const struct dev_geometry *a = &have.board.partitions[i];
		const struct dev_geometry *b = &want.board.partitions[i];

		assert_int_equal(a->kind, b->kind);
		assert_int_equal(a->number, b->number);
		assert_int_equal(a->size, b->size);
		assert_int_equal(a->erase_block, b->erase_block);
		assert_int_equal(a->write_unit, b->write_unit);
		assert_int_equal(a->no_erase, b->no_erase);
		assert_int_equal(a->prefix_erase, b->prefix_erase);
		assert_int_equal(a->twice, b->twice);
		assert_int_equal(a->has_address, b->has_address);
		assert_int_equal(a->address, b->address);
		assert_int_equal(a->erase_ms_max, b->erase_ms_max);
		assert_int_equal(a->program_ms_max, b->program_ms_max);
	}
}

/* The one file. */
static void find_file(char out[400])
{
	char dir[100];
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof(dir), "%s/ports", rig.state);
	d = opendir(dir);
	assert_non_null(d);
	*out = '\0';
	while ((e = readdir(d)))
		if (e->d_name[0] != '.')
			snprintf(out, 400, "%s/%s", dir, e->d_name);
	closedir(d);
	assert_true(*out);
}

static size_t load(const char *path, char *out, size_t cap)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = read(fd, out, cap - 1);

	assert_true(n > 0);
	out[n] = '\0';
	return (size_t)n;
}

static void save(const char *path, const void *text, size_t len)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, len), 0);
}

static void test_round_trip(void **state)
{
	struct portmemo m = sample(), none;
	struct stat before, after;
	char path[400];

	assert_int_equal(portmemo_read(rig.state, IDENTITY, 0, &none), -ENOENT);
	portmemo_drop(rig.state, IDENTITY, 0); /* nothing is there */
	assert_int_equal(portmemo_write(rig.state, &m, 0, NULL), 0);
	expect_sample();
	find_file(path);
	assert_int_equal(stat(path, &before), 0);
	assert_int_equal(portmemo_write(rig.state, &m, 0, NULL), 0);
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino); /* it was so already */
	assert_int_equal(portmemo_read(rig.state, "id other", 0, &none), -ENOENT);
	assert_non_null(portmemo_partition(&m, 3));
	assert_null(portmemo_partition(&m, 1));
	portmemo_drop(rig.state, IDENTITY, 0);
	assert_int_equal(portmemo_read(rig.state, IDENTITY, 0, &none), -ENOENT);
}

static void test_another_identity(void **state)
{
	struct portmemo m = sample(), out;
	char path[400], text[2000];
	size_t len;

	assert_int_equal(portmemo_write(rig.state, &m, 0, NULL), 0);
	find_file(path);
	len = load(path, text, sizeof(text));
	snprintf(m.identity, sizeof(m.identity), "id thief");
	portmemo_drop(rig.state, IDENTITY, 0);
	assert_int_equal(portmemo_write(rig.state, &m, 0, NULL), 0);
	find_file(path);
	save(path, text, len);
	assert_int_equal(portmemo_read(rig.state, "id thief", 0, &out), -EUCLEAN);
}

/* Cut anywhere, it is none. */
static void test_torn(void **state)
{
	struct portmemo m = sample(), out;
	char path[400], text[2000];
	size_t len, i;

	assert_int_equal(portmemo_write(rig.state, &m, 0, NULL), 0);
	find_file(path);
	len = load(path, text, sizeof(text));
	for (i = 0; i < len; i++) {
		save(path, text, i);
		assert_int_equal(portmemo_read(rig.state, IDENTITY, 0, &out), -EUCLEAN);
	}
	memcpy(text + len, "x", 2);
	save(path, text, len + 1);
	assert_int_equal(portmemo_read(rig.state, IDENTITY, 0, &out), -EUCLEAN);
	save(path, text, len);
	expect_sample();
}

struct edit {
	const char *from, *to;
};

static void replace(char text[2000], const struct edit *e)
{
	char *at = strstr(text, e->from), rest[2000];

	assert_non_null(at);
	snprintf(rest, sizeof(rest), "%s", at + strlen(e->from));
	snprintf(at, 2000 - (size_t)(at - text), "%s%s", e->to, rest);
}

static void test_nonsense(void **state)
{
	static const struct edit edits[] = {
		{"romount-port 1", "romount-port 2"},
		{"key Pico", "kex Pico"},
		{"key Pico-0123456789abcdef", "key "},
		{"machine Raspberry", "machine \x1b[31m"},
		{"platform rp2", "platform rp2-and-so-on-for-more-than-thirty-two-bytes"},
		{"platform rp2\n", ""},
		{"partition 0 ", "partition 8 "},
		{"partition 0 ", "partition 00 "},
		{"partition 0 ", "partition -1 "},
		{"partition 0 ", "partition 3 "}, /* twice */
		{"partition 0 0 ", "partition 0 4 "}, /* an image file */
		{" 1048576 ", " 1048577 "},
		{" 1048576 ", " 0 "},
		{" 1048576 ", " 18446744073709551616 "},
		{" 1048576 ", " 1099511627776 "},
		{" 4096 ", " 0 "},
		{" 4096 ", " 2097152 "},
		{" 256 ", " 0 "},
		{" 256 ", " 131072 "},
		{" ..a ", " n.x "},
		{" ..a ", " ..a. "},
		{" ..a ", " ... "}, /* and yet an address */
		{" ..a 2 ", " ..a 3 "},
		{" 400 ", " 4000000 "},
		{" 400 100\n", " 400 100 1\n"},
		{" 400 100\n", " 400\n"},
		{"\nend\n", "\n\nend\n"},
		{"\nend\n", "\nknown\n"},
		{"\nend\n", "\nknown\nend\n"},
	};
	struct portmemo m = sample(), out;
	char path[400], text[2000], bad[2000];
	size_t i;

	assert_int_equal(portmemo_write(rig.state, &m, 0, NULL), 0);
	find_file(path);
	load(path, text, sizeof(text));
	for (i = 0; i < ARRAY_SIZE(edits); i++) {
		memcpy(bad, text, sizeof(bad));
		replace(bad, &edits[i]);
		save(path, bad, strlen(bad));
		if (portmemo_read(rig.state, IDENTITY, 0, &out) != -EUCLEAN)
			fail_msg("taken: '%s' for '%s'", edits[i].to, edits[i].from);
	}
}

/* Bytes from anywhere: nothing but an answer, and what is taken stays inside the bounds. */
static void test_random_bytes(void **state)
{
	struct portmemo m = sample(), out;
	uint64_t seed = rig_seed("portmemo");
	char path[400], text[2000], bad[2000];
	size_t len, i, k;

	assert_int_equal(portmemo_write(rig.state, &m, 0, NULL), 0);
	find_file(path);
	len = load(path, text, sizeof(text));
	for (i = 0; i < 3000; i++) {
		memcpy(bad, text, len);
		for (k = rig_random(&seed) % 4 + 1; k > 0; k--)
			bad[rig_random(&seed) % len] = (char)rig_random(&seed);
		save(path, bad, len);
		if (portmemo_read(rig.state, IDENTITY, 0, &out) < 0)
			continue;
		for (k = 0; k < out.board.n_partitions; k++) {
			const struct dev_geometry *g = &out.board.partitions[k];

			assert_true(g->size <= DEV_SEGMENT_MAX && g->size % g->erase_block == 0);
			assert_true(g->number < DEV_PARTITIONS_MAX);
		}
	}
}

static void test_no_file(void **state)
{
	struct portmemo m = sample(), out;
	char path[400], target[500];

	assert_int_equal(portmemo_write(rig.state, &m, 0, NULL), 0);
	find_file(path);
	snprintf(target, sizeof(target), "%s.moved", path);
	assert_int_equal(rename(path, target), 0);
	assert_int_equal(symlink(strrchr(target, '/') + 1, path), 0);
	assert_true(portmemo_read(rig.state, IDENTITY, 0, &out) < 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_true(portmemo_read(rig.state, IDENTITY, 0, &out) < 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_round_trip),
		TEST(test_another_identity),
		TEST(test_torn),
		TEST(test_nonsense),
		TEST(test_random_bytes),
		TEST(test_no_file),
	};

	return cmocka_run_group_tests_name("portmemo", tests, NULL, NULL);
}
