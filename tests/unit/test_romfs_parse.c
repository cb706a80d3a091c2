/* SPDX-License-Identifier: MIT */
/* The parser: everything that the format allows is read, everything that could hurt is
 * refused with its place and reason. Images come from the tests' own writer. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libromfs/parse.h"
#include "romfs_bytes.h"

/* --- helpers ------------------------------------------------------------------------ */

static struct romfs_image *parse(const void *p, size_t n)
{
	struct romfs_buffer buffer = {p, n};
	struct romfs_source source = romfs_source_buffer(&buffer);
	struct romfs_image *image;
	struct error err = {0};

	assert_int_equal(romfs_parse(&source, &image, &err), 0);
	assert_int_equal(err.code, 0);
	assert_non_null(image->tree);
	return image;
}

static struct romfs_node *node_at(const struct romfs_image *image, const char *path)
{
	uint32_t i = romfs_tree_lookup(image->tree, path);

	if (i == ROMFS_NO_NODE)
		fail_msg("no %s in the tree", path);
	return romfs_tree_node(image->tree, i);
}

static void expect_file(const struct romfs_image *image, const struct bytes *b,
	const char *path, const char *data)
{
	const struct romfs_node *n = node_at(image, path);

	assert_int_equal(n->type, ROMFS_FILE);
	assert_int_equal(n->size, strlen(data));
	assert_true(n->data_off + n->size <= b->n);
	assert_memory_equal(b->p + n->data_off, data, n->size);
}

/* The image is refused, at that offset, for that reason; no tree is shown. */
static void expect_corrupt(struct bytes *b, size_t at, const char *reason)
{
	struct romfs_image *image = parse(b->p, b->n);
	char place[32];

	snprintf(place, sizeof(place), "byte %zu: ", at);
	assert_int_equal(image->status, ROMFS_CORRUPT);
	if (!strstr(image->why.text, reason) ||
		strncmp(image->why.text, place, strlen(place)))
		fail_msg("\"%s\" is not \"%s...%s\"", image->why.text, place, reason);
	assert_int_equal(image->why.code, -EUCLEAN);
	assert_int_equal(romfs_tree_count(image->tree), 1);
	assert_int_equal(image->size, 0);
	assert_int_equal(image->n_meta, 0);
	romfs_image_free(image);
	bytes_done(b);
}

/* An image with these records and a header of four bytes (d2 cd 31, one digit). */
static struct bytes small_image(struct bytes *payload)
{
	struct bytes b = {0};

	assert_true(payload->n < 128);
	bytes_add(&b, "\xd2\xcd\x31", 3);
	bytes_varuint(&b, payload->n, 1);
	bytes_add(&b, payload->p, payload->n);
	bytes_done(payload);
	return b;
}

/* --- what is read ------------------------------------------------------------------- */

static void test_plain_tree(void **state)
{
	struct bytes b = {0}, root = {0}, lib = {0}, deep = {0};
	struct romfs_image *image;

	bytes_file(&deep, "x.py", "x = 1\n", 6);
	bytes_dir(&lib, "deep", &deep);
	bytes_file(&lib, "\xc3\xbc.txt", "umlaut", 6);
	bytes_file(&root, "boot.py", "", 0);
	bytes_dir(&root, "lib", &lib);
	bytes_file(&root, "main.py", "import x\n", 9);
	bytes_image(&b, &root);

	image = parse(b.p, b.n);
	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(image->size, b.n);
	assert_int_equal(romfs_tree_count(image->tree), 7);
	assert_int_equal(node_at(image, "lib")->type, ROMFS_DIR);
	assert_int_equal(node_at(image, "/lib/deep/")->type, ROMFS_DIR);
	expect_file(image, &b, "lib/deep/x.py", "x = 1\n");
	expect_file(image, &b, "lib/\xc3\xbc.txt", "umlaut");
	expect_file(image, &b, "boot.py", "");
	expect_file(image, &b, "main.py", "import x\n");
	assert_int_equal(node_at(image, "main.py")->mtime_ns, ROMFS_NO_MTIME);
	assert_int_equal(image->records_before_root, 0);
	assert_int_equal(image->skipped_entries, 0);
	romfs_image_free(image);
	bytes_done(&b);
}

