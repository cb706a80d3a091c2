/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/intent.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"
#include "util/io.h"

#define SIZE 116 /* FORMAT.md */

struct dir {
	struct rig rig; /* for its directory */
	int fd;
};

static int make_dir(void **state)
{
	static struct dir d;

	rig_make(&d.rig, 4096);
	d.fd = open(d.rig.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	*state = &d;
	return d.fd < 0 ? -1 : 0;
}

static int remove_dir(void **state)
{
	struct dir *d = *state;

	close(d->fd);
	rig_remove(&d->rig);
	return 0;
}

static struct intent sample(void)
{
	struct intent i = {.strangers = 0x123456789AB, .next_name = "next-0badcafe"};

	memset(i.base, 0xAB, sizeof(i.base));
	memset(i.next, 0xCD, sizeof(i.next));
	return i;
}

static void touch(const struct dir *d, const char *name)
{
	int fd = openat(d->fd, name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static bool exists(const struct dir *d, const char *name)
{
	return faccessat(d->fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void test_round_trip(void **state)
{
	const struct dir *d = *state;
	struct intent i = sample(), back = {0};

	assert_int_equal(intent_read(d->fd, &back), -ENOENT);
	assert_int_equal(intent_write(d->fd, &i), 0);
	assert_int_equal(intent_read(d->fd, &back), 0);
	assert_memory_equal(&i, &back, sizeof(i));
	i.strangers = 7; /* the next one takes its place */
	assert_int_equal(intent_write(d->fd, &i), 0);
	assert_int_equal(intent_read(d->fd, &back), 0);
	assert_int_equal(back.strangers, 7);
	intent_remove(d->fd);
	assert_int_equal(intent_read(d->fd, &back), -ENOENT);
	memset(i.next_name, 0, sizeof(i.next_name)); /* of a commit by appending */
	fault_arm(&(struct fault){FAULT_NONE, FAULT_FDATASYNC | FAULT_FSYNC, 0, false, 0, 0});
	assert_int_equal(intent_write(d->fd, &i), 0);
	assert_int_equal(fault_count(), 1);
	fault_disarm();
	assert_int_equal(intent_read(d->fd, &back), 0);
	assert_memory_equal(&i, &back, sizeof(i));
	assert_true(intent_is_light(&back));
}

static void test_every_damaged_byte_is_seen(void **state)
{
	const struct dir *d = *state;
	struct intent i = sample(), back;
	_cleanup_close_ int fd = -1;
	uint8_t b;

	assert_int_equal(intent_write(d->fd, &i), 0);
	fd = openat(d->fd, "intent", O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	for (off_t at = 0; at < SIZE; at++) {
		assert_int_equal(io_pread_full(fd, &b, 1, at), 0);
		b ^= 0x10;
		assert_int_equal(io_pwrite_full(fd, &b, 1, at), 0);
		if (intent_read(d->fd, &back) != -EUCLEAN)
			fail_msg("byte %d", (int)at);
		b ^= 0x10;
		assert_int_equal(io_pwrite_full(fd, &b, 1, at), 0);
	}
	assert_int_equal(intent_read(d->fd, &back), 0);
	assert_int_equal(ftruncate(fd, SIZE - 1), 0);
	assert_int_equal(intent_read(d->fd, &back), -EUCLEAN);
}

/* Whoever can write there can make a right checksum; no name leaves the directory. */
static void test_names_stay_inside(void **state)
{
	static const char *const names[] = {"../next-1", "next-/../../x", "base", "journal"};
	const struct dir *d = *state;
	struct intent back;

	for (size_t k = 0; k < ARRAY_SIZE(names); k++) {
		struct intent i = sample();

		memset(i.next_name, 0, sizeof(i.next_name));
		snprintf(i.next_name, sizeof(i.next_name), "%s", names[k]);
		assert_int_equal(intent_write(d->fd, &i), 0);
		assert_int_equal(intent_read(d->fd, &back), -EUCLEAN);
	}
}

static void test_sweep(void **state)
{
	const struct dir *d = *state;

	touch(d, "next-1");
	touch(d, "next-2");
	touch(d, "base");
	intent_sweep(d->fd, "next-2");
	assert_false(exists(d, "next-1"));
	assert_true(exists(d, "next-2"));
	intent_sweep(d->fd, NULL);
	assert_false(exists(d, "next-2"));
	assert_true(exists(d, "base"));
	assert_true(exists(d, "image"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_round_trip, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(
			test_every_damaged_byte_is_seen, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_names_stay_inside, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_sweep, make_dir, remove_dir),
	};

	return cmocka_run_group_tests_name("intent", tests, NULL, NULL);
}
