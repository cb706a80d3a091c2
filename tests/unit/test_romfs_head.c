/* SPDX-License-Identifier: MIT */
/* The head of the append layout: on many memories every slot is used, and after every write
 * unit that is programmed, whole or torn, parser and board see the old tree or the new one.
 * Hostile heads give no root that a board would not come to. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "libromfs/head.h"
#include "libromfs/meta.h"
#include "romfs_bytes.h"
#include "romfs_nor.h"

static const struct {
	struct romfs_geometry g;
	enum head_form form;
} memories[] = {
#define NOR(size_, block, unit) {{size_, block, unit, .twice = true}, HEAD_TWICE}
#define ECC(size_, block, unit) {{size_, block, unit}, HEAD_ONCE}
#define RAM(size_, unit) {{size_, unit, unit, .no_erase = true}, HEAD_FREE}
	NOR(8192, 4096, 1),
	NOR(8192, 4096, 4),
	NOR(16384, 64, 2),
	NOR(24576, 1536, 8),
	NOR(128 << 10, 64 << 10, 16),
	NOR(1 << 20, 4096, 256),
	NOR(4 << 20, 64 << 10, 512),
	NOR(1 << 20, 4096, 4096),
	NOR(24 << 20, 256 << 10, 256),
	ECC(8192, 4096, 2),
	ECC(64 << 10, 512, 2),
	ECC(8192, 4096, 4),
	ECC(1 << 20, 4096, 4),
	ECC(4096, 256, 8),
	ECC(1 << 20, 4096, 8),
	ECC(32768, 2048, 16),
	ECC(256 << 10, 128 << 10, 32),
	ECC(2 << 20, 128 << 10, 32),
	ECC(1 << 20, 4096, 256),
	ECC(512 << 10, 8192, 2048),
	ECC(16 << 20, 64 << 10, 2048),
	ECC(24 << 20, 256 << 10, 4096),
	RAM(4096, 8),
	RAM(1 << 20, 16),
	RAM(24 << 20, 2048),
};

/* A partition, its head, and the two newest ROOTs. A ROOT holds one empty file, whose name
 * tells which it is. */
struct bed {
	struct romfs_geometry g;
	struct head h;
	uint8_t *flash;
	uint64_t seed; /* repeats the run: SEED= */
	struct rng rng;
	uint64_t root[2], root_size;
	unsigned gen; /* the newest ROOT is root[gen % 2] */
};

