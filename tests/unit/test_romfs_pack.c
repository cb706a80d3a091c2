/* SPDX-License-Identifier: MIT */
/* The packer against images made by the tests' own writer, byte for byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libromfs/parse.h"
#include "romfs_bytes.h"
#include "romfs_model.h"

static int sink(void *ctx, const void *buf, size_t len, struct error *err)
{
	bytes_add(ctx, buf, len);
	return 0;
}

/* Packs the model; checks what always holds. */
static struct bytes pack(const struct model *m, const struct romfs_pack_options *options)
{
	struct romfs_tree *tree = model_tree(m);
	struct bytes out = {0};
	uint64_t size = 0, foretold = 0;
	struct error err = {0};

	assert_int_equal(romfs_pack_size(tree, options, &foretold, &err), 0);
	assert_int_equal(romfs_pack(tree, options, model_content, (void *)(uintptr_t)m,
				 sink, &out, &size, &err),
		0);
	assert_int_equal(size, out.n);
	assert_int_equal(foretold, out.n);
	assert_int_equal(size % 2, 0);
	for (uint32_t i = 0; i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);
		uint8_t *want;

		if (n->type != ROMFS_FILE)
			continue;
		want = malloc(n->size + 1);
		assert_non_null(want);
		model_bytes(&m->v[n->user], 0, want, n->size);
		assert_true(n->data_off + n->size <= out.n);
		assert_memory_equal(out.p + n->data_off, want, n->size);
		assert_int_equal(n->data_off % romfs_pack_align(options, tree, i),
			n->size ? 0 : n->data_off % romfs_pack_align(options, tree, i));
		free(want);
	}
	romfs_tree_free(tree);
	return out;
}

/* --- vectors ------------------------------------------------------------------------ */

static int compare_entries(const void *a, const void *b)
{
	const struct model_entry *const *x = a, *const *y = b;

	return strcmp((*x)->path, (*y)->path);
}

/* The records of one directory, by the plainest recursion. */
static void write_dir(const struct model *m, const char *dir, struct bytes *out)
{
	const struct model_entry *list[MODEL_MAX];
	size_t n = 0, len = strlen(dir);

	for (unsigned i = 0; i < m->n; i++) {
		const char *path = m->v[i].path;

		if (strncmp(path, dir, len) == 0 && !strchr(path + len, '/'))
			list[n++] = &m->v[i];
	}
	qsort(list, n, sizeof(*list), compare_entries);
	for (size_t i = 0; i < n; i++) {
		const char *name = list[i]->path + len;

		if (list[i]->dir) {
			struct bytes inside = {0};
			char sub[256];

			snprintf(sub, sizeof(sub), "%s/", list[i]->path);
			write_dir(m, sub, &inside);
			bytes_dir(out, name, &inside);
		} else {
			uint8_t *data = malloc(list[i]->size + 1);

			assert_non_null(data);
			model_bytes(list[i], 0, data, list[i]->size);
			bytes_file(out, name, data, list[i]->size);
			free(data);
		}
	}
}

static void expect_same(const struct model *m)
{
	struct bytes got = pack(m, NULL), root = {0}, want = {0};

	write_dir(m, "", &root);
	bytes_image(&want, &root);
	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.p, want.p, want.n);
	bytes_done(&got);
	bytes_done(&want);
}

static void test_known_images(void **state)
{
	/* What `mpremote romfs build --no-mpy` is documented to write, by hand. */
	static const uint8_t empty[] = {0xd2, 0xcd, 0x31, 0x00};
	static const uint8_t one[] = {0xd2, 0xcd, 0x31, 0x80, 0x09, 0x05, 0x07, 0x01, 'a',
		0x02, 0x03, 0xff, 0xff, 0xff};
	struct model m;
	struct bytes got;

	model_init(&m);
	got = pack(&m, NULL);
	assert_int_equal(got.n, sizeof(empty));
	assert_memory_equal(got.p, empty, sizeof(empty));
	bytes_done(&got);
	model_add(&m, "a", false)->size = 3; /* seed 0: bytes 0xFF */
	got = pack(&m, NULL);
	assert_int_equal(got.n, sizeof(one));
	assert_memory_equal(got.p, one, sizeof(one));
	bytes_done(&got);
	model_done(&m);
}

