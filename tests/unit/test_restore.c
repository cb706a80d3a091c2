/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/operate_rig.h"
#include "tests/unit/romfs_bytes.h"

/* --- restore ------------------------------------------------------------------------------- */

static void test_restore(void **state)
{
	struct rig *r = *state;
	int64_t mtime;

	bed_take_image(r);
	mtime = rig_find(r, "lib/one.py")->note_ns;
	bed_other_tree(r);
	rig_write(r, "staged", bed_two, 100);
	bed_operate(bed_restore(bed_image, BED_SIZE, false));
	bed_expect_image(r);
	assert_int_equal(rig_find(r, "lib/one.py")->note_ns, mtime);
	assert_false(folder_is_staged(r->a.folder));
	bed_expect_flash(4);
	bed_reattach();
	bed_expect_image(&bed.rig);
	assert_false(folder_is_staged(bed.rig.a.folder));
}

static void test_exact(void **state)
{
	struct rig *r = *state;
	uint8_t rest[BED_SIZE];
	size_t len = 11 * BED_BLOCK, end;

	bed_take_image(r);
	bed_operate((struct volume_order){.what = VOLUME_COMPACT, .fd = -1, .packed = true});
	memcpy(bed_image, fakeboard.flash, BED_SIZE);
	while (bed_image[len - 1] == 0xFF)
		len--;
	assert_true(len % BED_BLOCK > 12); /* it ends inside of a block */
	bed_other_tree(r);
	rig_write(r, "staged", bed_two, 100);
	memcpy(rest, fakeboard.flash, BED_SIZE);
	bed_operate(bed_restore(bed_image, len, true));
	assert_true(bed.bytes > sizeof(bed_one) + sizeof(bed_two));
	assert_memory_equal(fakeboard.flash, bed_image, len);
	end = (len / BED_BLOCK + 1) * BED_BLOCK;
	assert_memory_equal(fakeboard.flash + end, rest + end, BED_SIZE - end);
	bed_expect_image(r);
	assert_false(folder_is_staged(r->a.folder));
	/* Once more is no work at all. */
	fakeboard.changes = 0;
	bed_operate(bed_restore(bed_image, len, true));
	assert_int_equal(fakeboard.changes, 0);
	bed_operate(bed_restore(bed_image, BED_SIZE, true));
	assert_memory_equal(fakeboard.flash, bed_image, BED_SIZE);
	rig_write(r, "old", bed_two, 100);
	rig_sync(r);
	bed_expect_flash(5);
	bed_operate(bed_restore(bed_image, BED_SIZE, true));
	bed_reattach();
	bed_expect_image(&bed.rig);
	assert_false(folder_is_staged(bed.rig.a.folder));
	assert_memory_equal(fakeboard.flash, bed_image, BED_SIZE);
}

static void test_over_strangers(void **state)
{
	struct rig *r = *state;

	for (unsigned exact = 0; exact < 2; exact++) {
		if (exact)
			bed_operate(bed_format);
		bed_take_image(r);
		rig_fill(fakeboard.flash, BED_SIZE, 78);
		bed_operate(bed_restore(bed_image, BED_SIZE, exact));
		if (exact)
			assert_memory_equal(fakeboard.flash, bed_image, BED_SIZE);
		bed_expect_image(r);
		bed_expect_flash(4);
		bed_reattach();
		r = &bed.rig;
		bed_expect_image(r);
	}
}

static void ignore_name(void *ctx, const char *name)
{
}

/* The journal has all of it before flash changes: a host that dies right then goes on. */
static void test_replaced_and_killed(void **state)
{
	const struct romfs_buffer buffer = {.data = bed_image, .len = BED_SIZE};
	const struct romfs_source source = romfs_source_buffer(&buffer);
	_cleanup_(romfs_image_freep) struct romfs_image *parsed = NULL;
	struct rig *r = *state;
	struct error err = {0};
	struct folder_replacement *p;
	int fd;

	bed_take_image(r);
	bed_other_tree(r);
	fd = bed_memory(bed_image, BED_SIZE);
	assert_int_equal(romfs_parse(&source, &parsed, &err), 0);
	assert_int_equal(folder_replacement_new(r->a.folder, &p, &err), 0);
	assert_int_equal(folder_replacement_make(p, parsed->tree, fd, false, &err), 0);
	assert_int_equal(folder_replacement_switch(p, ignore_name, NULL, &err), 0);
	assert_int_equal(folder_replacement_wait(p, &err), 0);
	folder_replacement_free(p);
	close(fd);
	bed_expect_image(r);
	bed_reattach();
	bed_expect_image(&bed.rig);
	assert_true(folder_is_staged(bed.rig.a.folder));
	rig_sync(&bed.rig);
	bed_expect_flash(4);
}