#define assert_bed(b, what)                                                              \
	do {                                                                             \
		if (!(what))                                                             \
			fail_msg("SEED=%llu size=%llu block=%u unit=%u form=%d gen=%u: %s", \
				(unsigned long long)(b)->seed,                           \
				(unsigned long long)(b)->g.size, (b)->g.erase_block,     \
				(b)->g.write_unit, (int)(b)->h.form, (b)->gen, #what);     \
	} while (0)

static int sink_bytes(void *ctx, const void *buf, size_t len, struct error *err)
{
	return bytes_add(ctx, buf, len) ? 0 : -ENOMEM;
}

static struct bytes root_bytes(const struct romfs_geometry *g, unsigned gen, uint64_t at)
{
	struct bytes b = {0};
	struct romfs_out out = {.sink = sink_bytes, .ctx = &b};
	struct romfs_tree *tree;
	uint32_t *order, node;
	uint64_t place[2] = {0, META_PAYLOAD};
	struct meta meta;
	char name[16];

	snprintf(name, sizeof(name), "%08u", gen);
	assert_int_equal(romfs_tree_new(&tree), 0);
	assert_int_equal(
		romfs_tree_add(tree, ROMFS_ROOT, ROMFS_FILE, name, 8, &node), 0);
	assert_int_equal(romfs_tree_preorder(tree, &order), 0);
	assert_int_equal(meta_init(&meta, META_ROOT, tree, g, order, true, NULL), 0);
	assert_int_equal(meta_write(&meta, at, place, &out), 0);
	assert_int_equal(b.n, meta.size);
	meta_done(&meta);
	free(order);
	romfs_tree_free(tree);
	return b;
}

/* Puts a ROOT anywhere that the newest one leaves free. */
static uint64_t put_root(struct bed *b, unsigned gen)
{
	uint32_t unit = b->g.write_unit;
	uint64_t last = ((b->g.size & ~UINT64_C(1)) - b->root_size - b->h.size) / unit;
	uint64_t old = b->root[b->gen % 2], at;
	struct bytes root;

	do {
		at = rng_below(&b->rng, 8) == 0 ? 0 : rng_below(&b->rng, (uint32_t)last + 1);
		at = b->h.size + at * unit;
	} while (gen && at < old + b->root_size && old < at + b->root_size);
	root = root_bytes(&b->g, gen, at);
	memcpy(b->flash + at, root.p, root.n);
	bytes_done(&root);
	b->root[gen % 2] = at;
	return at;
}

/* --- what is seen --------------------------------------------------------------------- */

static void see(void *ctx, const char *path, const uint8_t *data, size_t len)
{
	unsigned *gen = ctx;

	(void)data;
	*gen = *gen == UINT32_MAX && len == 0 && strlen(path) == 8
		       ? (unsigned)strtoul(path, NULL, 10)
		       : UINT32_MAX - 1;
}

/* With HEAD_STATES=DIR in the environment one in 13 of the states that are looked at, of
 * partitions up to 64 KiB, is left there as N-GEN.bin, for a reader that is not ours. */
static void leave_state(const struct bed *b, unsigned gen)
{
	const char *dir = getenv("HEAD_STATES");
	static unsigned n;
	char path[512];
	FILE *f;

	if (!dir || b->g.size > 64 << 10 || n++ % 13)
		return;
	snprintf(path, sizeof(path), "%s/%06u-%08u.bin", dir, n, gen);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_int_equal(fwrite(b->flash, 1, b->g.size, f), b->g.size);
	assert_int_equal(fclose(f), 0);
}

/* Parser, board and head_read see exactly the tree of `gen`. */
static struct head_state expect(struct bed *b, unsigned gen)
{
	struct romfs_buffer buffer = {b->flash, b->g.size};
	struct romfs_source source = romfs_source_buffer(&buffer);
	static uint8_t buf[HEAD_SIZE_MAX];
	struct romfs_image *image;
	struct head_state state;
	struct head h;
	unsigned seen = UINT32_MAX, walked;
	bool broken;
	size_t at;

	assert_bed(b, board_mount(b->flash, b->g.size, see, &seen, &broken));
	assert_bed(b, !broken && seen == gen);
	assert_bed(b, romfs_parse(&source, &image, NULL) == 0);
	assert_bed(b, image->status == ROMFS_VALID && romfs_tree_count(image->tree) == 2);
	assert_bed(b, strtoul(romfs_tree_name(image->tree, 1), NULL, 10) == gen);
	assert_bed(b, head_read(&b->g, &source, &h, &state, buf, NULL) == 1);
	assert_bed(b, memcmp(&h, &b->h, sizeof(h)) == 0);
	assert_bed(b, memcmp(buf, b->flash, h.size) == 0);
	assert_bed(b, state.root == b->root[gen % 2]);
	assert_bed(b, board_walk(b->flash, b->g.size, h.size, &at, &walked));
	assert_bed(b, at == state.root && walked == state.walk);
	/* The root's note is a record, too. */
	assert_bed(b, image->records_before_root == walked + 1);
	assert_bed(b, walked <= HEAD_WALK_MAX);
	romfs_image_free(image);
	leave_state(b, gen);
	return state;
}

/* --- using slots ---------------------------------------------------------------------- */

static void bed_init(struct bed *b, const struct romfs_geometry *g, uint64_t seed)
{
	struct bytes root = root_bytes(g, 0, 0);

	*b = (struct bed){.g = *g, .seed = seed, .rng = {seed}, .root_size = root.n};
	bytes_done(&root);
	b->flash = malloc(g->size);
	assert_non_null(b->flash);
	memset(b->flash, 0xFF, g->size);
	assert_bed(b, head_choose(g, &b->h));
	assert_bed(b, b->h.size <= g->size / 16 && b->h.size % g->write_unit == 0);
	head_write(&b->h, g, put_root(b, 0), b->flash);
}

/* One write unit, by the rules of the memory. */
static void program(struct bed *b, uint64_t off, const uint8_t *bytes)
{
	for (uint32_t k = 0; k < b->g.write_unit; k++) {
		uint8_t now = b->flash[off + k];

		assert_bed(b, b->g.no_erase || now == 0xFF ||
				      (b->g.twice && (now & bytes[k]) == bytes[k]));
		b->flash[off + k] = bytes[k];
	}
}

/* Some of the bits that would change. */
static void tear(struct bed *b, uint64_t off, const uint8_t *bytes)
{
	uint32_t rare = rng_below(&b->rng, 3);

	for (uint32_t k = 0; k < b->g.write_unit; k++) {
		uint8_t keep = (uint8_t)rng_next(&b->rng);

		for (uint32_t i = 0; i < rare; i++)
			keep |= (uint8_t)rng_next(&b->rng);
		b->flash[off + k] &= bytes[k] | keep;
	}
}

/* Uses the next slot; false: a cut ended that, which happens 1 time in `cut`, if any. */
static bool commit(struct bed *b, const struct head_state *state, uint32_t cut)
{
	static uint8_t bytes[HEAD_STEPS_MAX * HEAD_STEP_MAX], after[HEAD_SIZE_MAX];
	uint32_t unit = b->g.write_unit;
	struct head_step step[HEAD_STEPS_MAX];
	unsigned n;

	memcpy(after, b->flash, b->h.size);
	head_use(&b->h, state, put_root(b, b->gen + 1), after, step, &n, bytes);
	expect(b, b->gen);
	assert_bed(b, n >= 1 && n <= HEAD_STEPS_MAX);
	for (unsigned k = 0; k < n; k++) {
		assert_bed(b, step[k].off % unit == 0 && step[k].len % unit == 0);
		assert_bed(b, step[k].off + step[k].len <= b->h.size);
		assert_bed(b, k + 1 < n || step[k].len == MAX(unit, b->h.unit));
		for (uint32_t u = 0; u < step[k].len; u += unit) {
			const uint8_t *p = bytes + step[k].at + u;
			uint64_t off = step[k].off + u;
			bool last = k + 1 == n && u + unit == step[k].len;

			if (b->h.form == HEAD_TWICE && !last) {
				tear(b, off, p);
				expect(b, b->gen);
				if (cut && rng_below(&b->rng, cut) == 0)
					return false;
			}
			program(b, off, p);
			if (last)
				break;
			expect(b, b->gen);
			if (cut && rng_below(&b->rng, cut) == 0)
				return false;
		}
	}
	assert_bed(b, memcmp(after, b->flash, b->h.size) == 0);
	b->gen++;
	return true;
}

static void use_all(const struct romfs_geometry *g, uint64_t seed)
{
	struct head_state state;
	struct bed b;

	bed_init(&b, g, seed);
	state = expect(&b, 0);
	for (unsigned k = 0; k < (b.h.form == HEAD_FREE ? 100 : b.h.slots); k++) {
		if (b.h.form == HEAD_FREE)
			assert_bed(&b, state.next == 0 && state.left == 1);
		else
			assert_bed(&b, state.left == b.h.slots - k &&
					       state.next == state.left - 1);
		assert_bed(&b, commit(&b, &state, 0));
		state = expect(&b, b.gen);
	}
	assert_bed(&b, b.h.form == HEAD_FREE ||
			       (state.left == 0 && state.next == b.h.slots));
	free(b.flash);
}

/* A save that a cut ended spoils a slot, or none. */
static void use_torn(const struct romfs_geometry *g, uint64_t seed, uint32_t cut)
{
	struct head_state state, before;
	unsigned cuts = 0;
	struct bed b;

	bed_init(&b, g, seed);
	state = expect(&b, 0);
	while (state.left && b.gen < 200 && cuts < 2000) {
		before = state;
		cuts += !commit(&b, &state, cut);
		state = expect(&b, b.gen);
		assert_bed(&b, state.left <= before.left);
	}
	free(b.flash);
}

static uint64_t seed_of_run(void)
{
	const char *seed = getenv("SEED");

	return seed ? strtoull(seed, NULL, 0) : 1;
}

static void test_every_slot(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(memories); k++) {
		struct head h;

		if (!head_choose(&memories[k].g, &h) || h.form != memories[k].form)
			fail_msg("memory %zu: form %d", k, (int)h.form);
		use_all(&memories[k].g, seed_of_run());
	}
}

