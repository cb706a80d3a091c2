/* SPDX-License-Identifier: MIT */
/* What the commands are made of: chunks of a board that are kept, the map of a partition,
 * directories of this computer, text for people. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "cli/cache.h"
#include "cli/flashmap.h"
#include "cli/hosttree.h"
#include "cli/ui.h"
#include "tests/unit/rig.h"

/* --- cache ----------------------------------------------------------------------------- */

#define SIZE 10000u /* no whole number of chunks */

static uint8_t flash[SIZE];
static unsigned reads;
static int read_result;

static int read_flash(
	struct dev_target *t, uint64_t off, void *buf, size_t len, struct error *err)
{
	reads++;
	if (read_result < 0)
		return error_set(err, read_result, "no");
	memcpy(buf, flash + off, len);
	return 0;
}

static const struct dev_target_ops ops = {.read = read_flash};
static struct dev_target target = {
	.ops = &ops, .geometry = {.size = SIZE, .erase_block = 16, .write_unit = 1}};

static void test_cache(void **state)
{
	_cleanup_(cache_freep) struct cache *c = NULL;
	struct error err = {0};
	struct romfs_source s;
	uint8_t buf[SIZE];

	rig_fill(flash, SIZE, 1);
	reads = 0;
	assert_int_equal(cache_new(&target, &c, &err), 0);
	s = cache_source(c);
	assert_int_equal(s.size, SIZE);
	assert_int_equal(s.read(s.ctx, 4090, buf, 20, &err), 0); /* over a border */
	assert_memory_equal(buf, flash + 4090, 20);
	assert_int_equal(reads, 2);
	assert_int_equal(s.read(s.ctx, 0, buf, 4096, &err), 0);
	assert_memory_equal(buf, flash, 4096);
	assert_int_equal(reads, 2); /* nothing is read twice */
	assert_int_equal(s.read(s.ctx, SIZE - 1, buf, 1, &err), 0);
	assert_int_equal(buf[0], flash[SIZE - 1]);
	assert_int_equal(reads, 3);
	assert_int_equal(s.read(s.ctx, 0, buf, SIZE, &err), 0); /* long ones go past it */
	assert_memory_equal(buf, flash, SIZE);
	assert_int_equal(reads, 4);
}

static void test_cache_fails(void **state)
{
	_cleanup_(cache_freep) struct cache *c = NULL;
	struct error err = {0};
	struct romfs_source s;
	uint8_t b;

	assert_int_equal(cache_new(&target, &c, &err), 0);
	s = cache_source(c);
	read_result = -EIO;
	assert_int_equal(s.read(s.ctx, 5, &b, 1, &err), -EIO);
	read_result = 0;
	assert_int_equal(s.read(s.ctx, 5, &b, 1, &err), 0); /* and is asked again */
	assert_int_equal(b, flash[5]);
}

/* --- the map --------------------------------------------------------------------------- */

static uint32_t add_file(struct romfs_tree *t, const char *name, uint64_t off, uint64_t size)
{
	uint32_t i;

	assert_int_equal(
		romfs_tree_add(t, ROMFS_ROOT, ROMFS_FILE, name, strlen(name), &i), 0);
	romfs_tree_node(t, i)->data_off = off;
	romfs_tree_node(t, i)->size = size;
	return i;
}

static void expect_row(const struct flashmap *map, size_t i, enum flashmap_kind kind,
	uint64_t off, uint64_t len)
{
	assert_true(i < map->n_rows);
	assert_int_equal(map->rows[i].kind, kind);
	assert_int_equal(map->rows[i].off, off);
	assert_int_equal(map->rows[i].len, len);
}

static void test_map(void **state)
{
	struct romfs_extent meta[] = {{0, 100}, {3000, 50}};
	struct romfs_image image = {.status = ROMFS_VALID, .meta = meta, .n_meta = 2};
	struct flashmap map;
	uint32_t dir;

	assert_int_equal(romfs_tree_new(&image.tree), 0);
	assert_int_equal(
		romfs_tree_add(image.tree, ROMFS_ROOT, ROMFS_DIR, "d", 1, &dir), 0);
	add_file(image.tree, "late", 2000, 1000);
	add_file(image.tree, "early", 110, 500);
	add_file(image.tree, "same", 110, 500); /* the same bytes */
	add_file(image.tree, "inside", 2100, 10);
	assert_int_equal(flashmap_of(&image, SIZE, &map), 0);
	assert_int_equal(map.files, 4);
	assert_int_equal(map.directories, 1);
	assert_int_equal(map.used, 100 + 500 + 1000 + 50);
	assert_int_equal(map.free, SIZE - map.used);
	expect_row(&map, 0, FLASHMAP_RECORDS, 0, 100);
	expect_row(&map, 1, FLASHMAP_FILE, 110, 500);
	expect_row(&map, 2, FLASHMAP_FILE, 110, 500);
	expect_row(&map, 3, FLASHMAP_UNUSED, 610, 1390);
	expect_row(&map, 4, FLASHMAP_FILE, 2000, 1000);
	expect_row(&map, 5, FLASHMAP_FILE, 2100, 10);
	expect_row(&map, 6, FLASHMAP_FREE, 3050, SIZE - 3050);
	assert_int_equal(map.n_rows, 7);
	flashmap_clear(&map);
	image.status = ROMFS_BLANK;
	assert_int_equal(flashmap_of(&image, SIZE, &map), 0);
	expect_row(&map, 0, FLASHMAP_FREE, 0, SIZE);
	flashmap_clear(&map);
	image.status = ROMFS_CORRUPT;
	assert_int_equal(flashmap_of(&image, SIZE, &map), 0);
	expect_row(&map, 0, FLASHMAP_UNUSED, 0, SIZE);
	flashmap_clear(&map);
	romfs_tree_free(image.tree);
}