static void test_partition_larger_than_image(void **state)
{
	struct bytes b = {0}, root = {0};
	struct romfs_image *image;
	size_t size;

	bytes_file(&root, "a", "hello", 5);
	bytes_image(&b, &root);
	size = b.n;
	bytes_fill(&b, 0xA5, 500);
	image = parse(b.p, b.n);
	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(image->size, size);
	expect_file(image, &b, "a", "hello");
	romfs_image_free(image);
	bytes_done(&b);
}

static void test_pointers_padding_unknown_kinds(void **state)
{
	struct bytes b = {0}, root = {0}, body = {0}, junk = {0}, data = {0};
	struct romfs_image *image;

	bytes_record(&root, 1, bytes_fill(&junk, 0, 20)); /* padding */
	bytes_record(&root, 77, bytes_fill(&junk, 5, 9)); /* unknown */
	bytes_record(
		&root, 2, bytes_add(&data, "shared data", 11)); /* data that nobody is */
	bytes_pointer_file(&root, "p", 6, 22 + 11 + 2, 6);
	bytes_pointer_file(&root, "q", 4, 22 + 11 + 2 + 7, 1);
	/* Inside a file, in front of its data. */
	bytes_name(&body, "f");
	bytes_record(&body, 1, bytes_fill(&junk, 9, 3));
	bytes_record(&body, 99, bytes_fill(&junk, 9, 3));
	bytes_record(&body, 2, bytes_add(&data, "found", 5));
	bytes_record(&body, 0, bytes_fill(&junk, 0, 2)); /* behind the data: never read */
	bytes_record(&root, 5, &body);
	bytes_image(&b, &root);

	image = parse(b.p, b.n);
	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(image->records_before_root, 3);
	expect_file(image, &b, "p", "shared");
	expect_file(image, &b, "q", "data");
	expect_file(image, &b, "f", "found");
	romfs_image_free(image);
	bytes_done(&b);
}

static void test_padded_varuints(void **state)
{
	struct bytes b = {0}, root = {0}, payload = {0};
	struct romfs_image *image;

	/* file record "a" with "hi": every number has 20 digits too many */
	bytes_varuint(&payload, 1, 21);
	bytes_add(&payload, "a", 1);
	bytes_varuint(&payload, 2, 21);
	bytes_varuint(&payload, 2, 21);
	bytes_add(&payload, "hi", 2);
	bytes_varuint(&root, 5, 21);
	bytes_varuint(&root, payload.n, 21);
	bytes_add(&root, payload.p, payload.n);
	bytes_done(&payload);
	bytes_add(&b, "\xd2\xcd\x31", 3);
	bytes_varuint(&b, root.n, 21);
	bytes_add(&b, root.p, root.n);
	bytes_done(&root);

	image = parse(b.p, b.n);
	assert_int_equal(image->status, ROMFS_VALID);
	expect_file(image, &b, "a", "hi");
	romfs_image_free(image);
	bytes_done(&b);
}

static void test_notes(void **state)
{
	struct bytes b = {0}, root = {0}, dir = {0}, body = {0}, data = {0};
	const int64_t stamps[] = {1700000000123456789, -5, 0};
	struct romfs_image *image;

	bytes_mtime_note(&root, stamps[0]);
	bytes_mtime_note(&dir, stamps[1]);
	bytes_mtime_note(bytes_name(&body, "f"), stamps[2]);
	bytes_record(&body, 2, bytes_add(&data, "z", 1));
	bytes_record(&dir, 5, &body);
	bytes_dir(&root, "d", &dir);
	/* The right length, but not ours. */
	bytes_name(&body, "g");
	bytes_record(&body, 1, bytes_add(&data, "a comment!!", 11));
	bytes_record(&body, 2, bytes_add(&data, "z", 1));
	bytes_record(&root, 5, &body);
	bytes_image(&b, &root);

	image = parse(b.p, b.n);
	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(node_at(image, "")->mtime_ns, stamps[0]);
	assert_int_equal(node_at(image, "d")->mtime_ns, stamps[1]);
	assert_int_equal(node_at(image, "d/f")->mtime_ns, stamps[2]);
	assert_int_equal(node_at(image, "g")->mtime_ns, ROMFS_NO_MTIME);
	romfs_image_free(image);
	bytes_done(&b);
}

