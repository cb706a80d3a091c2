/* SPDX-License-Identifier: MIT */
/* Requests that are answered later, each exactly once. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/pending.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

/* The kernel's side of a request. */
struct asked {
	unsigned answers;
	int result;
	fuse_interrupt_func_t interrupt;
	void *data;
};

int __wrap_fuse_reply_err(fuse_req_t req, int err);
void __wrap_fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data);

static struct rig rig;
static struct view view;
static uint8_t bytes[9000];

int __wrap_fuse_reply_err(fuse_req_t req, int err)
{
	struct asked *a = (struct asked *)req;

	a->answers++;
	a->result = err;
	return 0;
}

void __wrap_fuse_req_interrupt_func(fuse_req_t req, fuse_interrupt_func_t func, void *data)
{
	struct asked *a = (struct asked *)req;

	a->interrupt = func;
	a->data = data;
}

static fuse_req_t req_of(struct asked *a)
{
	*a = (struct asked){0};
	return (fuse_req_t)a;
}

static int setup(void **state)
{
	fault_no_flush = true;
	rig_fill(bytes, sizeof(bytes), 1);
	rig_make(&rig, 64u << 10);
	rig_attach(&rig);
	rig_write(&rig, "f", bytes, 9000);
	rig_sync(&rig);
	rig_detach(&rig);
	rig_forget_state(&rig); /* so that something is to be fetched */
	rig_attach(&rig);
	view = (struct view){.folder = rig.a.folder,
		.flash = rig.a.flash,
		.worker = rig.worker,
		.committer = rig.committer,
		.event = rig.event};
	return view_start(&view);
}

static int teardown(void **state)
{
	view_stop(&view);
	assert_null(view.pendings);
	rig_remove(&rig);
	return 0;
}

static void run_until_answered(struct asked *a)
{
	while (!a->answers)
		if (sd_event_run(rig.event, 20000000) <= 0)
			fail_msg("no answer comes");
	assert_int_equal(a->answers, 1);
}

static unsigned resumed;

static void resume(struct pending *p, int result)
{
	resumed++;
	pending_reply_err(p, result);
}

static struct pending *fetch(struct asked *a, struct romfs_extent *missing)
{
	struct node *n = rig_find(&rig, "f");
	struct pending *p;

	rig_forget_bytes(&rig);
	assert_int_equal(folder_has_bytes(rig_folder(&rig), n, missing), -ENODATA);
	p = pending_new(&view, req_of(a), n);
	assert_non_null(p);
	pending_wait_bytes(p, missing, resume);
	return p;
}

static void test_bytes(void **state)
{
	struct romfs_extent missing;
	struct asked a;

	resumed = 0;
	fetch(&a, &missing);
	assert_int_equal(a.answers, 0);
	run_until_answered(&a);
	assert_int_equal(a.result, 0);
	assert_int_equal(resumed, 1);
	assert_int_equal(folder_has_bytes(rig_folder(&rig), rig_find(&rig, "f"), NULL), 0);
	while (view.pendings)
		assert_true(sd_event_run(rig.event, 20000000) > 0);
	assert_int_equal(resumed, 1);
}

/* Interrupted while the worker is at it: answered from the loop, never from within libfuse,
 * which holds the request's lock then; and what the worker brings later finds no one. */
static void test_interrupted(void **state)
{
	struct romfs_extent missing;
	struct asked a;

	resumed = 0;
	fetch(&a, &missing);
	a.interrupt((fuse_req_t)&a, a.data);
	a.interrupt((fuse_req_t)&a, a.data);
	assert_int_equal(a.answers, 0);
	run_until_answered(&a);
	while (view.pendings)
		assert_true(sd_event_run(rig.event, 20000000) > 0);
	assert_int_equal(a.answers, 1);
	assert_true(a.result == EINTR || resumed == 1);
}

/* The node may be deleted and forgotten while somebody waits for its bytes. */
static void test_node_stays(void **state)
{
	struct romfs_extent missing;
	struct asked a;
	uint64_t id = rig_find(&rig, "f")->id;

	fetch(&a, &missing);
	rig_unlink(&rig, "f");
	assert_non_null(node_by_id(rig_folder(&rig)->nodes, id));
	run_until_answered(&a);
	/* The fetch ends when others have been answered. */
	while (view.pendings)
		assert_true(sd_event_run(rig.event, 20000000) > 0);
	assert_null(node_by_id(rig_folder(&rig)->nodes, id));
}