/* Sizes at which lengths get a digit more. */
static void test_digit_borders(void **state)
{
	static const uint32_t sizes[] = {0, 1, 110, 118, 119, 120, 121, 122, 123, 124,
		125, 126, 127, 128, 129, 16370, 16376, 16377, 16378, 16379, 16380, 16383,
		16384, 16385};
	struct model m;

	model_init(&m);
	model_add(&m, "dir", true);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct model_entry *e;

		m.n = 1;
		e = model_add(&m, "dir/f", false);
		e->size = sizes[i];
		e->seed = 7;
		expect_same(&m);
	}
	model_done(&m);
}

static void test_sorted_by_bytes(void **state)
{
	static const char *const names[] = {"b", "a", "B", "a.b", "a b", "a-", "aa",
		"\xc3\xa4", "z", "_", "a\x01", "~", "\xf0\x9f\x98\x80", "\xef\xbf\xbd"};
	struct model m;

	model_init(&m);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		model_add(&m, names[i], i % 3 == 0)->size = (uint32_t)i;
	expect_same(&m);
	model_done(&m);
}

static void test_random_trees(void **state)
{
	for (unsigned round = 0; round < 60; round++) {
		struct rng rng = {0xABCDEF01u + round * 77};
		struct model m;

		print_message("seed %llx\n", (unsigned long long)rng.s);
		model_init(&m);
		model_random(&m, &rng, 1 + rng_below(&rng, 60), round % 10 ? 300 : 40000);
		expect_same(&m);
		model_done(&m);
	}
}

/* --- alignment ---------------------------------------------------------------------- */

/* A board reads this tree. */
struct seen {
	const struct model *m;
	unsigned n;
};

static void see(void *ctx, const char *path, const uint8_t *data, size_t len)
{
	struct seen *s = ctx;
	const struct model_entry *e = model_find(s->m, path);
	uint8_t *want;

	s->n++;
	if (!e)
		fail_msg("%s is not in the tree", path);
	assert_int_equal(e->dir, data == NULL);
	if (e->dir)
		return;
	assert_int_equal(len, e->size);
	want = malloc(len + 1);
	assert_non_null(want);
	model_bytes(e, 0, want, len);
	assert_memory_equal(data, want, len);
	free(want);
}

static void expect_board_sees(const struct model *m, const struct bytes *b)
{
	struct seen s = {.m = m};
	bool broken;

	assert_true(board_mount(b->p, b->n, see, &s, &broken));
	assert_false(broken);
	assert_int_equal(s.n, m->n);
}

static void test_alignment(void **state)
{
	static const struct romfs_align aligns[] = {
		{"a*", 16}, {"b*", 4096}, {"c*", 2}, {"?/*", 64}, {"d*", 1}};
	const struct romfs_pack_options options = {
		.aligns = aligns, .n_aligns = ARRAY_SIZE(aligns), .notes = true};

	for (unsigned round = 0; round < 150; round++) {
		struct rng rng = {0x5EED0000u + round * 131};
		struct model m;
		struct bytes b;

		print_message("seed %llx\n", (unsigned long long)rng.s);
		model_init(&m);
		model_random(&m, &rng, 1 + rng_below(&rng, 50), 200);
		b = pack(&m, &options); /* checks every data_off */
		expect_board_sees(&m, &b);
		bytes_done(&b);
		model_done(&m);
	}
}

/* A pattern that meets no file changes no byte. */
static void test_alignment_without_match(void **state)
{
	static const struct romfs_align aligns[] = {{"*.tflite", 32}, {"models/*", 16}};
	const struct romfs_pack_options options = {
		.aligns = aligns, .n_aligns = ARRAY_SIZE(aligns)};
	struct rng rng = {0x1234567};
	struct bytes plain, aligned;
	struct model m;

	model_init(&m);
	model_random(&m, &rng, 40, 500);
	plain = pack(&m, NULL);
	aligned = pack(&m, &options);
	assert_int_equal(plain.n, aligned.n);
	assert_memory_equal(plain.p, aligned.p, plain.n);
	bytes_done(&plain);
	bytes_done(&aligned);
	model_done(&m);
}

static uint32_t align_of(const struct romfs_pack_options *o, const char *path)
{
	struct model m;
	struct romfs_tree *tree;
	uint32_t align;

	model_init(&m);
	if (strchr(path, '/'))
		model_add(&m, "models", true);
	model_add(&m, path, false);
	tree = model_tree(&m);
	align = romfs_pack_align(o, tree, romfs_tree_lookup(tree, path));
	romfs_tree_free(tree);
	model_done(&m);
	return align;
}

