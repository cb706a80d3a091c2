/* SPDX-License-Identifier: MIT */
/* Failing disks, killed processes and power cuts: what was accepted is there afterwards. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "libromfs/tree.h"
#include "tests/unit/fault.h"
#include "tests/unit/journal_model.h"
#include "tests/unit/powercut.h"
#include "util/io.h"

/* Everything but write(2), by which the tests make their files. */
#define JOURNAL_CALLS (FAULT_ANY & ~(unsigned)FAULT_WRITE)

static struct scratch dir;
static int print_case; /* what, beside the seed, brings a failure back */

static int setup(void **state)
{
	fault_disarm();
	fault_watch = NULL;
	fault_no_flush = true;
	scratch_make(&dir);
	return 0;
}

static int teardown(void **state)
{
	fault_disarm();
	fault_watch = NULL;
	scratch_remove(&dir);
	return 0;
}

static int data_file(void)
{
	int fd = openat(dir.dirfd, "data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static struct journal *start(struct model *m)
{
	struct journal *j;
	bool changed;

	assert_int_equal(journal_create(dir.dirfd, &model_header, &j, NULL), 0);
	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, m, &changed, &j, NULL), 0);
	return j;
}

static void assert_reopens(uint32_t a, uint32_t b)
{
	struct model *m = calloc(1, sizeof(*m));
	struct error err = {0};
	struct journal *j;
	bool changed;
	uint32_t got;
	int r = model_open(dir.dirfd, m, &changed, &j, &err);

	if (r < 0)
		print_error("%s\n", err.text);
	assert_int_equal(r, 0);
	got = model_digest(m);
	if (got != a && got != b)
		fail_msg("case %d: other nodes than were accepted", print_case);
	journal_free(j);
	free(m);
}

/* --- calls that fail ---------------------------------------------------------------- */

/* 12 frames, a rewrite, 6 frames, flushes between; returns how many steps failed. */
static int script(struct model *m, struct journal *j, int data, uint64_t *rng)
{
	uint64_t seq = 0;
	int i, failed = 0;

	for (i = 0; i < 18; i++) {
		failed += model_random_append(m, j, data, rng, NULL, NULL) < 0;
		if (i % 5 == 4)
			failed += model_sync(j, &seq) < 0;
		if (i == 11)
			failed += model_rewrite(m, j) < 0;
	}
	return failed;
}

static void fail_everywhere(const char *name, bool stays, int code)
{
	uint64_t seed = scratch_seed(name);
	struct model *m = calloc(1, sizeof(*m));
	int at, data = data_file(), hits = 0, reached;
	uint32_t want;

	for (at = 0;; at++) {
		uint64_t rng = seed, part = seed + (uint64_t)at;
		struct journal *j = start(m);
		struct fault f = {FAULT_FAIL, JOURNAL_CALLS, at, stays, code, 0};

		f.part = (size_t)(scratch_random(&part) % 5000);
		fault_arm(&f);
		hits += script(m, j, data, &rng) > 0;
		reached = fault_count();
		fault_disarm();
		print_case = at;
		want = model_digest(m);
		/* as if the process had died here; what it had accepted stays */
		assert_reopens(want, want);
		journal_free(j);
		assert_reopens(want, want);
		if (reached <= at)
			break;
	}
	print_message("%d calls, %d runs felt it\n", at, hits);
	assert_true(hits > 10);
	close(data);
	free(m);
}

static void test_one_fails(void **state)
{
	fail_everywhere(__func__, false, EIO);
}

static void test_disk_full(void **state)
{
	uint64_t seed = scratch_seed(__func__), rng;
	struct model *m = calloc(1, sizeof(*m));
	int at, data = data_file();

	for (at = 0; at < 40; at++) {
		struct journal *j = start(m);
		uint64_t before, seq;
		int i, r = 0;

		rng = seed;
		fault_arm(&(struct fault){FAULT_FAIL, FAULT_PWRITE | FAULT_ALLOCATE, at,
			true, ENOSPC, (size_t)(seed >> 8) % 3000});
		for (i = 0; i < 30 && r == 0; i++) {
			before = journal_bytes(j);
			r = model_random_append(m, j, data, &rng, NULL, NULL);
		}
		if (r < 0) {
			struct stat st;

			assert_int_equal(r, -ENOSPC);
			assert_int_equal(journal_bytes(j), before);
			assert_int_equal(fstat(journal_fd(j), &st), 0);
			assert_true((uint64_t)st.st_size <= before + 48); /* with the mark */
			assert_int_equal(model_rewrite(m, j), -ENOSPC);
			assert_int_equal(faccessat(dir.dirfd, "journal.new", F_OK, 0), -1);
		}
		fault_disarm();
		/* there is space again: it goes on */
		assert_int_equal(model_random_append(m, j, data, &rng, NULL, NULL), 0);
		assert_int_equal(model_sync(j, &seq), 0);
		assert_int_equal(seq, journal_seq(j));
		journal_free(j);
		assert_reopens(model_digest(m), model_digest(m));
	}
	close(data);
	free(m);
}

