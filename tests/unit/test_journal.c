/* SPDX-License-Identifier: MIT */
/* The journal gives back what was put in, rewrites itself, and flushes as promised. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "libromfs/tree.h"
#include "tests/unit/fault.h"
#include "tests/unit/journal_model.h"
#include "util/io.h"

static struct scratch dir;

static int setup(void **state)
{
	fault_disarm();
	fault_watch = NULL;
	scratch_make(&dir);
	return 0;
}

static int teardown(void **state)
{
	fault_watch = NULL;
	scratch_remove(&dir);
	return 0;
}

static struct journal *create(void)
{
	struct journal *j;

	assert_int_equal(journal_create(dir.dirfd, &model_header, &j, NULL), 0);
	return j;
}

static int data_file(void)
{
	int fd = openat(dir.dirfd, "data", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static struct journal_entry file_entry(uint64_t id, const char *name)
{
	return (struct journal_entry){
		.id = id, .parent = 1, .name = name, .type = ROMFS_FILE, .mtime_ns = -5};
}

static void test_missing(void **state)
{
	struct journal_header h;
	struct journal *j;
	struct model m;
	bool changed;

	assert_int_equal(
		journal_open(dir.dirfd, &h, model_apply, &m, &changed, &j, NULL), -ENOENT);
}

static void test_empty(void **state)
{
	struct journal *j = create();
	struct model m;
	bool changed;

	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, &m, &changed, &j, NULL), 0);
	assert_false(changed);
	assert_int_equal(journal_cut(j), 0);
	assert_true(m.nodes[1].there);
	assert_int_equal(m.nodes[1].type, ROMFS_DIR);
	assert_int_equal(m.nodes[1].parent, 0);
	journal_free(j);
}

static void test_kinds(void **state)
{
	char longest[ROMFS_NAME_MAX + 1];
	struct journal *j = create();
	struct journal_change c[] = {
		{.entry = {.id = 2, .parent = 1, .name = "lib", .type = ROMFS_DIR}},
		{.entry = {.id = 3, .parent = 2, .name = longest, .type = ROMFS_FILE,
			 .mtime_ns = INT64_MIN, .content = {CONTENT_BASE, 5, (1 << 20) - 5}}},
		{.entry = {.id = UINT64_MAX, .parent = UINT64_MAX - 1, .name = "x"}},
		{.kind = JOURNAL_DROP, .entry = {.id = UINT64_MAX}},
		{.kind = JOURNAL_DROP, .entry = {.id = 2}},
	};
	struct model m;
	uint64_t seq, first = journal_seq(j);
	bool changed;
	size_t i;

	memset(longest, 0xC3, sizeof(longest) - 1);
	longest[ROMFS_NAME_MAX] = '\0';
	for (i = 0; i < ARRAY_SIZE(c); i++) {
		if (i == 2 || i == 3) /* ids that the model has no room for */
			continue;
		assert_int_equal(journal_append(j, &c[i], 1, &seq, NULL), 0);
		assert_int_equal(seq, ++first);
	}
	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, &m, &changed, &j, NULL), 0);
	assert_true(changed);
	assert_int_equal(journal_seq(j), seq);
	assert_false(m.nodes[2].there);
	assert_string_equal(m.nodes[3].name, longest);
	assert_true(m.nodes[3].mtime_ns == INT64_MIN);
	assert_int_equal(m.nodes[3].content.off, 5);
	assert_int_equal(m.nodes[3].size, (1 << 20) - 5);
	/* a callback's error ends the replay and comes out */
	assert_int_equal(journal_append(j, &c[2], 1, &seq, NULL), 0);
	assert_int_equal(journal_append(j, &c[3], 1, &seq, NULL), 0);
	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, &m, &changed, &j, NULL), -ERANGE);
}

static void test_contents(void **state)
{
	static const size_t piece = 128 << 10;
	const size_t sizes[] = {0, 1, 7, 8, 4096, piece - 105, piece - 104, piece - 103,
		piece, piece + 1, 2 * piece - 104, 3 * piece + 12345};
	_cleanup_close_ int data = data_file();
	struct journal *j = create();
	uint8_t *buf = malloc(4 * piece), *got = malloc(4 * piece);
	uint64_t rng = 7, seq;
	struct model m;
	bool changed;
	size_t i, k;

	for (i = 0; i < 4 * piece; i++)
		buf[i] = (uint8_t)(scratch_random(&rng) | 1);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct journal_entry e = file_entry(2 + i, "some.file");

		assert_int_equal(ftruncate(data, 0), 0);
		assert_int_equal(io_pwrite_full(data, buf, sizes[i], 0), 0);
		/* every second one is to be longer than the file: zeros */
		k = sizes[i] + (i % 2 ? 3000 : 0);
		assert_int_equal(journal_append_file(j, &e, data, k, &seq, NULL), 0);
		assert_int_equal(e.content.kind, k ? CONTENT_LOG : CONTENT_EMPTY);
		assert_int_equal(e.content.size, k);
	}
	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, &m, &changed, &j, NULL), 0);
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		const struct content *c = &m.nodes[2 + i].content;

		k = sizes[i] + (i % 2 ? 3000 : 0);
		assert_int_equal(c->size, k);
		assert_int_equal(io_pread_full(journal_fd(j), got, k, (off_t)c->off), 0);
		assert_memory_equal(got, buf, sizes[i]);
		for (; k > sizes[i]; k--)
			assert_int_equal(got[k - 1], 0);
	}
	journal_free(j);
	free(buf);
	free(got);
}

