/* SPDX-License-Identifier: MIT */
/* The append layout on a simulated chip: what a save may cost, what stays where it is, and
 * that room is never lost, on every kind of memory. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "libromfs/parse.h"
#include "romfs_bytes.h"
#include "romfs_nor.h"
#include "util/io.h"

static const struct romfs_align aligns[] = {{"a*", 16}, {"b*", 256}, {"c*", 4096}};
static const struct romfs_pack_options options = {
	.aligns = aligns, .n_aligns = ARRAY_SIZE(aligns), .notes = true};

/* A chip, and what it holds. */
struct rig {
	struct nor f;
	struct model m, old;
	struct rng r;
	double slowest; /* ms, of a plan */
	uint64_t ways[ROMFS_WAY_REPLACE + 1];
};

static void rig_init(struct rig *t, const struct romfs_geometry *g, uint64_t seed)
{
	*t = (struct rig){.r = {seed}};
	nor_init(&t->f, g);
	model_init(&t->m);
	model_init(&t->old);
}

static void rig_done(struct rig *t)
{
	nor_done(&t->f);
	model_done(&t->m);
	model_done(&t->old);
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

/* The bytes of files that stay known to the caller: the planner has no business there. */
static uint8_t *hide_files(
	const struct nor *f, const struct romfs_tree *tree)
{
	uint8_t *hidden = calloc(1, f->g.size);

	assert_non_null(hidden);
	for (uint32_t i = 1; i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		if (n->type == ROMFS_FILE && n->data_off != ROMFS_NO_OFFSET)
			memset(hidden + n->data_off, 1, n->size);
	}
	/* Where a head would stand it is looked for. */
	memset(hidden, 0, MIN(f->g.size, 4096));
	return hidden;
}

/* Plans from what is there; `old` tells what files were, so that those that are the same
 * are known to stand there. */
static int rig_plan(struct rig *t, enum romfs_goal goal, const struct model *m,
	const struct model *old, struct romfs_plan **plan, struct error *err)
{
	struct romfs_image *image;
	struct romfs_flash flash = nor_flash(&t->f, &image);
	struct romfs_tree *tree = nor_wanted(m, old, image);
	double start;
	int r;

	*plan = NULL;
	t->f.hidden = hide_files(&t->f, tree);
	t->f.peeks = 0;
	start = now_ms();
	r = romfs_plan(&t->f.g, &flash, goal, tree, &options, model_content,
		(void *)(uintptr_t)m, t->f.next_fd, plan, err);
	t->slowest = MAX(t->slowest, now_ms() - start);
	/* Elsewhere old places of files that move are taken over, if they are known. */
	if (r == 0 && (*plan)->way <= ROMFS_WAY_APPEND)
		assert_int_equal(t->f.peeks, 0);
	free(t->f.hidden);
	t->f.hidden = NULL;
	for (uint32_t i = 1; r == 0 && i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		if (n->type == ROMFS_FILE && n->size &&
			n->data_off % romfs_pack_align(&options, tree, i) != 0)
			fail_msg("goal %d, way %d: %s stands at %llu", (int)goal,
				(int)(*plan)->way, romfs_tree_name(tree, i),
				(unsigned long long)n->data_off);
	}
	romfs_tree_free(tree);
	romfs_image_free(image);
	return r;
}

static void rig_run(struct rig *t, struct romfs_plan *plan)
{
	nor_run(&t->f, plan, plan->n_ops, 0, &t->r);
	t->ways[plan->way]++;
	romfs_plan_free(plan);
	nor_expect(&t->f, &t->m, true);
}

/* Tidies up until there is nothing to gain; whether there was anything. */
static bool rig_tidy(struct rig *t, unsigned most)
{
	for (unsigned n = 0;; n++) {
		struct romfs_plan *plan;
		struct error err = {0};

		if (rig_plan(t, ROMFS_TIDY, &t->m, &t->m, &plan, &err) < 0)
			fail_msg("cannot tidy up: %s", err.text);
		if (plan->n_ops == 0 || n == most) {
			romfs_plan_free(plan);
			return n > 0;
		}
		if (n > 4 * t->f.g.size / t->f.g.erase_block + 100)
			fail_msg("tidying up does not end");
		assert_true(plan->way == ROMFS_WAY_ERASE || plan->way == ROMFS_WAY_APPEND);
		rig_run(t, plan);
	}
}

/* As the folder does it. False where it does not fit at all. */
static bool rig_save(struct rig *t)
{
	struct romfs_plan *plan;
	struct model wanted = t->m;
	struct error err = {0};
	int r;

	r = rig_plan(t, ROMFS_SAVE, &t->m, &t->old, &plan, &err);
	if (r == -ENOSPC) {
		t->m = t->old;
		rig_tidy(t, UINT32_MAX);
		t->m = wanted;
		r = rig_plan(t, ROMFS_SAVE, &t->m, &t->old, &plan, NULL);
	}
	if (r == 0)
		assert_true(plan->way <= ROMFS_WAY_RENEW);
	if (r == -ENOSPC)
		r = rig_plan(t, ROMFS_REWRITE, &t->m, &t->old, &plan, NULL);
	if (r == -ENOSPC)
		return false;
	assert_int_equal(r, 0);
	rig_run(t, plan);
	return true;
}

/* The tree that is on flash is that of `old` again. */
static void rig_give_up(struct rig *t)
{
	model_copy(&t->m, &t->old);
}

/* --- what a save costs ---------------------------------------------------------------- */

/* 200 files, 6 MiB. */
static void big_tree(struct model *m, struct rng *r)
{
	uint32_t left = 6u << 20;

	model_add(m, "lib", true);
	for (unsigned i = 0; i < 200; i++) {
		char path[64];
		struct model_entry *e;

		snprintf(path, sizeof(path), "%smodule_%03u.py", i % 2 ? "lib/" : "", i);
		e = model_add(m, path, false);
		e->seed = 8 * rng_next(r) + 1;
		e->mtime_ns = 1700000000000000000 + i;
		e->size = i % 4 == 0 ? 2000 : (i == 199 ? left : rng_below(r, 82000));
		e->size = MIN(e->size, left);
		left -= e->size;
	}
}

static void change_small_file(struct rig *t)
{
	struct model_entry *e;

	model_copy(&t->old, &t->m);
	do
		e = &t->m.v[rng_below(&t->r, t->m.n)];
	while (e->dir || e->size > 2048);
	e->size = 2048;
	e->seed = 8 * rng_next(&t->r) + 1;
	e->mtime_ns += 1000000000;
}

static void test_cost(void **state)
{
	static const struct romfs_geometry g = {
		.size = 8 << 20, .erase_block = 4096, .write_unit = 256, .twice = true};
	struct romfs_plan *plan;
	struct rig t;

	rig_init(&t, &g, 0xC057);
	big_tree(&t.m, &t.r);
	assert_int_equal(rig_plan(&t, ROMFS_SAVE, &t.m, NULL, &plan, NULL), 0);
	assert_int_equal(plan->erase_count, 0);
	print_message("first: %llu bytes in %zu operations, planned in %.1f ms\n",
		(unsigned long long)plan->program_bytes, plan->n_ops, t.slowest);
	assert_true(plan->program_bytes < (6u << 20) + 200 * 8 + 20000);
	rig_run(&t, plan);
	t.slowest = 0;
	for (unsigned n = 0; n < 40; n++) {
		change_small_file(&t);
		assert_int_equal(rig_plan(&t, ROMFS_SAVE, &t.m, &t.old, &plan, NULL), 0);
		assert_int_equal(plan->way, ROMFS_WAY_APPEND);
		assert_int_equal(plan->erase_count, 0);
		assert_int_equal(plan->moved_bytes, 0);
		if (n == 0)
			print_message("one file: %llu pages in %zu operations\n",
				(unsigned long long)plan->program_bytes / 256, plan->n_ops);
		/* The file, some 45 bytes for each of 200 entries, two times a slot's unit. */
		assert_true(plan->program_bytes <= (8 + 38 + 3) * 256);
		rig_run(&t, plan);
	}
	print_message("saves were planned in %.2f ms at most\n", t.slowest);
	rig_done(&t);
}

/* --- adoption ------------------------------------------------------------------------- */

static int sink_bytes(void *ctx, const void *buf, size_t len, struct error *err)
{
	(void)err;
	bytes_add(ctx, buf, len);
	return 0;
}

static void put_packed(struct rig *t)
{
	struct romfs_tree *tree = model_tree(&t->m);
	struct bytes packed = {0};
	uint64_t size;

	assert_int_equal(romfs_pack(tree, NULL, model_content, &t->m, sink_bytes, &packed,
				 &size, NULL),
		0);
	assert_true(size <= t->f.g.size);
	memcpy(t->f.b, packed.p, packed.n);
	nor_settle(&t->f);
	bytes_done(&packed);
	romfs_tree_free(tree);
}

static uint64_t place_of(struct rig *t, const char *path)
{
	struct romfs_image *image;
	uint64_t off;

	(void)nor_flash(&t->f, &image);
	off = romfs_tree_node(image->tree, romfs_tree_lookup(image->tree, path))->data_off;
	romfs_image_free(image);
	return off;
}

/* Data that mpremote wrote stays where it is, but for what stands in block 0. */
static void test_adopts_packed_image(void **state)
{
	static const struct romfs_geometry g = {
		.size = 8 << 20, .erase_block = 4096, .write_unit = 256, .twice = true};
	struct romfs_plan *plan;
	unsigned stayed = 0;
	uint64_t *before;
	struct rig t;

	rig_init(&t, &g, 0xAD0);
	big_tree(&t.m, &t.r);
	put_packed(&t);
	before = calloc(t.m.n, sizeof(*before));
	assert_non_null(before);
	for (unsigned i = 0; i < t.m.n; i++)
		before[i] = t.m.v[i].dir ? 0 : place_of(&t, t.m.v[i].path);
	model_copy(&t.old, &t.m);
	model_add(&t.m, "new.py", false)->size = 700;
	assert_int_equal(rig_plan(&t, ROMFS_SAVE, &t.m, &t.old, &plan, NULL), 0);
	assert_int_equal(plan->way, ROMFS_WAY_RENEW);
	assert_int_equal(plan->erase_count, 1);
	print_message("adopted with %llu bytes\n", (unsigned long long)plan->program_bytes);
	rig_run(&t, plan);
	for (unsigned i = 0; i < t.old.n; i++) {
		if (t.old.v[i].size == 0 || before[i] < 4096)
			continue;
		assert_int_equal(place_of(&t, t.old.v[i].path), before[i]);
		stayed++;
	}
	assert_true(stayed > 190);
	free(before);
	change_small_file(&t);
	assert_int_equal(rig_plan(&t, ROMFS_SAVE, &t.m, &t.old, &plan, NULL), 0);
	assert_int_equal(plan->way, ROMFS_WAY_APPEND);
	rig_run(&t, plan);

	/* And back, byte by byte. */
	assert_int_equal(rig_plan(&t, ROMFS_PACK, &t.m, &t.m, &plan, NULL), 0);
	rig_run(&t, plan);
	{
		struct romfs_tree *tree = model_tree(&t.m);
		struct bytes packed = {0};
		uint64_t size;

		assert_int_equal(romfs_pack(tree, &options, model_content, &t.m, sink_bytes,
					 &packed, &size, NULL),
			0);
		assert_memory_equal(t.f.b, packed.p, packed.n);
		bytes_done(&packed);
		romfs_tree_free(tree);
	}
	assert_int_equal(rig_plan(&t, ROMFS_PACK, &t.m, &t.m, &plan, NULL), 0);
	assert_int_equal(plan->n_ops, 0);
	romfs_plan_free(plan);
	rig_done(&t);
}

/* --- every kind of memory ------------------------------------------------------------- */

#define NOR(size_, block_, unit_)                                                        \
	{.size = (size_), .erase_block = (block_), .write_unit = (unit_), .twice = true}
#define ECC(size_, block_, unit_)                                                        \
	{.size = (size_), .erase_block = (block_), .write_unit = (unit_)}
#define KIB 1024u

static const struct romfs_geometry geometries[] = {
	NOR(64 * KIB, 4096, 1), NOR(64 * KIB, 4096, 2), NOR(128 * KIB, 4096, 4),
	NOR(256 * KIB, 4096, 256), NOR(48 * 1536, 1536, 4), NOR(1024 * KIB, 256 * KIB, 256),
	NOR(8 * KIB, 4096, 256), NOR(8 * KIB, 4096, 1), NOR(16 * KIB, 512, 1),
	ECC(64 * KIB, 4096, 1), ECC(64 * KIB, 4096, 2), ECC(64 * KIB, 4096, 4),
	ECC(128 * KIB, 8192, 8), ECC(128 * KIB, 8192, 16), ECC(128 * KIB, 4096, 32),
	ECC(256 * KIB, 4096, 64), ECC(256 * KIB, 4096, 128), ECC(256 * KIB, 4096, 256),
	ECC(256 * KIB, 16384, 2048), ECC(128 * KIB, 2048, 2048), ECC(64 * KIB, 64, 8),
	ECC(1024 * KIB, 256 * KIB, 32), ECC(8 * KIB, 4096, 256), ECC(16 * KIB, 8192, 8),
	ECC(512 * KIB, 256 * KIB, 16), NOR(24576 * KIB, 4096, 256),
	{.size = 64 * KIB, .erase_block = 16, .write_unit = 16, .no_erase = true},
	{.size = 48 * KIB, .erase_block = 4096, .write_unit = 1, .no_erase = true},
	{.size = 8 * KIB, .erase_block = 4096, .write_unit = 4, .no_erase = true},
	{.size = 128 * KIB, .erase_block = 4096, .write_unit = 4, .prefix_erase = true},
	{.size = 96 * KIB, .erase_block = 8192, .write_unit = 2048, .prefix_erase = true},
	{.size = 128 * KIB,
		.erase_block = 4096,
		.write_unit = 4,
		.prefix_erase = true,
		.twice = true},
};

static uint64_t size_of(const struct model *m)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < m->n; i++)
		sum += m->v[i].size;
	return sum;
}