static void test_no_preallocation(void **state)
{
	uint64_t rng = scratch_seed(__func__);
	struct model *m = calloc(1, sizeof(*m));
	struct journal *j = start(m);
	int data = data_file();

	fault_arm(&(struct fault){FAULT_FAIL, FAULT_ALLOCATE, 0, true, EOPNOTSUPP, 0});
	assert_int_equal(script(m, j, data, &rng), 0);
	journal_free(j);
	assert_reopens(model_digest(m), model_digest(m));
	close(data);
	free(m);
}

static void test_short_writes(void **state)
{
	uint64_t rng = scratch_seed(__func__);
	struct model *m = calloc(1, sizeof(*m));
	struct journal *j = start(m);
	int data = data_file();

	fault_arm(&(struct fault){FAULT_SHORT, FAULT_PWRITE, 0, false, 0, 777});
	assert_int_equal(script(m, j, data, &rng), 0);
	journal_free(j);
	assert_reopens(model_digest(m), model_digest(m));
	close(data);
	free(m);
}

/* After the rename nothing tells which file a power cut leaves: nothing more may be
 * promised, until a rewrite gets through. */
static void test_directory_flush_fails(void **state)
{
	uint64_t rng = scratch_seed(__func__), seq;
	struct model *m = calloc(1, sizeof(*m));
	struct journal *j = start(m);
	int data = data_file(), i;

	for (i = 0; i < 5; i++)
		assert_int_equal(model_random_append(m, j, data, &rng, NULL, NULL), 0);
	fault_arm(&(struct fault){FAULT_FAIL, FAULT_FSYNC, 0, false, EIO, 0});
	assert_int_equal(model_rewrite(m, j), -EIO);
	fault_disarm();
	assert_int_equal(model_random_append(m, j, data, &rng, NULL, NULL), -EIO);
	assert_int_equal(journal_request_sync(j, journal_seq(j)), -EIO);
	assert_int_equal(journal_synced(j, &seq), -EIO);
	assert_int_equal(model_rewrite(m, j), 0);
	assert_int_equal(journal_synced(j, &seq), 0);
	assert_int_equal(model_random_append(m, j, data, &rng, NULL, NULL), 0);
	journal_free(j);
	assert_reopens(model_digest(m), model_digest(m));
	close(data);
	free(m);
}

static int give_root(void *ctx, struct journal_entry *entry)
{
	bool *given = ctx;
	bool more = !*given;

	*given = true;
	*entry = (struct journal_entry){
		.id = 1, .name = "", .type = ROMFS_DIR, .mtime_ns = 5};
	return more;
}

static void ignore_move(void *ctx, uint64_t id, const struct content *content)
{
}

/* The same for a draft; and one that cannot be written, or gets no name, changes nothing. */
static void test_draft_fails(void **state)
{
	uint64_t rng = scratch_seed(__func__), seq;
	struct model *m = calloc(1, sizeof(*m));
	struct journal *j = start(m);
	int data = data_file();

	for (unsigned what = 0; what < 4; what++) {
		static const unsigned calls[] = {
			FAULT_PWRITE, FAULT_FDATASYNC, FAULT_RENAME, FAULT_FSYNC};
		struct journal_draft *d;
		bool given = false;
		int r;

		assert_int_equal(model_random_append(m, j, data, &rng, NULL, NULL), 0);
		assert_int_equal(journal_draft_new(j, &model_header, &d, NULL), 0);
		fault_arm(&(struct fault){FAULT_FAIL, calls[what], 0, false, EIO, 0});
		r = journal_draft_write(d, give_root, ignore_move, &given, NULL);
		assert_int_equal(r, what < 2 ? -EIO : 0);
		if (r == 0)
			r = journal_draft_adopt(j, d, &seq, NULL);
		assert_int_equal(r, what < 3 ? -EIO : 0);
		if (r == 0)
			assert_int_equal(journal_wait(j, seq, NULL), -EIO);
		fault_disarm();
		journal_draft_free(d);
		assert_int_equal(faccessat(dir.dirfd, "journal.draft", F_OK, 0), -1);
	}
	assert_int_equal(journal_request_sync(j, journal_seq(j)), -EIO);
	assert_int_equal(journal_synced(j, &seq), -EIO);
	memset(m, 0, sizeof(*m));
	assert_int_equal(model_rewrite(m, j), 0);
	assert_int_equal(journal_synced(j, &seq), 0);
	journal_free(j);
	close(data);
	free(m);
}