/* What could not be read back is not written. */
static void test_refuses(void **state)
{
	struct journal *j = create();
	uint64_t bytes = journal_bytes(j), seq = 77;
	struct journal_entry good = file_entry(2, "a");
	struct journal_change c[10];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(c); i++)
		c[i] = (struct journal_change){.entry = good};
	c[0].entry.name = "";
	c[1].entry.name = "a/b";
	c[2].entry.name = "..";
	c[3].entry.id = 0;
	c[4].entry.parent = 0;
	c[5].entry.content = (struct content){CONTENT_LOG, bytes - 4, 5};
	c[6].entry.content = (struct content){CONTENT_BASE, 1, model_header.size};
	c[7].entry.content = (struct content){CONTENT_LOG, UINT64_MAX, 2};
	c[8] = (struct journal_change){.kind = JOURNAL_DROP, .entry = {.id = 1}};
	c[9].entry.parent = 2;
	for (i = 0; i < ARRAY_SIZE(c); i++)
		assert_int_equal(journal_append(j, &c[i], 1, &seq, NULL), -EINVAL);
	assert_int_equal(seq, 77);
	assert_int_equal(journal_bytes(j), bytes);
	journal_free(j);
}

static void test_many_changes(void **state)
{
	struct journal_change *c = calloc(30000, sizeof(*c));
	struct journal *j = create();
	struct model m;
	uint64_t seq;
	bool changed;
	size_t i;

	for (i = 0; i < 30000; i++)
		c[i].entry = file_entry(2 + i % 40, i % 2 ? "one name" : "another name");
	assert_int_equal(journal_append(j, c, 30000, &seq, NULL), -E2BIG);
	assert_int_equal(journal_append(j, c, 15000, &seq, NULL), 0);
	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, &m, &changed, &j, NULL), 0);
	assert_string_equal(m.nodes[2].name, "another name");
	assert_string_equal(m.nodes[41].name, "one name");
	journal_free(j);
	free(c);
}

static void test_rewrite(void **state)
{
	uint64_t rng = scratch_seed(__func__), seq;
	_cleanup_close_ int data = data_file(), old_fd = -1;
	struct model *m = calloc(1, sizeof(*m)), *back = calloc(1, sizeof(*m));
	struct model_node *n;
	struct journal *j = create();
	bool changed;
	uint8_t a[64], b[64];
	int i, round;

	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, m, &changed, &j, NULL), 0);
	for (round = 0; round < 4; round++) {
		for (i = 0; i < 60; i++)
			assert_int_equal(
				model_random_append(m, j, data, &rng, NULL, NULL), 0);
		assert_int_equal(lseek(data, 0, SEEK_SET), 0);
		assert_int_equal(io_pwrite_full(data, "sixty-four bytes", 16, 0), 0);
		n = &m->nodes[5];
		{
			struct journal_entry e = file_entry(5, "kept");

			assert_int_equal(
				journal_append_file(j, &e, data, 64, &seq, NULL), 0);
			assert_int_equal(model_apply(m, &(struct journal_change){.entry = e}), 0);
		}
		if (old_fd >= 0)
			close(old_fd);
		old_fd = dup(journal_fd(j));
		assert_int_equal(io_pread_full(old_fd, a, 64, (off_t)n->content.off), 0);
		seq = (uint64_t)n->content.off;
		assert_int_equal(model_rewrite(m, j), 0);
		/* the old generation's descriptor still gives the old place's bytes */
		assert_int_equal(io_pread_full(old_fd, b, 64, (off_t)seq), 0);
		assert_memory_equal(a, b, 64);
		assert_int_equal(io_pread_full(journal_fd(j), b, 64, (off_t)n->content.off), 0);
		assert_memory_equal(a, b, 64);
		assert_int_equal(journal_synced(j, &seq), 0);
		assert_int_equal(seq, journal_seq(j));
	}
	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, back, &changed, &j, NULL), 0);
	assert_false(changed);
	assert_int_equal(model_digest(back), model_digest(m));
	assert_int_equal(journal_seq(j), seq);
	journal_free(j);
	free(m);
	free(back);
}

