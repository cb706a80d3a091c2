/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/fakeboard.h"
#include "tests/unit/operate_rig.h"

/* --- save ---------------------------------------------------------------------------------- */

static void test_save(void **state)
{
	struct rig *r = *state;
	_cleanup_free_ uint8_t *got = malloc(BED_SIZE + 1);
	int fd = bed_memory("", 0);

	rig_write(r, "staged", bed_one, sizeof(bed_one));
	fakeboard.flash[BED_SIZE - 5] = 0x55; /* nobody's, and still part of the image */
	bed_operate((struct volume_order){.what = VOLUME_SAVE, .fd = dup(fd)});
	assert_int_equal(bed.bytes, BED_SIZE);
	assert_int_equal(pread(fd, got, BED_SIZE + 1, 0), BED_SIZE);
	assert_memory_equal(got, fakeboard.flash, BED_SIZE);
	bed_expect_flash(1); /* what was staged came first */
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	/* What is not used may change behind our back, and is told as it is. */
	fakeboard.flash[BED_SIZE - 5] = 0x11;
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	bed_operate((struct volume_order){.what = VOLUME_SAVE, .fd = dup(fd)});
	assert_int_equal(pread(fd, got, BED_SIZE + 1, 0), BED_SIZE);
	assert_memory_equal(got, fakeboard.flash, BED_SIZE);
	close(fd);
}

static void test_save_fails(void **state)
{
	struct rig *r = *state;
	int ends[2], full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	rig_write(r, "a", bed_one, sizeof(bed_one));
	assert_true(full >= 0);
	assert_int_equal(
		bed_try((struct volume_order){.what = VOLUME_SAVE, .fd = full}), -ENOSPC);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[0]);
	assert_int_equal(
		bed_try((struct volume_order){.what = VOLUME_SAVE, .fd = ends[1]}), -EPIPE);
	/* Nobody reads, and then nobody wants it any more. */
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	bed_begin((struct volume_order){.what = VOLUME_SAVE, .fd = ends[1]});
	assert_int_equal(volume_operate(bed.v, &bed_verify), -EBUSY);
	assert_true(sd_event_run(r->event, BED_TURN_USEC) > 0);
	volume_operate_cancel(bed.v);
	rig_run_until(r, bed_is_done);
	assert_int_equal(bed.result, -ECANCELED);
	close(ends[0]);
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	rig_expect(r, "a", bed_one, sizeof(bed_one));
	bed_operate(bed_verify);
}

/* Where in flash a file stands. */
static uint64_t place_of(struct rig *r, const char *path)
{
	struct node *n = rig_find(r, path);

	assert_non_null(n);
	assert_int_equal(n->content.kind, CONTENT_BASE);
	return n->content.off;
}

static void test_strangers(void **state)
{
	struct rig *r = *state;
	int fd = bed_memory("", 0);

	bed_take_image(r);
	bed_operate(bed_verify);
	assert_true(bed.bytes >= sizeof(bed_one) + sizeof(bed_two));
	fakeboard.flash[place_of(r, "lib/one.py") + 20000] ^= 1;
	assert_int_equal(
		bed_try((struct volume_order){.what = VOLUME_SAVE, .fd = fd}), -ESTALE);
	assert_int_equal(bed_try(bed_verify), -ESTALE);
	assert_true(strstr(bed.err.text, "lib/one.py") || strstr(bed.err.text, "another"));
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	fakeboard.flash[place_of(r, "lib/one.py") + 20000] ^= 1;
	bed_operate(bed_verify);
}

/* Where there was nothing, there is nothing to compare: that clears nobody. */
static void test_strangers_on_blank(void **state)
{
	struct rig *r = *state;

	rig_fill(fakeboard.flash, BED_SIZE, 81);
	assert_int_equal(bed_try((struct volume_order){.what = VOLUME_SAVE,
				 .fd = bed_memory("", 0)}), -ESTALE);
	assert_true(flash_is_stale(r->a.flash));
	(void)bed_try(bed_verify);
	assert_true(flash_is_stale(r->a.flash));
}

/* --- layout -------------------------------------------------------------------------------- */

static void test_layout(void **state)
{
	struct rig *r = *state;
	uint64_t end = 0, file = 0;
	unsigned opens;
	bool blank = false, head = false;

	bed_take_image(r);
	opens = fakeboard.opens;
	bed_operate(bed_layout);
	assert_int_equal(fakeboard.opens, opens); /* the board is not asked */
	for (size_t i = 0; i < bed.n_extents; i++) {
		const struct volume_extent *e = &bed.extents[i];

		if (e->off < end || e->off > end + 16)
			fail_msg("%s at %llu behind what ends at %llu", e->kind,
				(unsigned long long)e->off, (unsigned long long)end);
		end = e->off + e->len;
		if (strcmp(e->name, "lib/one.py") == 0) {
			assert_string_equal(e->kind, "file");
			assert_int_equal(e->len, sizeof(bed_one));
			file = e->off;
		}
		head |= strcmp(e->kind, "head") == 0 && e->off == 0;
		blank |= strcmp(e->kind, "blank") == 0;
	}
	assert_int_equal(end, BED_SIZE);
	assert_int_equal(file, place_of(r, "lib/one.py"));
	assert_true(head && blank);
}

/* --- format -------------------------------------------------------------------------------- */

