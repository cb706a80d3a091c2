/* SPDX-License-Identifier: MIT */
/* What attach() makes of what it finds on the host and on flash. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fuse/intent.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"
#include "util/io.h"

#define SIZE (64u << 10)

static uint8_t one[20000], two[20000];

static int setup(void **state)
{
	static struct rig r;

	fault_no_flush = true;
	rig_fill(one, sizeof(one), 1);
	rig_fill(two, sizeof(two), 2);
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

/* A copy of the state directory's descriptor outlives the attachment. */
static int state_fd_of(struct rig *r)
{
	return fcntl(rig_folder(r)->dirfd, F_DUPFD_CLOEXEC, 3);
}

static void expect_notes(struct rig *r, const char *part)
{
	if (part ? !strstr(r->a.notes, part) : r->a.notes[0] != '\0')
		fail_msg("the notes say: %s", r->a.notes);
}

/* The file at `path` below the state directory has these bytes. */
static void expect_file(int dirfd, const char *path, const void *buf, size_t len)
{
	_cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ uint8_t *have = malloc(len + 1);
	struct stat st;

	if (fd < 0)
		fail_msg("there is no %s", path);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, len);
	assert_int_equal(io_pread_full(fd, have, len, 0), 0);
	assert_memory_equal(have, buf, len);
}

