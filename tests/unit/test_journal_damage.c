/* SPDX-License-Identifier: MIT */
/* Whatever bytes the journal's file holds: a prefix of the changes or a clear error, and
 * never a change that was not made. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/journal_frame.h"
#include "tests/unit/fault.h"
#include "tests/unit/journal_model.h"
#include "util/bytes.h"
#include "util/io.h"

#define FRAMES 14
#define FLUSHED 9 /* frames that were on disk, and known to be by those after them */

static struct scratch dir;

/* A journal as bytes, and what it says after each of its frames. */
static struct sample {
	uint8_t *bytes;
	size_t len;
	uint64_t end[FRAMES + 1]; /* end[0]: of the checkpoint */
	uint32_t digest[FRAMES + 1];
} sample;

static void make_sample(uint64_t seed, bool flush_all)
{
	struct model *m = calloc(1, sizeof(*m));
	uint64_t rng = seed, seq;
	struct journal *j;
	bool changed;
	int data, i;

	data = openat(dir.dirfd, "data", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(journal_create(dir.dirfd, &model_header, &j, NULL), 0);
	journal_free(j);
	assert_int_equal(model_open(dir.dirfd, m, &changed, &j, NULL), 0);
	sample.end[0] = journal_bytes(j);
	sample.digest[0] = model_digest(m);
	for (i = 1; i <= FRAMES; i++) {
		assert_int_equal(model_random_append(m, j, data, &rng, NULL, NULL), 0);
		sample.end[i] = journal_bytes(j);
		sample.digest[i] = model_digest(m);
		if (i == FLUSHED || (flush_all && i == FRAMES))
			assert_int_equal(model_sync(j, &seq), 0);
	}
	free(sample.bytes);
	sample.bytes = scratch_get(&dir, "journal", &sample.len);
	if (sample.len > sample.end[FRAMES] + 4096)
		sample.len = sample.end[FRAMES] + 4096;
	journal_free(j);
	free(m);
	close(data);
}

static int setup(void **state)
{
	fault_disarm();
	fault_no_flush = true;
	scratch_make(&dir);
	return 0;
}

static int teardown(void **state)
{
	scratch_remove(&dir);
	return 0;
}

/* 0 and the frames replayed, with the bytes that were cut; or the error. */
static int try_open(const uint8_t *bytes, size_t len, int *frames, uint64_t *cut)
{
	static struct model m;
	struct error err = {0};
	struct journal *j;
	bool changed;
	int r, i;

	scratch_put(&dir, "journal", bytes, len);
	r = model_open(dir.dirfd, &m, &changed, &j, &err);
	if (r < 0) {
		size_t now;
		uint8_t *left = scratch_get(&dir, "journal", &now);

		assert_true(err.code == r && err.text[0]);
		assert_int_equal(now, len);
		assert_memory_equal(left, bytes, len);
		free(left);
		return r;
	}
	for (i = FRAMES; i >= 0 && sample.end[i] != journal_bytes(j); i--)
		;
	assert_true(i >= 0);
	assert_int_equal(model_digest(&m), sample.digest[i]);
	assert_int_equal(changed, i > 0);
	*frames = i;
	*cut = journal_cut(j);
	journal_free(j);
	return 0;
}

static int frame_at(uint64_t off)
{
	int i;

	for (i = 0; i <= FRAMES; i++)
		if (off < sample.end[i])
			return i;
	return FRAMES + 1;
}

/* Positions worth trying: all of them in small frames and at both ends of large ones. */
static bool worth(uint64_t off)
{
	int i = frame_at(off);
	uint64_t from, to;

	if (i == 0 || i > FRAMES)
		return true;
	from = sample.end[i - 1];
	to = sample.end[i];
	return off - from < 120 || to - off < 20 || off % 1009 == 0;
}

static void test_truncated(void **state)
{
	uint64_t cut, seed = scratch_seed(__func__);
	size_t len;
	int got;

	make_sample(seed, true);
	for (len = 0; len <= sample.end[FRAMES] + 60; len++) {
		int want = frame_at(len) - 1;
		int r;

		if (!worth(len))
			continue;
		r = try_open(sample.bytes, len, &got, &cut);
		if (want < 0) {
			assert_int_equal(r, -EUCLEAN);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(got, want);
		if (want < FRAMES) /* behind the last stands the mark */
			assert_int_equal(cut == 0, len == sample.end[want]);
		/* and what was cut off stays so */
		if (len % 50 == 0) {
			size_t now;
			uint8_t *left = scratch_get(&dir, "journal", &now);

			assert_int_equal(try_open(left, now, &got, &cut), 0);
			assert_int_equal(got, want);
			assert_int_equal(cut, 0);
			free(left);
		}
	}
}

static void test_flipped(void **state)
{
	uint64_t cut, seed = scratch_seed(__func__), rng = seed;
	size_t off;
	int got, all;

	for (all = 0; all < 2; all++) {
		make_sample(seed + (uint64_t)all, all);
		for (off = 0; off < sample.end[FRAMES]; off++) {
			uint8_t was = sample.bytes[off];
			int hit = frame_at(off), r;

			if (!worth(off))
				continue;
			sample.bytes[off] ^= (uint8_t)(1 + scratch_random(&rng) % 255);
			r = try_open(sample.bytes, sample.len, &got, &cut);
			sample.bytes[off] = was;
			if (all || hit <= FLUSHED) {
				assert_int_equal(r, -EUCLEAN);
				continue;
			}
			assert_int_equal(r, 0);
			assert_int_equal(got, hit - 1);
			assert_true(cut > 0);
		}
	}
}

/* A mark that is damaged costs nothing: it is only a witness. */
static void test_flipped_mark(void **state)
{
	uint64_t cut, seed = scratch_seed(__func__);
	size_t off;
	int got;

	make_sample(seed, true);
	for (off = sample.end[FRAMES]; off < sample.end[FRAMES] + 48; off++) {
		sample.bytes[off] ^= 0x41;
		assert_int_equal(try_open(sample.bytes, sample.len, &got, &cut), 0);
		assert_int_equal(got, FRAMES);
		sample.bytes[off] ^= 0x41;
	}
}

/* Frames of another generation are none, wherever they stand. */
static void test_other_generation(void **state)
{
	uint64_t cut, seed = scratch_seed(__func__);
	_cleanup_free_ uint8_t *old = NULL, *mixed = NULL;
	uint64_t from;
	int got;

	make_sample(seed, true);
	old = malloc(sample.len);
	memcpy(old, sample.bytes, sample.len);
	from = sample.end[FLUSHED];
	make_sample(seed, true); /* the same changes, to the byte, but for the generation */
	assert_int_equal(sample.end[FLUSHED], from);
	mixed = malloc(sample.len);
	memcpy(mixed, sample.bytes, from);
	memcpy(mixed + from, old + from, sample.len - from);
	assert_int_equal(try_open(mixed, sample.len, &got, &cut), 0);
	assert_int_equal(got, FLUSHED);
	assert_true(cut > 0);
}

/* A frame that was dropped as part of a torn tail must not come back when the frame before
 * it is written anew with the same length. */
static void test_no_resurrection(void **state)
{
	struct journal_change c = {.entry = {.id = 2, .parent = 1, .name = "a"}};
	_cleanup_free_ uint8_t *bytes = NULL;
	struct model *m = calloc(1, sizeof(*m));
	struct journal *j, *next;
	uint64_t seq, at;
	bool changed;
	size_t len;

	assert_int_equal(journal_create(dir.dirfd, &model_header, &j, NULL), 0);
	at = journal_bytes(j);
	assert_int_equal(journal_append(j, &c, 1, &seq, NULL), 0);
	c.entry.name = "b";
	assert_int_equal(journal_append(j, &c, 1, &seq, NULL), 0);
	bytes = scratch_get(&dir, "journal", &len);
	journal_free(j);
	bytes[at] ^= 1;
	scratch_put(&dir, "journal", bytes, len);
	assert_int_equal(model_open(dir.dirfd, m, &changed, &j, NULL), 0);
	assert_false(changed);
	c.entry.name = "c";
	assert_int_equal(journal_append(j, &c, 1, &seq, NULL), 0);
	/* as after a SIGKILL: nothing was tidied up */
	assert_int_equal(model_open(dir.dirfd, m, &changed, &next, NULL), 0);
	assert_string_equal(m->nodes[2].name, "c");
	journal_free(next);
	journal_free(j);
	free(m);
}

/* A whole frame at another's place is none. */
static void test_order(void **state)
{
	struct journal_change c = {.entry = {.id = 2, .parent = 1, .name = "a"}};
	_cleanup_free_ uint8_t *bytes = NULL;
	struct model *m = calloc(1, sizeof(*m));
	struct journal *j;
	uint64_t seq, at[4];
	bool changed;
	size_t len;
	int i;

	assert_int_equal(journal_create(dir.dirfd, &model_header, &j, NULL), 0);
	for (i = 0; i < 4; i++) {
		at[i] = journal_bytes(j);
		c.entry.id = (uint64_t)i + 2;
		assert_int_equal(journal_append(j, &c, 1, &seq, NULL), 0);
	}
	bytes = scratch_get(&dir, "journal", &len);
	journal_free(j);
	memcpy(bytes + at[1], bytes + at[2], at[3] - at[2]);
	scratch_put(&dir, "journal", bytes, len);
	assert_int_equal(model_open(dir.dirfd, m, &changed, &j, NULL), 0);
	assert_true(m->nodes[2].there);
	for (i = 3; i < 6; i++)
		assert_false(m->nodes[i].there);
	assert_true(journal_cut(j) > 0);
	journal_free(j);
	free(m);
}

/* --- hostile bytes under right checksums -------------------------------------------- */

static int check_change(void *ctx, const struct journal_change *c)
{
	const struct journal_entry *e = &c->entry;
	const uint64_t *len = ctx;

	assert_true(e->id != 0);
	if (c->kind == JOURNAL_DROP)
		return 0;
	assert_true(strlen(e->name) <= 255 && !strchr(e->name, '/'));
	assert_true((e->id == 1) == (e->name[0] == '\0'));
	assert_true(e->type <= 1);
	if (e->content.kind == CONTENT_LOG)
		assert_true(e->content.off <= *len &&
			    e->content.size <= *len - e->content.off);
	if (e->content.kind == CONTENT_BASE)
		assert_true(e->content.off <= model_header.size &&
			    e->content.size <= model_header.size - e->content.off);
	return 0;
}

static void test_hostile(void **state)
{
	static const uint64_t nasty[] = {0, 1, 7, 8, 0x7fffffff, 0x80000000, UINT32_MAX,
		INT64_MAX, 1ull << 63, UINT64_MAX - 7, UINT64_MAX};
	uint64_t seed = scratch_seed(__func__), rng = seed;
	unsigned refused = 0, taken = 0;
	int round;

	make_sample(seed, true);
	for (round = 0; round < 4000; round++) {
		size_t f = (size_t)(scratch_random(&rng) % (FRAMES + 1)), at, k;
		_cleanup_free_ uint8_t *b = malloc(sample.len);
		uint64_t start = f ? sample.end[f - 1] : 256, len = sample.len;
		struct journal_header header;
		struct journal *j;
		uint64_t flen;
		bool changed;
		int r;

		memcpy(b, sample.bytes, sample.len);
		flen = sample.end[f] - start;
		for (k = 1 + scratch_random(&rng) % 3; k; k--) {
			at = 8 + (size_t)(scratch_random(&rng) % (MIN(flen, 300) - 16));
			if (scratch_random(&rng) % 2)
				b[start + at] = (uint8_t)scratch_random(&rng);
			else
				bytes_put_le64(b + start + at / 8 * 8,
					nasty[scratch_random(&rng) % ARRAY_SIZE(nasty)]);
		}
		/* the checksum over what the frame now says is its length, where it can be */
		flen = bytes_get_le64(b + start + 8);
		if (flen < 48 || flen > sample.len - start)
			flen = sample.end[f] - start;
		bytes_put_le32(b + start + 4, journal_crc(0, b + start + 8, flen - 8));
		scratch_put(&dir, "journal", b, sample.len);
		r = journal_open(
			dir.dirfd, &header, check_change, &len, &changed, &j, NULL);
		assert_true(r == 0 || r == -EUCLEAN);
		r == 0 ? taken++ : refused++;
		if (r == 0)
			journal_free(j);
	}
	print_message("%u refused, %u taken\n", refused, taken);
	assert_true(refused && taken);
}

/* The same for the header. */
static void test_hostile_header(void **state)
{
	uint64_t seed = scratch_seed(__func__), rng = seed;
	int round;

	make_sample(seed, true);
	for (round = 0; round < 1500; round++) {
		_cleanup_free_ uint8_t *b = malloc(sample.len);
		size_t at = 16 + (size_t)(scratch_random(&rng) % 200);
		uint64_t len = sample.len;
		struct journal_header header;
		struct journal *j;
		bool changed;
		int r;

		memcpy(b, sample.bytes, sample.len);
		b[at] = (uint8_t)scratch_random(&rng);
		if (scratch_random(&rng) % 4 == 0)
			bytes_put_le64(b + at / 8 * 8, UINT64_MAX - scratch_random(&rng) % 9);
		bytes_put_le32(b + 12, 0);
		bytes_put_le32(b + 12, journal_crc(0, b, 256));
		scratch_put(&dir, "journal", b, sample.len);
		r = journal_open(
			dir.dirfd, &header, check_change, &len, &changed, &j, NULL);
		if (r == 0) {
			assert_true(strlen(header.board) < sizeof(header.board));
			journal_free(j);
		} else {
			assert_int_equal(r, -EUCLEAN);
		}
	}
}

static void test_other_version(void **state)
{
	uint64_t cut;
	int got;

	make_sample(1, true);
	bytes_put_le32(sample.bytes + 8, 2);
	bytes_put_le32(sample.bytes + 12, 0);
	bytes_put_le32(sample.bytes + 12, journal_crc(0, sample.bytes, 256));
	assert_int_equal(
		try_open(sample.bytes, sample.len, &got, &cut), -EPROTONOSUPPORT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flipped, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flipped_mark, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_generation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_resurrection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_header, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_version, setup, teardown),
	};
	int r = cmocka_run_group_tests(tests, NULL, NULL);

	free(sample.bytes);
	return r;
}