enum cut_what { CUT_FORMAT, CUT_TREE, CUT_EXACT, CUT_BLANK };

static struct volume_order cut_order(enum cut_what what)
{
	static uint8_t blank[BED_SIZE];

	memset(blank, 0xFF, BED_SIZE);
	if (what == CUT_FORMAT)
		return bed_format;
	return bed_restore(what == CUT_BLANK ? blank : bed_image, BED_SIZE, what != CUT_TREE);
}

/* The bytes that this thread, which is the loop's, writes and flushes while the folder is what
 * it was. */
static pthread_t loop;
static uint64_t loop_wrote, loop_flushed;

static bool is_loop_before(void)
{
	return pthread_equal(pthread_self(), loop) && rig_find(&bed.rig, "old");
}

static void count_write(int fd, const void *buf, size_t len, off_t off)
{
	loop_wrote += is_loop_before() ? len : 0;
}

static int count_flush(int fd)
{
	loop_flushed += is_loop_before();
	return 0;
}

/* Whoever uses the folder does not wait for the disk while another tree is made for it. */
static void test_loop_is_free(void **state)
{
	static const struct fault_watch watch = {.pwrite = count_write, .flush = count_flush};
	struct rig *r = *state;

	loop = pthread_self();
	loop_wrote = loop_flushed = 0;
	bed_take_image(r);
	for (enum cut_what what = CUT_FORMAT; what <= CUT_EXACT; what++) {
		bed_other_tree(r);
		fault_watch = &watch;
		bed_operate(cut_order(what));
		fault_watch = NULL;
		assert_null(rig_find(r, "old"));
		assert_int_equal(loop_flushed, 0);
		/* The mark behind the journal's last frame. */
		assert_true(loop_wrote < 1000);
		if (what == CUT_FORMAT)
			rig_write(r, "two.bin", bed_two, sizeof(bed_two));
	}
	bed_expect_image(r);
}

static void expect_no_draft(struct rig *r)
{
	assert_int_equal(
		faccessat(r->a.folder->dirfd, "journal.draft", F_OK, AT_SYMLINK_NOFOLLOW), -1);
}

/* The folder is used at every moment of a restore, and the process ends after: what was closed
 * is there, or the new tree is, and nothing between. */
static void test_used_meanwhile(void **state)
{
	struct rig *r = *state;
	unsigned before = 0, after = 0;

	bed_take_image(r);
	for (unsigned turns = 0; turns < 12; turns++) {
		char names[12][16];
		unsigned n = 0;

		bed_other_tree(r);
		bed_begin(bed_restore(bed_image, BED_SIZE, false));
		while (n < turns && !bed.done) {
			snprintf(names[n], sizeof(names[n]), "during%u", n);
			rig_write(r, names[n], bed_one, 100 + n);
			assert_true(sd_event_run(r->event, BED_TURN_USEC) > 0);
			n++;
		}
		bed_reattach();
		expect_no_draft(r);
		if (rig_find(r, "old")) {
			before++;
			rig_expect(r, "old", bed_two, 5000);
			for (unsigned i = 0; i < n; i++)
				rig_expect(r, names[i], bed_one, 100 + i);
			bed_operate(bed_restore(bed_image, BED_SIZE, false));
		} else {
			after++;
			rig_expect(r, "lib/one.py", bed_one, sizeof(bed_one));
			bed_operate(bed_restore(bed_image, BED_SIZE, true));
		}
		bed_expect_image(r);
		rig_expect_none(r, "during0");
		bed_expect_flash(4);
	}
	print_message("%u times the old folder, %u times the new one\n", before, after);
	assert_true(before && after);
}

