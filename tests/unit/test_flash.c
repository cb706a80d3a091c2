/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/flash.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"
#include "util/io.h"

#define BLOCK 4096u
#define BLOCKS 8u
#define SIZE (BLOCK * BLOCKS)

struct bed {
	struct rig rig; /* for its directory and its image file */
	int dirfd, next_fd;
	struct link *link;
	struct flash *flash;
	struct mirror *mirror;
	struct error err;
};

static struct flash *new_flash(struct bed *b, bool is_image)
{
	const struct flash_options o = {.path = is_image ? b->rig.image : NULL,
		.link = is_image ? NULL : b->link,
		.cancel_fd = -1};
	struct flash *f;

	assert_int_equal(flash_new(&o, &f), 0);
	return f;
}

static int setup(void **state)
{
	static struct bed bed;
	struct bed *b = &bed;

	fault_no_flush = true;
	*b = (struct bed){0};
	rig_make(&b->rig, SIZE);
	fakeboard_make(SIZE, BLOCK);
	b->dirfd = open(b->rig.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	b->next_fd = openat(b->dirfd, "next", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	b->link = rig_link(&b->rig, NULL);
	b->flash = new_flash(b, false);
	*state = b;
	if (mirror_open(b->dirfd, SIZE, &b->mirror, &b->err) < 0)
		return -1;
	flash_set_mirror(b->flash, b->mirror);
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	flash_free(b->flash);
	link_free(b->link);
	mirror_free(b->mirror);
	close(b->next_fd);
	close(b->dirfd);
	fakeboard_remove();
	rig_remove(&b->rig);
	return 0;
}

/* --- connecting ------------------------------------------------------------------------ */

static void test_image_is_locked(void **state)
{
	struct bed *b = *state;
	struct flash *one = new_flash(b, true), *two = new_flash(b, true);

	assert_int_equal(flash_connect(one, &b->err), 0);
	assert_false(flash_is_connected(one)); /* nothing that idleness should close */
	assert_null(flash_board(one));
	assert_int_equal(flash_geometry(one)->size, SIZE);
	assert_int_equal(flash_connect(two, &b->err), -EBUSY);
	assert_int_equal(flash_disconnect(one, NULL), 0);
	error_clear(&b->err);
	assert_int_equal(flash_connect(two, &b->err), -EBUSY); /* as long as it is used */
	flash_free(one);
	error_clear(&b->err);
	assert_int_equal(flash_connect(two, &b->err), 0);
	flash_free(two);
}

static void test_learns_once(void **state)
{
	struct bed *b = *state;

	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	assert_int_equal(fakeboard.opens, 1);
	assert_true(flash_is_connected(b->flash));
	assert_string_equal(flash_board(b->flash)->unique_id, "0badcafe");
	assert_int_equal(flash_disconnect(b->flash, &b->err), 0);
	assert_false(flash_is_connected(b->flash));
	assert_int_equal(fakeboard.closes, 1);
	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	assert_int_equal(fakeboard.opens, 2);
}

static void test_another_board(void **state)
{
	struct bed *b = *state;

	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	assert_int_equal(flash_disconnect(b->flash, &b->err), 0);
	snprintf(fakeboard.info.unique_id, sizeof(fakeboard.info.unique_id), "another");
	assert_int_equal(flash_connect(b->flash, &b->err), -ENODEV);
	assert_non_null(strstr(b->err.text, "another"));
	assert_false(flash_is_connected(b->flash));
	assert_int_equal(fakeboard.closes, 2); /* that one runs its program again */
	snprintf(fakeboard.info.unique_id, sizeof(fakeboard.info.unique_id), "0badcafe");
	fakeboard.geometry.size = SIZE / 2;
	error_clear(&b->err);
	assert_int_equal(flash_connect(b->flash, &b->err), -ENODEV);
	fakeboard.geometry.size = SIZE;
	error_clear(&b->err);
	assert_int_equal(flash_connect(b->flash, &b->err), 0);
}

/* --- the mirror ------------------------------------------------------------------------ */

static void test_fetch(void **state)
{
	struct bed *b = *state;
	uint8_t buf[100];

	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	rig_fill(fakeboard.flash + BLOCK, 2 * BLOCK, 1);
	assert_int_equal(flash_fetch(b->flash, BLOCK + 50, 10, &b->err), 0);
	assert_int_equal(mirror_read(b->mirror, BLOCK, buf, 100), 0);
	assert_memory_equal(buf, fakeboard.flash + BLOCK, 100);
	assert_false(mirror_has(b->mirror, 2 * BLOCK, 1)); /* what was asked for alone */
	assert_int_equal(fakeboard.reads, 1);
	assert_int_equal(flash_fetch(b->flash, BLOCK, BLOCK, &b->err), 0);
	assert_int_equal(fakeboard.reads, 1);
	assert_int_equal(flash_fetch(b->flash, 4 * BLOCK, 4 * BLOCK, &b->err), 0);
	assert_int_equal(fakeboard.reads, 2); /* in one piece */
	assert_int_equal(mirror_read(b->mirror, 5 * BLOCK, buf, 1), 0);
	assert_int_equal(buf[0], 0xFF);
	assert_int_equal(fakeboard.hashes, 0); /* none of it is asked for first */
	assert_int_equal(flash_fetch(b->flash, SIZE, 1, &b->err), -EINVAL);
	error_clear(&b->err);
	assert_int_equal(flash_fetch(b->flash, UINT64_MAX, 2, &b->err), -EINVAL);
}

/* Free space is asked about once, in few requests: what is blank is known then, what is not is
 * left unknown, and what the image uses is none of its business. */
static void test_find_blank(void **state)
{
	struct bed *b = *state;
	struct romfs_extent meta[] = {{BLOCK, 10}};
	struct romfs_image image = {.meta = meta, .n_meta = 1};

	assert_int_equal(romfs_tree_new(&image.tree), 0);
	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	rig_fill(fakeboard.flash + 3 * BLOCK + 9, 2, 1);
	assert_int_equal(flash_find_blank(b->flash, &image, &b->err), 1);
	/* In front of what is used, and behind; there once more, since it is not all blank. */
	assert_int_equal(fakeboard.hashes, 3);
	assert_int_equal(fakeboard.reads, 0);
	for (unsigned i = 0; i < BLOCKS; i++)
		assert_int_equal(mirror_has(b->mirror, i * BLOCK, BLOCK), i != 1 && i != 3);
	assert_int_equal(flash_find_blank(b->flash, &image, &b->err), 0);
	assert_int_equal(fakeboard.hashes, 3);
	romfs_tree_free(image.tree);
}

static void test_fetch_fails(void **state)
{
	struct bed *b = *state;

	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	fakeboard.flash[0] = 1;
	fakeboard.read_result = -ETIMEDOUT;
	assert_int_equal(flash_fetch(b->flash, 0, SIZE, &b->err), -ETIMEDOUT);
	assert_non_null(strstr(b->err.text, "does not answer"));
	assert_false(mirror_has(b->mirror, 0, 1));
	fakeboard.open_result = -ENODEV;
	assert_int_equal(flash_disconnect(b->flash, NULL), 0);
	error_clear(&b->err);
	assert_int_equal(flash_fetch(b->flash, 0, SIZE, &b->err), -ENODEV);
}

static void note_difference(void *ctx, uint64_t off, uint64_t len)
{
	uint64_t *seen = ctx;

	seen[0]++;
	seen[1] = off;
	seen[2] = len;
}

static void test_compare(void **state)
{
	struct bed *b = *state;
	const struct romfs_extent parts[] = {{0, 100}, {3 * BLOCK, BLOCK}};
	uint64_t seen[3] = {0};

	rig_fill(fakeboard.flash, SIZE, 1);
	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	assert_int_equal(flash_fetch(b->flash, 0, SIZE, &b->err), 0);
	assert_int_equal(
		flash_compare(b->flash, parts, 2, note_difference, seen, &b->err), 0);
	assert_int_equal(seen[0], 0);
	fakeboard.flash[100]++; /* not looked at */
	fakeboard.flash[4 * BLOCK - 1]++;
	assert_int_equal(
		flash_compare(b->flash, parts, 2, note_difference, seen, &b->err), 0);
	assert_int_equal(seen[0], 1);
	assert_int_equal(seen[1], 3 * BLOCK);
	assert_int_equal(seen[2], BLOCK);
}

/* --- after a cut ----------------------------------------------------------------------- */

/* Block by block: base, next, blank, neither; then base in both, blank in the base. */
static void make_mixture(struct bed *b)
{
	_cleanup_free_ uint8_t *next = malloc(SIZE);

	rig_fill(fakeboard.flash, 5 * BLOCK, 1);
	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	assert_int_equal(flash_fetch(b->flash, 0, SIZE, &b->err), 0);
	rig_fill(next, SIZE, 2);
	memcpy(next + 4 * BLOCK, fakeboard.flash + 4 * BLOCK, BLOCK);
	assert_int_equal(io_pwrite_full(b->next_fd, next, SIZE, 0), 0);
	memcpy(fakeboard.flash + BLOCK, next + BLOCK, BLOCK);
	memset(fakeboard.flash + 2 * BLOCK, 0xFF, BLOCK);
	memset(fakeboard.flash + 3 * BLOCK, 0x55, BLOCK);
}

static void test_survey(void **state)
{
	struct bed *b = *state;
	struct flash_census census;
	struct romfs_source now = flash_now_source(b->flash);
	uint8_t have[2 * BLOCK], next[BLOCK];

	make_mixture(b);
	assert_int_equal(io_pread_full(b->next_fd, next, BLOCK, BLOCK), 0);
	assert_int_equal(flash_survey(b->flash, dup(b->next_fd), false, &census, &b->err), 0);
	assert_int_equal(census.base, 5);
	assert_int_equal(census.next, 1);
	assert_int_equal(census.blank, 1);
	assert_int_equal(census.unknown, 1);
	assert_true(flash_is_mixed(b->flash));
	assert_true(flash_holds_base(b->flash, 0, BLOCK));
	assert_false(flash_holds_base(b->flash, BLOCK - 1, 2));
	assert_false(flash_holds_base(b->flash, 2 * BLOCK, 1));
	assert_true(flash_holds_base(b->flash, 4 * BLOCK, 4 * BLOCK));
	assert_true(flash_holds_base(b->flash, 2 * BLOCK, 0));
	/* Across the border of two blocks of different origin. */
	assert_int_equal(now.read(now.ctx, BLOCK / 2, have, BLOCK, &b->err), 0);
	assert_memory_equal(have, fakeboard.flash + BLOCK / 2, BLOCK / 2);
	assert_memory_equal(have + BLOCK / 2, next, BLOCK / 2);
	assert_int_equal(now.read(now.ctx, 2 * BLOCK, have, BLOCK, &b->err), 0);
	assert_int_equal(have[17], 0xFF);
	assert_int_equal(now.read(now.ctx, 3 * BLOCK - 1, have, 2, &b->err), -ENODATA);
	flash_settled(b->flash);
	assert_false(flash_is_mixed(b->flash));
	assert_true(flash_holds_base(b->flash, BLOCK, 1));
}

static void test_survey_without_next(void **state)
{
	struct bed *b = *state;
	struct flash_census census;

	make_mixture(b);
	assert_int_equal(flash_survey(b->flash, -1, false, &census, &b->err), 0);
	assert_int_equal(census.next, 0);
	assert_int_equal(census.unknown, 2);
}

/* A survey that cannot be made leaves flash in doubt. */
static void test_survey_fails(void **state)
{
	struct bed *b = *state;
	struct flash_census census;

	make_mixture(b);
	flash_set_mixed(b->flash);
	assert_int_equal(flash_disconnect(b->flash, NULL), 0);
	fakeboard.open_result = -ENODEV;
	assert_int_equal(flash_survey(b->flash, dup(b->next_fd), false, &census, &b->err), -ENODEV);
	assert_true(flash_is_mixed(b->flash));
	assert_false(flash_holds_base(b->flash, 0, 1));
}

/* What flash lost before it was read does not come into the mirror as something else. */
static void test_nothing_fetched_from_a_mixture(void **state)
{
	struct bed *b = *state;

	rig_fill(fakeboard.flash, SIZE, 1);
	assert_int_equal(flash_connect(b->flash, &b->err), 0);
	flash_set_mixed(b->flash);
	assert_int_equal(flash_fetch(b->flash, 0, BLOCK, &b->err), -EIO);
	assert_false(mirror_has(b->mirror, 0, 1));
}

/* --- plans ----------------------------------------------------------------------------- */

static struct romfs_op ops[] = {
	{.kind = ROMFS_OP_ERASE, .off = BLOCK, .len = 2 * BLOCK},
	{.kind = ROMFS_OP_PROGRAM, .off = BLOCK, .len = 5000, .src = BLOCK},
	{.kind = ROMFS_OP_CHECK, .off = 4, .len = 4 * BLOCK - 4, .src = 4},
	{.kind = ROMFS_OP_PROGRAM, .off = 0, .len = 4, .src = 0},
	{.kind = ROMFS_OP_CHECK, .off = 0, .len = 4, .src = 0},
};
static struct romfs_extent touched[] = {{0, 4}, {BLOCK, 2 * BLOCK}};
static const struct romfs_plan plan = {.ops = ops,
	.n_ops = ARRAY_SIZE(ops),
	.way = ROMFS_WAY_REPLACE,
	.touched = touched,
	.n_touched = ARRAY_SIZE(touched)};

static int execute(
	struct bed *b, const struct romfs_plan *p, struct flash_progress *progress)
{
	const struct romfs_source want = romfs_source_fd(&b->next_fd, SIZE);

	return flash_execute(b->flash, p, b->next_fd, &want, progress, &b->err);
}


static void make_plan(struct bed *b)
{
	_cleanup_free_ uint8_t *next = malloc(SIZE);

	memset(next, 0xFF, SIZE);
	rig_fill(next + BLOCK, 5000, 2);
	memset(next, 0xA5, 4);
	assert_int_equal(io_pwrite_full(b->next_fd, next, SIZE, 0), 0);
}

static void test_execute(void **state)
{
	struct bed *b = *state;
	struct flash_progress progress = {0};
	_cleanup_free_ uint8_t *next = malloc(SIZE);

	make_plan(b);
	memset(fakeboard.flash + BLOCK, 0, 2 * BLOCK);
	assert_int_equal(
		execute(b, &plan, &progress), 0);
	assert_int_equal(io_pread_full(b->next_fd, next, SIZE, 0), 0);
	assert_memory_equal(fakeboard.flash, next, SIZE);
	assert_int_equal(fakeboard.finishes, 1);
	assert_int_equal(progress.done, progress.total);
	assert_int_equal(progress.total, 2 * BLOCK + 5004);
	assert_true(flash_is_mixed(b->flash)); /* until somebody settles it */
}

/* The last operation, which makes the image valid, is not done on bytes that are wrong. */
static void test_execute_verifies_before_the_last(void **state)
{
	struct bed *b = *state;
	struct flash_progress progress = {0};

	make_plan(b);
	fakeboard.fault_at = 1;
	fakeboard.fault_count = 1;
	fakeboard.fault = FAKEBOARD_SILENT;
	assert_int_equal(
		execute(b, &plan, &progress), -EIO);
	assert_int_equal(fakeboard.programs, 1);
	assert_int_equal(fakeboard.flash[0], 0xFF);
	assert_int_equal(fakeboard.finishes, 0);
	assert_true(flash_is_mixed(b->flash));
}

static void test_execute_verifies_the_last(void **state)
{
	struct bed *b = *state;
	struct flash_progress progress = {0};

	make_plan(b);
	fakeboard.fault_at = 2;
	fakeboard.fault_count = 1;
	fakeboard.fault = FAKEBOARD_SILENT;
	assert_int_equal(
		execute(b, &plan, &progress), -EIO);
}

/* A neighbour that was erased along with a block is found. */
static void test_execute_verifies_neighbours(void **state)
{
	struct bed *b = *state;
	struct flash_progress progress = {0};

	make_plan(b);
	fakeboard.flash[3 * BLOCK + 7] = 0;
	assert_int_equal(
		execute(b, &plan, &progress), -EIO);
	assert_int_equal(fakeboard.flash[0], 0xFF);
}

static void test_execute_nothing(void **state)
{
	static const struct romfs_plan nothing = {0};
	struct bed *b = *state;
	struct flash_progress progress = {0};

	assert_int_equal(
		execute(b, &nothing, &progress), 0);
	assert_int_equal(fakeboard.opens, 0);
	assert_false(flash_is_mixed(b->flash));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_image_is_locked),
		TEST(test_learns_once),
		TEST(test_another_board),
		TEST(test_fetch),
		TEST(test_find_blank),
		TEST(test_fetch_fails),
		TEST(test_compare),
		TEST(test_survey),
		TEST(test_survey_without_next),
		TEST(test_survey_fails),
		TEST(test_nothing_fetched_from_a_mixture),
		TEST(test_execute),
		TEST(test_execute_verifies_before_the_last),
		TEST(test_execute_verifies_the_last),
		TEST(test_execute_verifies_neighbours),
		TEST(test_execute_nothing),
	};

	return cmocka_run_group_tests_name("flash", tests, NULL, NULL);
}