/* Some changes; the tree takes about `fill` percent of the partition. */
static void change(struct rig *t, unsigned fill)
{
	uint32_t most = (uint32_t)(t->f.g.size / 20);

	model_copy(&t->old, &t->m);
	for (unsigned n = 1 + rng_below(&t->r, 3); n; n--) {
		struct model_entry *e = t->m.n ? &t->m.v[rng_below(&t->r, t->m.n)] : NULL;

		switch (rng_below(&t->r, 4)) {
		case 0:
			if (t->m.n < t->f.g.size / 400)
				model_random(&t->m, &t->r, 1, most);
			break;
		case 1:
			if (e && rng_below(&t->r, 3) == 0)
				model_remove(&t->m, e->path);
			break;
		default:
			if (e && !e->dir) {
				e->seed = rng_next(&t->r);
				e->size = rng_below(&t->r, most);
				e->mtime_ns = rng_next(&t->r);
			}
		}
	}
	while (size_of(&t->m) > t->f.g.size * fill / 100)
		model_remove(&t->m, t->m.v[rng_below(&t->r, t->m.n)].path);
}

static void test_every_memory(void **state)
{
	for (size_t k = 0; k < ARRAY_SIZE(geometries); k++) {
		static const unsigned fills[] = {30, 60, 80, 96};
		const struct romfs_geometry *g = &geometries[k];
		unsigned saves = g->size > 4096 * KIB ? 5 : 60, full = 0;
		uint64_t ways[ROMFS_WAY_REPLACE + 1] = {0};

		for (unsigned f = 0; f < ARRAY_SIZE(fills); f++) {
			struct rig t;

			rig_init(&t, g, 0x9E37u * (k + 1) + f);
			if (f % 2)
				nor_dirty(&t.f, &t.r);
			for (unsigned n = 0;
				n < 60 && size_of(&t.m) < g->size * fills[f] / 100; n++)
				model_random(&t.m, &t.r, 1, (uint32_t)(g->size / 20));
			if (!rig_save(&t))
				t.m.n = 0;
			for (unsigned n = 0; n < saves; n++) {
				change(&t, fills[f]);
				if (rig_save(&t))
					continue;
				rig_give_up(&t);
				full++;
			}
			for (size_t w = 0; w < ARRAY_SIZE(ways); w++)
				ways[w] += t.ways[w];
			rig_done(&t);
		}
		print_message("%zu: %llu of %u by %u%s: %llu erased, %llu appended, %llu "
			      "renewed, %llu replaced, %u did not fit\n",
			k, (unsigned long long)g->size, g->erase_block, g->write_unit,
			g->no_erase ? " freely" : g->twice ? " twice" : " once",
			(unsigned long long)ways[ROMFS_WAY_ERASE],
			(unsigned long long)ways[ROMFS_WAY_APPEND],
			(unsigned long long)ways[ROMFS_WAY_RENEW],
			(unsigned long long)ways[ROMFS_WAY_REPLACE], full);
	}
}