/* meta: what was read, and none of the data. */
static void test_meta_extents(void **state)
{
	struct bytes b = {0}, root = {0}, data = {0};
	struct romfs_image *image;

	bytes_fill(&data, 0x11, 1000);
	bytes_file(&root, "a", data.p, data.n);
	bytes_file(&root, "b", data.p, data.n);
	bytes_done(&data);
	bytes_image(&b, &root);
	image = parse(b.p, b.n);
	assert_int_equal(image->n_meta, 2);
	assert_int_equal(image->meta[0].off, 0);
	assert_int_equal(image->meta[0].len, node_at(image, "a")->data_off);
	assert_int_equal(image->meta[1].off, node_at(image, "a")->data_off + 1000);
	assert_int_equal(
		image->meta[1].off + image->meta[1].len, node_at(image, "b")->data_off);
	romfs_image_free(image);
	bytes_done(&b);
}

/* --- the append layout -------------------------------------------------------------- */

#define APPEND_SIZE 65536u

static void put(struct bytes *flash, size_t at, struct bytes *what)
{
	assert_true(at + what->n <= flash->n);
	memcpy(flash->p + at, what->p, what->n);
	bytes_done(what);
}

/* Six bytes: a padding record that ends at `to`. */
static void put_jump(struct bytes *flash, size_t at, size_t to)
{
	struct bytes jump = {0};

	bytes_varuint(bytes_varuint(&jump, 1, 1), to - (at + 6), 5);
	put(flash, at, &jump);
}

static void put_root(struct bytes *flash, size_t at, const char *text, size_t data_at)
{
	struct bytes root = {0}, dir = {0}, data = {0};
	size_t end;

	put(flash, data_at, bytes_add(&data, text, strlen(text)));
	bytes_pointer_file(&dir, "deep", strlen(text), data_at - 8, 4);
	bytes_dir(&root, "lib", &dir);
	bytes_pointer_file(&root, "a.txt", strlen(text), data_at - 8, 4);
	end = at + root.n;
	put(flash, at, &root);
	put_jump(flash, end, APPEND_SIZE);
}

static void expect_root(struct bytes *flash, const char *text, unsigned before)
{
	struct romfs_image *image = parse(flash->p, flash->n);

	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(image->size, APPEND_SIZE);
	if (text) {
		assert_int_equal(romfs_tree_count(image->tree), 4);
		expect_file(image, flash, "a.txt", text);
		expect_file(image, flash, "lib/deep", text);
	} else {
		assert_int_equal(romfs_tree_count(image->tree), 1);
	}
	assert_int_equal(image->records_before_root, before);
	romfs_image_free(image);
}

static void append_header(struct bytes *flash)
{
	struct bytes header = {0};

	bytes_fill(flash, 0xFF, APPEND_SIZE);
	bytes_add(&header, "\xd2\xcd\x31", 3);
	put(flash, 0, bytes_varuint(&header, APPEND_SIZE - 8, 5));
}

/* Flash that is programmed twice: a virgin slot is a padding record of 8 blank bytes. */
static void test_append_nor(void **state)
{
	const unsigned slots = 40;
	struct bytes flash = {0};
	size_t slot;

	append_header(&flash);
	for (unsigned i = 0; i < slots; i++)
		memcpy(flash.p + 8 + 10 * i, "\x01\x08", 2);
	put_jump(&flash, 8 + 10 * slots, APPEND_SIZE);
	expect_root(&flash, NULL, slots + 1);

	put_root(&flash, 5000, "first", 4200);
	slot = 8 + 10 * (slots - 1);
	put_jump(&flash, slot + 2, 5000);
	expect_root(&flash, NULL, slots + 1); /* written, not committed */
	flash.p[slot + 1] = 0;
	expect_root(&flash, "first", slots + 1);

	put_root(&flash, 9000, "second", 8200);
	slot -= 10;
	put_jump(&flash, slot + 2, 9000);
	expect_root(&flash, "first", slots + 1);
	flash.p[slot + 1] = 0;
	expect_root(&flash, "second", slots);
	bytes_done(&flash);
}