static void test_journal(void **state)
{
	struct folder *f = rig_folder(&rig);
	struct asked first, second;
	struct node *n;
	struct pending *p;

	rig_write(&rig, "a", bytes, 10);
	n = rig_find(&rig, "a");
	p = pending_new(&view, req_of(&first), n);
	pending_wait_journal(p, n->seq);
	rig_write(&rig, "b", bytes, 10);
	p = pending_new(&view, req_of(&second), NULL);
	pending_wait_journal(p, journal_seq(f->journal));
	run_until_answered(&first);
	run_until_answered(&second);
	assert_int_equal(first.result, 0);
	assert_int_equal(second.result, 0);
	p = pending_new(&view, req_of(&first), n); /* durable long ago */
	pending_wait_journal(p, n->seq);
	run_until_answered(&first);
	assert_int_equal(first.result, 0);
}

static void test_journal_fails(void **state)
{
	static const struct fault lost = {
		.kind = FAULT_FAIL, .calls = FAULT_FDATASYNC, .at = 0, .code = EIO, .stays = true};
	struct folder *f = rig_folder(&rig);
	struct asked a;
	struct pending *p;

	rig_write(&rig, "a", bytes, 10);
	fault_arm(&lost);
	p = pending_new(&view, req_of(&a), NULL);
	pending_wait_journal(p, journal_seq(f->journal));
	run_until_answered(&a);
	assert_int_equal(a.result, EIO);
	p = pending_new(&view, req_of(&a), NULL); /* and stays so */
	pending_wait_journal(p, journal_seq(f->journal));
	run_until_answered(&a);
	assert_int_equal(a.result, EIO);
	fault_disarm();
}

static void test_commit(void **state)
{
	struct asked a, interrupted;
	struct pending *p;

	p = pending_new(&view, req_of(&a), NULL); /* nothing to wait for */
	pending_wait_commit(p);
	assert_int_equal(a.answers, 1);
	rig_write(&rig, "a", bytes, 10);
	p = pending_new(&view, req_of(&a), rig_find(&rig, "a"));
	pending_wait_commit(p);
	p = pending_new(&view, req_of(&interrupted), NULL);
	pending_wait_commit(p);
	interrupted.interrupt((fuse_req_t)&interrupted, interrupted.data);
	run_until_answered(&a);
	assert_int_equal(a.result, 0);
	run_until_answered(&interrupted);
	assert_int_equal(view.pendings == NULL, 1);
}

/* The folder goes: all are told, and what comes after finds no one. */
static void test_end(void **state)
{
	struct romfs_extent missing;
	struct asked bytes_asked, commit_asked, journal_asked;
	struct pending *p;

	fetch(&bytes_asked, &missing);
	rig_write(&rig, "a", bytes, 10);
	p = pending_new(&view, req_of(&commit_asked), NULL);
	pending_wait_commit(p);
	p = pending_new(&view, req_of(&journal_asked), NULL);
	p->seq = UINT64_MAX; /* of a flush that never ends */
	pending_end_all(&view, -EIO);
	assert_int_equal(bytes_asked.result, EIO);
	assert_int_equal(commit_asked.result, EIO);
	assert_int_equal(journal_asked.result, EIO);
	while (view.pendings || committer_is_busy(rig.committer))
		assert_true(sd_event_run(rig.event, 20000000) > 0);
	assert_int_equal(bytes_asked.answers, 1);
	assert_int_equal(commit_asked.answers, 1);
	assert_int_equal(journal_asked.answers, 1);
}

static void test_errnos(void **state)
{
	assert_int_equal(pending_errno(0), 0);
	assert_int_equal(pending_errno(-ENOSPC), ENOSPC);
	assert_int_equal(pending_errno(-EBUSY), EBUSY);
	assert_int_equal(pending_errno(-EUCLEAN), EIO);
	assert_int_equal(pending_errno(-ESTALE), EIO);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_bytes),
		TEST(test_interrupted),
		TEST(test_node_stays),
		TEST(test_journal),
		TEST(test_journal_fails),
		TEST(test_commit),
		TEST(test_end),
		cmocka_unit_test(test_errnos),
	};

	return cmocka_run_group_tests_name("pending", tests, NULL, NULL);
}