/* --- slots -------------------------------------------------------------------------- */

/* Block 0 is erased once for many saves, and everything is there when it is not. */
static void test_renewal(void **state)
{
	static const struct romfs_geometry kinds[] = {NOR(256 * KIB, 4096, 256),
		NOR(256 * KIB, 4096, 1), ECC(256 * KIB, 4096, 2), ECC(256 * KIB, 4096, 4),
		ECC(256 * KIB, 4096, 32), ECC(512 * KIB, 16384, 256)};

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct romfs_usage usage;
		struct rig t;
		unsigned saves = 0, slots = 0, walk = 0;

		rig_init(&t, &kinds[k], 0x510 + k);
		model_add(&t.m, "main.py", false)->size = 900;
		t.m.v[0].seed = 1;
		model_add(&t.m, "data", false)->size = 3000;
		while (t.ways[ROMFS_WAY_RENEW] < 3) {
			struct romfs_image *image;
			struct romfs_flash flash;

			assert_true(rig_save(&t));
			flash = nor_flash(&t.f, &image);
			assert_int_equal(romfs_usage(&kinds[k], &flash, &usage, NULL), 0);
			assert_true(usage.append);
			assert_int_equal(usage.live + usage.blank + usage.dead + usage.mixed +
						 usage.bad,
				kinds[k].size);
			assert_int_equal(usage.walk, image->records_before_root);
			walk = MAX(walk, usage.walk);
			slots = usage.slots;
			romfs_image_free(image);
			model_copy(&t.old, &t.m);
			t.m.v[0].seed += 8;
			saves++;
		}
		print_message("unit %u: %u slots, %u saves, walk %u, block 0 erased %u times\n",
			kinds[k].write_unit, slots, saves, walk, t.f.erases[0]);
		assert_true(walk <= 64);
		assert_int_equal(t.f.erases[0], 2); /* blank at first */
		assert_int_equal(t.ways[ROMFS_WAY_REPLACE], 0);
		assert_true(saves >= 2 * slots);
		rig_done(&t);
	}
}