static bool is_switched(struct rig *r)
{
	return rig_find(r, "two.bin");
}

/* A restore byte by byte, and at once after the folder is the image's, before flash is begun
 * with, somebody changes it: what was closed is what flash holds in the end. */
static void test_changed_before_commit(void **state)
{
	struct rig *r = *state;
	uint8_t other[sizeof(bed_two)];

	rig_fill(other, sizeof(other), 3);
	bed_take_image(r);
	for (unsigned what = 0; what < 3; what++) {
		bed_other_tree(r);
		bed_begin(bed_restore(bed_image, BED_SIZE, true));
		rig_run_until(r, is_switched);
		assert_false(bed.done);
		if (what == 0) /* nothing that its record would tell */
			rig_write(r, "two.bin", other, sizeof(other));
		else if (what == 1)
			rig_unlink(r, "empty");
		else
			rig_write(r, "new", other, 100);
		rig_run_until(r, bed_is_done);
		assert_int_equal(bed.result, -EBUSY);
		assert_non_null(strstr(bed.err.text, "changed meanwhile"));
		rig_sync(r);
		assert_false(folder_is_staged(r->a.folder));
		bed_expect_flash(4 + (what == 2) - (what == 1));
		bed_detach();
		rig_forget_state(r); /* what flash alone says */
		bed_attach(false);
		rig_expect(r, "lib/one.py", bed_one, sizeof(bed_one));
		rig_expect(r, "two.bin", what == 0 ? other : bed_two, sizeof(bed_two));
		rig_expect_none(r, "old");
		if (what == 1)
			rig_expect_none(r, "empty");
		else
			rig_expect(r, "empty", "", 0);
		if (what == 2)
			rig_expect(r, "new", other, 100);
		bed_operate(bed_restore(bed_image, BED_SIZE, true));
		assert_memory_equal(fakeboard.flash, bed_image, BED_SIZE);
	}
}

/* Begins a restore that nobody wants any more after some turns; true: it was cancelled. */
static bool cancel_at(struct rig *r, unsigned turns, bool exact)
{
	bool switched;

	bed_begin(bed_restore(bed_image, BED_SIZE, exact));
	for (unsigned i = 0; i < turns && !bed.done; i++)
		assert_true(sd_event_run(r->event, BED_TURN_USEC) > 0);
	switched = is_switched(r);
	volume_operate_cancel(bed.v);
	rig_run_until(r, bed_is_done);
	expect_no_draft(r);
	if (bed.result < 0)
		assert_int_equal(bed.result, -ECANCELED);
	assert_int_equal(bed.result == 0, is_switched(r));
	assert_true(bed.result == 0 || !switched);
	return bed.result < 0;
}

/* Nobody wants it any more: nothing of it is done, or all. */
static void test_cancelled(void **state)
{
	struct rig *r = *state;
	unsigned kept = 0, done = 0;

	bed_take_image(r);
	for (unsigned turns = 0; turns < 24; turns++) {
		bed_other_tree(r);
		rig_write(r, "staged", bed_two, 100);
		if (cancel_at(r, turns / 2, turns % 2)) {
			kept++;
			rig_expect(r, "old", bed_two, 5000);
			rig_expect(r, "staged", bed_two, 100);
			rig_sync(r);
			rig_expect(r, "lib2/one.py", bed_two, 700);
			bed_operate(bed_restore(bed_image, BED_SIZE, true));
		} else {
			done++;
		}
		bed_expect_image(r);
		assert_false(folder_is_staged(r->a.folder));
		bed_expect_flash(4);
	}
	print_message("%u times the old folder, %u times the new one\n", kept, done);
	assert_true(kept && done);
}

