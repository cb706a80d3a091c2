/* SPDX-License-Identifier: MIT */
/* The mirror never shows bytes that were not stored for that place: not across restarts,
 * failing disks, killed processes, power cuts, nor while threads use it together. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "fuse/mirror.h"
#include "tests/unit/fault.h"
#include "tests/unit/powercut.h"
#include "tests/unit/scratch.h"
#include "util/io.h"

#define SIZE (10 * MIRROR_CHUNK + 1000u) /* the last chunk is short */
#define CHUNKS 11u
/* Everything but write(2), by which the tests make their files. */
#define MIRROR_CALLS (FAULT_ANY & ~(unsigned)FAULT_WRITE)

static struct scratch dir;

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

static struct mirror *open_mirror(void)
{
	struct mirror *m;

	assert_int_equal(mirror_open(dir.dirfd, SIZE, &m, NULL), 0);
	return m;
}

static size_t chunk_len(unsigned i)
{
	return i == CHUNKS - 1 ? SIZE % MIRROR_CHUNK : MIRROR_CHUNK;
}

static void fill(uint8_t *buf, unsigned chunk, unsigned version)
{
	uint64_t state = chunk * 1000u + version;
	size_t i;

	for (i = 0; i < MIRROR_CHUNK; i++)
		buf[i] = (uint8_t)scratch_random(&state);
}

static int store(struct mirror *m, unsigned chunk, unsigned version)
{
	uint8_t buf[MIRROR_CHUNK];

	fill(buf, chunk, version);
	return mirror_store(m, (uint64_t)chunk * MIRROR_CHUNK, buf, chunk_len(chunk));
}

/* The version that is there, -ENODATA, or -EBADMSG for bytes of none up to `max`. */
static int version_of(struct mirror *m, unsigned chunk, unsigned max)
{
	uint8_t buf[MIRROR_CHUNK], want[MIRROR_CHUNK];
	unsigned v;
	int r = mirror_read(m, (uint64_t)chunk * MIRROR_CHUNK, buf, chunk_len(chunk));

	if (r < 0)
		return r;
	for (v = 0; v <= max; v++) {
		fill(want, chunk, v);
		if (memcmp(buf, want, chunk_len(chunk)) == 0)
			return (int)v;
	}
	return -EBADMSG;
}