/* --- full, and back ------------------------------------------------------------------- */

static void test_full_and_back(void **state)
{
	static const struct romfs_geometry g = NOR(256 * KIB, 4096, 256);
	struct romfs_tree *tree;
	struct romfs_plan *plan;
	uint64_t size = 0;
	struct rig t;

	rig_init(&t, &g, 0xF11);
	for (unsigned i = 0; i < 50; i++) {
		char path[16];

		snprintf(path, sizeof(path), "f%02u", i);
		model_add(&t.m, path, false)->size = 5000;
		t.m.v[i].seed = 8 * i + 1;
	}
	assert_true(rig_save(&t));
	/* To the last byte that a packed image can use. */
	model_copy(&t.old, &t.m);
	model_add(&t.m, "last", false)->seed = 7;
	for (uint32_t more = 5000; more; more /= 2)
		for (size = 0; size <= g.size; model_find(&t.m, "last")->size += more) {
			tree = model_tree(&t.m);
			assert_int_equal(romfs_pack_size(tree, NULL, &size, NULL), 0);
			romfs_tree_free(tree);
			if (size > g.size) {
				model_find(&t.m, "last")->size -= more;
				break;
			}
		}
	assert_int_equal(rig_plan(&t, ROMFS_SAVE, &t.m, &t.old, &plan, NULL), -ENOSPC);
	assert_int_equal(rig_plan(&t, ROMFS_REWRITE, &t.m, &t.old, &plan, NULL), 0);
	assert_true(plan->way >= ROMFS_WAY_RENEW);
	nor_run(&t.f, plan, plan->n_ops, 0, &t.r);
	romfs_plan_free(plan);
	nor_expect(&t.f, &t.m, false);
	model_copy(&t.old, &t.m);
	model_find(&t.m, "last")->size += 2;
	tree = model_tree(&t.m);
	assert_int_equal(romfs_pack_size(tree, NULL, &size, NULL), 0);
	romfs_tree_free(tree);
	assert_true(size > g.size);
	assert_int_equal(rig_plan(&t, ROMFS_REWRITE, &t.m, &t.old, &plan, NULL), -ENOSPC);

	/* As soon as there is room, saves are appended again. */
	model_copy(&t.m, &t.old);
	for (unsigned i = 0; i < 25; i++)
		model_remove(&t.m, t.m.v[i].path);
	assert_true(rig_save(&t));
	memset(t.ways, 0, sizeof(t.ways));
	for (unsigned n = 0; n < 20; n++) {
		model_copy(&t.old, &t.m);
		t.m.v[n].seed = 8 * n + 3;
		t.m.v[n].size = 4000 + n;
		assert_true(rig_save(&t));
	}
	assert_int_equal(t.ways[ROMFS_WAY_REPLACE], 0);
	assert_true(t.ways[ROMFS_WAY_RENEW] <= 1);
	rig_done(&t);
}