/* --- SIGKILL ------------------------------------------------------------------------ */

struct report {
	uint32_t done, planned; /* what is there, what shall be next */
	int finished;
};

static void plan(void *ctx, uint32_t digest)
{
	struct report *r = ctx;

	__atomic_store_n(&r->planned, digest, __ATOMIC_SEQ_CST);
}

static void child(struct report *report, uint64_t rng, const struct fault *f)
{
	struct model *m = calloc(1, sizeof(*m));
	struct journal *j;
	uint64_t seq;
	bool changed;
	int i, data = data_file();

	if (model_open(dir.dirfd, m, &changed, &j, NULL) < 0)
		_exit(3);
	report->done = report->planned = model_digest(m);
	fault_arm(f);
	for (i = 0; i < 40; i++) {
		if (model_random_append(m, j, data, &rng, plan, report) < 0)
			_exit(4);
		__atomic_store_n(&report->done, model_digest(m), __ATOMIC_SEQ_CST);
		if (i % 4 == 0 && journal_request_sync(j, journal_seq(j)) < 0)
			_exit(5);
		if (i % 8 == 0 && journal_synced(j, &seq) < 0)
			_exit(6);
		if (i % 16 != 15)
			continue;
		/* a rewrite changes nothing */
		plan(report, model_digest(m));
		if (model_rewrite(m, j) < 0)
			_exit(7);
		__atomic_store_n(&report->done, model_digest(m), __ATOMIC_SEQ_CST);
	}
	report->finished = 1;
	_exit(0);
}

static void test_killed(void **state)
{
	uint64_t rng = scratch_seed(__func__);
	struct report *report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct journal *j;
	int round, killed = 0;

	assert_true(report != MAP_FAILED);
	assert_int_equal(journal_create(dir.dirfd, &model_header, &j, NULL), 0);
	journal_free(j);
	for (round = 0; round < 150; round++) {
		struct fault f = {FAULT_KILL, JOURNAL_CALLS,
			(int)(scratch_random(&rng) % 160), false, 0,
			(size_t)(scratch_random(&rng) % 4000)};
		uint64_t seed = scratch_random(&rng);
		int status;
		pid_t pid;

		memset(report, 0, sizeof(*report));
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			child(report, seed, &f);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
		killed += WIFSIGNALED(status);
		print_case = round;
		assert_reopens(report->done, report->planned);
	}
	print_message("%d killed\n", killed);
	assert_true(killed > 50);
	munmap(report, sizeof(*report));
}

/* --- power cuts --------------------------------------------------------------------- */

static void one_power_cut(uint64_t seed)
{
	uint64_t rng = seed, promised, steps = 1 + scratch_random(&rng) % 25, i;
	struct model *m = calloc(1, sizeof(*m));
	uint32_t digest[64];
	struct journal *j = start(m);
	uint64_t first = journal_seq(j);
	int data = data_file(), r;
	struct error err = {0};
	bool changed;

	powercut_start(journal_fd(j));
	digest[0] = model_digest(m);
	promised = first;
	for (i = 1; i <= steps; i++) {
		assert_int_equal(model_random_append(m, j, data, &rng, NULL, NULL), 0);
		digest[i] = model_digest(m);
		if (scratch_random(&rng) % 4 == 0)
			assert_int_equal(model_sync(j, &promised), 0);
		else if (scratch_random(&rng) % 4 == 0)
			assert_int_equal(journal_request_sync(j, journal_seq(j)), 0);
	}
	assert_int_equal(journal_synced(j, &promised), 0);
	/* the thread may be at it still: what it flushes is kept, and that is all */
	powercut_stop();
	journal_free(j);
	powercut_leave(&dir, "journal", &rng);
	r = model_open(dir.dirfd, m, &changed, &j, &err);
	if (r < 0)
		print_error("%s\n", err.text);
	assert_int_equal(r, 0);
	assert_true(journal_seq(j) >= promised && journal_seq(j) <= first + steps);
	if (model_digest(m) != digest[journal_seq(j) - first])
		fail_msg("case %d: other nodes than were accepted", print_case);
	journal_free(j);
	close(data);
	free(m);
}

static void test_power_cuts(void **state)
{
	uint64_t seed = scratch_seed(__func__);
	int i;

	for (i = 0; i < 300; i++) {
		print_case = i;
		one_power_cut(seed + (uint64_t)i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_preallocation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_short_writes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_directory_flush_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_draft_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_power_cuts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