/* The first entry of the directory whose name starts so; "" for none. */
static void find_entry(int dirfd, const char *start, char *out, size_t cap)
{
	DIR *d = fdopendir(openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	const struct dirent *e;

	assert_non_null(d);
	out[0] = '\0';
	while ((e = readdir(d)))
		if (strncmp(e->d_name, start, strlen(start)) == 0)
			snprintf(out, cap, "%s", e->d_name);
	closedir(d);
}

/* A board that another tool has written: what a folder elsewhere put there. */
static void write_elsewhere(struct rig *r, const char *path, const void *buf, size_t len)
{
	struct rig other;

	rig_make(&other, 16);
	other.board = true;
	rig_attach(&other);
	rig_write(&other, path, buf, len);
	rig_sync(&other);
	rig_remove(&other);
}

/* --- nothing staged --------------------------------------------------------------------- */

static void test_blank_says_so(void **state)
{
	struct rig *r = *state;

	expect_notes(r, "it is blank");
	assert_int_equal(node_root(rig_folder(r)->nodes)->n_children, 0);
	assert_int_equal(fakeboard.changes, 0);
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	rig_write(r, "a", one, 100);
	rig_sync(r);
	rig_reattach(r);
	expect_notes(r, NULL);
}

static void test_garbage_says_so(void **state)
{
	struct rig *r = *state;

	rig_detach(r);
	rig_fill(fakeboard.flash, SIZE, 3);
	rig_attach(r);
	expect_notes(r, "holds no ROMFS");
	assert_int_equal(fakeboard.changes, 0);
	rig_write(r, "a", one, 100);
	rig_sync(r);
	rig_reattach(r);
	expect_notes(r, NULL);
	rig_expect(r, "a", one, 100);
}

static void test_clean(void **state)
{
	struct rig *r = *state;
	unsigned reads;

	rig_mkdir(r, "d");
	rig_write(r, "d/a", one, 9000);
	rig_sync(r);
	reads = fakeboard.reads;
	rig_reattach(r);
	expect_notes(r, NULL);
	assert_false(folder_is_staged(rig_folder(r)));
	rig_expect(r, "d/a", one, 9000);
	assert_int_equal(fakeboard.reads, reads); /* the host knows it all */
}

/* What another tool put there is simply what the folder shows. */
static void test_clean_and_foreign(void **state)
{
	struct rig *r = *state;

	for (unsigned i = 0; i < 4; i++) {
		rig_write(r, "a", one, 9000 + i);
		rig_sync(r);
		rig_detach(r);
		write_elsewhere(r, "b", two, 20000 - 4000 * i);
		rig_attach(r);
		expect_notes(r, NULL);
		rig_expect(r, "b", two, 20000 - 4000 * i);
		rig_expect(r, "a", one, 9000 + i);
		rig_unlink(r, "b");
	}
}

/* What the host remembers of unused flash may be wrong too, and is not believed when another
 * image has come to use it. */
static void test_stale_memory_of_unused_flash(void **state)
{
	struct rig *r = *state;

	rig_write(r, "a", one, 20000);
	rig_sync(r);
	rig_unlink(r, "a");
	rig_write(r, "b", one, 100);
	rig_sync(r);
	rig_detach(r);
	for (unsigned i = 1; i <= 6; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		write_elsewhere(r, name, two + 100 * i, 7000);
	}
	rig_attach(r);
	for (unsigned i = 1; i <= 6; i++) {
		char name[8];

		snprintf(name, sizeof(name), "%u", i);
		rig_expect(r, name, two + 100 * i, 7000);
	}
}

static size_t put_varuint(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(0x80 | v >> 14);
	p[1] = (uint8_t)(0x80 | (v >> 7 & 0x7F));
	p[2] = (uint8_t)(v & 0x7F);
	return 3;
}

/* An image whose parts are found one behind the other, each where the host remembers
 * something else: header, then a record far away, then its data, farther. */
static void test_stale_memory_in_a_chain(void **state)
{
	enum { RECORDS = 0x8000, DATA = 0xC000 };
	struct rig *r = *state;
	uint8_t *p = fakeboard.flash;

	rig_write(r, "a", one, 100);
	rig_sync(r); /* the host knows all of flash from here on */
	rig_detach(r);
	memset(fakeboard.flash, 0xFF, SIZE);
	memcpy(p, "\xD2\xCD\x31", 3);
	p += 3 + put_varuint(p + 3, RECORDS + 13 - 6);
	*p++ = 1; /* padding up to the record */
	p += put_varuint(p, RECORDS - 10);
	p = fakeboard.flash + RECORDS;
	*p++ = 5; /* a file "b" of 8000 bytes at DATA, which counts from behind the header */
	*p++ = 11;
	*p++ = 1;
	*p++ = 'b';
	*p++ = 3;
	*p++ = 6;
	p += put_varuint(p, 8000);
	p += put_varuint(p, DATA - 6);
	assert_int_equal(p - (fakeboard.flash + RECORDS), 12);
	memcpy(fakeboard.flash + DATA, two, 8000);
	rig_attach(r);
	expect_notes(r, NULL);
	rig_expect(r, "b", two, 8000);
}

/* --- staged ----------------------------------------------------------------------------- */

static void test_staged(void **state)
{
	struct rig *r = *state;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	rig_write(r, "b", two, 9000);
	rig_reattach(r);
	expect_notes(r, NULL);
	assert_true(folder_is_staged(rig_folder(r)));
	committer_kick(r->committer);
	rig_sync(r);
	assert_false(folder_is_staged(rig_folder(r)));
	rig_expect(r, "a", one, 9000);
	rig_expect(r, "b", two, 9000);
}

/* Staged changes on an image that is no longer there are laid out, and flash is shown. */
static void test_staged_and_foreign(void **state)
{
	struct rig *r = *state;
	char held[64], path[160];
	int dirfd;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	rig_mkdir(r, "d");
	rig_mkdir(r, "d/e");
	rig_write(r, "d/e/b", two, 9000);
	rig_write(r, "c", two, 10);
	rig_write(r, "junk~", two, 20);
	dirfd = state_fd_of(r);
	rig_detach(r);
	write_elsewhere(r, "theirs", one, 500);
	fakeboard.changes = 0;
	rig_attach(r);
	expect_notes(r, "another program has written this partition");
	expect_notes(r, "3 staged files");
	assert_int_equal(fakeboard.changes, 0);
	assert_false(folder_is_staged(rig_folder(r)));
	rig_expect(r, "theirs", one, 500);
	rig_expect_none(r, "c");
	find_entry(dirfd, "held-", held, sizeof(held));
	snprintf(path, sizeof(path), "%s/d/e/b", held);
	expect_file(dirfd, path, two, 9000);
	snprintf(path, sizeof(path), "%s/c", held);
	expect_file(dirfd, path, two, 10);
	rig_reattach(r); /* told once */
	expect_notes(r, NULL);
	close(dirfd);
}

/* The same state directory, another size of partition. */
static void test_staged_for_another_partition(void **state)
{
	struct rig *r = *state;
	char held[64];
	int dirfd;

	rig_write(r, "a", one, 9000);
	dirfd = state_fd_of(r);
	rig_detach(r);
	fakeboard.geometry.size = SIZE / 2;
	rig_attach(r);
	expect_notes(r, "another size when the changes were staged: 1 staged file");
	find_entry(dirfd, "held-", held, sizeof(held));
	assert_string_not_equal(held, "");
	close(dirfd);
}

/* An image file may get more room while changes wait, and they go on. */
static void test_image_that_grew(void **state)
{
	struct rig r;

	rig_make(&r, 20026);
	rig_attach(&r);
	rig_write(&r, "a", one, 9000);
	rig_sync(&r);
	rig_write(&r, "b", two, 3000);
	rig_detach(&r);
	r.image_size = SIZE;
	rig_attach(&r);
	expect_notes(&r, NULL);
	assert_int_equal(flash_geometry(r.a.flash)->size, SIZE);
	rig_expect(&r, "a", one, 9000);
	rig_expect(&r, "b", two, 3000);
	rig_write(&r, "c", two, 20000);
	rig_reattach(&r);
	expect_notes(&r, NULL);
	rig_sync(&r);
	rig_expect_image(&r, 3);
	rig_forget_state(&r);
	rig_reattach(&r);
	rig_expect(&r, "b", two, 3000);
	rig_expect(&r, "c", two, 20000);
	rig_remove(&r);
}

/* --- damage ----------------------------------------------------------------------------- */

static void damage(int dirfd, const char *name, off_t at)
{
	_cleanup_close_ int fd = openat(dirfd, name, O_RDWR | O_CLOEXEC);
	uint8_t b;

	assert_true(fd >= 0);
	assert_int_equal(io_pread_full(fd, &b, 1, at), 0);
	b ^= 0xFF;
	assert_int_equal(io_pwrite_full(fd, &b, 1, at), 0);
}

static void test_damaged_journal(void **state)
{
	struct rig *r = *state;
	char name[64];
	int dirfd;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	rig_write(r, "b", two, 10);
	rig_sync(r);
	dirfd = state_fd_of(r);
	rig_detach(r);
	damage(dirfd, "journal", 40); /* in its header */
	rig_attach(r);
	expect_notes(r, "it is kept as");
	rig_expect(r, "a", one, 9000);
	rig_expect(r, "b", two, 10);
	find_entry(dirfd, "journal.damaged-", name, sizeof(name));
	assert_string_equal(name, "journal.damaged-0");
	rig_write(r, "c", two, 10);
	rig_reattach(r);
	expect_notes(r, NULL);
	rig_expect(r, "c", two, 10);
	close(dirfd);
}

static void test_lost_files(void **state)
{
	static const char *const names[] = {"base", "journal", "intent"};
	struct rig *r = *state;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int dirfd = state_fd_of(r);

		rig_write(r, "a", i % 2 ? one : two, 9000);
		rig_sync(r);
		rig_detach(r);
		(void)!unlinkat(dirfd, names[i], 0);
		rig_attach(r);
		expect_notes(r, NULL);
		rig_expect(r, "a", i % 2 ? one : two, 9000);
		close(dirfd);
	}
}