static void test_cuts(void **state)
{
	static const uint32_t cuts[8] = {1, 1, 2, 2, 3, 8, 8, 20}; /* 1: no save ever ends */

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(memories); k++) {
		if (memories[k].form == HEAD_FREE || memories[k].g.size > 4 << 20)
			continue;
		for (uint64_t n = 0; n < 8; n++)
			use_torn(&memories[k].g, seed_of_run() + n, cuts[n]);
	}
}

/* --- heads that are not ours ------------------------------------------------------------ */

/* What head_read takes for a head must lead a board to the root that it tells, and its next
 * slot to another. */
static bool judge(struct bed *b, uint64_t size)
{
	struct romfs_buffer buffer = {b->flash, size};
	struct romfs_source source = romfs_source_buffer(&buffer);
	static uint8_t buf[HEAD_SIZE_MAX], bytes[HEAD_STEPS_MAX * HEAD_STEP_MAX];
	struct head_step step[HEAD_STEPS_MAX];
	struct head_state state;
	struct head h;
	uint64_t root;
	unsigned walked, n;
	size_t at;
	int r;

	r = head_read(&b->g, &source, &h, &state, buf, NULL);
	assert_bed(b, r == 0 || r == 1);
	if (r == 0)
		return false;
	assert_bed(b, size >= h.size);
	assert_bed(b, board_walk(b->flash, b->g.size, h.size, &at, &walked));
	assert_bed(b, at == state.root && walked == state.walk);
	assert_bed(b, walked <= HEAD_WALK_MAX);
	if (state.left == 0)
		return true;
	root = (b->g.size & ~UINT64_C(1)) - 6;
	head_use(&h, &state, root, buf, step, &n, bytes);
	memcpy(bytes, b->flash, h.size);
	memcpy(b->flash, buf, h.size);
	assert_bed(b, board_walk(b->flash, b->g.size, h.size, &at, &walked) && at == root);
	memcpy(b->flash, bytes, h.size);
	return true;
}