/* --- blocks that failed, and such that nobody knows ----------------------------------- */

static void test_bad_blocks(void **state)
{
	static const struct romfs_geometry g = ECC(256 * KIB, 4096, 32);
	struct romfs_plan *plan;
	struct error err = {0};
	struct rig t;

	rig_init(&t, &g, 0xBAD);
	nor_dirty(&t.f, &t.r);
	for (unsigned b = 3; b < 64; b += 5)
		t.f.bad[b] = 1; /* the chip fails the test that touches one */
	for (unsigned n = 0; n < 150; n++) {
		change(&t, 60);
		if (!rig_save(&t))
			rig_give_up(&t);
	}
	assert_true(t.ways[ROMFS_WAY_APPEND] > 100);

	/* A bad block 0 takes slots yet, and no new head. */
	t.f.bad[0] = 1;
	change(&t, 60);
	assert_int_equal(rig_plan(&t, ROMFS_PACK, &t.m, &t.old, &plan, &err), -EIO);
	assert_non_null(strstr(err.text, "start of the partition"));
	memset(t.f.b, 0, 4096);
	nor_settle(&t.f);
	error_clear(&err);
	assert_int_equal(rig_plan(&t, ROMFS_REWRITE, &t.m, NULL, &plan, &err), -EIO);
	assert_non_null(strstr(err.text, "start of the partition"));
	rig_done(&t);
}