/* --- directories ----------------------------------------------------------------------- */

static struct rig rig; /* for its directory; "image" is a file of 16 bytes in it */

static int make_dir(void **state)
{
	rig_make(&rig, 16);
	return 0;
}

static int remove_dir(void **state)
{
	rig_remove(&rig);
	return 0;
}

static void path_of(char *out, size_t cap, const char *name)
{
	snprintf(out, cap, "%s/%s", rig.dir, name);
}

static void test_tree(void **state)
{
	struct error err = {0};
	struct hosttree t;
	char path[100], data[100];
	uint32_t i;

	path_of(path, sizeof(path), "d");
	assert_int_equal(mkdir(path, 0700), 0);
	path_of(path, sizeof(path), "d/link");
	assert_int_equal(symlink("../image", path), 0); /* followed, as mpremote does */
	assert_int_equal(hosttree_open(rig.dir, 0, 0, &t, &err), 0);
	assert_int_equal(romfs_tree_count(t.tree), 4);
	i = romfs_tree_lookup(t.tree, "d/link");
	assert_int_not_equal(i, ROMFS_NO_NODE);
	assert_int_equal(romfs_tree_node(t.tree, i)->size, 16);
	assert_int_equal(hosttree_content(&t, t.tree, i, 4, data, 12, &err), 0);
	assert_int_equal((uint8_t)data[11], 0xFF);
	hosttree_close(&t);
}

static void expect_refusal(int code, const char *why)
{
	struct error err = {0};
	struct hosttree t;

	assert_int_equal(hosttree_open(rig.dir, 0, 0, &t, &err), code);
	if (!strstr(err.text, why) || !strstr(err.text, rig.dir))
		fail_msg("the error says: %s", err.text);
}

static void test_tree_refuses(void **state)
{
	struct error err = {0};
	struct hosttree t;
	struct stat st;
	char path[100];

	path_of(path, sizeof(path), "pipe");
	assert_int_equal(mkfifo(path, 0600), 0);
	expect_refusal(-EINVAL, "neither a file nor a directory");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("nowhere", path), 0);
	expect_refusal(-ENOENT, "leads nowhere");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink(".", path), 0);
	expect_refusal(-ELOOP, "leads back");
	assert_int_equal(unlink(path), 0);
	path_of(path, sizeof(path), "\xFF");
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	expect_refusal(-EILSEQ, "not UTF-8");
	assert_int_equal(unlink(path), 0);
	assert_int_equal(stat(rig.image, &st), 0);
	assert_int_equal(hosttree_open(rig.dir, st.st_dev, st.st_ino, &t, &err), -EINVAL);
	assert_non_null(strstr(err.text, "into itself"));
	error_clear(&err);
	assert_int_equal(hosttree_open("/no/such", 0, 0, &t, &err), -ENOENT);
}

static void test_tree_changes(void **state)
{
	struct error err = {0};
	struct hosttree t;
	char data[16];
	uint32_t i;

	assert_int_equal(hosttree_open(rig.dir, 0, 0, &t, &err), 0);
	i = romfs_tree_lookup(t.tree, "image");
	assert_int_equal(truncate(rig.image, 15), 0);
	assert_int_equal(hosttree_content(&t, t.tree, i, 0, data, 16, &err), -ESTALE);
	assert_non_null(strstr(err.text, "changed while"));
	hosttree_close(&t);
}

/* --- text ------------------------------------------------------------------------------ */

static void test_sizes_and_times(void **state)
{
	assert_string_equal(UI_SIZE(0), "0 B");
	assert_string_equal(UI_SIZE(1023), "1023 B");
	assert_string_equal(UI_SIZE(1024), "1 KiB");
	assert_string_equal(UI_SIZE(1536), "1.5 KiB");
	assert_string_equal(UI_SIZE(6u << 20), "6 MiB");
	assert_string_equal(UI_SIZE(5ull << 40), "5120 GiB");
	setenv("TZ", "UTC", 1);
	assert_string_equal(UI_TIME(0), "1970-01-01 00:00");
	assert_string_equal(UI_TIME(-1), "1969-12-31 23:59");
	assert_string_equal(UI_TIME(INT64_MIN), "-"); /* none is known */
}

static void test_table(void **state)
{
	_cleanup_(ui_table_freep) struct ui_table *t = ui_table_new("lr");
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	assert_non_null(f);
	ui_table_cell(t, UI_PLAIN, "gr\xC3\xBC\xC3\x9F");
	ui_table_cell(t, UI_PLAIN, "%d", 7);
	ui_table_cell(t, UI_BOLD, "a");
	ui_table_cell(t, UI_PLAIN, "%d", 1234);
	assert_int_equal(ui_table_print(t, f, 2), 0);
	fclose(f);
	/* No colours where no terminal is, and no spaces at the ends of lines. */
	assert_null(strchr(text, '\033'));
	assert_null(strstr(text, " \n"));
	assert_memory_equal(text, "  gr", 4);
	assert_non_null(strstr(text, "\n  a "));
	assert_non_null(strstr(text, " 1234\n"));
	assert_non_null(strstr(text, "    7\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_cache_fails),
		cmocka_unit_test(test_map),
		cmocka_unit_test_setup_teardown(test_tree, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_tree_refuses, make_dir, remove_dir),
		cmocka_unit_test_setup_teardown(test_tree_changes, make_dir, remove_dir),
		cmocka_unit_test(test_sizes_and_times),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests_name("parts of the commands", tests, NULL, NULL);
}
