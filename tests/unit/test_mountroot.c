/* SPDX-License-Identifier: MIT */
/* Which directories below the mount root are romountd's: after every moment at which it may
 * have been cut, the next start removes what is left of it, and never what a user made. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/mountroot.h"
#include "scratch.h"

struct rig {
	struct scratch scratch;
	sd_event *event;
	struct mount_root *root;
};

static void set_up(struct rig *rig)
{
	struct error err = {0};
	char path[100];

	scratch_make(&rig->scratch);
	snprintf(path, sizeof(path), "/tmp/%s", rig->scratch.path);
	assert_int_equal(sd_event_new(&rig->event), 0);
	if (mount_root_open(rig->event, path, false, NULL, &rig->root, &err) < 0)
		fail_msg("%s", err.text);
}

static void tear_down(struct rig *rig)
{
	mount_root_free(rig->root);
	sd_event_unref(rig->event);
	scratch_remove(&rig->scratch);
}

static void on_clean(void *ctx)
{
	bool *done = ctx;

	*done = true;
}

static void clean(struct rig *rig)
{
	bool done = false;

	mount_root_clean(rig->root, on_clean, &done);
	assert_true(done);
}

/* "name/" is a directory, "name=text" a file with that in it. */
static void put(struct rig *rig, const char *what)
{
	size_t len = strcspn(what, "=");
	const char *text = what + len + (what[len] == '=');
	char path[200];

	snprintf(path, sizeof(path), "%.*s", (int)len, what);
	if (path[len - 1] == '/')
		assert_int_equal(mkdirat(rig->scratch.dirfd, path, 0755), 0);
	else
		scratch_put(&rig->scratch, path, text, strlen(text));
}

static bool is_there(struct rig *rig, const char *what)
{
	char path[200];

	snprintf(path, sizeof(path), "%.*s", (int)strcspn(what, "="), what);
	return faccessat(rig->scratch.dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- what a crash or a power cut leaves --- */

#define ALL 99u

static const struct left {
	const char *what;
	unsigned stay; /* so many of `paths` are still there, and no others */
	const char *paths[8];
} lefts[] = {
	{"made, without its name", 0, {".pico.romount/", ".pico.romount/.pico.made"}},
	{"made", 0, {"pico/", "pico/.pico.made"}},
	{"a note that was not flushed", 0, {"pico/", "pico/.pico.made", "pico/BOARD.txt"}},
	{"half a note", 0, {"pico/", "pico/.pico.made", "pico/BOARD.txt=Board",
		"pico/.STATUS.txt.new"}},
	{"in use", 0, {"pico/", "pico/.pico.made", "pico/BOARD.txt=Board", "pico/STATUS.txt=x",
		"pico/rom0/", "pico/rom17/"}},
	{"a user's empty one, in use", 1, {"pico/", "pico/.pico.used", "pico/BOARD.txt",
		"pico/rom0/"}},
	{"a user's empty one", ALL, {"pico/"}},
	{"a user's own notes", ALL, {"pico/", "pico/BOARD.txt=Board"}},
	{"a user's own empty note", ALL, {"pico/", "pico/BOARD.txt"}},
	{"a user's mount point", ALL, {"pico/", "pico/rom0/"}},
	{"a copy", ALL, {"copy/", "copy/.pico.made", "copy/BOARD.txt=Board", "copy/rom0/"}},
	{"a user's file in it", ALL, {"pico/", "pico/.pico.made", "pico/BOARD.txt=B",
		"pico/mine=m"}},
	{"a user's file below it", ALL, {"pico/", "pico/.pico.made", "pico/BOARD.txt=B",
		"pico/rom0/", "pico/rom0/mine=m"}},
	{"a mark that is no mark", ALL, {"pico/", "pico/.pico.made=mine"}},
	{"a user's hidden one", ALL, {".pico.romount/"}},
	{"a user's hidden one with a file", ALL, {".pico.romount/",
		".pico.romount/.pico.made", ".pico.romount/mine=m"}},
};

static void try_left(const struct left *l)
{
	struct rig rig;

	set_up(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(l->paths) && l->paths[i]; i++)
		put(&rig, l->paths[i]);
	clean(&rig);
	for (size_t i = 0; i < ARRAY_SIZE(l->paths) && l->paths[i]; i++)
		if (is_there(&rig, l->paths[i]) != (i < l->stay))
			fail_msg("%s: %s %s", l->what, l->paths[i],
				i < l->stay ? "has gone" : "is still there");
	tear_down(&rig);
}

static void test_left(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lefts); i++)
		try_left(&lefts[i]);
}