/* --- the thread ------------------------------------------------------------------- */

static struct {
	pthread_t loop;
	sem_t begun, go;
	int calls, code;
} held;

static int hold_flush(int fd)
{
	if (pthread_equal(pthread_self(), held.loop))
		return 0;
	__atomic_add_fetch(&held.calls, 1, __ATOMIC_SEQ_CST);
	sem_post(&held.begun);
	sem_wait(&held.go);
	return held.code;
}

static const struct fault_watch hold_watch = {.flush = hold_flush};

static void hold(int code)
{
	held.loop = pthread_self();
	sem_init(&held.begun, 0, 0);
	sem_init(&held.go, 0, 0);
	held.calls = 0;
	held.code = code;
	fault_watch = &hold_watch;
}

static bool event_there(struct journal *j)
{
	struct pollfd p = {.fd = journal_event_fd(j), .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void wait_event(struct journal *j)
{
	struct pollfd p = {.fd = journal_event_fd(j), .events = POLLIN};

	assert_int_equal(poll(&p, 1, 20000), 1);
}

static uint64_t add_one(struct journal *j)
{
	struct journal_change c = {.entry = file_entry(2, "a")};
	uint64_t seq;

	assert_int_equal(journal_append(j, &c, 1, &seq, NULL), 0);
	return seq;
}

static void test_joined(void **state)
{
	struct journal *j = create();
	uint64_t first, last = 0, seq;
	int i;

	hold(0);
	first = add_one(j);
	assert_int_equal(journal_request_sync(j, first), 0);
	sem_wait(&held.begun);
	for (i = 0; i < 5; i++) {
		last = add_one(j);
		assert_int_equal(journal_request_sync(j, last), 0);
	}
	assert_false(event_there(j));
	sem_post(&held.go);
	wait_event(j);
	assert_int_equal(journal_synced(j, &seq), 0);
	assert_int_equal(seq, first);
	sem_wait(&held.begun);
	sem_post(&held.go);
	wait_event(j);
	assert_int_equal(journal_synced(j, &seq), 0);
	assert_int_equal(seq, last);
	assert_int_equal(held.calls, 2);
	/* what is on disk already is answered without a flush */
	assert_false(event_there(j));
	assert_int_equal(journal_request_sync(j, first), 0);
	assert_true(event_there(j));
	assert_int_equal(journal_synced(j, &seq), 0);
	assert_int_equal(held.calls, 2);
	journal_free(j);
}

static int give_one(void *ctx, struct journal_entry *entry)
{
	int *left = ctx;

	*entry = (struct journal_entry){
		.id = 1, .name = "", .type = ROMFS_DIR, .mtime_ns = 5};
	return (*left)-- > 0;
}

/* A flush of the old generation that ends after the rewrite, well or badly, says nothing
 * about the new one. */
static void rewrite_during_flush(int code)
{
	struct journal *j = create();
	uint64_t seq, got;
	int left = 1;

	hold(code);
	seq = add_one(j);
	assert_int_equal(journal_request_sync(j, seq), 0);
	sem_wait(&held.begun);
	assert_int_equal(
		journal_rewrite(j, &model_header, give_one, NULL, &left, NULL), 0);
	assert_true(event_there(j));
	assert_int_equal(journal_synced(j, &got), 0);
	assert_true(got >= seq);
	seq = add_one(j); /* not on disk */
	sem_post(&held.go);
	wait_event(j);
	assert_int_equal(journal_synced(j, &got), 0);
	assert_true(got < seq);
	journal_free(j);
}

static void test_rewrite_during_flush(void **state)
{
	rewrite_during_flush(0);
	rewrite_during_flush(EIO);
}

static int count_entry(void *ctx, const struct journal_change *change)
{
	unsigned *n = ctx;

	assert_int_equal(change->kind, JOURNAL_PUT);
	if (change->entry.id == 1)
		assert_int_equal(change->entry.mtime_ns, 5);
	else
		assert_string_equal(change->entry.name, "a");
	++*n;
	return 0;
}

static void ignore_move(void *ctx, uint64_t id, const struct content *content)
{
}

static void expect_entries(unsigned want)
{
	struct journal_header header;
	struct journal *j;
	unsigned n = 0;
	bool changed;

	assert_int_equal(
		journal_open(dir.dirfd, &header, count_entry, &n, &changed, &j, NULL), 0);
	assert_int_equal(n, want);
	journal_free(j);
}

static bool has_draft(void)
{
	return faccessat(dir.dirfd, "journal.draft", F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct journal_draft *write_draft(struct journal *j)
{
	struct journal_draft *d;
	int left = 1;

	assert_int_equal(journal_draft_new(j, &model_header, &d, NULL), 0);
	assert_int_equal(journal_draft_write(d, give_one, ignore_move, &left, NULL), 0);
	assert_true(has_draft());
	return d;
}

/* What a draft holds is the journal when it was adopted, and durable when its name is. */
static void test_draft(void **state)
{
	struct journal *j = create();
	struct journal_draft *d = write_draft(j);
	uint64_t before = add_one(j), seq, later, got;

	hold(0);
	assert_int_equal(journal_request_sync(j, before), 0);
	sem_wait(&held.begun); /* of the old generation */
	assert_int_equal(journal_draft_adopt(j, d, &seq, NULL), 0);
	assert_true(seq > before);
	assert_false(event_there(j));
	sem_post(&held.go);
	sem_wait(&held.begun); /* of the draft, unasked */
	assert_int_equal(journal_synced(j, &got), 0);
	assert_true(got < before);
	later = add_one(j);
	assert_int_equal(journal_request_sync(j, later), 0);
	sem_post(&held.go);
	assert_int_equal(journal_wait(j, seq, NULL), 0);
	sem_wait(&held.begun); /* of what came later */
	assert_int_equal(journal_synced(j, &got), 0);
	assert_int_equal(got, seq);
	sem_post(&held.go);
	fault_watch = NULL;
	journal_draft_free(d);
	journal_free(j);
	assert_false(has_draft());
	expect_entries(2);
}

static int ignore_entry(void *ctx, const struct journal_change *change)
{
	return 0;
}

static void expect_plain(void)
{
	struct journal_header header;
	struct journal *j;
	bool changed;

	assert_int_equal(
		journal_open(dir.dirfd, &header, ignore_entry, NULL, &changed, &j, NULL), 0);
	assert_true(changed); /* what was appended is there */
	journal_free(j);
}

/* Nobody wants it, or the process ends before it is adopted. */
static void test_draft_dropped(void **state)
{
	struct journal *j = create();
	struct journal_draft *d = write_draft(j);
	int fd;

	journal_draft_free(d);
	assert_false(has_draft());
	add_one(j);
	journal_free(j);
	fd = openat(dir.dirfd, "journal.draft", O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	expect_plain();
	assert_false(has_draft());
}

static void test_failed_flush_stays(void **state)
{
	struct journal *j = create();
	uint64_t seq = 0, got;
	int left = 1;

	hold(EIO);
	assert_int_equal(journal_request_sync(j, add_one(j)), 0);
	sem_wait(&held.begun);
	sem_post(&held.go);
	wait_event(j);
	assert_int_equal(journal_synced(j, &seq), -EIO);
	assert_int_equal(seq, 0);
	add_one(j);
	assert_int_equal(journal_request_sync(j, journal_seq(j)), -EIO);
	assert_int_equal(journal_synced(j, &seq), -EIO);
	held.code = 0;
	assert_int_equal(
		journal_rewrite(j, &model_header, give_one, NULL, &left, NULL), 0);
	assert_int_equal(journal_synced(j, &got), 0);
	assert_int_equal(got, journal_seq(j));
	sem_post(&held.go);
	assert_int_equal(model_sync(j, &got), 0);
	journal_free(j);
}

/* Appends, reads of staged bytes, flushes and rewrites at the same time: for TSan, and that
 * no answer is ever missing. */
static void test_busy(void **state)
{
	uint64_t rng = scratch_seed(__func__), seq;
	_cleanup_close_ int data = data_file();
	struct model *m = calloc(1, sizeof(*m)), *back = calloc(1, sizeof(*m));
	struct journal *j = create();
	bool changed;
	int i;

	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, m, &changed, &j, NULL), 0);
	for (i = 0; i < 300; i++) {
		assert_int_equal(model_random_append(m, j, data, &rng, NULL, NULL), 0);
		assert_int_equal(journal_request_sync(j, journal_seq(j)), 0);
		if (i % 50 == 49)
			assert_int_equal(model_rewrite(m, j), 0);
		if (i % 7 == 0)
			assert_int_equal(model_sync(j, &seq), 0);
	}
	assert_int_equal(model_sync(j, &seq), 0);
	assert_int_equal(seq, journal_seq(j));
	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, back, &changed, &j, NULL), 0);
	assert_int_equal(model_digest(back), model_digest(m));
	journal_free(j);
	free(m);
	free(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_missing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_contents, setup, teardown),
		cmocka_unit_test_setup_teardown(test_refuses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many_changes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rewrite, setup, teardown),
		cmocka_unit_test_setup_teardown(test_joined, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rewrite_during_flush, setup, teardown),
		cmocka_unit_test_setup_teardown(test_draft, setup, teardown),
		cmocka_unit_test_setup_teardown(test_draft_dropped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_flush_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
