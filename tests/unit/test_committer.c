/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define SIZE (64u << 10)

static uint8_t one[9000];

static int setup(void **state)
{
	static struct rig r;

	fault_no_flush = true;
	rig_fill(one, sizeof(one), 1);
	rig_make(&r, 16);
	fakeboard_make(SIZE, 4096);
	r.board = true;
	rig_attach(&r);
	*state = &r;
	return 0;
}

static int teardown(void **state)
{
	rig_remove(*state);
	fakeboard_remove();
	return 0;
}

static struct committer_status status_of(struct rig *r)
{
	struct committer_status s;

	committer_status(r->committer, &s);
	return s;
}

static bool is_clean(struct rig *r)
{
	return status_of(r).state == COMMITTER_CLEAN;
}

static bool has_failed(struct rig *r)
{
	return status_of(r).state == COMMITTER_FAILED;
}

static void with_quiet(struct rig *r, unsigned ms)
{
	rig_detach(r);
	r->quiet_ms = ms;
	rig_attach(r);
}

/* Nobody asks, and it goes to flash when the tree is quiet: one commit for many changes. */
static void test_when_quiet(void **state)
{
	struct rig *r = *state;

	with_quiet(r, 20);
	assert_true(is_clean(r));
	rig_mkdir(r, "d");
	rig_write(r, "d/a", one, 9000);
	rig_write(r, "d/b", one, 5000);
	assert_int_equal(status_of(r).state, COMMITTER_STAGED);
	rig_run_until(r, is_clean);
	assert_int_equal(status_of(r).commits, 1);
	assert_true(status_of(r).programmed_bytes >= 14000);
	assert_true(r->notified >= 3);
	rig_write(r, "d/c", one, 100); /* and again */
	rig_run_until(r, is_clean);
	assert_int_equal(status_of(r).commits, 2);
}

static int end_loop(sd_event_source *s, uint64_t us, void *data)
{
	bool *ended = data;

	*ended = true;
	return 0;
}

/* Junk alone is no reason to stop the board's program. */
static void test_junk_is_no_reason(void **state)
{
	struct rig *r = *state;
	unsigned opens;
	bool ended = false;

	with_quiet(r, 1);
	opens = fakeboard.opens;
	rig_write(r, ".a.swp", one, 9000);
	assert_true(is_clean(r));
	assert_true(sd_event_add_time_relative(r->event, NULL, CLOCK_MONOTONIC, 50000, 1000,
			    end_loop, &ended) >= 0);
	while (!ended)
		assert_true(sd_event_run(r->event, 1000000) > 0);
	assert_int_equal(status_of(r).commits, 0);
	assert_int_equal(fakeboard.opens, opens);
}

struct asking {
	struct committer_waiter waiter;
	bool done;
	int result;
};

static void on_done(void *ctx, int result)
{
	struct asking *a = ctx;

	a->done = true;
	a->result = result;
}

static void ask(struct rig *r, struct asking *a)
{
	*a = (struct asking){.waiter = {.done = on_done, .ctx = a}};
	committer_sync(r->committer, &a->waiter);
}

static void test_sync(void **state)
{
	struct rig *r = *state;
	struct asking first, second, forgotten;

	ask(r, &first); /* nothing to wait for */
	assert_true(first.done);
	assert_int_equal(first.result, 0);
	rig_write(r, "a", one, 9000);
	ask(r, &first);
	ask(r, &forgotten);
	assert_false(first.done);
	assert_true(committer_is_busy(r->committer));
	assert_int_equal(status_of(r).state, COMMITTER_WRITING);
	committer_forget(r->committer, &forgotten.waiter);
	rig_write(r, "b", one, 100);
	ask(r, &second); /* for what the running one does not have */
	rig_run_until(r, is_clean);
	assert_true(first.done && second.done);
	assert_false(forgotten.done);
	assert_int_equal(status_of(r).commits, 2);
}

/* All who wait are told, also those who came while the attempt that failed was running; and
 * where nothing but the user can help, nobody waits for a retry that does not come. */
static void test_all_are_told(void **state)
{
	struct rig *r = *state;
	struct asking first, second;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	fakeboard.flash[6] ^= 1;
	rig_write(r, "a", one, 8000);
	ask(r, &first);
	rig_write(r, "b", one, 100);
	ask(r, &second);
	while (!first.done || !second.done)
		if (sd_event_run(r->event, 5000000) <= 0)
			fail_msg("somebody is not told");
	assert_int_equal(first.result, -ESTALE);
	assert_int_equal(second.result, -ESTALE);
	assert_true(has_failed(r));
	assert_non_null(strstr(status_of(r).error, "another program"));
}