static void put_next(unsigned version, size_t size)
{
	uint8_t *all = malloc(CHUNKS * MIRROR_CHUNK);
	unsigned i;
	int fd = openat(dir.dirfd, "next", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	for (i = 0; i < CHUNKS; i++)
		fill(all + i * MIRROR_CHUNK, i, version);
	assert_int_equal(io_write_full(fd, all, size), 0);
	close(fd);
	free(all);
}

static void test_presence(void **state)
{
	struct mirror *m = open_mirror();
	uint64_t off = 0, len = 0;
	uint8_t byte[2];

	assert_int_equal(mirror_size(m), SIZE);
	assert_int_equal(mirror_read(m, 0, byte, 1), -ENODATA);
	assert_int_equal(mirror_read(m, 0, byte, 0), 0);
	assert_int_equal(mirror_read(m, SIZE, byte, 1), -EINVAL);
	assert_int_equal(mirror_read(m, UINT64_MAX, byte, 2), -EINVAL);
	assert_false(mirror_has(m, SIZE - 1, 2));
	assert_true(mirror_missing(m, 5000, 1, &off, &len));
	assert_int_equal(off, MIRROR_CHUNK);
	assert_int_equal(len, MIRROR_CHUNK);
	assert_true(mirror_missing(m, 0, SIZE, &off, &len));
	assert_int_equal(off, 0);
	assert_int_equal(len, SIZE);
	assert_int_equal(store(m, 0, 1), 0);
	assert_int_equal(store(m, 3, 1), 0);
	assert_int_equal(store(m, CHUNKS - 1, 1), 0);
	assert_true(mirror_missing(m, 100, SIZE - 100, &off, &len));
	assert_int_equal(off, MIRROR_CHUNK);
	assert_int_equal(len, 2 * MIRROR_CHUNK);
	assert_true(mirror_missing(m, 3 * MIRROR_CHUNK, SIZE - 3 * MIRROR_CHUNK, &off, &len));
	assert_int_equal(off, 4 * MIRROR_CHUNK);
	assert_int_equal(len, 6 * MIRROR_CHUNK);
	assert_true(mirror_has(m, 3 * MIRROR_CHUNK, MIRROR_CHUNK));
	assert_false(mirror_has(m, 3 * MIRROR_CHUNK, MIRROR_CHUNK + 1));
	assert_int_equal(
		mirror_read(m, 4 * MIRROR_CHUNK - 1, byte, 2), -ENODATA);
	assert_int_equal(version_of(m, 3, 1), 1);
	assert_int_equal(version_of(m, CHUNKS - 1, 1), 1);
	/* chunks, whole ones */
	assert_int_equal(mirror_store(m, 1, byte, 1), -EINVAL);
	assert_int_equal(mirror_store(m, 0, byte, 2), -EINVAL);
	assert_int_equal(mirror_store(m, SIZE - 2, byte, 2), -EINVAL);
	assert_int_equal(mirror_forget(m, 3 * MIRROR_CHUNK + 5, 1), 0);
	assert_int_equal(version_of(m, 3, 1), -ENODATA);
	assert_int_equal(mirror_forget(m, SIZE, 1), -EINVAL);
	mirror_free(m);
}

static void test_kept(void **state)
{
	struct mirror *m = open_mirror();

	assert_int_equal(store(m, 1, 1), 0);
	assert_int_equal(store(m, CHUNKS - 1, 1), 0);
	assert_int_equal(mirror_flush(m), 0);
	assert_int_equal(store(m, 2, 1), 0); /* not flushed */
	mirror_free(m);
	m = open_mirror();
	assert_int_equal(version_of(m, 1, 1), 1);
	assert_int_equal(version_of(m, CHUNKS - 1, 1), 1);
	assert_int_equal(version_of(m, 2, 1), -ENODATA);
	assert_int_equal(mirror_forget(m, MIRROR_CHUNK, 1), 0);
	mirror_free(m);
	m = open_mirror();
	assert_int_equal(version_of(m, 1, 1), -ENODATA);
	assert_int_equal(version_of(m, CHUNKS - 1, 1), 1);
	mirror_free(m);
	/* a partition of another size is another partition */
	assert_int_equal(mirror_open(dir.dirfd, SIZE + 1, &m, NULL), 0);
	assert_false(mirror_has(m, SIZE - 1, 1));
	mirror_free(m);
}

static void test_damaged_map(void **state)
{
	struct mirror *m = open_mirror();
	uint64_t off;
	uint8_t *bytes;
	size_t len;
	unsigned i;

	for (i = 0; i < CHUNKS; i++)
		assert_int_equal(store(m, i, 1), 0);
	assert_int_equal(mirror_flush(m), 0);
	mirror_free(m);
	bytes = scratch_get(&dir, "base", &len);
	for (off = CHUNKS * MIRROR_CHUNK; off < len; off++) {
		unsigned there = 0;

		bytes[off] ^= 0x10;
		scratch_put(&dir, "base", bytes, len);
		bytes[off] ^= 0x10;
		m = open_mirror();
		for (i = 0; i < CHUNKS; i++) {
			int v = version_of(m, i, 1);

			assert_true(v == 1 || v == -ENODATA);
			there += v == 1;
		}
		assert_int_equal(there, off < len - CHUNKS ? 0 : CHUNKS - 1);
		mirror_free(m);
	}
	for (off = 0; off < len; off += off < CHUNKS * MIRROR_CHUNK ? 1777 : 1) {
		scratch_put(&dir, "base", bytes, off);
		m = open_mirror();
		assert_false(mirror_has(m, 0, 1));
		mirror_free(m);
	}
	free(bytes);
}

static void seal_next(uint64_t size, const struct romfs_extent *unknown, size_t n)
{
	_cleanup_close_ int fd = openat(dir.dirfd, "next", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(mirror_seal(fd, size, unknown, n), 0);
}

/* What a plan left alone without knowing it is not claimed. */
static void test_adopt_with_gaps(void **state)
{
	const struct romfs_extent unknown[] = {
		{MIRROR_CHUNK + 5, 1}, {3 * MIRROR_CHUNK, MIRROR_CHUNK}};
	struct mirror *m = open_mirror();
	unsigned i;

	put_next(2, SIZE);
	seal_next(SIZE, unknown, ARRAY_SIZE(unknown));
	assert_int_equal(mirror_adopt(m, dir.dirfd, "next", NULL), 0);
	for (unsigned again = 0; again < 2; again++) {
		for (i = 0; i < CHUNKS; i++)
			assert_int_equal(version_of(m, i, 2), i == 1 || i == 3 ? -ENODATA : 2);
		mirror_free(m);
		m = open_mirror();
	}
	mirror_free(m);
}

/* Many ranges, one flush; none of them is there after a crash. */
static void test_forget_list(void **state)
{
	const struct romfs_extent list[] = {{0, 1}, {2 * MIRROR_CHUNK, 2 * MIRROR_CHUNK}};
	struct mirror *m = open_mirror();
	unsigned i;

	for (i = 0; i < 5; i++)
		assert_int_equal(store(m, i, 1), 0);
	assert_int_equal(mirror_flush(m), 0);
	fault_arm(&(struct fault){FAULT_NONE, FAULT_FDATASYNC, 0, false, 0, 0});
	assert_int_equal(mirror_forget_list(m, list, ARRAY_SIZE(list)), 0);
	assert_int_equal(fault_count(), 1);
	fault_disarm();
	for (unsigned again = 0; again < 2; again++) {
		for (i = 0; i < 5; i++)
			assert_int_equal(version_of(m, i, 1), i == 1 || i == 4 ? 1 : -ENODATA);
		mirror_free(m);
		m = open_mirror();
	}
	mirror_free(m);
}

static void test_adopt(void **state)
{
	struct mirror *m = open_mirror();
	struct mirror_file *old;
	uint8_t buf[MIRROR_CHUNK], want[MIRROR_CHUNK];
	unsigned i;

	assert_int_equal(store(m, 4, 1), 0);
	old = mirror_ref(m);
	assert_int_equal(mirror_adopt(m, dir.dirfd, "next", NULL), -ENOENT);
	put_next(2, SIZE);
	assert_int_equal(mirror_adopt(m, dir.dirfd, "next", NULL), -EUCLEAN);
	put_next(2, SIZE - 1);
	seal_next(SIZE - MIRROR_CHUNK, NULL, 0);
	assert_int_equal(mirror_adopt(m, dir.dirfd, "next", NULL), -EUCLEAN);
	assert_int_equal(version_of(m, 4, 2), 1);
	put_next(2, SIZE);
	seal_next(SIZE, NULL, 0);
	assert_int_equal(mirror_adopt(m, dir.dirfd, "next", NULL), 0);
	for (i = 0; i < CHUNKS; i++)
		assert_int_equal(version_of(m, i, 2), 2);
	assert_int_equal(faccessat(dir.dirfd, "next", F_OK, 0), -1);
	/* who holds the old one reads the old one */
	assert_int_equal(mirror_file_size(old), SIZE);
	assert_int_equal(
		io_pread_full(mirror_file_fd(old), buf, sizeof(buf), 4 * MIRROR_CHUNK), 0);
	fill(want, 4, 1);
	assert_memory_equal(buf, want, sizeof(buf));
	mirror_free(m);
	mirror_unref(old);
	m = open_mirror();
	for (i = 0; i < CHUNKS; i++)
		assert_int_equal(version_of(m, i, 2), 2);
	mirror_free(m);
}

/* Flash is changed only after a forget has said 0; then no restart may show what was there
 * before. One call fails, the process dies there, and the next one looks. */
static void test_forget_fails(void **state)
{
	int at;

	for (at = 0; at < 2; at++) {
		struct mirror *m = open_mirror();

		assert_int_equal(store(m, 1, 1), 0);
		assert_int_equal(mirror_flush(m), 0);
		fault_arm(&(struct fault){FAULT_FAIL, MIRROR_CALLS, at, false, EIO, 0});
		assert_int_equal(mirror_forget(m, MIRROR_CHUNK, 1), -EIO);
		assert_int_equal(version_of(m, 1, 1), -ENODATA);
		/* the second try is a real one, and a store does not get around it */
		fault_arm(&(struct fault){FAULT_FAIL, MIRROR_CALLS, 0, false, EIO, 0});
		assert_int_equal(store(m, 1, 2), -EIO);
		fault_arm(&(struct fault){FAULT_NONE, MIRROR_CALLS, 0, false, 0, 0});
		assert_int_equal(mirror_forget(m, MIRROR_CHUNK, 1), 0);
		assert_int_equal(fault_count(), 2);
		fault_disarm();
		mirror_free(m);
		m = open_mirror();
		assert_int_equal(version_of(m, 1, 1), -ENODATA);
		mirror_free(m);
	}
}

static void test_flush_fails(void **state)
{
	struct mirror *m = open_mirror();

	assert_int_equal(store(m, 1, 1), 0);
	fault_arm(&(struct fault){FAULT_FAIL, FAULT_FDATASYNC, 0, false, EIO, 0});
	assert_int_equal(mirror_flush(m), -EIO);
	fault_disarm();
	mirror_free(m);
	m = open_mirror();
	assert_int_equal(version_of(m, 1, 1), -ENODATA);
	mirror_free(m);
}

/* The directory's flush fails after the rename: a power cut may bring the old file back. */
static void test_adopt_directory_fails(void **state)
{
	struct mirror *m = open_mirror();
	struct error err = {0};
	uint8_t *old;
	size_t len;
	unsigned i;

	for (i = 0; i < CHUNKS; i++)
		assert_int_equal(store(m, i, 1), 0);
	assert_int_equal(mirror_flush(m), 0);
	assert_int_equal(linkat(dir.dirfd, "base", dir.dirfd, "old", 0), 0);
	put_next(2, SIZE);
	seal_next(SIZE, NULL, 0);
	fault_arm(&(struct fault){FAULT_FAIL, FAULT_FSYNC, 0, false, EIO, 0});
	assert_int_equal(mirror_adopt(m, dir.dirfd, "next", &err), -EIO);
	fault_disarm();
	assert_true(err.text[0]);
	assert_int_equal(version_of(m, 1, 2), 2);
	mirror_free(m);
	old = scratch_get(&dir, "old", &len);
	scratch_put(&dir, "base", old, len);
	free(old);
	m = open_mirror();
	for (i = 0; i < CHUNKS; i++)
		assert_int_equal(version_of(m, i, 1), -ENODATA);
	mirror_free(m);
}

/* --- SIGKILL -------------------------------------------------------------------------- */

/* What flash holds, as the child has it: chunk i is at flash[i]. It changes a chunk only
 * after a forget, and stores only what flash holds. */
struct world {
	unsigned flash[CHUNKS];
	unsigned version;
};

static bool one_step(struct mirror *m, struct world *w, uint64_t *rng)
{
	unsigned c = (unsigned)(scratch_random(rng) % CHUNKS), i;

	switch (scratch_random(rng) % 8) {
	case 0:
		if (mirror_forget(m, (uint64_t)c * MIRROR_CHUNK, 1) < 0)
			return false;
		w->flash[c] = ++w->version;
		return true;
	case 1:
		/* a commit: all forgotten, flash written, then adopted */
		if (mirror_forget(m, 0, SIZE) < 0)
			return false;
		w->version++;
		for (i = 0; i < CHUNKS; i++)
			w->flash[i] = w->version;
		put_next(w->version, SIZE);
		seal_next(SIZE, NULL, 0);
		return mirror_adopt(m, dir.dirfd, "next", NULL) == 0;
	case 2:
	case 3:
		return mirror_flush(m) == 0;
	default:
		return store(m, c, w->flash[c]) == 0;
	}
}

static void assert_tells_the_truth(struct mirror *m, const struct world *w, int number)
{
	unsigned i;

	for (i = 0; i < CHUNKS; i++) {
		int v = version_of(m, i, w->version + 1);

		if (v != -ENODATA && v != (int)w->flash[i])
			fail_msg("case %d: chunk %u shows %d, flash holds %u", number, i, v,
				w->flash[i]);
	}
}

static void test_killed(void **state)
{
	uint64_t rng = scratch_seed(__func__);
	struct world *w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int round, killed = 0;

	assert_true(w != MAP_FAILED);
	for (round = 0; round < 150; round++) {
		struct fault f = {FAULT_KILL, MIRROR_CALLS,
			(int)(scratch_random(&rng) % 60), false, 0,
			(size_t)(scratch_random(&rng) % 4096)};
		uint64_t seed = scratch_random(&rng);
		struct mirror *m;
		int status, i;
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			fault_arm(&f);
			if (mirror_open(dir.dirfd, SIZE, &m, NULL) < 0)
				_exit(3);
			for (i = 0; i < 40; i++)
				if (!one_step(m, w, &seed))
					_exit(4);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
		killed += WIFSIGNALED(status);
		m = open_mirror();
		assert_tells_the_truth(m, w, round);
		mirror_free(m);
	}
	print_message("%d killed\n", killed);
	assert_true(killed > 50);
	munmap(w, sizeof(*w));
}

static void test_power_cuts(void **state)
{
	uint64_t seed = scratch_seed(__func__);
	int round, i, there = 0;
	unsigned c;

	for (round = 0; round < 200; round++) {
		uint64_t rng = seed + (uint64_t)round;
		struct mirror *m = open_mirror();
		struct mirror_file *file = mirror_ref(m);
		struct world w = {.version = 0};

		powercut_start(mirror_file_fd(file));
		for (i = 0; i < 30; i++) {
			uint64_t before = rng;

			/* adoption makes another file; that is for the kill test */
			(void)scratch_random(&before);
			if (scratch_random(&before) % 8 == 1)
				rng++;
			else
				assert_true(one_step(m, &w, &rng));
		}
		powercut_stop();
		mirror_unref(file);
		mirror_free(m);
		powercut_leave(&dir, "base", &rng);
		m = open_mirror();
		assert_tells_the_truth(m, &w, round);
		for (c = 0; c < CHUNKS; c++)
			there += mirror_has(m, (uint64_t)c * MIRROR_CHUNK, 1);
		mirror_free(m);
		assert_int_equal(unlinkat(dir.dirfd, "base", 0), 0);
	}
	print_message("%d chunks found again\n", there);
	assert_true(there > 100); /* it is worth having */
}

/* --- threads -------------------------------------------------------------------------- */

static void *store_all(void *data)
{
	struct mirror *m = data;
	unsigned i;

	for (i = 0; i < CHUNKS; i++)
		if (store(m, i, 1) < 0 || (i % 3 == 0 && mirror_flush(m) < 0))
			return m;
	return NULL;
}

static void test_threads(void **state)
{
	int round;

	for (round = 0; round < 30; round++) {
		struct mirror *m = open_mirror();
		pthread_t thread;
		uint64_t off, len;
		void *failed;
		unsigned i;

		assert_int_equal(mirror_forget(m, 0, SIZE), 0);
		assert_int_equal(pthread_create(&thread, NULL, store_all, m), 0);
		while (mirror_missing(m, 0, SIZE, &off, &len)) {
			for (i = 0; i < CHUNKS; i++) {
				int v = version_of(m, i, 1);

				assert_true(v == 1 || v == -ENODATA);
			}
			mirror_unref(mirror_ref(m));
		}
		assert_int_equal(pthread_join(thread, &failed), 0);
		assert_null(failed);
		mirror_free(m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_presence, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged_map, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forget_list, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopt, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopt_with_gaps, setup, teardown),
		cmocka_unit_test_setup_teardown(test_forget_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flush_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_adopt_directory_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_power_cuts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
