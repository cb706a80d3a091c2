/* SPDX-License-Identifier: MIT */
/* What is looked at before flash is written, on a board behind a real pty. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define BLOCK 4096u
#define SIZE (BLOCK * 256)
#define FILE_SIZE 100000u

struct bed {
	struct rig rig;
	int master;
	char path[64];
	uint8_t big[FILE_SIZE], small[500];
};

static int setup(void **state)
{
	static struct bed bed;
	struct bed *b = &bed;
	int slave;

	fault_no_flush = true;
	rig_make(&b->rig, SIZE);
	fakeboard_make(SIZE, BLOCK);
	assert_int_equal(openpty(&b->master, &slave, b->path, NULL, NULL), 0);
	close(slave);
	assert_int_equal(unlink(b->rig.image), 0);
	assert_int_equal(symlink(b->path, b->rig.image), 0);
	b->rig.board = true;
	rig_fill(b->big, sizeof(b->big), 1);
	rig_fill(b->small, sizeof(b->small), 2);
	rig_attach(&b->rig);
	rig_write(&b->rig, "big", b->big, sizeof(b->big));
	rig_sync(&b->rig);
	*state = b;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	rig_remove(&b->rig);
	fakeboard_remove();
	close(b->master);
	return 0;
}

static void another_program(const struct bed *b)
{
	int fd = open(b->path, O_RDWR | O_NOCTTY | O_CLOEXEC);

	assert_true(fd >= 0);
	close(fd);
}

/* The records stay as they are: the size is the same. */
static void rewrite_big(struct bed *b)
{
	struct node *n = rig_find(&b->rig, "big");

	assert_int_equal(n->content.kind, CONTENT_BASE);
	fakeboard.flash[n->content.off + FILE_SIZE - 1] ^= 0x55;
}

/* Bytes that were hashed before the first change of flash. */
static uint64_t hashed_before;
static bool counted;

static void on_change(struct fakeboard *f)
{
	if (!counted)
		hashed_before = f->hashed_bytes;
	counted = true;
}

static uint64_t hashed_for_a_save(struct bed *b)
{
	fakeboard.hashed_bytes = 0;
	fakeboard.on_change = on_change;
	counted = false;
	b->small[0]++;
	rig_write(&b->rig, "small", b->small, sizeof(b->small));
	rig_sync(&b->rig);
	assert_true(counted);
	return hashed_before;
}

static void test_alone_is_cheap(void **state)
{
	struct bed *b = *state;

	hashed_for_a_save(b); /* allocates */
	for (int i = 0; i < 3; i++) {
		uint64_t bytes = hashed_for_a_save(b);

		if (bytes == 0 || bytes > 8192)
			fail_msg("%llu bytes hashed", (unsigned long long)bytes);
	}
}

static void test_others_cost_a_look(void **state)
{
	struct bed *b = *state;

	another_program(b);
	assert_true(hashed_for_a_save(b) >= FILE_SIZE);
	assert_true(hashed_for_a_save(b) <= 8192);
}

static void test_rewritten_file(void **state)
{
	struct bed *b = *state;
	struct rig *r = &b->rig;
	unsigned changes;

	hashed_for_a_save(b);
	changes = fakeboard.changes;
	another_program(b);
	rewrite_big(b);
	b->small[0]++;
	rig_write(r, "small", b->small, sizeof(b->small));
	assert_int_equal(rig_try_sync(r), -ESTALE);
	assert_int_equal(fakeboard.changes, changes);
	assert_non_null(strstr(r->log, "another program"));
	rig_expect(r, "small", b->small, sizeof(b->small));
	/* And it is not forgotten: nobody has opened the port since. */
	assert_int_equal(rig_try_sync(r), -ESTALE);
	assert_int_equal(fakeboard.changes, changes);
	/* Kept, and told, where the folder shows what flash has. */
	rig_reattach(r);
	assert_non_null(strstr(r->a.notes, "another program has written this partition"));
	rig_expect_none(r, "small2");
	rig_fetch(r, rig_find(r, "big"));
	rig_expect_bytes(r, rig_find(r, "big"),
		fakeboard.flash + rig_find(r, "big")->content.off, FILE_SIZE);
}

/* By an interface that nobody watches: what makes a tree another one shows. */
static void test_another_way(void **state)
{
	struct bed *b = *state;
	struct rig *r = &b->rig;
	unsigned changes = fakeboard.changes;

	fakeboard.flash[6] ^= 1; /* in the records */
	rig_write(r, "small", b->small, sizeof(b->small));
	assert_int_equal(rig_try_sync(r), -ESTALE);
	assert_int_equal(fakeboard.changes, changes);
}

/* Flash was blank when it was looked at. */
static void test_blank_no_more(void **state)
{
	struct bed *b = *state;
	struct rig *r = &b->rig;
	_cleanup_free_ uint8_t *image = malloc(BLOCK);
	unsigned changes;

	memcpy(image, fakeboard.flash, BLOCK);
	rig_detach(r);
	rig_forget_state(r);
	memset(fakeboard.flash, 0xFF, SIZE);
	rig_attach(r);
	assert_int_equal(r->a.base.image->status, ROMFS_BLANK);
	changes = fakeboard.changes;
	memcpy(fakeboard.flash, image, BLOCK);
	rig_write(r, "small", b->small, sizeof(b->small));
	assert_int_equal(rig_try_sync(r), -ESTALE);
	assert_int_equal(fakeboard.changes, changes);
	assert_memory_equal(fakeboard.flash, image, BLOCK);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_alone_is_cheap),
		TEST(test_others_cost_a_look),
		TEST(test_rewritten_file),
		TEST(test_another_way),
		TEST(test_blank_no_more),
	};

	return cmocka_run_group_tests_name("trust", tests, NULL, NULL);
}