/* The port is held by somebody: when he closes it, it goes on by itself. */
static void test_port_is_free_again(void **state)
{
	struct rig *r = *state;
	int fd;

	rig_write(r, "a", one, 9000);
	fakeboard.open_result = -EBUSY;
	assert_int_equal(rig_try_sync(r), -EBUSY);
	assert_true(has_failed(r));
	fakeboard.open_result = 0;
	fd = open(r->image, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	close(fd);
	rig_run_until(r, is_clean);
	assert_string_equal(status_of(r).error, "");
	assert_string_equal(r->log, "writing flash works again");
}

static void test_no_room(void **state)
{
	struct rig *r = *state;
	struct node *n;

	rig_write(r, "a", one, 9000);
	/* More than is reckoned with, by a hand that goes round the folder. */
	n = rig_find(r, "a");
	rig_sync(r);
	n->content.size = SIZE;
	n->content.off = 0;
	rig_write(r, "b", one, 100);
	assert_int_equal(rig_try_sync(r), -ENOSPC);
	assert_non_null(strstr(status_of(r).error, "the partition holds"));
}

/* At the end, who still waits is told. */
static void test_end(void **state)
{
	struct rig *r = *state;
	struct asking first, second;

	rig_write(r, "a", one, 9000);
	ask(r, &first);
	rig_write(r, "b", one, 9000);
	ask(r, &second);
	rig_detach(r);
	assert_true(first.done && second.done);
	assert_int_equal(second.result, -ECANCELED);
	rig_attach(r);
	rig_expect(r, "a", one, 9000);
	rig_expect(r, "b", one, 9000);
}

static void test_kick(void **state)
{
	struct rig *r = *state;

	committer_kick(r->committer);
	assert_false(committer_is_busy(r->committer));
	rig_write(r, "a", one, 9000);
	rig_reattach(r);
	committer_kick(r->committer);
	assert_true(committer_is_busy(r->committer));
	rig_run_until(r, is_clean);
}

/* A flush of the journal that failed is made good, whatever becomes of the commit. */
static void test_failed_flush(void **state)
{
	static const struct fault lost = {
		.kind = FAULT_FAIL, .calls = FAULT_FDATASYNC, .at = 0, .code = EIO};
	struct rig *r = *state;
	struct folder *f = rig_folder(r);
	uint64_t seq;

	rig_write(r, "a", one, 9000);
	fault_arm(&lost);
	assert_int_equal(journal_request_sync(f->journal, journal_seq(f->journal)), 0);
	while (journal_synced(f->journal, &seq) == 0)
		;
	fault_disarm();
	assert_int_equal(journal_request_sync(f->journal, journal_seq(f->journal)), -EIO);
	fakeboard.open_result = -EBUSY;
	assert_int_equal(rig_try_sync(r), -EBUSY);
	assert_int_equal(journal_request_sync(f->journal, journal_seq(f->journal)), 0);
	rig_expect(r, "a", one, 9000);
}

/* --- tidying up ------------------------------------------------------------------------ */

/* Saves that leave dead blocks behind, until blank flash has run low. */
static void wear_out(struct rig *r)
{
	for (unsigned i = 0; i < 6; i++) {
		one[0] = (uint8_t)i;
		rig_write(r, "a", one, 9000);
		rig_sync(r);
	}
}

static bool is_closed(struct rig *r)
{
	return !committer_is_busy(r->committer) && fakeboard.opens == fakeboard.closes;
}

static void run_for(struct rig *r, unsigned ms)
{
	bool ended = false;

	assert_true(sd_event_add_time_relative(r->event, NULL, CLOCK_MONOTONIC, ms * 1000u, 1000,
			    end_loop, &ended) >= 0);
	while (!ended)
		assert_true(sd_event_run(r->event, 5000000) > 0);
}

static bool has_erased(struct rig *r)
{
	return fakeboard.erases > 0;
}

static struct romfs_usage usage_of(struct rig *r)
{
	const struct romfs_geometry g = flash_romfs_geometry(r->a.flash);
	const struct romfs_flash now = {
		.source = flash_now_source(r->a.flash), .image = r->a.base.image};
	struct romfs_usage u;
	struct error err = {0};

	if (romfs_usage(&g, &now, &u, &err) < 0)
		fail_msg("%s", err.text);
	return u;
}

/* Blocks that hold nothing are erased while nobody waits; what the folder shows, and what
 * another host finds, is the same. */
static void test_idle_erases_ahead(void **state)
{
	struct rig *r = *state;
	struct romfs_usage before, after;

	rig_detach(r);
	r->idle_ms = 20;
	rig_attach(r);
	rig_write(r, "keep", one + 1, 5000);
	for (unsigned i = 0; i < 4 || usage_of(r).blank * 4 >= SIZE - usage_of(r).live; i++) {
		assert_true(i < 20);
		one[0] = (uint8_t)i;
		rig_write(r, "a", one, 9000);
		rig_sync(r);
	}
	before = usage_of(r);
	fakeboard.erases = 0;
	rig_run_until(r, has_erased);
	while (!is_closed(r))
		run_for(r, 10);
	after = usage_of(r);
	assert_true(after.blank > before.blank);
	assert_int_equal(after.live, before.live);
	assert_int_equal(status_of(r).state, COMMITTER_CLEAN);
	rig_expect(r, "a", one, 9000);
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
	rig_expect(r, "a", one, 9000);
	rig_expect(r, "keep", one + 1, 5000);
}

/* A mount that has written nothing leaves the board alone, and so does one that was told to. */
static void test_idle_is_not_for_all(void **state)
{
	struct rig *r = *state;
	unsigned opens, erases;

	wear_out(r);
	erases = fakeboard.erases;
	run_for(r, 60);
	assert_int_equal(fakeboard.erases, erases);
	rig_detach(r);
	r->idle_ms = 1;
	rig_attach(r);
	opens = fakeboard.opens;
	run_for(r, 60);
	assert_int_equal(fakeboard.opens, opens);
	assert_int_equal(fakeboard.erases, erases);
}

/* Who writes while it is under way does not wait for all of it, and loses nothing. */
static void test_idle_stops_for_a_writer(void **state)
{
	struct rig *r = *state;

	rig_detach(r);
	r->idle_ms = 1;
	rig_attach(r);
	wear_out(r);
	for (unsigned i = 0; i < 30; i++) {
		run_for(r, i % 7);
		one[1] = (uint8_t)i;
		rig_write(r, "b", one, 3000 + i);
		if (i % 3 == 0)
			rig_sync(r);
		rig_expect(r, "b", one, 3000 + i);
	}
	rig_sync(r);
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
	rig_expect(r, "b", one, 3029);
}

/* A port that somebody holds is his: no error, no retry. */
static void test_idle_and_a_busy_port(void **state)
{
	struct rig *r = *state;

	rig_detach(r);
	r->idle_ms = 1;
	rig_attach(r);
	wear_out(r);
	fakeboard.open_result = -EBUSY;
	r->log[0] = '\0';
	run_for(r, 60);
	assert_int_equal(status_of(r).state, COMMITTER_CLEAN);
	assert_string_equal(r->log, "");
	fakeboard.open_result = 0;
	rig_write(r, "b", one, 3000);
	rig_sync(r);
	rig_expect(r, "b", one, 3000);
}

/* --- room ------------------------------------------------------------------------------ */

static void start_elsewhere(struct rig *r)
{
	rig_detach(r);
	rig_forget_state(r);
	rig_attach(r);
}

/* Almost full, and one small file after the other is rewritten: room is made by moving what
 * is alive, step by step, and all of it is there after each. */
static void test_room_is_made(void **state)
{
	struct rig *r = *state;
	uint64_t seed = rig_seed("room is made"), rng = seed;
	static uint8_t bytes[8][6000];
	size_t len[8];

	for (unsigned i = 0; i < 8; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		len[i] = 4000 + rig_random(&rng) % 2000;
		rig_fill(bytes[i], len[i], rig_random(&rng));
		rig_write(r, name, bytes[i], len[i]);
	}
	rig_sync(r);
	for (unsigned k = 0; k < 60; k++) {
		unsigned i = (unsigned)(rig_random(&rng) % 8);
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		len[i] = 4000 + rig_random(&rng) % 2000;
		rig_fill(bytes[i], len[i], rig_random(&rng));
		rig_write(r, name, bytes[i], len[i]);
		rig_sync(r);
		for (i = 0; i < 8; i++) {
			snprintf(name, sizeof(name), "%u", i);
			rig_expect(r, name, bytes[i], len[i]);
		}
		if (k % 20 == 19)
			start_elsewhere(r);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_when_quiet),
		TEST(test_junk_is_no_reason),
		TEST(test_sync),
		TEST(test_all_are_told),
		TEST(test_port_is_free_again),
		TEST(test_no_room),
		TEST(test_end),
		TEST(test_kick),
		TEST(test_failed_flush),
		TEST(test_idle_erases_ahead),
		TEST(test_idle_is_not_for_all),
		TEST(test_idle_stops_for_a_writer),
		TEST(test_idle_and_a_busy_port),
		TEST(test_room_is_made),
	};

	return cmocka_run_group_tests_name("committer", tests, NULL, NULL);
}