/* The mirror is gone and changes are staged: flash tells what they rest on. */
static void test_staged_without_mirror(void **state)
{
	struct rig *r = *state;
	int dirfd;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	rig_write(r, "b", two, 9000);
	dirfd = state_fd_of(r);
	rig_detach(r);
	assert_int_equal(unlinkat(dirfd, "base", 0), 0);
	rig_attach(r);
	expect_notes(r, NULL);
	rig_expect(r, "a", one, 9000);
	rig_expect(r, "b", two, 9000);
	rig_sync(r);
	close(dirfd);
}

/* --- a commit was under way ------------------------------------------------------------- */

static void fail_from(int at)
{
	fakeboard.changes = 0;
	fakeboard.fault_at = at;
	fakeboard.fault_count = 1000;
	fakeboard.fault = FAKEBOARD_HALF;
	fakeboard.fault_code = -ENODEV;
}

/* A packed image, as other programs make them, on another host's board. */
static void write_plainly(struct rig *r)
{
	uint8_t *p = fakeboard.flash;

	rig_detach(r);
	rig_forget_state(r);
	memset(p, 0xFF, SIZE);
	memcpy(p, "\xD2\xCD\x31\x0A\x05\x08\x01k\x02\x04mine", 14);
	rig_attach(r);
	rig_expect(r, "k", "mine", 4);
}