static void change_bytes(struct bed *b)
{
	for (uint32_t k = 0; k < b->h.size; k++) {
		uint8_t was = b->flash[k];

		for (unsigned bit = 0; bit < 8; bit++) {
			b->flash[k] = (uint8_t)(was ^ 1u << bit);
			/* Header and mark have one value only. */
			assert_bed(b, !judge(b, b->g.size) || k >= b->h.first);
		}
		b->flash[k] = (uint8_t)rng_next(&b->rng);
		judge(b, b->g.size);
		b->flash[k] = was;
	}
}

static void change_much(struct bed *b)
{
	uint8_t *was = malloc(b->h.size);

	assert_non_null(was);
	memcpy(was, b->flash, b->h.size);
	for (unsigned k = 0; k < 3000; k++) {
		uint32_t off = rng_below(&b->rng, b->h.size);
		uint32_t n = rng_below(&b->rng, b->h.size - off) % 32 + 1;
		uint32_t from = rng_below(&b->rng, b->h.size - MIN(n, b->h.size) + 1);

		if (rng_below(&b->rng, 2))
			memmove(b->flash + off, was + from, MIN(n, b->h.size - off));
		else
			for (uint32_t i = off; i < MIN(off + n, b->h.size); i++)
				b->flash[i] = (uint8_t)rng_next(&b->rng);
		judge(b, b->g.size);
		memcpy(b->flash, was, b->h.size);
	}
	for (uint32_t n = 0; n < b->h.size; n++)
		judge(b, n);
	free(was);
}

static void test_hostile(void **state)
{
	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(memories); k++) {
		struct head_state now;
		struct bed b;

		if (memories[k].g.size > 1 << 20)
			continue;
		bed_init(&b, &memories[k].g, seed_of_run());
		now = expect(&b, 0);
		for (unsigned n = 0; n < 30 && now.left > 1; n++) {
			commit(&b, &now, 3);
			now = expect(&b, b.gen);
		}
		change_bytes(&b);
		change_much(&b);
		free(b.flash);
	}
}