/* And what another program has written meanwhile is not for the old folder to replace. */
static void test_cancelled_over_strangers(void **state)
{
	struct rig *r = *state;
	_cleanup_free_ uint8_t *strangers = malloc(BED_SIZE);
	unsigned kept = 0, done = 0;

	bed_take_image(r);
	rig_fill(strangers, BED_SIZE, 80);
	for (unsigned turns = 0; turns < 12; turns++) {
		bed_other_tree(r);
		rig_write(r, "staged", bed_two, 100);
		memcpy(fakeboard.flash, strangers, BED_SIZE);
		if (cancel_at(r, turns, true)) {
			kept++;
			assert_int_equal(rig_try_sync(r), -ESTALE);
			assert_memory_equal(fakeboard.flash, strangers, BED_SIZE);
			rig_expect(r, "staged", bed_two, 100);
			bed_operate(bed_restore(bed_image, BED_SIZE, true));
		} else {
			done++;
		}
		bed_expect_image(r);
		assert_memory_equal(fakeboard.flash, bed_image, BED_SIZE);
	}
	assert_true(kept && done);
}

/* --- blank ---------------------------------------------------------------------------------- */

static void expect_blank(void)
{
	for (size_t i = 0; i < BED_SIZE; i++)
		if (fakeboard.flash[i] != 0xFF)
			fail_msg("flash is not blank at %zu", i);
}

/* What is saved of a partition that nobody has written to comes back as that. */
static void test_blank(void **state)
{
	struct rig *r = *state;
	uint8_t blank[BED_SIZE];
	int fd = bed_memory("", 0);

	bed_operate((struct volume_order){.what = VOLUME_SAVE, .fd = dup(fd)});
	assert_int_equal(pread(fd, blank, BED_SIZE, 0), BED_SIZE);
	close(fd);
	bed_take_image(r);
	rig_write(r, "staged", bed_two, 100);
	bed_operate(bed_restore(blank, BED_SIZE, true));
	expect_blank();
	assert_null(node_root(r->a.folder->nodes)->first_child);
	assert_false(folder_is_staged(r->a.folder));
	rig_expect_charges(r);
	fakeboard.changes = 0;
	bed_operate(bed_restore(blank, BED_SIZE, true));
	bed_operate(bed_verify);
	assert_int_equal(fakeboard.changes, 0);
	bed_reattach();
	assert_null(node_root(r->a.folder->nodes)->first_child);
	assert_false(folder_is_staged(r->a.folder));
	bed_take_image(r);
	bed_expect_image(r);
	bed_expect_flash(4);
	/* Over what another program has left, too. */
	rig_fill(fakeboard.flash, BED_SIZE, 79);
	bed_operate(bed_restore(blank, BED_SIZE, true));
	expect_blank();
	bed_operate(bed_restore(bed_image, BED_SIZE, true));
	bed_expect_image(r);
}

/* Nothing of it is done. */
static void expect_refused(
	struct rig *r, const void *bytes, size_t len, bool exact, int code)
{
	uint8_t before[BED_SIZE];

	memcpy(before, fakeboard.flash, BED_SIZE);
	assert_int_equal(bed_try(bed_restore(bytes, len, exact)), code);
	assert_true(bed.err.text[0]);
	assert_memory_equal(fakeboard.flash, before, BED_SIZE);
	rig_expect(r, "old", bed_two, 5000);
	rig_expect(r, "staged", bed_two, 100);
	assert_true(folder_is_staged(r->a.folder));
}

static void test_hostile_images(void **state)
{
	struct rig *r = *state;
	_cleanup_free_ uint8_t *large = calloc(1, 2 * BED_SIZE);
	uint64_t seed = rig_seed("hostile images");

	bed_take_image(r);
	bed_other_tree(r);
	rig_write(r, "staged", bed_two, 100);
	expect_refused(r, bed_image, 0, false, -EINVAL);
	expect_refused(r, bed_image, 100, true, -EINVAL);
	expect_refused(r, large, BED_SIZE, false, -EINVAL);
	expect_refused(r, large, 2 * BED_SIZE, true, -EFBIG);
	/* Blank is what a file system is not, unless blank flash is wanted byte by byte. */
	memset(large, 0xFF, BED_SIZE);
	expect_refused(r, large, BED_SIZE, false, -EINVAL);
	large[BED_SIZE - 3] = 0xFE;
	expect_refused(r, large, BED_SIZE, true, -EINVAL);
	assert_non_null(strstr(bed.err.text, "not blank at 0x3fffd"));
	rig_fill(large, BED_SIZE, rig_random(&seed));
	expect_refused(r, large, BED_SIZE, false, -EINVAL);
}