/* --- its whole life --- */

static struct mount_dir *claim(struct rig *rig, const char *name)
{
	struct mount_dir *dir;
	struct error err = {0};

	if (mount_dir_claim(rig->root, name, &dir, &err) < 0)
		fail_msg("%s: %s", name, err.text);
	return dir;
}

static void expect_taken(struct rig *rig, const char *name)
{
	struct mount_dir *dir;
	struct error err = {0};

	assert_int_equal(mount_dir_claim(rig->root, name, &dir, &err), -EEXIST);
	assert_non_null(strstr(err.text, name));
}

static void test_life(void **state)
{
	struct mount_dir *dir;
	struct stat st;
	struct rig rig;

	(void)state;
	set_up(&rig);
	dir = claim(&rig, "pico");
	assert_int_equal(fstatat(rig.scratch.dirfd, "pico", &st, 0), 0);
	assert_int_equal(st.st_mode, S_IFDIR | 0755);
	assert_true(is_there(&rig, "pico/.pico.made"));
	assert_false(is_there(&rig, ".pico.romount"));
	put(&rig, "pico/BOARD.txt=Board");
	put(&rig, "pico/STATUS.txt=fine");
	expect_taken(&rig, "pico");
	mount_dir_release(dir);
	assert_false(is_there(&rig, "pico"));
	assert_false(is_there(&rig, ".pico.romount"));
	tear_down(&rig);
}

/* What an earlier cut has left is no hindrance. */
static void test_life_after_a_cut(void **state)
{
	struct rig rig;

	(void)state;
	set_up(&rig);
	put(&rig, ".pico.romount/");
	mount_dir_release(claim(&rig, "pico"));
	assert_false(is_there(&rig, "pico"));
	put(&rig, ".pico.romount/");
	put(&rig, ".pico.romount/.pico.made");
	mount_dir_release(claim(&rig, "pico"));
	assert_false(is_there(&rig, "pico"));
	assert_false(is_there(&rig, ".pico.romount"));
	tear_down(&rig);
}

static void test_users_directory(void **state)
{
	struct mount_dir *dir;
	struct rig rig;

	(void)state;
	set_up(&rig);
	put(&rig, "pico/");
	dir = claim(&rig, "pico");
	put(&rig, "pico/BOARD.txt=Board");
	mount_dir_release(dir);
	assert_true(is_there(&rig, "pico"));
	assert_int_equal(unlinkat(rig.scratch.dirfd, "pico", AT_REMOVEDIR), 0); /* as empty */

	put(&rig, "pico=a file");
	expect_taken(&rig, "pico");
	put(&rig, "esp/");
	put(&rig, "esp/mine=m");
	expect_taken(&rig, "esp");
	assert_int_equal(symlinkat("esp", rig.scratch.dirfd, "link"), 0);
	expect_taken(&rig, "link");
	assert_int_equal(symlinkat("nowhere", rig.scratch.dirfd, "dangling"), 0);
	expect_taken(&rig, "dangling");
	tear_down(&rig);
}

/* Whoever puts something there, or takes it as theirs, keeps it. */
static void test_becomes_a_users(void **state)
{
	struct mount_dir *dir;
	struct rig rig;

	(void)state;
	set_up(&rig);
	dir = claim(&rig, "pico");
	put(&rig, "pico/mine=m");
	mount_dir_release(dir);
	assert_true(is_there(&rig, "pico/mine"));
	assert_false(is_there(&rig, "pico/.pico.made"));

	dir = claim(&rig, "esp");
	assert_int_equal(renameat(rig.scratch.dirfd, "esp", rig.scratch.dirfd, "mine"), 0);
	put(&rig, "esp/");
	mount_dir_release(dir);
	assert_true(is_there(&rig, "esp"));
	assert_true(is_there(&rig, "mine"));
	clean(&rig);
	assert_true(is_there(&rig, "esp"));
	assert_true(is_there(&rig, "mine"));
	tear_down(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_left),
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_life_after_a_cut),
		cmocka_unit_test(test_users_directory),
		cmocka_unit_test(test_becomes_a_users),
	};

	/* Nobody else may write on the way to a mount root. */
	assert_return_code(chdir("/tmp"), errno);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