static bool is_head_with(struct bed *b, uint32_t at, uint8_t byte)
{
	uint8_t was = b->flash[at];
	bool r;

	b->flash[at] = byte;
	r = judge(b, b->g.size);
	b->flash[at] = was;
	return r;
}

/* What no order of saves and cuts leaves, although a reader would come through. */
static void test_never_made(void **state)
{
	struct head_state now;
	struct bed b;
	uint32_t gates, slot;

	(void)state;
	bed_init(&b, &memories[5].g, seed_of_run());
	assert_int_equal(b.h.form, HEAD_TWICE);
	now = expect(&b, 0);
	for (unsigned n = 0; n < 40; n++) {
		assert_true(commit(&b, &now, 0));
		now = expect(&b, b.gen);
	}
	gates = b.h.slots / b.h.group;
	/* The 40th is the 11th of the last group but one; a gate takes 3 bytes, a slot 10. */
	slot = b.h.first + (gates - 2) * 259 + 3 + 10 * 10;
	assert_int_equal(b.flash[slot + 1], 0);
	assert_int_equal(b.flash[slot - 9], 8);
	assert_true(is_head_with(&b, slot + 1, 0));
	/* a gate opened too early; one closed behind which slots are in use */
	assert_false(is_head_with(&b, b.h.first + (gates - 3) * 259 + 1, 0x80));
	assert_false(is_head_with(&b, b.h.first + (gates - 1) * 259 + 1, 0x82));
	/* a jump that a cut has spoiled; the same of the slot in front, out of turn; a byte
	 * that no save programs */
	assert_true(is_head_with(&b, slot - 8, 0));
	assert_false(is_head_with(&b, slot - 18, 0));
	assert_false(is_head_with(&b, slot - 1, 0));
	free(b.flash);
}

/* Bytes behind the first `known` are not. */
static int read_known(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct romfs_buffer *known = ctx;

	(void)err;
	if (off + len > known->len)
		return -ENODATA;
	memcpy(buf, (const uint8_t *)known->data + off, len);
	return 0;
}

static int read_fails(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	(void)ctx, (void)off, (void)buf, (void)len;
	return error_set(err, -EIO, "the board is gone");
}

static void test_unknown(void **state)
{
	static uint8_t buf[HEAD_SIZE_MAX];
	struct head_state found;
	struct error err = {0};
	struct head h;
	struct bed b;

	(void)state;
	bed_init(&b, &memories[5].g, seed_of_run());
	for (uint32_t n = 0; n <= b.h.size; n += b.g.write_unit) {
		struct romfs_buffer known = {b.flash, n};
		struct romfs_source source = {read_known, &known, b.g.size};

		assert_int_equal(head_read(&b.g, &source, &h, &found, buf, &err),
			n == b.h.size);
	}
	assert_int_equal(err.code, 0);
	assert_int_equal(head_read(&b.g, &(struct romfs_source){read_fails, NULL, b.g.size},
				 &h, &found, buf, &err),
		-EIO);
	free(b.flash);
}

/* --- which memories, which heads ---------------------------------------------------------- */

static void test_no_layout(void **state)
{
	static const struct romfs_geometry none[] = {
		{.size = 1 << 20, .erase_block = 4096, .write_unit = 1},
		{.size = 1 << 20, .erase_block = 4095, .write_unit = 3},
		{.size = 1 << 20, .erase_block = 8192, .write_unit = 8192, .twice = true},
		{.size = 4096, .erase_block = 4096, .write_unit = 1, .twice = true},
		{.size = 128, .erase_block = 64, .write_unit = 8},
		{.size = 64 << 10, .erase_block = 4096, .write_unit = 2048},
		{.size = 1 << 28, .erase_block = 4096, .write_unit = 4},
	};
	struct head h;

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(none); k++)
		if (head_choose(&none[k], &h) || h.form != HEAD_NONE)
			fail_msg("memory %zu: form %d", k, (int)h.form);
}