static void test_format(void **state)
{
	struct rig *r = *state;
	struct node *open;

	bed_take_image(r);
	rig_write(r, "staged", bed_two, 100);
	open = rig_find(r, "two.bin");
	rig_open(open);
	bed_operate(bed_format);
	assert_null(node_root(r->a.folder->nodes)->first_child);
	bed_expect_flash(0);
	rig_expect_bytes(r, open, bed_two, sizeof(bed_two)); /* who had it open still reads it */
	open->opens--;
	folder_close_scratch(r->a.folder, open);
	node_release(r->a.folder->nodes, open);
	rig_expect_charges(r);
	bed_reattach();
	assert_null(node_root(bed.rig.a.folder->nodes)->first_child);
	assert_false(folder_is_staged(bed.rig.a.folder));
	rig_write(&bed.rig, "new", bed_one, 100);
	rig_sync(&bed.rig);
	bed_expect_flash(1);
}

/* Another program was there: the user says that it shall go. */
static void test_format_strangers(void **state)
{
	struct rig *r = *state;

	bed_take_image(r);
	rig_fill(fakeboard.flash, BED_SIZE, 77);
	rig_write(r, "staged", bed_two, 100);
	assert_int_equal(rig_try_sync(r), -ESTALE);
	bed_operate(bed_format);
	bed_expect_flash(0);
	bed_operate(bed_verify);
	rig_write(r, "new", bed_one, sizeof(bed_one));
	rig_sync(r);
	rig_expect(r, "new", bed_one, sizeof(bed_one));
	bed_reattach();
	rig_expect(&bed.rig, "new", bed_one, sizeof(bed_one));
}

/* --- compact ------------------------------------------------------------------------------- */

static uint64_t bytes_of(const char *kind)
{
	uint64_t sum = 0;

	bed_operate(bed_layout);
	for (size_t i = 0; i < bed.n_extents; i++)
		sum += strcmp(bed.extents[i].kind, kind) == 0 ? bed.extents[i].len : 0;
	return sum;
}

static void test_compact(void **state)
{
	struct rig *r = *state;
	uint64_t dead;

	bed_take_image(r);
	for (unsigned i = 0; i < 6; i++) {
		rig_write(r, "old", bed_one, 3000 + i);
		rig_sync(r);
	}
	rig_unlink(r, "old");
	rig_write(r, "staged", bed_two, 100);
	dead = bytes_of("dead");
	assert_true(dead >= 2 * BED_BLOCK);
	bed_operate((struct volume_order){.what = VOLUME_COMPACT, .fd = -1});
	assert_true(bytes_of("dead") < dead / 2);
	rig_expect(r, "staged", bed_two, 100);
	bed_expect_flash(5);
	bed_operate((struct volume_order){.what = VOLUME_COMPACT, .fd = -1, .packed = true});
	bed_expect_flash(5);
	rig_expect(r, "lib/one.py", bed_one, sizeof(bed_one));
	assert_true(bytes_of("dead") < BED_BLOCK);
	bed_reattach();
	rig_expect(&bed.rig, "lib/one.py", bed_one, sizeof(bed_one));
}

/* --- the rest ------------------------------------------------------------------------------- */

/* Whoever syncs during an operation is answered behind it; what he wrote is on flash then. */
static void test_sync_waits(void **state)
{
	struct rig *r = *state;

	bed_take_image(r);
	bed_begin(bed_format);
	assert_true(sd_event_run(r->event, BED_TURN_USEC) > 0); /* it has begun */
	rig_start_sync(r);
	assert_int_equal(rig_finish_sync(r), 0);
	assert_true(bed.done);
	rig_write(r, "new", bed_two, 10);
	rig_sync(r);
	bed_expect_flash(1);
}

/* Everything is compared after each commit where the user wants that. */
static void test_verify_all(void **state)
{
	struct rig *r = *state;

	bed_take_image(r);
	bed_detach();
	bed_attach(true);
	r = &bed.rig;
	rig_write(r, "a", bed_two, 10);
	rig_sync(r);
	rig_fetch(r, rig_find(r, "lib/one.py"));
	rig_fetch(r, rig_find(r, "two.bin"));
	fakeboard.hashed_bytes = 0;
	rig_write(r, "a", bed_two, 20);
	rig_sync(r);
	assert_true(fakeboard.hashed_bytes > sizeof(bed_one) + sizeof(bed_two));
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	fakeboard.flash[place_of(r, "lib/one.py") + 20000] ^= 1;
	rig_write(r, "a", bed_two, 30);
	assert_int_equal(rig_try_sync(r), -ESTALE);
	assert_non_null(strstr(r->log, "lib/one.py"));
}

/* The end comes in the middle. */
static void test_ends(void **state)
{
	static const enum volume_operation all[] = {VOLUME_SAVE, VOLUME_RESTORE, VOLUME_VERIFY,
		VOLUME_LAYOUT, VOLUME_FORMAT, VOLUME_COMPACT};
	struct rig *r = *state;

	bed_take_image(r);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		for (unsigned turns = 0; turns < 8; turns++) {
			struct volume_order o = {.what = all[i], .fd = -1};

			if (o.what == VOLUME_SAVE || o.what == VOLUME_RESTORE)
				o.fd = bed_memory(bed_image, BED_SIZE);
			bed_begin(o);
			for (unsigned k = 0; k < turns && !bed.done; k++)
				assert_true(sd_event_run(bed.rig.event, BED_TURN_USEC) > 0);
			bed_reattach();
			assert_true(bed.done);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_save, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_save_fails, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_strangers, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_strangers_on_blank, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_layout, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_format, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_format_strangers, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_compact, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_sync_waits, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_verify_all, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_ends, bed_setup, bed_teardown),
	};

	return cmocka_run_group_tests_name("operate", tests, NULL, NULL);
}
