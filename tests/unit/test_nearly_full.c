/* SPDX-License-Identifier: MIT */
/* Random saves on a partition that is nearly full, so that room must be gained again and
 * again, with the board lost right behind some erase or program: then the host does not know
 * what has happened. Nothing that was accepted may change, not even of a file that was
 * deleted and is still open. ROMOUNT_SEEDS: how many lives of 120 saves each (3). */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define SIZE (48u * 4096u)
#define FILES 12u
#define FILE_MAX 21000u
#define SAVES 120

struct content_of {
	uint8_t data[FILE_MAX];
	size_t len;
};

struct life {
	struct rig rig;
	uint64_t random;
	uint32_t block;
	bool restarts; /* the host goes as well when the board does */
	bool orphans;  /* a deleted file is open */
	struct content_of files[FILES];
	size_t total;
	struct node *orphan;
	struct content_of kept;
	unsigned age;
	char now[80]; /* what goes on, to reproduce it */
	unsigned cuts;
};

static uint32_t below(struct life *l, uint32_t n)
{
	return (uint32_t)(rig_random(&l->random) % n);
}

static const char *name_of(unsigned i)
{
	static char name[8];

	snprintf(name, sizeof(name), "f%u", i % FILES);
	return name;
}

static void expect_bytes(struct life *l, struct node *n, const struct content_of *want,
	const char *what)
{
	static uint8_t have[FILE_MAX];

	rig_fetch(&l->rig, n);
	if (folder_read(rig_folder(&l->rig), n, have, want->len, 0) != (ssize_t)want->len ||
		memcmp(have, want->data, want->len) != 0)
		fail_msg("%s: %s is damaged", l->now, what);
}

static void expect_all(struct life *l)
{
	for (unsigned i = 0; i < FILES; i++) {
		struct node *n = l->files[i].len ? rig_find(&l->rig, name_of(i)) : NULL;

		if (l->files[i].len && !n)
			fail_msg("%s: %s is gone", l->now, name_of(i));
		if (n)
			expect_bytes(l, n, &l->files[i], name_of(i));
	}
	if (!l->orphan)
		return;
	expect_bytes(l, l->orphan, &l->kept, "the deleted file that is open");
	if (++l->age > 6) {
		rig_close(&l->rig, l->orphan);
		l->orphan = NULL;
	}
}

static void delete_open(struct life *l, unsigned i)
{
	if (!l->orphans || l->orphan || !l->files[i].len)
		return;
	l->orphan = rig_find(&l->rig, name_of(i));
	rig_open(l->orphan);
	l->kept = l->files[i];
	l->age = 0;
	rig_unlink(&l->rig, name_of(i));
	l->total -= l->files[i].len;
	l->files[i].len = 0;
}

static void change(struct life *l)
{
	unsigned i = below(l, FILES);
	struct content_of *f = &l->files[i];
	size_t want = 800 + below(l, 20000);

	if (l->total - f->len + want > SIZE * 80 / 100)
		want = 1 + below(l, 1000);
	if (l->total - f->len + want > SIZE * 85 / 100)
		return;
	l->total += want - f->len;
	f->len = want;
	rig_fill(f->data, want, l->random);
	rig_write(&l->rig, name_of(i), f->data, want);
	i = below(l, FILES);
	if (f != &l->files[i])
		delete_open(l, i);
}

static void save(struct life *l)
{
	int r;

	fakeboard.changes = 0;
	fakeboard.after = below(l, 3) ? (int)below(l, 14) : -1;
	r = rig_try_sync(&l->rig);
	fakeboard.after = -1;
	fakeboard.changes = 0;
	if (r < 0) {
		assert_int_equal(r, -ENODEV);
		l->cuts++;
		if (l->restarts)
			rig_reattach(&l->rig);
		if (strstr(l->rig.a.notes, "another program"))
			fail_msg("%s: %s", l->now, l->rig.a.notes);
		expect_all(l);
		r = rig_try_sync(&l->rig);
	}
	if (r < 0)
		fail_msg("%s: sync: %s", l->now, strerror(-r));
	expect_all(l);
}

static void live(struct life *l, unsigned seed)
{
	fault_no_flush = true;
	rig_make(&l->rig, 16);
	fakeboard_make(SIZE, l->block);
	memset(fakeboard.flash, 0, SIZE);
	l->rig.board = true;
	rig_attach(&l->rig);
	for (unsigned n = 0; n < SAVES; n++) {
		snprintf(l->now, sizeof(l->now), "blocks of %u, restarts %d, orphans %d, seed %u, "
			"save %u", l->block, l->restarts, l->orphans, seed, n);
		change(l);
		save(l);
		if (n % 8 == 7 && !l->orphan) { /* another host */
			rig_detach(&l->rig);
			rig_forget_state(&l->rig);
			rig_attach(&l->rig);
			expect_all(l);
		}
	}
	if (l->orphan)
		rig_close(&l->rig, l->orphan);
	rig_remove(&l->rig);
	fakeboard_remove();
}

static void run(uint32_t block, bool restarts, bool orphans)
{
	const char *text = getenv("ROMOUNT_SEEDS");
	unsigned seeds = text ? (unsigned)strtoul(text, NULL, 10) : 3, cuts = 0;

	for (unsigned seed = 1; seed <= seeds; seed++) {
		struct life *l = calloc(1, sizeof(*l));

		assert_non_null(l);
		l->random = seed * 7919u + block;
		l->block = block;
		l->restarts = restarts;
		l->orphans = orphans;
		live(l, seed);
		cuts += l->cuts;
		free(l);
	}
	print_message("blocks of %u: %u cuts\n", block, cuts);
	assert_true(cuts > 0);
}

static void test_restarted(void **state)
{
	(void)state;
	run(4096, true, false);
}

static void test_going_on(void **state)
{
	(void)state;
	run(4096, false, false);
}

static void test_deleted_and_open(void **state)
{
	(void)state;
	run(4096, false, true);
}

static void test_small_blocks(void **state)
{
	(void)state;
	run(512, true, false);
	run(1024, false, false);
	run(2048, true, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_restarted),
		cmocka_unit_test(test_going_on),
		cmocka_unit_test(test_deleted_and_open),
		cmocka_unit_test(test_small_blocks),
	};

	return cmocka_run_group_tests_name("nearly_full", tests, NULL, NULL);
}