/* A head is used on the memory that it was made for, or one that can do more. */
static void test_other_memory(void **state)
{
	static const struct {
		struct romfs_geometry made, now;
		int is_head;
	} pairs[] = {
		{{1 << 20, 4096, 8, .twice = true}, {1 << 20, 4096, 8}, 0},
		{{1 << 20, 4096, 8}, {1 << 20, 4096, 8, .twice = true}, 1},
		{{1 << 20, 4096, 32}, {1 << 20, 4096, 8}, 1},
		{{1 << 20, 4096, 8}, {1 << 20, 4096, 32}, 0},
		{{1 << 20, 4096, 8}, {1 << 21, 4096, 8}, 0},
		{{1 << 20, 4096, 16, .no_erase = true}, {1 << 20, 4096, 16}, 0},
	};

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(pairs); k++) {
		static uint8_t buf[HEAD_SIZE_MAX];
		struct head_state found;
		struct head h;
		struct bed b;

		bed_init(&b, &pairs[k].made, seed_of_run());
		b.flash = realloc(b.flash, pairs[k].now.size);
		assert_non_null(b.flash);
		struct romfs_buffer buffer = {b.flash, pairs[k].now.size};
		struct romfs_source source = romfs_source_buffer(&buffer);

		if (head_read(&pairs[k].now, &source, &h, &found, buf, NULL) !=
			pairs[k].is_head)
			fail_msg("pair %zu", k);
		free(b.flash);
	}
}

/* --- the ROOT ------------------------------------------------------------------------------ */

static void put_tree(struct nor *f, const struct model *m, struct rng *rng)
{
	struct romfs_tree *tree = model_tree(m);
	uint32_t count = romfs_tree_count(tree), *order;
	uint64_t *place = calloc(count, sizeof(*place)), at, size = 0;
	struct bytes b = {0};
	struct romfs_out out = {.sink = sink_bytes, .ctx = &b};
	struct meta meta;
	struct head h;

	assert_non_null(place);
	assert_true(head_choose(&f->g, &h));
	assert_int_equal(romfs_tree_sort(tree), 0);
	assert_int_equal(romfs_tree_preorder(tree, &order), 0);
	at = h.size + rng_below(rng, 1000);
	for (uint32_t i = 1; i < count; i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		place[i] = at;
		model_bytes(&m->v[n->user], 0, f->b + at, n->size);
		at += n->size + rng_below(rng, 3);
	}
	assert_int_equal(meta_init(&meta, META_ROOT, tree, &f->g, order, true, NULL), 0);
	for (unsigned k = 0; k < 3; k++) {
		at += rng_below(rng, 5000);
		assert_int_equal(meta_write(&meta, at, place, &out), 0);
		assert_true(size == 0 || b.n == size);
		assert_int_equal(b.n, meta.size);
		size = b.n;
		memcpy(f->b + at, b.p, b.n);
		head_write(&h, &f->g, at, f->b);
		bytes_done(&b);
	}
	meta_done(&meta);
	free(order);
	free(place);
	romfs_tree_free(tree);
}

/* A ROOT anywhere shows the whole tree, notes and all. */
static void test_root(void **state)
{
	struct romfs_geometry g = {4 << 20, 4096, 256, .twice = true};
	struct rng rng = {seed_of_run()};

	(void)state;
	for (unsigned k = 0; k < 20; k++) {
		struct romfs_image *image;
		struct model m;
		struct nor f;

		model_init(&m);
		model_random(&m, &rng, 1 + rng_below(&rng, 100), 8000);
		nor_init(&f, &g);
		put_tree(&f, &m, &rng);
		assert_int_equal(nor_sees(&f, &m), SEES_TREE);
		nor_flash(&f, &image);
		assert_non_null(image);
		assert_int_equal(image->status, ROMFS_VALID);
		assert_int_equal(romfs_tree_node(image->tree, ROMFS_ROOT)->mtime_ns,
			m.root_mtime_ns);
		for (unsigned i = 0; i < m.n; i++) {
			uint32_t node = romfs_tree_lookup(image->tree, m.v[i].path);

			assert_int_not_equal(node, ROMFS_NO_NODE);
			assert_int_equal(romfs_tree_node(image->tree, node)->mtime_ns,
				m.v[i].mtime_ns);
		}
		romfs_image_free(image);
		nor_done(&f);
		model_done(&m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_slot),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_hostile),
		cmocka_unit_test(test_never_made),
		cmocka_unit_test(test_unknown),
		cmocka_unit_test(test_no_layout),
		cmocka_unit_test(test_other_memory),
		cmocka_unit_test(test_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