/* Flash that is programmed once per unit: virgin units are leading digits of a kind. */
static void test_append_ecc(void **state)
{
	const unsigned slots = 16, unit = 32;
	struct bytes flash = {0};

	append_header(&flash);
	memcpy(flash.p + 8, "\x01\x16", 2); /* padding up to the first slot */
	put_jump(&flash, unit * (1 + slots), APPEND_SIZE);
	expect_root(&flash, NULL, 2);

	put_root(&flash, 5000, "first", 4200);
	expect_root(&flash, NULL, 2);
	put_jump(&flash, unit * slots, 5000);
	expect_root(&flash, "first", 2);

	put_root(&flash, 9000, "second", 8200);
	expect_root(&flash, "first", 2);
	put_jump(&flash, unit * (slots - 1), 9000);
	expect_root(&flash, "second", 2);
	bytes_done(&flash);
}

/* --- what is no ROMFS --------------------------------------------------------------- */

static void expect_status(
	const void *p, size_t n, enum romfs_status status, const char *why)
{
	struct romfs_image *image = parse(p, n);

	assert_int_equal(image->status, status);
	assert_int_equal(romfs_tree_count(image->tree), 1);
	if (!strstr(image->why.text, why))
		fail_msg("\"%s\" does not tell \"%s\"", image->why.text, why);
	romfs_image_free(image);
}

static void test_no_romfs(void **state)
{
	expect_status("\xff\xff\xff\xff\xff\xff\xff\xff", 8, ROMFS_BLANK, "");
	expect_status("\x00\x00\x00\x00", 4, ROMFS_NOT_ROMFS, "starts with 00 00 00");
	expect_status("\xd2\xcd\xff\xff", 4, ROMFS_NOT_ROMFS, "starts with d2 cd ff");
	expect_status("\xd2\xcd\x31", 3, ROMFS_NOT_ROMFS, "too few");
	expect_status("", 0, ROMFS_NOT_ROMFS, "too few");
	expect_status("\xd2\xcd\x31\x00", 4, ROMFS_VALID, "");
}

/* --- hostile bytes (each line of the checklist is a case here) ---------------------- */