static void test_align_rules(void **state)
{
	static const struct romfs_align aligns[] = {
		{"keep.tflite", 1}, {"*.tflite", 32}, {"models/*.bin", 16}, {"*.bin", 4}};
	const struct romfs_pack_options o = {.aligns = aligns, .n_aligns = 4};

	assert_int_equal(align_of(&o, "keep.tflite"), 1); /* first match wins */
	assert_int_equal(align_of(&o, "x.tflite"), 32);
	assert_int_equal(align_of(&o, "models/x.tflite"), 32); /* by name, wherever */
	assert_int_equal(align_of(&o, "models/x.bin"), 16);
	assert_int_equal(align_of(&o, "x.bin"), 4);
	assert_int_equal(align_of(&o, "x.py"), 1);
	assert_int_equal(align_of(NULL, "x.py"), 1);
}

static void test_align_parse(void **state)
{
	static const char *const bad[] = {"", "=4", "*.bin", "*.bin=", "*.bin=3",
		"*.bin=0", "*.bin=-4", "*.bin=4x", "*.bin=131072",
		"*.bin=99999999999999999999", "*= 4"};
	char good[] = "a=b*.tflite=32", largest[] = "*=65536";
	struct romfs_align a;

	assert_int_equal(romfs_align_parse(good, &a, NULL), 0);
	assert_string_equal(a.pattern, "a=b*.tflite");
	assert_int_equal(a.align, 32);
	assert_int_equal(romfs_align_parse(largest, &a, NULL), 0);
	assert_int_equal(a.align, 65536);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct error err = {0};
		char text[40];

		snprintf(text, sizeof(text), "%s", bad[i]);
		assert_int_equal(romfs_align_parse(text, &a, &err), -EINVAL);
		assert_non_null(strstr(err.text, bad[i]));
		assert_string_equal(text, bad[i]); /* left as it was */
	}
}

/* --- notes -------------------------------------------------------------------------- */

static void test_notes_round_trip(void **state)
{
	const struct romfs_pack_options options = {.notes = true};
	struct rng rng = {0xFEEDBEE};
	struct romfs_image *image;
	struct model m;
	struct bytes b;

	model_init(&m);
	m.root_mtime_ns = 1234567890123456789;
	model_random(&m, &rng, 60, 100);
	m.v[0].mtime_ns = -1;
	m.v[1].mtime_ns = INT64_MAX;
	m.v[2].mtime_ns = INT64_MIN + 1;
	b = pack(&m, &options);
	expect_board_sees(&m, &b);
	{
		struct romfs_buffer buffer = {b.p, b.n};
		struct romfs_source source = romfs_source_buffer(&buffer);

		assert_int_equal(romfs_parse(&source, &image, NULL), 0);
	}
	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(romfs_tree_count(image->tree), m.n + 1);
	assert_int_equal(romfs_tree_node(image->tree, 0)->mtime_ns, m.root_mtime_ns);
	for (unsigned i = 0; i < m.n; i++) {
		uint32_t k = romfs_tree_lookup(image->tree, m.v[i].path);

		assert_int_not_equal(k, ROMFS_NO_NODE);
		assert_int_equal(
			romfs_tree_node(image->tree, k)->mtime_ns, m.v[i].mtime_ns);
	}
	romfs_image_free(image);
	bytes_done(&b);
	model_done(&m);
}

/* --- failures ----------------------------------------------------------------------- */

static int fail_sink(void *ctx, const void *buf, size_t len, struct error *err)
{
	return error_set(err, -ENOSPC, "disk full");
}

static int fail_content(void *ctx, const struct romfs_tree *tree, uint32_t index,
	uint64_t off, void *buf, size_t len, struct error *err)
{
	return error_set(err, -EIO, "no content");
}

static void test_failures(void **state)
{
	struct romfs_tree *tree;
	struct model m;
	uint64_t size = 77;
	struct error err = {0};
	struct bytes out = {0};

	model_init(&m);
	model_add(&m, "f", false)->size = 10000;
	tree = model_tree(&m);
	assert_int_equal(
		romfs_pack(tree, NULL, model_content, &m, fail_sink, NULL, &size, &err),
		-ENOSPC);
	assert_string_equal(err.text, "disk full");
	error_clear(&err);
	assert_int_equal(
		romfs_pack(tree, NULL, fail_content, NULL, sink, &out, &size, &err),
		-EIO);
	assert_string_equal(err.text, "no content");
	assert_int_equal(size, 77);
	assert_true(romfs_tree_node(tree, 1)->data_off == ROMFS_NO_OFFSET);
	bytes_done(&out);
	romfs_tree_free(tree);
	model_done(&m);
}