/* --- files that share bytes ----------------------------------------------------------------- */

#define SHARERS 40u
#define SHARED 60000u

/* Small as an bed_image, and nearly ten times the partition as files. */
static void put_sharers(struct bytes *whole)
{
	struct bytes payload = {0}, data = {0};

	for (unsigned i = 0; i < SHARERS; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		bytes_pointer_file(&payload, name, SHARED, 4000, 1);
	}
	bytes_fill(&data, 0x5A, 65000);
	bytes_record(&payload, 1, &data);
	bytes_image(whole, &payload);
	bytes_done(&payload);
	bytes_done(&data);
}

static void test_sharers_restored(void **state)
{
	struct rig *r = *state;
	struct bytes whole = {0};

	bed_take_image(r);
	bed_other_tree(r);
	rig_write(r, "staged", bed_two, 100);
	put_sharers(&whole);
	for (unsigned exact = 0; exact < 2; exact++) {
		expect_refused(r, whole.p, whole.n, exact, -ENOSPC);
		assert_non_null(strstr(bed.err.text,
			"the files of the image have 2400000 bytes, and the partition 262144"));
	}
	bytes_done(&whole);
}

static void expect_sharer(void *ctx, const char *path, const uint8_t *data, size_t len)
{
	unsigned *n = ctx;

	if (len != SHARED || data[0] != 0x5A || memcmp(data, data + 1, len - 1) != 0)
		fail_msg("%s has %zu bytes, and not those it shares", path, len);
	++*n;
}

/* So many of them, for a board. */
static void expect_sharers(unsigned want)
{
	unsigned n = 0;
	bool broken;

	assert_true(board_mount(fakeboard.flash, BED_SIZE, expect_sharer, &n, &broken));
	assert_false(broken);
	assert_int_equal(n, want);
}

static void attach_sharers(void)
{
	struct bytes whole = {0};

	bed_detach();
	rig_forget_state(&bed.rig);
	put_sharers(&whole);
	memset(fakeboard.flash, 0xFF, BED_SIZE);
	memcpy(fakeboard.flash, whole.p, whole.n);
	bytes_done(&whole);
	bed_attach(false);
}

static void remove_sharers(struct rig *r, unsigned from, unsigned to)
{
	char name[8];

	for (unsigned i = from; i < to; i++) {
		snprintf(name, sizeof(name), "f%u", i);
		rig_unlink(r, name);
	}
}

/* They are shown, and nothing that flash could lose is begun. */
static void test_sharers_found(void **state)
{
	static const struct volume_order tidy = {.what = VOLUME_COMPACT, .fd = -1};
	struct rig *r = *state;
	uint8_t want[SHARED];

	memset(want, 0x5A, sizeof(want));
	attach_sharers();
	rig_expect(r, "f0", want, SHARED);
	rig_expect(r, "f39", want, SHARED);
	assert_int_equal(rig_try_write(r, "new", bed_two, 10), -ENOSPC);
	rig_expect_none(r, "new");
	rig_rename(r, "f1", "g");
	for (unsigned times = 0; times < 2; times++) {
		fakeboard.changes = 0;
		assert_int_equal(rig_try_sync(r), -ENOSPC);
		assert_non_null(strstr(r->log, "share so many bytes on flash: each by itself "
					       "they need 24"));
		assert_int_equal(bed_try(tidy), -ENOSPC);
		assert_non_null(strstr(bed.err.text, "share so many bytes"));
		assert_int_equal(fakeboard.changes, 0);
		expect_sharers(SHARERS);
		rig_expect(r, "g", want, SHARED);
		rig_expect(r, "f39", want, SHARED);
		rig_expect_none(r, "f1");
		bed_reattach();
	}
	remove_sharers(r, 2, SHARERS - 1);
	rig_sync(r);
	expect_sharers(3);
	rig_write(r, "new", bed_two, 10);
	rig_sync(r);
	bed_expect_flash(4);
	rig_expect(r, "new", bed_two, 10);
	rig_expect(r, "g", want, SHARED);
}

