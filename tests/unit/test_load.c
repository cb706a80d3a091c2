/* SPDX-License-Identifier: MIT */
/* From an image, or from the journal's changes, to nodes. Changes that do not fit together
 * are an error with a reason, whoever wrote them. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/load.h"
#include "tests/unit/rig.h"

static struct folder folder;
static struct error err;

static int setup(void **state)
{
	folder = (struct folder){.geometry = {.size = 8192}};
	error_clear(&err);
	return node_table_new(&folder.nodes);
}

static int teardown(void **state)
{
	node_table_free(folder.nodes);
	return 0;
}

static struct node *child(struct node *dir, const char *name)
{
	struct node *n = node_child(folder.nodes, dir, name);

	if (!n)
		fail_msg("there is no %s", name);
	return n;
}

static struct node *root(void)
{
	return node_root(folder.nodes);
}

/* --- images ---------------------------------------------------------------------------- */

static uint32_t add(struct romfs_tree *t, uint32_t dir, const char *name, uint64_t size)
{
	uint32_t i;
	struct romfs_node *n;

	assert_int_equal(romfs_tree_add(t, dir, size == UINT64_MAX ? ROMFS_DIR : ROMFS_FILE,
				 name, strlen(name), &i),
		0);
	n = romfs_tree_node(t, i);
	n->mtime_ns = 1000 + i;
	n->size = size == UINT64_MAX ? 0 : size;
	n->data_off = n->size ? 100 * i : ROMFS_NO_OFFSET;
	return i;
}

/* Directories that are empty, last, nested: wherever the walk has to climb. */
static void test_image(void **state)
{
	_cleanup_(romfs_tree_freep) struct romfs_tree *t = NULL;
	uint32_t a, b, deep;
	struct node *n;

	assert_int_equal(romfs_tree_new(&t), 0);
	add(t, ROMFS_ROOT, "first", 10);
	a = add(t, ROMFS_ROOT, "a", UINT64_MAX);
	add(t, a, "empty", UINT64_MAX);
	b = add(t, a, "b", UINT64_MAX);
	deep = add(t, b, "deep", 20);
	add(t, ROMFS_ROOT, "after", 0);
	romfs_tree_node(t, deep)->mtime_ns = ROMFS_NO_MTIME;
	assert_int_equal(load_tree(folder.nodes, t, CONTENT_BASE), 0);
	assert_int_equal(node_count(folder.nodes), 7);
	n = child(child(child(root(), "a"), "b"), "deep");
	assert_int_equal(n->size, 20);
	assert_int_equal(n->content.kind, CONTENT_BASE);
	assert_int_equal(n->content.off, 100 * deep);
	assert_int_equal(n->note_ns, ROMFS_NO_MTIME);
	assert_true(n->mtime_ns > 0);
	assert_int_equal(child(root(), "first")->mtime_ns, 1001);
	assert_int_equal(child(root(), "after")->content.kind, CONTENT_EMPTY);
	assert_int_equal(child(child(root(), "a"), "empty")->type, ROMFS_DIR);
}

static void test_empty_image(void **state)
{
	_cleanup_(romfs_tree_freep) struct romfs_tree *t = NULL;

	assert_int_equal(romfs_tree_new(&t), 0);
	assert_int_equal(load_tree(folder.nodes, t, CONTENT_BASE), 0);
	assert_int_equal(node_count(folder.nodes), 1);
	assert_true(load_is_image(&folder, t));
}

static void test_is_image(void **state)
{
	_cleanup_(romfs_tree_freep) struct romfs_tree *t = NULL;
	struct node *n, *d;
	uint32_t a;

	assert_int_equal(romfs_tree_new(&t), 0);
	a = add(t, ROMFS_ROOT, "a", UINT64_MAX);
	add(t, a, "f", 10);
	add(t, ROMFS_ROOT, "x~", 10); /* on flash, and junk to us */
	assert_int_equal(load_tree(folder.nodes, t, CONTENT_BASE), 0);
	child(root(), "x~")->junk = true;
	assert_true(load_is_image(&folder, t));
	n = child(child(root(), "a"), "f");
	n->note_ns++;
	assert_false(load_is_image(&folder, t));
	n->note_ns--;
	n->content.off++;
	assert_false(load_is_image(&folder, t));
	n->content.off--;
	n->content.size++;
	assert_false(load_is_image(&folder, t));
	n->content.size--;
	assert_int_equal(node_add(folder.nodes, root(), "new~", ROMFS_DIR, 0, &d), 0);
	assert_false(load_is_image(&folder, t));
	d->junk = true;
	assert_true(load_is_image(&folder, t));
	node_move(folder.nodes, n, root(), strdup("f"));
	assert_false(load_is_image(&folder, t));
	node_unlink(folder.nodes, n);
	assert_false(load_is_image(&folder, t));
}