static void test_overflowing_numbers(void **state)
{
	struct bytes b = {0}, p = {0};

	/* 65 bits: the header, a record, a name, a pointer's size and offset */
	bytes_add(&b, "\xd2\xcd\x31\x83\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 13);
	expect_corrupt(&b, 3, "the length in the header has more than 64 bits");
	b = small_image(
		bytes_add(&p, "\x05\x83\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11));
	expect_corrupt(&b, 5, "a record's length has more than 64 bits");
	b = small_image(
		bytes_add(&p, "\x05\x0a\x83\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 12));
	expect_corrupt(&b, 6, "a name's length has more than 64 bits");
	b = small_image(bytes_add(&p,
		"\x05\x10\x01"
		"a\x03\x0c\x83\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00\x00",
		18));
	expect_corrupt(&b, 10, "a data pointer's size has more than 64 bits");
	b = small_image(bytes_add(&p,
		"\x05\x0f\x01"
		"a\x03\x0b\x00\x83\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		17));
	expect_corrupt(&b, 11, "a data pointer's offset has more than 64 bits");
	/* 64 bits all set: fit, but must not wrap when they are added */
	b = small_image(
		bytes_add(&p, "\x05\x81\xff\xff\xff\xff\xff\xff\xff\xff\x7f", 11));
	expect_corrupt(&b, 4, "leaves what it is part of");
	b = small_image(bytes_add(&p,
		"\x05\x0f\x01"
		"a\x03\x0b\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		17));
	expect_corrupt(&b, 8, "leaves the partition");
	b = small_image(bytes_add(&p,
		"\x05\x0f\x01"
		"a\x03\x0b\x81\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x02",
		17));
	expect_corrupt(&b, 8, "leaves the partition");
}

static void test_numbers_without_end(void **state)
{
	struct bytes b = {0}, p = {0};

	bytes_add(&b, "\xd2\xcd\x31\x80\x80\x80", 6);
	expect_corrupt(&b, 3, "the length in the header does not end");
	b = small_image(bytes_add(&p, "\x01\x00\x85\x80", 4));
	expect_corrupt(&b, 6, "a record's kind does not end");
	b = small_image(bytes_add(&p, "\x05", 1));
	expect_corrupt(&b, 5, "a record's length does not end");
	b = small_image(bytes_add(&p, "\x05\x01\x80\x01", 4));
	expect_corrupt(&b, 6, "a name's length does not end");
	b = small_image(bytes_add(&p,
		"\x05\x05\x01"
		"a\x03\x01\x80\x01",
		8));
	expect_corrupt(&b, 10, "a data pointer's size does not end");
	b = small_image(bytes_add(&p,
		"\x05\x05\x01"
		"a\x03\x01\x01\x01",
		8));
	expect_corrupt(&b, 11, "a data pointer's offset does not end");
}

static void test_leaving_the_parent(void **state)
{
	struct bytes b = {0}, p = {0};

	bytes_add(&b, "\xd2\xcd\x31\x10", 4); /* header longer than the source */
	expect_corrupt(&b, 3, "longer than the partition");
	b = small_image(bytes_add(&p, "\x01\x03\x00\x00", 4)); /* record past the image */
	expect_corrupt(&b, 4, "a record of 3 bytes leaves what it is part of");
	/* a file that fits the image, but not its directory */
	b = small_image(bytes_add(&p,
		"\x04\x05\x01"
		"d\x05\x04\x01"
		"a\x02\x00",
		10));
	expect_corrupt(&b, 8, "a record of 4 bytes leaves what it is part of");
	/* data that fits the directory, but not its file */
	b = small_image(bytes_add(&p,
		"\x05\x05\x01"
		"a\x02\x02z\x01\x00",
		9));
	expect_corrupt(&b, 8, "a record of 2 bytes leaves what it is part of");
	b = small_image(bytes_add(&p,
		"\x05\x02\x07"
		"abcdefgh",
		11)); /* name past its record */
	expect_corrupt(&b, 4, "a name of 7 bytes leaves its record");
}

static void test_kind_zero(void **state)
{
	struct bytes b, p = {0};

	b = small_image(bytes_add(&p, "\x01\x00\x00\x00", 4));
	expect_corrupt(&b, 6, "kind 0");
	b = small_image(bytes_add(&p,
		"\x05\x04\x01"
		"a\x00\x00",
		6));
	expect_corrupt(&b, 8, "kind 0");
	b = small_image(bytes_add(&p,
		"\x05\x02\x01"
		"a",
		4));
	expect_corrupt(&b, 4, "holds no data");
}

static void test_pointers_outside(void **state)
{
	struct bytes b = {0}, p = {0};
	struct romfs_image *image;

	bytes_image(&b, bytes_pointer_file(&p, "a", 4, 4, 1));
	assert_int_equal(b.n, 12);
	image = parse(b.p, b.n); /* up to the very end */
	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(node_at(image, "a")->data_off, 8);
	romfs_image_free(image);
	bytes_done(&b);
	bytes_image(&b, bytes_pointer_file(&p, "a", 5, 4, 1));
	expect_corrupt(&b, 8, "a data pointer to 5 bytes at 4 of the payload leaves");
	bytes_image(&b, bytes_pointer_file(&p, "a", 0, 9, 1));
	expect_corrupt(&b, 8, "leaves the partition");
}

static void test_depth(void **state)
{
	for (unsigned levels = 63; levels <= 66; levels++) {
		struct bytes b = {0}, in = {0}, out = {0};
		struct romfs_image *image;

		for (unsigned i = 0; i < levels; i++) {
			bytes_dir(&out, "d", &in);
			in = out;
			out = (struct bytes){0};
		}
		bytes_image(&b, &in);
		image = parse(b.p, b.n);
		if (levels <= ROMFS_DEPTH_MAX) {
			assert_int_equal(image->status, ROMFS_VALID);
			assert_int_equal(romfs_tree_count(image->tree), levels + 1);
		} else {
			assert_int_equal(image->status, ROMFS_CORRUPT);
			assert_non_null(
				strstr(image->why.text, "more than 64 directories"));
		}
		romfs_image_free(image);
		bytes_done(&b);
	}
}

/* n files with 2-byte names, of one shared piece of data each. */
static void many_files(struct bytes *b, unsigned n, uint64_t size, size_t data)
{
	struct bytes payload = {0};

	payload.p = malloc(n * 16u);
	assert_non_null(payload.p);
	for (unsigned i = 0; i < n; i++) {
		uint8_t record[16] = {5, 14, 3, 0, 0, 0, 3, 8};

		record[3] = (uint8_t)(1 + i % 46);
		record[4] = (uint8_t)(48 + i / 46 % 200);
		record[5] = (uint8_t)(48 + i / 9200);
		for (unsigned k = 0; k < 4; k++)
			record[8 + k] = (uint8_t)((size >> (7 * (3 - k)) & 0x7f) |
						  (k < 3 ? 0x80 : 0));
		record[15] = 0;
		record[12] = record[13] = record[14] = 0x80;
		memcpy(payload.p + 16 * i, record, 16);
	}
	payload.n = 16 * n;
	bytes_image(b, &payload);
	b->p = realloc(b->p, b->n + data);
	assert_non_null(b->p);
	memset(b->p + b->n, 0, data);
	b->n += data;
}

static void test_too_many_entries(void **state)
{
	for (unsigned more = 0; more <= 1; more++) {
		struct bytes b = {0};
		struct romfs_image *image;

		many_files(&b, ROMFS_ENTRIES_MAX + more, 1, 0);
		image = parse(b.p, b.n);
		assert_int_equal(image->status, more ? ROMFS_CORRUPT : ROMFS_VALID);
		assert_int_equal(
			romfs_tree_count(image->tree), more ? 1 : ROMFS_ENTRIES_MAX + 1);
		if (more)
			assert_non_null(
				strstr(image->why.text, "more than 65536 entries"));
		romfs_image_free(image);
		bytes_done(&b);
	}
}

/* A small image that promises terabytes: pointers that share their data. */
static void test_overlap_bomb(void **state)
{
	struct bytes b = {0};
	struct romfs_image *image;

	many_files(&b, 2000, 1 << 20, 1 << 20);
	image = parse(b.p, b.n);
	assert_int_equal(image->status, ROMFS_CORRUPT);
	assert_non_null(
		strstr(image->why.text, "the files hold more than 1073741824 bytes"));
	romfs_image_free(image);
	bytes_done(&b);
}

static void test_bad_names(void **state)
{
	const struct {
		const char *name;
		size_t len;
	} bad[] = {{"", 0}, {".", 1}, {"..", 2}, {"a/b", 3}, {"/", 1}, {"a\0b", 3}};
	struct bytes b = {0}, root = {0}, inside = {0};
	char longest[257];
	struct romfs_image *image;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct bytes body = {0}, data = {0};

		bytes_add(bytes_varuint(&body, bad[i].len, 1), bad[i].name, bad[i].len);
		bytes_record(&body, 2, bytes_add(&data, "secret", 6));
		bytes_record(&root, 5, &body);
	}
	memset(longest, 'n', sizeof(longest));
	longest[256] = '\0';
	bytes_file(&root, longest, "x", 1); /* 256 bytes */
	bytes_file(&root, longest + 1, "kept", 4);
	bytes_dir(&root, "..", bytes_file(&inside, "passwd", "x", 1));
	bytes_file(&root, "a", "first", 5);
	bytes_file(&root, "a", "second", 6);
	bytes_dir(&root, "a", bytes_file(&inside, "in", "x", 1));
	bytes_file(&root, "\x1b[2J\xff", "kept", 4); /* ugly, but a name */
	bytes_image(&b, &root);

	image = parse(b.p, b.n);
	assert_int_equal(image->status, ROMFS_VALID);
	assert_int_equal(image->skipped_entries, ARRAY_SIZE(bad) + 4);
	assert_int_equal(romfs_tree_count(image->tree), 4);
	expect_file(image, &b, "a", "first");
	expect_file(image, &b, longest + 1, "kept");
	expect_file(image, &b, "\x1b[2J\xff", "kept");
	romfs_image_free(image);
	bytes_done(&b);
}

/* A million records with a byte between what is read of each. */
static void test_meta_is_bounded(void **state)
{
	const unsigned n = 400000;
	struct bytes b = {0}, payload = {0};
	struct romfs_image *image;

	payload.n = 3 * n;
	payload.p = malloc(payload.n);
	assert_non_null(payload.p);
	for (unsigned i = 0; i < n; i++)
		memcpy(payload.p + 3 * i, "\x01\x01\x00", 3);
	bytes_image(&b, &payload);
	image = parse(b.p, b.n);
	assert_int_equal(image->status, ROMFS_VALID);
	assert_true(image->n_meta <= 2 * ROMFS_ENTRIES_MAX);
	assert_int_equal(image->records_before_root, n);
	romfs_image_free(image);
	bytes_done(&b);
}

/* --- sources that fail -------------------------------------------------------------- */

static int fail_read(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	return error_set(err, -EIO, "the board is gone");
}

static void test_source_fails(void **state)
{
	struct romfs_source source = {.read = fail_read, .size = 4096};
	struct romfs_image *image = NULL;
	struct error err = {0};

	assert_int_equal(romfs_parse(&source, &image, &err), -EIO);
	assert_string_equal(err.text, "the board is gone");
	assert_null(image);
}

static void test_source_fd(void **state)
{
	struct bytes b = {0}, root = {0};
	FILE *f = tmpfile();
	struct romfs_source source;
	struct romfs_image *image = NULL;
	struct error err = {0};
	int fd;

	assert_non_null(f);
	fd = fileno(f);
	bytes_image(&b, bytes_file(&root, "a", "hello", 5));
	assert_int_equal(pwrite(fd, b.p, b.n, 0), b.n);
	source = romfs_source_fd(&fd, b.n);
	assert_int_equal(romfs_parse(&source, &image, &err), 0);
	expect_file(image, &b, "a", "hello");
	romfs_image_free(image);
	source = romfs_source_fd(&fd, b.n + 300); /* says more than there is */
	assert_int_equal(romfs_parse(&source, &image, &err), -EIO);
	assert_non_null(strstr(err.text, "the file ends before"));
	fclose(f);
	bytes_done(&b);
}

/* --- mutations ---------------------------------------------------------------------- */

/* Whatever stands in one byte: the parser ends, and what it shows lies in the image. */
static void test_mutations(void **state)
{
	static const uint8_t values[] = {0, 1, 2, 3, 4, 5, 0x7f, 0x80, 0x81, 0xfe, 0xff};
	struct bytes b = {0}, root = {0}, dir = {0};

	bytes_mtime_note(&root, 12345);
	bytes_file(bytes_file(&dir, "one", "1", 1), "two", "22", 2);
	bytes_dir(&root, "dir", &dir);
	bytes_pointer_file(&root, "ptr", 3, 2, 3);
	bytes_file(&root, "three", "333", 3);
	bytes_image(&b, &root);
	for (size_t at = 0; at < b.n; at++)
		for (size_t v = 0; v < ARRAY_SIZE(values); v++) {
			/* Of its own size, so that a read behind it is seen. */
			uint8_t *copy = malloc(b.n);
			struct romfs_image *image;

			assert_non_null(copy);
			memcpy(copy, b.p, b.n);
			copy[at] = values[v];
			image = parse(copy, b.n);
			for (uint32_t i = 0; i < romfs_tree_count(image->tree); i++) {
				const struct romfs_node *n =
					romfs_tree_node(image->tree, i);

				if (n->type == ROMFS_FILE)
					assert_true(n->size <= b.n &&
						    n->data_off <= b.n - n->size);
			}
			romfs_image_free(image);
			free(copy);
		}
	/* And every way to be cut short. */
	for (size_t n = 0; n < b.n; n++) {
		uint8_t *copy = malloc(n + 1);
		struct romfs_image *image;

		assert_non_null(copy);
		memcpy(copy, b.p, n);
		image = parse(copy, n);
		assert_int_not_equal(image->status, ROMFS_VALID);
		romfs_image_free(image);
		free(copy);
	}
	bytes_done(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain_tree),
		cmocka_unit_test(test_partition_larger_than_image),
		cmocka_unit_test(test_pointers_padding_unknown_kinds),
		cmocka_unit_test(test_padded_varuints),
		cmocka_unit_test(test_notes),
		cmocka_unit_test(test_meta_extents),
		cmocka_unit_test(test_append_nor),
		cmocka_unit_test(test_append_ecc),
		cmocka_unit_test(test_no_romfs),
		cmocka_unit_test(test_overflowing_numbers),
		cmocka_unit_test(test_numbers_without_end),
		cmocka_unit_test(test_leaving_the_parent),
		cmocka_unit_test(test_kind_zero),
		cmocka_unit_test(test_pointers_outside),
		cmocka_unit_test(test_depth),
		cmocka_unit_test(test_too_many_entries),
		cmocka_unit_test(test_overlap_bomb),
		cmocka_unit_test(test_bad_names),
		cmocka_unit_test(test_meta_is_bounded),
		cmocka_unit_test(test_source_fails),
		cmocka_unit_test(test_source_fd),
		cmocka_unit_test(test_mutations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