static void cut_commit(struct rig *r, int at)
{
	rig_write(r, "a", one, 20000);
	rig_write(r, "b", one, 9000);
	rig_sync(r);
	rig_write(r, "a", two, 20000);
	fail_from(at);
	assert_int_equal(rig_try_sync(r), -ENODEV);
	fakeboard.fault_at = -1;
}

static void test_cut(void **state)
{
	struct rig *r = *state;

	for (int at = 0; at < 4; at++) {
		rig_detach(r);
		rig_forget_state(r);
		memset(fakeboard.flash, 0, SIZE);
		rig_attach(r);
		cut_commit(r, at);
		rig_reattach(r);
		if (folder_is_staged(rig_folder(r))) /* else half of the last one was enough */
			expect_notes(r, "interrupted");
		rig_expect(r, "a", two, 20000);
		rig_expect(r, "b", one, 9000);
		rig_reattach(r); /* not healed yet, and asked again */
		rig_sync(r);
		rig_detach(r);
		rig_forget_state(r);
		rig_attach(r);
		expect_notes(r, NULL);
		rig_expect(r, "a", two, 20000);
		rig_expect(r, "b", one, 9000);
	}
}

/* Everything is on flash; only the host had not taken note. */
static void test_cut_at_the_very_end(void **state)
{
	static const struct fault kept = {
		.kind = FAULT_FAIL, .calls = FAULT_RENAME, .at = 0, .stays = true, .code = EIO};
	struct rig *r = *state;
	unsigned changes;

	rig_write(r, "a", one, 9000);
	rig_sync(r);
	rig_write(r, "a", two, 9000);
	fault_arm(&kept); /* the intent comes, the journal does not change over */
	rig_sync(r);	  /* flash has it, and that is all that was asked */
	fault_disarm();
	assert_true(folder_is_staged(rig_folder(r)));
	changes = fakeboard.changes;
	rig_reattach(r);
	rig_expect(r, "a", two, 9000);
	rig_sync(r);
	/* Nobody knows that the last step was not cut: it is made to last. */
	assert_int_equal(fakeboard.changes, changes + 1);
	assert_int_equal(fakeboard.last_program, 0);
	rig_expect(r, "a", two, 9000);
}

/* The journal rests on the new image, the mirror is the old one still. */
static void test_adoption_waits(void **state)
{
	static const struct fault kept = {
		.kind = FAULT_FAIL, .calls = FAULT_RENAME, .at = 2, .stays = true, .code = EIO};
	struct rig *r = *state;
	uint8_t buf[8];
	unsigned changes;

	rig_write(r, "b", one, 9000);
	rig_write(r, "a", two, 9000);
	fault_arm(&kept); /* all but the intent and the journal */
	assert_int_equal(rig_try_sync(r), -EIO);
	/* No byte is better than a wrong one. */
	assert_int_equal(
		folder_read(rig_folder(r), rig_find(r, "a"), buf, sizeof(buf), 0), -EIO);
	assert_int_equal(rig_try_sync(r), -EIO);
	fault_disarm();
	changes = fakeboard.changes;
	rig_sync(r);
	assert_int_equal(fakeboard.changes, changes);
	rig_expect(r, "a", two, 9000);
	rig_expect(r, "b", one, 9000);
	rig_detach(r);
	rig_forget_state(r);
	memset(fakeboard.flash, 0, SIZE);
	rig_attach(r);
	rig_write(r, "a", one, 9001);
	fault_arm(&kept);
	assert_int_equal(rig_try_sync(r), -EIO);
	fault_disarm();
	rig_reattach(r); /* whoever comes next does it */
	expect_notes(r, NULL);
	rig_expect(r, "a", one, 9001);
	assert_false(folder_is_staged(rig_folder(r)));
}