/* What is not known is erased before anything goes there, or left alone: a chip that is
 * full of what looks blank to nobody. */
static void test_unknown_space(void **state)
{
	for (size_t k = 0; k < ARRAY_SIZE(geometries); k++) {
		const struct romfs_geometry *g = &geometries[k];
		uint32_t blocks = (uint32_t)(g->size / g->erase_block);
		struct rig t;

		rig_init(&t, g, 0x0DD + k);
		nor_dirty(&t.f, &t.r);
		for (unsigned n = 0; n < (g->size > 4096 * KIB ? 3 : 40); n++) {
			struct romfs_image *image;

			change(&t, 50);
			if (!rig_save(&t))
				rig_give_up(&t);
			/* The host forgets blocks; of those in use it can read what it must. */
			nor_know(&t.f, true);
			(void)nor_flash(&t.f, &image);
			for (uint32_t b = 0; b < blocks; b++)
				t.f.unknown[b] = rng_below(&t.r, 3) == 0;
			for (size_t i = 0; i < image->n_meta; i++)
				for (uint64_t at = image->meta[i].off / g->erase_block;
					at * g->erase_block <
					image->meta[i].off + image->meta[i].len + 256;
					at++)
					if (at < blocks)
						t.f.unknown[at] = false;
			romfs_image_free(image);
		}
		rig_done(&t);
	}
}

