/* SPDX-License-Identifier: MIT */
/* The agent's frames over lines that lose, flip and double bytes: slower, never wrong, and
 * no change of flash done twice. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "libdev/session.h"
#include "tests/unit/fake_board.h"

static struct fake_board board;

static void open_target(struct dev_session **s, struct dev_target **t)
{
	struct dev_session_options options = {.cancel_fd = -1, .baud = 4000000};
	struct error err = {0};

	if (dev_session_open(board.port, &options, s, &err) < 0)
		fail_msg("open: %s", err.text);
	assert_int_equal(dev_session_target(*s, 0, t, &err), 0);
}

static void fill(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++) {
		seed = seed * 1664525u + 1013904223u;
		buf[i] = (uint8_t)(seed >> 24);
	}
}

static void copy_and_check(const struct fake_options *o)
{
	static uint8_t data[FAKE_FLASH], back[FAKE_FLASH], want[4][SHA256_SIZE],
		got[4][SHA256_SIZE];
	struct dev_session *s = NULL;
	struct dev_target *t = NULL;
	struct error err = {0};

	fill(data, sizeof(data), o->seed + 1);
	fake_start(&board, o);
	open_target(&s, &t);
	if (dev_target_erase(t, 0, FAKE_FLASH, &err) < 0 ||
		dev_target_program(t, 0, data, FAKE_FLASH, &err) < 0 ||
		dev_target_read(t, 0, back, FAKE_FLASH, &err) < 0 ||
		dev_target_hash(t, 0, FAKE_FLASH, FAKE_FLASH / 4, got, &err) < 0 ||
		dev_target_finish(t, &err) < 0)
		fail_msg("damage %u, seed %u: %s", o->damage, o->seed, err.text);
	assert_memory_equal(back, data, FAKE_FLASH);
	for (unsigned i = 0; i < 4; i++)
		sha256_of(data + i * FAKE_FLASH / 4, FAKE_FLASH / 4, want[i]);
	assert_memory_equal(got, want, sizeof(got));
	assert_int_equal(t->counters.programmed_bytes, FAKE_FLASH);
	assert_int_equal(t->counters.erased_blocks, 16);
	dev_target_free(t);
	dev_session_close(s, NULL);
	fake_stop(&board);
	assert_memory_equal(board.flash, data, FAKE_FLASH);
	for (unsigned i = 0; i < FAKE_FLASH / 256; i++)
		if (board.program_count[i] != 1)
			fail_msg("damage %u, seed %u: page %u programmed %u times", o->damage,
				o->seed, i, board.program_count[i]);
}

static void test_clean_line(void **state)
{
	copy_and_check(&(struct fake_options){.rules = fake_rp2});
}

static void test_damaged_line(void **state)
{
	copy_and_check(&(struct fake_options){.rules = fake_rp2, .damage = 20000, .seed = 2});
	copy_and_check(&(struct fake_options){.rules = fake_rp2, .damage = 10000, .seed = 3});
}

/* What was done is not done again when only its answer got lost. */
static void test_lost_answers(void **state)
{
	for (unsigned n = 3; n <= 4; n++)
		copy_and_check(&(struct fake_options){.rules = fake_rp2, .lost_answer = n});
}

/* Memory that is short makes frames and reads smaller, down to what fits. */
static void test_short_memory(void **state)
{
	/* Without the buffer protocol, reading takes memory as well. */
	static const struct fake_rule segment = {
		"n=0\n", "block=1\r\ncount=16\r\nsize=4096\r\n", NULL};
	struct fake_rule rules[] = {fake_rp2[0], fake_rp2[1], fake_rp2[2], segment,
		{NULL, NULL, NULL}};

	for (unsigned memory = 16384; memory >= 512; memory /= 2)
		copy_and_check(&(struct fake_options){.rules = rules, .memory = memory});
}

/* The firmware prints between frames; 0xA5 in it starts no frame. */
static void test_noise(void **state)
{
	copy_and_check(&(struct fake_options){
		.rules = fake_rp2, .noise = "\r\nW (1234) \xA5 wifi: \xA5\xA5 lost\r\n"});
}

/* Many pieces in one request: as many digests, in the order that was asked for. */
static void test_hash_list(void **state)
{
	static struct dev_extent v[100];
	static uint8_t got[100][SHA256_SIZE];
	struct dev_session *s = NULL;
	struct dev_target *t = NULL;
	struct error err = {0};
	uint8_t want[SHA256_SIZE];

	fake_start(&board, &(struct fake_options){.rules = fake_rp2, .damage = 20000, .seed = 5});
	fill(board.flash, FAKE_FLASH, 77);
	open_target(&s, &t);
	for (unsigned i = 0; i < 100; i++)
		v[i] = (struct dev_extent){(i * 7919u) % (FAKE_FLASH - 3000), 1 + i * 29};
	if (dev_target_hash_list(t, v, 100, got, &err) < 0)
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < 100; i++) {
		sha256_of(board.flash + v[i].off, v[i].len, want);
		assert_memory_equal(got[i], want, SHA256_SIZE);
	}
	dev_target_free(t);
	dev_session_close(s, NULL);
	fake_stop(&board);
}

static void expect_failure(unsigned fail, const char *word, const char *where)
{
	static uint8_t data[32768];
	struct dev_session *s = NULL;
	struct dev_target *t = NULL;
	struct error err = {0};
	int r;

	fake_start(&board, &(struct fake_options){.rules = fake_rp2, .fail_frame = fail});
	open_target(&s, &t);
	r = dev_target_erase(t, 0, sizeof(data), &err);
	if (r == 0)
		r = dev_target_program(t, 0, data, sizeof(data), &err);
	assert_int_equal(r, -EIO);
	assert_non_null(strstr(err.text, word));
	assert_non_null(strstr(err.text, where));
	error_clear(&err);
	assert_int_equal(dev_target_erase(t, 0, 4096, &err), -EIO);
	dev_target_free(t);
	dev_session_close(s, NULL);
	fake_stop(&board);
	assert_int_equal(board.soft_resets, 1);
}

static void test_flash_errors(void **state)
{
	expect_failure(1, "erasing", "0x0");
	expect_failure(3, "programming", "0x4000");
}

/* Answers that nobody asked for do not outrun the deadline; else the alarm ends this. */
static void test_flood(void **state)
{
	struct dev_session *s = NULL;
	struct dev_target *t = NULL;
	struct error err = {0};
	char buf[16];

	fake_start(&board, &(struct fake_options){.rules = fake_rp2, .floods_answers = true});
	open_target(&s, &t);
	alarm(60);
	assert_int_equal(dev_target_read(t, 0, buf, sizeof(buf), &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "stopped answering"));
	dev_target_free(t);
	dev_session_close(s, NULL);
	alarm(0);
	fake_stop(&board);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean_line),
		cmocka_unit_test(test_damaged_line),
		cmocka_unit_test(test_lost_answers),
		cmocka_unit_test(test_short_memory),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_hash_list),
		cmocka_unit_test(test_flash_errors),
		cmocka_unit_test(test_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
