/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/readahead.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define BLOCK 4096u
#define SIZE (BLOCK * 2048)
#define FILES 24u
#define FILE_SIZE (200u << 10)

static struct rig rig;
static struct readahead *ahead;
static uint8_t bytes[FILE_SIZE];

static const char *name_of(unsigned i)
{
	static char name[16];

	snprintf(name, sizeof(name), "f%02u", i);
	return name;
}

static int setup(void **state)
{
	fault_no_flush = true;
	rig_make(&rig, 16);
	fakeboard_make(SIZE, BLOCK);
	rig.board = true;
	rig_attach(&rig);
	for (unsigned i = 0; i < FILES; i++) {
		rig_fill(bytes, sizeof(bytes), i);
		rig_write(&rig, name_of(i), bytes, sizeof(bytes));
	}
	rig_sync(&rig);
	rig_detach(&rig);
	rig_forget_state(&rig);
	rig_attach(&rig);
	return readahead_new(rig.worker, rig.a.flash, &rig.a.base, &ahead);
}

static int teardown(void **state)
{
	rig_detach(&rig);
	readahead_free(ahead);
	rig_remove(&rig);
	fakeboard_remove();
	return 0;
}

/* A job behind all that wait. */
static void do_nothing(struct worker_job *job)
{
}

static void end_round(struct worker_job *job)
{
	rig.waiting = false;
}

static bool is_over(struct rig *r)
{
	return !r->waiting;
}

/* As many rounds as pieces could have been asked for. */
static void settle(void)
{
	for (unsigned i = 0; i < 64; i++) {
		struct worker_job job = {.run = do_nothing, .done = end_round};

		rig.waiting = true;
		worker_submit(rig.worker, &job, false);
		rig_run_until(&rig, is_over);
	}
}

static void read_file(unsigned i)
{
	struct node *n = rig_find(&rig, name_of(i));

	rig_fetch(&rig, n);
	readahead_note(ahead, n->content.off, n->content.size);
	settle();
}

static uint64_t known_behind(unsigned i)
{
	uint64_t off = rig_find(&rig, name_of(i))->content.off + FILE_SIZE, at, len;

	if (!mirror_missing(rig_folder(&rig)->mirror, off, SIZE - off, &at, &len))
		at = SIZE;
	return at - off;
}

static void test_in_order(void **state)
{
	unsigned i;

	for (i = 0; i < 5; i++)
		read_file(i);
	assert_true(known_behind(4) >= 512u << 10);
	assert_true(known_behind(4) <= 4u << 20); /* not all of it */
	/* Whoever goes on finds everything. */
	for (; i < FILES; i++) {
		assert_int_equal(folder_has_bytes(rig_folder(&rig), rig_find(&rig, name_of(i)),
					 NULL),
			0);
		rig_fill(bytes, sizeof(bytes), i);
		rig_expect(&rig, name_of(i), bytes, sizeof(bytes));
		read_file(i);
	}
	settle(); /* behind the last file is nothing to be had */
}

static void test_here_and_there(void **state)
{
	static const unsigned order[] = {20, 3, 12, 7, 16};
	uint64_t before = fakeboard.read_bytes;

	for (size_t i = 0; i < ARRAY_SIZE(order); i++)
		read_file(order[i]);
	assert_true(fakeboard.read_bytes - before <=
		ARRAY_SIZE(order) * (FILE_SIZE + 2 * MIRROR_CHUNK));
}

/* The board goes away: nobody is told before somebody asks. */
static void test_fails(void **state)
{
	read_file(0);
	read_file(1);
	fakeboard.read_result = -ENODEV;
	readahead_note(ahead, rig_find(&rig, "f01")->content.off, FILE_SIZE);
	settle();
	fakeboard.read_result = 0;
	for (unsigned i = 2; i < 8; i++)
		read_file(i);
	rig_fill(bytes, sizeof(bytes), 7);
	rig_expect(&rig, "f07", bytes, sizeof(bytes));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_in_order),
		TEST(test_here_and_there),
		TEST(test_fails),
	};

	return cmocka_run_group_tests_name("readahead", tests, NULL, NULL);
}