/* --- the journal ------------------------------------------------------------------------ */

static int put(uint64_t id, uint64_t parent, const char *name, enum romfs_type type)
{
	const struct journal_change c = {.kind = JOURNAL_PUT,
		.entry = {.id = id, .parent = parent, .name = name, .type = (uint8_t)type,
			.mtime_ns = (int64_t)id}};
	struct load_replay load = {.f = &folder, .err = &err};

	return load_change(&load, &c);
}

static int drop(uint64_t id)
{
	const struct journal_change c = {.kind = JOURNAL_DROP, .entry.id = id};
	struct load_replay load = {.f = &folder, .err = &err};

	return load_change(&load, &c);
}

static void test_changes(void **state)
{
	assert_int_equal(put(1, 0, "", ROMFS_DIR), 0);
	assert_int_equal(put(5, 1, "d", ROMFS_DIR), 0);
	assert_int_equal(put(7, 5, "f", ROMFS_FILE), 0);
	assert_int_equal(put(7, 1, "moved", ROMFS_FILE), 0);
	assert_int_equal(drop(5), 0);
	assert_int_equal(load_check(&folder, &err), 0);
	assert_int_equal(child(root(), "moved")->id, 7);
	assert_int_equal(node_count(folder.nodes), 2);
	assert_int_equal(root()->note_ns, 1);
}

/* Two nodes change places in one frame, whatever comes first. */
static void test_swap(void **state)
{
	assert_int_equal(put(5, 1, "a", ROMFS_FILE), 0);
	assert_int_equal(put(6, 1, "b", ROMFS_DIR), 0);
	assert_int_equal(put(5, 1, "b", ROMFS_FILE), 0);
	assert_int_equal(load_check(&folder, &err), -EUCLEAN); /* half of it */
	error_clear(&err);
	assert_int_equal(put(6, 1, "a", ROMFS_DIR), 0);
	assert_int_equal(load_check(&folder, &err), 0);
	assert_int_equal(child(root(), "a")->id, 6);
	assert_int_equal(child(root(), "b")->id, 5);
}

static void expect_refusal(int r)
{
	assert_int_equal(r, -EUCLEAN);
	assert_int_equal(err.code, -EUCLEAN);
	assert_string_not_equal(err.text, "");
	error_clear(&err);
}

static void test_nonsense(void **state)
{
	assert_int_equal(put(5, 1, "d", ROMFS_DIR), 0);
	assert_int_equal(put(6, 5, "e", ROMFS_DIR), 0);
	assert_int_equal(put(7, 6, "f", ROMFS_FILE), 0);
	expect_refusal(put(8, 99, "x", ROMFS_FILE)); /* no such parent */
	expect_refusal(put(8, 7, "x", ROMFS_FILE));  /* below a file */
	expect_refusal(put(5, 6, "d", ROMFS_DIR));   /* below itself */
	expect_refusal(put(5, 5, "d", ROMFS_DIR));
	expect_refusal(put(7, 6, "f", ROMFS_DIR)); /* another type */
	expect_refusal(drop(99));
	expect_refusal(drop(5)); /* not empty */
	expect_refusal(drop(1)); /* the root */
}

static void test_outside(void **state)
{
	struct node *n;

	assert_int_equal(put(5, 1, "f", ROMFS_FILE), 0);
	n = child(root(), "f");
	n->content = (struct content){CONTENT_BASE, 8000, 192};
	assert_int_equal(load_check(&folder, &err), 0);
	n->content.size++;
	expect_refusal(load_check(&folder, &err));
	n->content = (struct content){CONTENT_BASE, UINT64_MAX, 2};
	expect_refusal(load_check(&folder, &err));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_image),
		TEST(test_empty_image),
		TEST(test_is_image),
		TEST(test_changes),
		TEST(test_swap),
		TEST(test_nonsense),
		TEST(test_outside),
	};

	return cmocka_run_group_tests_name("load", tests, NULL, NULL);
}