static void test_cut_and_foreign(void **state)
{
	struct rig *r = *state;
	char held[64], path[100];
	int dirfd;

	cut_commit(r, 2);
	dirfd = state_fd_of(r);
	rig_detach(r);
	memset(fakeboard.flash, 0xFF, SIZE);
	rig_fill(fakeboard.flash, SIZE / 2, 9);
	fakeboard.changes = 0;
	rig_attach(r);
	expect_notes(r, "another program");
	assert_int_equal(fakeboard.changes, 0);
	find_entry(dirfd, "held-", held, sizeof(held));
	snprintf(path, sizeof(path), "%s/a", held);
	expect_file(dirfd, path, two, 20000);
	close(dirfd);
}

/* The mirror has lost the records of the base, which flash does not have any more: what is
 * staged is kept as files. */
static void test_cut_without_mirror(void **state)
{
	struct rig *r = *state;
	char held[64], path[100];
	int dirfd;

	/* By appending: flash has what it had. */
	cut_commit(r, 2);
	dirfd = state_fd_of(r);
	rig_detach(r);
	assert_int_equal(unlinkat(dirfd, "base", 0), 0);
	close(dirfd);
	rig_attach(r);
	rig_expect(r, "a", two, 20000);
	rig_expect(r, "b", one, 9000);
	rig_sync(r);
	/* In the place of what was there, of which nobody has all the bytes now. */
	write_plainly(r);
	fail_from(3);
	rig_write(r, "a", two, 20000);
	assert_int_equal(rig_try_sync(r), -ENODEV);
	fakeboard.fault_at = -1;
	dirfd = state_fd_of(r);
	rig_detach(r);
	assert_int_equal(unlinkat(dirfd, "base", 0), 0);
	rig_attach(r);
	find_entry(dirfd, "held-", held, sizeof(held));
	snprintf(path, sizeof(path), "%s/a", held);
	expect_file(dirfd, path, two, 20000);
	close(dirfd);
}

/* --- refusals --------------------------------------------------------------------------- */

static void test_refused(void **state)
{
	struct rig *r = *state;
	struct rig again = *r;
	struct error err = {0};

	again.worker = NULL; /* as if another process tried */
	assert_int_equal(rig_try_attach(&again, &err), -EBUSY);
	rig_detach(r);
	fakeboard.geometry.kind = DEV_TARGET_READONLY;
	assert_int_equal(rig_try_attach(r, &err), -EROFS);
	assert_int_equal(fakeboard.opens, fakeboard.closes + 0);
	fakeboard.geometry.kind = DEV_TARGET_PARTIAL;
	fakeboard.open_result = -EPROTO;
	assert_int_equal(rig_try_attach(r, &err), -EPROTO);
	assert_non_null(strstr(err.text, "cannot be opened"));
}

static void test_missing_image(void **state)
{
	struct rig *r = *state;
	struct error err = {0};

	rig_detach(r);
	r->board = false;
	assert_int_equal(unlink(r->image), 0);
	assert_int_equal(rig_try_attach(r, &err), -ENOENT);
	assert_non_null(strstr(err.text, r->image));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_blank_says_so),
		TEST(test_garbage_says_so),
		TEST(test_clean),
		TEST(test_clean_and_foreign),
		TEST(test_stale_memory_of_unused_flash),
		TEST(test_stale_memory_in_a_chain),
		TEST(test_staged),
		TEST(test_staged_and_foreign),
		TEST(test_staged_for_another_partition),
		TEST(test_image_that_grew),
		TEST(test_damaged_journal),
		TEST(test_lost_files),
		TEST(test_staged_without_mirror),
		TEST(test_cut),
		TEST(test_cut_at_the_very_end),
		TEST(test_adoption_waits),
		TEST(test_cut_and_foreign),
		TEST(test_cut_without_mirror),
		TEST(test_refused),
		TEST(test_missing_image),
	};

	return cmocka_run_group_tests_name("attach", tests, NULL, NULL);
}