/* As many as fit: the board goes at the n-th change of flash, and the host forgets. */
static void test_sharers_cut(void **state)
{
	struct rig *r = *state;
	uint8_t want[SHARED];
	int n;

	memset(want, 0x5A, sizeof(want));
	for (n = 0;; n++) {
		int result;

		attach_sharers();
		rig_rename(r, "f1", "g");
		remove_sharers(r, 2, SHARERS - 2);
		fakeboard.fault_at = (int)fakeboard.changes + n;
		fakeboard.fault_count = 1000000;
		fakeboard.fault_code = -ENODEV;
		fakeboard.fault = FAKEBOARD_HALF;
		result = rig_try_sync(r);
		fakeboard.fault_at = -1;
		if (result == 0)
			break;
		bed_reattach();
		if (rig_try_sync(r) < 0)
			fail_msg("cut at %d: %s", n, r->log);
		expect_sharers(4);
		rig_expect(r, "f0", want, SHARED);
		rig_expect(r, "g", want, SHARED);
	}
	assert_true(n > 1);
	expect_sharers(4);
}

/* --- cuts ---------------------------------------------------------------------------------- */

/* The board goes away at the n-th change of flash, and the host forgets what it was about:
 * true where there was one. */
static bool cut(enum cut_what what, unsigned n, bool crash)
{
	struct rig *r = &bed.rig;
	unsigned before;

	bed_operate(bed_format);
	bed_take_image(r);
	bed_other_tree(r);
	rig_write(r, "staged", bed_two, 100);
	before = fakeboard.changes;
	fakeboard.fault_at = (int)(before + n);
	fakeboard.fault_count = 1000000;
	fakeboard.fault_code = -ENODEV;
	fakeboard.fault = FAKEBOARD_HALF;
	bed.result = bed_try(cut_order(what));
	fakeboard.fault_at = -1;
	if (bed.result == 0)
		return false;
	assert_int_equal(bed.result, -ENODEV);
	if (crash)
		bed_reattach();
	if (rig_try_sync(r) < 0)
		fail_msg("%d cut at %u, crash %d: %s", (int)what, n, crash, r->log);
	if (what == CUT_FORMAT || what == CUT_BLANK) {
		assert_null(node_root(r->a.folder->nodes)->first_child);
		if (what == CUT_BLANK && fakeboard.flash[0] == 0xFF)
			expect_blank();
		else
			bed_expect_flash(0);
	} else {
		bed_expect_image(r);
		bed_expect_flash(4);
	}
	bed_operate(bed_verify);
	return true;
}

static void test_cuts(void **state)
{
	for (enum cut_what what = CUT_FORMAT; what <= CUT_BLANK; what++)
		for (unsigned crash = 0; crash < 2; crash++) {
			unsigned n = 0;

			while (cut(what, n, crash))
				n++;
			print_message("%d, crash %u: %u cuts\n", (int)what, crash, n);
			assert_true(n > 1);
		}
}

/* A board that cannot be had at all: all is as it was. */
static void test_busy(void **state)
{
	struct rig *r = *state;

	bed_take_image(r);
	bed_other_tree(r);
	rig_write(r, "staged", bed_two, 100);
	fakeboard.open_result = -EBUSY;
	assert_int_equal(bed_try(bed_format), -EBUSY);
	rig_expect(r, "staged", bed_two, 100);
	expect_refused(r, bed_image, BED_SIZE, false, -EBUSY);
	expect_refused(r, bed_image, BED_SIZE, true, -EBUSY);
	fakeboard.open_result = 0;
	rig_sync(r);
	rig_expect(r, "staged", bed_two, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_restore, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_exact, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_over_strangers, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_replaced_and_killed, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_loop_is_free, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_used_meanwhile, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(
			test_changed_before_commit, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(
			test_cancelled_over_strangers, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_cancelled, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_blank, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_hostile_images, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_sharers_restored, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_sharers_found, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_sharers_cut, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_busy, bed_setup, bed_teardown),
		cmocka_unit_test_setup_teardown(test_cuts, bed_setup, bed_teardown),
	};

	return cmocka_run_group_tests_name("restore", tests, NULL, NULL);
}