/* --- wear ----------------------------------------------------------------------------- */

/* Half of the tree never changes. */
static void test_wear(void **state)
{
	static const struct romfs_geometry g = NOR(256 * KIB, 4096, 256);
	uint64_t sum = 0;
	uint32_t most = 0;
	struct rig t;

	rig_init(&t, &g, 0x3EA5);
	for (unsigned i = 0; i < 40; i++) {
		char path[16];
		struct model_entry *e;

		snprintf(path, sizeof(path), "%c%02u", i < 20 ? 'x' : 'y', i);
		e = model_add(&t.m, path, false);
		e->size = 1000 + rng_below(&t.r, 6000);
		e->seed = 8 * rng_next(&t.r) + 1;
	}
	assert_true(rig_save(&t));
	for (unsigned n = 0; n < 3000; n++) {
		struct model_entry *e = &t.m.v[20 + rng_below(&t.r, 20)];

		model_copy(&t.old, &t.m);
		e->seed = 8 * rng_next(&t.r) + 1;
		e->size = 1000 + rng_below(&t.r, 6000);
		assert_true(rig_save(&t));
		if (n % 8 == 0)
			rig_tidy(&t, 4);
	}
	for (uint64_t b = 1; b < g.size / g.erase_block; b++) {
		sum += t.f.erases[b];
		most = MAX(most, t.f.erases[b]);
	}
	print_message("block 0: %u erases; of others %u at most, %.1f in the mean; %llu renewed, "
		      "%llu replaced\n",
		t.f.erases[0], most, (double)sum / (double)(g.size / g.erase_block - 1),
		(unsigned long long)t.ways[ROMFS_WAY_RENEW],
		(unsigned long long)t.ways[ROMFS_WAY_REPLACE]);
	assert_true(most * (g.size / g.erase_block - 1) <= 2 * sum);
	assert_int_equal(t.ways[ROMFS_WAY_REPLACE], 0);
	rig_done(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cost),
		cmocka_unit_test(test_adopts_packed_image),
		cmocka_unit_test(test_every_memory),
		cmocka_unit_test(test_renewal),
		cmocka_unit_test(test_full_and_back),
		cmocka_unit_test(test_bad_blocks),
		cmocka_unit_test(test_unknown_space),
		cmocka_unit_test(test_wear),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