/* --- the tree itself ---------------------------------------------------------------- */

static void test_tree_limits(void **state)
{
	char name[300];
	struct romfs_tree *tree;
	uint32_t dir = ROMFS_ROOT, i;

	memset(name, 'n', sizeof(name));
	assert_int_equal(romfs_tree_new(&tree), 0);
	assert_int_equal(romfs_tree_add(tree, 0, ROMFS_FILE, "", 0, &i), -EINVAL);
	assert_int_equal(romfs_tree_add(tree, 0, ROMFS_FILE, ".", 1, &i), -EINVAL);
	assert_int_equal(romfs_tree_add(tree, 0, ROMFS_FILE, "..", 2, &i), -EINVAL);
	assert_int_equal(romfs_tree_add(tree, 0, ROMFS_FILE, "a/b", 3, &i), -EINVAL);
	assert_int_equal(romfs_tree_add(tree, 0, ROMFS_FILE, "a\0b", 3, &i), -EINVAL);
	assert_int_equal(
		romfs_tree_add(tree, 0, ROMFS_FILE, name, 256, &i), -ENAMETOOLONG);
	assert_int_equal(romfs_tree_add(tree, 0, ROMFS_FILE, name, 255, &i), 0);
	assert_int_equal(romfs_tree_find(tree, 0, name, 255), i);
	assert_int_equal(romfs_tree_find(tree, 0, name, 254), ROMFS_NO_NODE);
	for (unsigned d = 0; d < ROMFS_DEPTH_MAX; d++)
		assert_int_equal(romfs_tree_add(tree, dir, ROMFS_DIR, "d", 1, &dir), 0);
	assert_int_equal(romfs_tree_add(tree, dir, ROMFS_DIR, "d", 1, &i), -ELOOP);
	assert_int_equal(romfs_tree_add(tree, dir, ROMFS_FILE, "f", 1, &i), 0);
	assert_int_equal(
		romfs_tree_path(tree, i, name, sizeof(name)), 2 * ROMFS_DEPTH_MAX + 1);
	assert_int_equal(romfs_tree_lookup(tree, name), i);
	assert_int_equal(romfs_tree_path(tree, i, name, 6), 2 * ROMFS_DEPTH_MAX + 1);
	assert_string_equal(name, "d/d/d"); /* cut off like snprintf */
	romfs_tree_free(tree);
}

static void test_tree_many(void **state)
{
	struct romfs_tree *tree;
	uint32_t i, *order;

	assert_int_equal(romfs_tree_new(&tree), 0);
	for (unsigned k = 0; k < ROMFS_ENTRIES_MAX; k++) {
		char name[16];
		int n = snprintf(
			name, sizeof(name), "f%05u", (k * 7919u) % ROMFS_ENTRIES_MAX);

		assert_int_equal(
			romfs_tree_add(tree, 0, ROMFS_FILE, name, (size_t)n, &i), 0);
	}
	assert_int_equal(romfs_tree_add(tree, 0, ROMFS_FILE, "g", 1, &i), -EOVERFLOW);
	assert_int_equal(romfs_tree_preorder(tree, &order), 0);
	assert_int_equal(romfs_tree_sort(tree), 0);
	i = 0;
	romfs_tree_foreach_child (tree, ROMFS_ROOT, child) {
		char name[16];

		assert_int_equal(order[i + 1], child);
		snprintf(name, sizeof(name), "f%05u", i++);
		assert_string_equal(romfs_tree_name(tree, child), name);
		assert_int_equal(romfs_tree_lookup(tree, name), child);
	}
	assert_int_equal(i, ROMFS_ENTRIES_MAX);
	free(order);
	romfs_tree_free(tree);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_images),
		cmocka_unit_test(test_digit_borders),
		cmocka_unit_test(test_sorted_by_bytes),
		cmocka_unit_test(test_random_trees),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_alignment_without_match),
		cmocka_unit_test(test_align_rules),
		cmocka_unit_test(test_align_parse),
		cmocka_unit_test(test_notes_round_trip),
		cmocka_unit_test(test_failures),
		cmocka_unit_test(test_tree_limits),
		cmocka_unit_test(test_tree_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
