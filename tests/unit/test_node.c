/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/node.h"

static struct node *add(struct node_table *t, struct node *dir, const char *name, bool is_dir)
{
	struct node *n;

	assert_int_equal(
		node_add(t, dir, name, is_dir ? ROMFS_DIR : ROMFS_FILE, 0, &n), 0);
	return n;
}

static void test_names_and_ids(void **state)
{
	_cleanup_(node_table_freep) struct node_table *t = NULL;
	struct node *root, *lib, *a, *n;

	assert_int_equal(node_table_new(&t), 0);
	root = node_root(t);
	assert_int_equal(root->id, JOURNAL_ROOT_ID);
	lib = add(t, root, "lib", true);
	a = add(t, lib, "a", false);
	assert_ptr_equal(node_child(t, root, "lib"), lib);
	assert_ptr_equal(node_child(t, lib, "a"), a);
	assert_null(node_child(t, root, "a"));
	assert_ptr_equal(node_by_id(t, a->id), a);
	assert_int_equal(node_add(t, lib, "a", ROMFS_FILE, 0, &n), -EEXIST);
	assert_int_equal(node_add(t, lib, "b", ROMFS_FILE, a->id, &n), -EEXIST);
	assert_int_equal(node_add(t, lib, "b", ROMFS_FILE, 1000, &n), 0);
	assert_int_equal(add(t, lib, "c", false)->id, 1001);
	assert_int_equal(lib->n_children, 3);
	assert_int_equal(node_count(t), 5);
}

/* More than any table starts with, so that it grows under its users. */
static void test_thousands(void **state)
{
	_cleanup_(node_table_freep) struct node_table *t = NULL;
	struct node *dir;
	unsigned i, seen = 0;
	char name[16];

	assert_int_equal(node_table_new(&t), 0);
	dir = add(t, node_root(t), "dir", true);
	for (i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "%u", i);
		add(t, dir, name, false);
	}
	for (i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "%u", i);
		assert_string_equal(node_child(t, dir, name)->name, name);
	}
	node_foreach_child(dir, c) {
		snprintf(name, sizeof(name), "%u", seen++);
		assert_string_equal(c->name, name); /* oldest first */
	}
	assert_int_equal(seen, 3000);
}

static void test_move_and_exchange(void **state)
{
	_cleanup_(node_table_freep) struct node_table *t = NULL;
	struct node *x, *y, *a, *b;

	assert_int_equal(node_table_new(&t), 0);
	x = add(t, node_root(t), "x", true);
	y = add(t, node_root(t), "y", true);
	a = add(t, x, "a", false);
	b = add(t, y, "b", true);
	node_move(t, a, y, strdup("moved"));
	assert_ptr_equal(node_child(t, y, "moved"), a);
	assert_null(node_child(t, x, "a"));
	assert_int_equal(x->n_children, 0);
	node_exchange(t, x, b);
	assert_ptr_equal(node_child(t, y, "b"), x);
	assert_ptr_equal(node_child(t, node_root(t), "x"), b);
	assert_int_equal(y->n_children, 2);
	node_exchange(t, a, x); /* in one directory */
	assert_ptr_equal(node_child(t, y, "b"), a);
	assert_ptr_equal(node_child(t, y, "moved"), x);
}

static void test_lifetime(void **state)
{
	_cleanup_(node_table_freep) struct node_table *t = NULL;
	struct node *a, *b;
	uint64_t id;

	assert_int_equal(node_table_new(&t), 0);
	a = add(t, node_root(t), "a", false);
	id = a->id;
	node_unlink(t, a);
	assert_null(node_by_id(t, id)); /* nobody knew it */
	a = add(t, node_root(t), "a", false);
	assert_int_not_equal(a->id, id);
	id = a->id;
	a->opens = 1;
	a->lookups = 2;
	node_unlink(t, a);
	assert_ptr_equal(node_next_orphan(t, NULL), a);
	assert_null(node_next_orphan(t, a));
	b = add(t, node_root(t), "a", false); /* the name is free */
	assert_ptr_equal(node_child(t, node_root(t), "a"), b);
	a->opens = 0;
	node_release(t, a);
	assert_ptr_equal(node_by_id(t, id), a); /* the kernel knows it */
	a->lookups = 0;
	node_release(t, a);
	assert_null(node_by_id(t, id));
	assert_null(node_next_orphan(t, NULL));
	node_release(t, b); /* linked: it stays */
	assert_ptr_equal(node_child(t, node_root(t), "a"), b);
}

static void test_orphans_are_all_found(void **state)
{
	_cleanup_(node_table_freep) struct node_table *t = NULL;
	unsigned i, count = 0;
	char name[16];

	assert_int_equal(node_table_new(&t), 0);
	for (i = 0; i < 500; i++) {
		struct node *n;

		snprintf(name, sizeof(name), "%u", i);
		n = add(t, node_root(t), name, false);
		n->opens = 1;
		if (i % 3 == 0)
			node_unlink(t, n);
	}
	for (struct node *n = node_next_orphan(t, NULL); n; n = node_next_orphan(t, n))
		count++;
	assert_int_equal(count, 167);
}

static void test_paths_and_depth(void **state)
{
	_cleanup_(node_table_freep) struct node_table *t = NULL;
	struct node *root, *a, *b, *c;
	char buf[16];

	assert_int_equal(node_table_new(&t), 0);
	root = node_root(t);
	a = add(t, root, "aa", true);
	b = add(t, a, "bb", true);
	c = add(t, b, "cc", false);
	add(t, root, "zz", false);
	assert_int_equal(node_depth(root), 0);
	assert_int_equal(node_depth(c), 3);
	assert_int_equal(node_height(a), 2);
	assert_int_equal(node_height(c), 0);
	assert_int_equal(node_path(root, buf, sizeof(buf)), 0);
	assert_string_equal(buf, "");
	assert_int_equal(node_path(c, buf, sizeof(buf)), 8);
	assert_string_equal(buf, "aa/bb/cc");
	assert_int_equal(node_path(c, buf, 8), 8); /* too short: the name */
	assert_string_equal(buf, "cc");
	assert_int_equal(node_path(c, NULL, 0), 8);
}

static void test_preorder(void **state)
{
	static const char *const want[] = {"a", "a1", "a2", "b", "c", "c1"};
	_cleanup_(node_table_freep) struct node_table *t = NULL;
	struct node *root, *a, *c;
	unsigned i = 0;

	assert_int_equal(node_table_new(&t), 0);
	root = node_root(t);
	a = add(t, root, "a", true);
	add(t, root, "b", false);
	c = add(t, root, "c", true);
	add(t, a, "a1", true);
	add(t, a, "a2", false);
	add(t, c, "c1", false);
	for (struct node *n = node_next(root, root); n; n = node_next(root, n))
		assert_string_equal(n->name, want[i++]);
	assert_int_equal(i, ARRAY_SIZE(want));
	i = 1;
	for (struct node *n = node_next(a, a); n; n = node_next(a, n))
		assert_string_equal(n->name, want[i++]); /* not beyond its top */
	assert_int_equal(i, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_and_ids),
		cmocka_unit_test(test_thousands),
		cmocka_unit_test(test_move_and_exchange),
		cmocka_unit_test(test_lifetime),
		cmocka_unit_test(test_orphans_are_all_found),
		cmocka_unit_test(test_paths_and_depth),
		cmocka_unit_test(test_preorder),
	};

	return cmocka_run_group_tests_name("node", tests, NULL, NULL);
}
