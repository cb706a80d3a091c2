/* SPDX-License-Identifier: MIT */
/* The planner on a simulated chip: random saves on many geometries, cut at every operation,
 * planned again from what is left; and what a save may cost. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "libromfs/parse.h"
#include "romfs_bytes.h"
#include "romfs_nor.h"
#include "util/io.h"

static const struct romfs_align aligns[] = {{"a*", 16}, {"b*", 256}, {"c*", 4096}};
static const struct romfs_pack_options with_notes = {
	.aligns = aligns, .n_aligns = ARRAY_SIZE(aligns), .notes = true};

static int sink_bytes(void *ctx, const void *buf, size_t len, struct error *err)
{
	bytes_add(ctx, buf, len);
	return 0;
}

/* --- saves -------------------------------------------------------------------------- */

/* What df says that the model takes. */
static uint64_t reckoned(const struct nor *f, const struct model *m)
{
	uint64_t sum = romfs_plan_overhead(&f->g);
	struct romfs_tree *tree = model_tree(m);

	for (uint32_t i = 1; i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		sum += romfs_plan_entry_bytes(n->type, n->name_len, n->size,
			n->type == ROMFS_FILE ? romfs_pack_align(&with_notes, tree, i)
					      : 1);
	}
	romfs_tree_free(tree);
	return sum;
}

static int plan_from(struct nor *f, const struct model *m, const struct model *old,
	struct romfs_plan **plan, struct error *err)
{
	struct romfs_image *image;
	struct romfs_flash flash = nor_flash(f, &image);
	struct romfs_tree *tree = nor_wanted(m, old, image);
	int r;

	*plan = NULL;
	r = romfs_plan(&f->g, &flash, ROMFS_REWRITE, tree, &with_notes, model_content,
		(void *)(uintptr_t)m, f->next_fd, plan, err);
	if (r == 0)
		for (uint32_t i = 1; i < romfs_tree_count(tree); i++) {
			const struct romfs_node *n = romfs_tree_node(tree, i);
			uint8_t want[64], have[64];
			size_t len = MIN(n->size, sizeof(want));

			if (n->type != ROMFS_FILE || n->size == 0)
				continue;
			assert_int_equal(
				n->data_off % romfs_pack_align(&with_notes, tree, i), 0);
			model_bytes(&m->v[n->user], 0, want, len);
			nor_after(f, *plan, n->data_off, have, len);
			assert_memory_equal(want, have, len);
		}
	romfs_tree_free(tree);
	romfs_image_free(image);
	return r;
}

/* `greedy`: what was written stays, and the partition fills up. */
static void random_save(struct model *m, struct rng *r, uint32_t size_max, bool greedy)
{
	if (greedy)
		model_random(m, r, 4, size_max);
	for (unsigned changes = 1 + rng_below(r, 4); changes; changes--) {
		struct model_entry *e = m->n ? &m->v[rng_below(r, m->n)] : NULL;

		switch (rng_below(r, 6)) {
		case 0:
			model_random(m, r, 1 + rng_below(r, 3), size_max);
			break;
		case 1:
			if (e && (!greedy || rng_below(r, 4) == 0))
				model_remove(m, e->path);
			break;
		case 2: /* other content, about the same size */
			if (e && !e->dir) {
				e->seed = rng_next(r);
				e->size += rng_below(r, 9);
			}
			break;
		case 3:
			if (e && !e->dir) {
				e->seed = rng_next(r);
				e->size = rng_below(r, size_max + 1);
			}
			break;
		case 4:
			if (e)
				e->mtime_ns = rng_next(r);
			break;
		default:
			m->root_mtime_ns = rng_next(r);
		}
	}
}

/* Which bytes of a CHECK are those that flash shall hold at the end. */
static void mark_checked(const struct nor *f, const struct romfs_op *op, uint8_t *checked)
{
	uint8_t *now = malloc(op->len), *then = malloc(op->len);

	assert_true(now && then);
	assert_int_equal(io_pread_full(f->next_fd, now, op->len, (off_t)op->src), 0);
	assert_int_equal(io_pread_full(f->next_fd, then, op->len, (off_t)op->off), 0);
	for (uint64_t i = 0; i < op->len; i++)
		checked[op->off + i] = now[i] == then[i];
	free(now);
	free(then);
}

/* Every range that was written is checked after its last change, with its neighbours, and
 * all but the last operation's before that one. */
static void expect_checks(const struct nor *f, const struct romfs_plan *plan)
{
	uint64_t block = f->g.erase_block, size = f->g.size;
	uint8_t *checked = calloc(1, size);
	const struct romfs_op *last = NULL;

	assert_non_null(checked);
	for (size_t k = 0; k < plan->n_ops; k++) {
		const struct romfs_op *op = &plan->ops[k];

		if (op->kind == ROMFS_OP_CHECK) {
			mark_checked(f, op, checked);
			continue;
		}
		last = op;
		memset(checked + op->off, 0, op->len);
	}
	for (size_t k = 0; k < plan->n_touched; k++) {
		const struct romfs_extent *e = &plan->touched[k];
		uint64_t beside = plan->way == ROMFS_WAY_REPLACE ? block : 0;
		uint64_t from = e->off - MIN(e->off, beside);
		uint64_t to = MIN(e->off + e->len + beside, size);

		assert_true(e->off + e->len <= size);
		for (uint64_t at = from; at < to; at++)
			if (!checked[at])
				fail_msg("byte %llu is not checked", (unsigned long long)at);
	}
	for (const struct romfs_op *op = plan->ops; op < last; op++)
		if (op->kind != ROMFS_OP_CHECK)
			memset(checked + op->off, 0, op->len);
	for (const struct romfs_op *op = plan->ops; op < last; op++)
		if (op->kind == ROMFS_OP_CHECK)
			mark_checked(f, op, checked);
	for (uint64_t at = 0; last && at < size; at++)
		for (size_t k = 0; k < plan->n_touched; k++)
			if (at >= plan->touched[k].off &&
				at < plan->touched[k].off + plan->touched[k].len &&
				(at < last->off || at >= last->off + last->len) && !checked[at])
				fail_msg("byte %llu is checked too late",
					(unsigned long long)at);
	free(checked);
}

/* --- cuts --------------------------------------------------------------------------- */

static void expect_not_mixed(
	const struct nor *f, const struct model *old, const struct model *m, size_t op)
{
	if (nor_sees(f, m) != SEES_OTHER || nor_sees(f, old) != SEES_OTHER)
		return;
	fail_msg("a cut at operation %zu leaves a tree that nobody wrote", op);
}

static void copy_flash(struct nor *to, const struct nor *from)
{
	memcpy(to->b, from->b, from->g.size);
	memcpy(to->written, from->written,
		from->g.size / from->g.write_unit * sizeof(*from->written));
	memcpy(to->unknown, from->unknown,
		from->g.size / from->g.erase_block * sizeof(*from->unknown));
}

/* After the cut the host knows nothing about what it touched, or reads it all again. */
static void recover(struct nor *cut, const struct romfs_plan *plan, const struct model *m,
	bool promised, bool reread, struct rng *r)
{
	struct romfs_plan *again;
	struct error err = {0};
	int ret;

	if (!reread)
		nor_forget(cut, plan);
	ret = plan_from(cut, m, NULL, &again, &err);
	/* More than df admits can fit by luck, and luck may not come again. */
	if (ret == -ENOSPC && !promised)
		return;
	if (ret < 0)
		fail_msg("no way back: %s", err.text);
	nor_run(cut, again, again->n_ops, 0, r);
	nor_know(cut, true);
	nor_expect(cut, m, promised);
	romfs_plan_free(again);
}

static unsigned cut_everywhere(const struct nor *f, const struct romfs_plan *plan,
	const struct model *old, const struct model *m, bool promised, struct rng *r)
{
	size_t step = plan->n_ops / 12 + 1;
	struct stat st;
	uint8_t *next;
	unsigned cuts = 0;
	struct nor cut;

	assert_int_equal(fstat(f->next_fd, &st), 0);
	next = malloc((size_t)st.st_size);
	assert_non_null(next);
	assert_int_equal(io_pread_full(f->next_fd, next, (size_t)st.st_size, 0), 0);
	nor_init(&cut, &f->g);
	for (size_t k = 0; k < plan->n_ops; k += k + step + 3 < plan->n_ops ? step : 1) {
		const struct romfs_op *op = &plan->ops[k];
		uint64_t parts =
			op->kind == ROMFS_OP_ERASE ? op->len : op->len / f->g.write_unit;
		uint64_t torn = rng_below(r, 2) ? rng_below(r, (uint32_t)parts) : 0;

		copy_flash(&cut, f);
		nor_run(&cut, plan, k, torn, r);
		expect_not_mixed(&cut, old, m, k);
		recover(&cut, plan, m, promised, rng_below(r, 4) == 0 && torn == 0, r);
		/* The plan goes on from its own file. */
		assert_int_equal(io_pwrite_full(f->next_fd, next, (size_t)st.st_size, 0), 0);
		cuts++;
	}
	nor_done(&cut);
	free(next);
	return cuts;
}

/* --- random saves ------------------------------------------------------------------- */

struct setting {
	struct romfs_geometry g;
	unsigned rounds, saves;
	uint32_t size_max;
};

static const struct setting settings[] = {
	{{.size = 64 << 10, .erase_block = 16, .write_unit = 16, .no_erase = true}, 10,
		30, 4000},
	{{.size = 48 << 10, .erase_block = 4096, .write_unit = 1, .no_erase = true}, 6,
		20, 3000},
	{{.size = 48 * 1536, .erase_block = 1536, .write_unit = 4}, 10, 30, 5000},
	{{.size = 256 << 10, .erase_block = 4096, .write_unit = 256}, 14, 30, 12000},
	{{.size = 256 << 10, .erase_block = 4096, .write_unit = 256, .twice = true}, 6, 30,
		12000},
	{{.size = 64 << 10, .erase_block = 4096, .write_unit = 1, .twice = true}, 6, 30, 4000},
	{{.size = 8 << 10, .erase_block = 4096, .write_unit = 4, .twice = true}, 6, 30, 900},
	{{.size = 128 << 10, .erase_block = 4096, .write_unit = 1}, 10, 30, 9000},
	{{.size = 128 << 10, .erase_block = 4096, .write_unit = 8}, 8, 30, 9000},
	{{.size = 64 << 10, .erase_block = 2048, .write_unit = 2048}, 8, 30, 5000},
	{{.size = 1 << 20, .erase_block = 256 << 10, .write_unit = 32}, 5, 14, 60000},
	{{.size = 8 << 10, .erase_block = 4096, .write_unit = 256}, 8, 20, 900},
	{{.size = 16 << 10, .erase_block = 64, .write_unit = 8}, 8, 20, 900},
	{{.size = 128 << 10, .erase_block = 4096, .write_unit = 4, .prefix_erase = true},
		10, 30, 9000},
	{{.size = 96 << 10,
		 .erase_block = 8192,
		 .write_unit = 2048,
		 .prefix_erase = true},
		8, 20, 5000},
};

/* A partition to begin with: blank, full of something, or packed by mpremote. */
static void begin(struct nor *f, struct model *m, struct rng *r, uint32_t size_max)
{
	struct romfs_tree *tree;
	uint64_t size;
	FILE *file;
	int fd;

	if (rng_below(r, 3) == 0)
		return;
	nor_dirty(f, r);
	if (rng_below(r, 2) == 0)
		return;
	model_random(m, r, 5, size_max);
	for (unsigned i = 0; i < m->n; i++)
		m->v[i].mtime_ns = ROMFS_NO_MTIME;
	tree = model_tree(m);
	file = tmpfile();
	assert_non_null(file);
	fd = fileno(file);
	if (romfs_pack_size(tree, NULL, &size, NULL) == 0 && size < f->g.size) {
		struct romfs_geometry g = f->g;
		struct romfs_plan *plan;
		struct nor blank;
		struct romfs_image *image;
		struct romfs_flash flash;

		/* Only its packed form fits there. */
		g.size = (size + g.erase_block - 1) / g.erase_block * g.erase_block;
		nor_init(&blank, &g);
		flash = nor_flash(&blank, &image);
		if (romfs_plan(&g, &flash, ROMFS_REWRITE, tree, NULL, model_content, m, fd, &plan,
			    NULL) == 0) {
			assert_int_equal(io_pread_full(fd, f->b, g.size, 0), 0);
			romfs_plan_free(plan);
		} else {
			m->n = 0;
		}
		nor_settle(f);
		romfs_image_free(image);
		nor_done(&blank);
	} else {
		m->n = 0;
	}
	romfs_tree_free(tree);
	fclose(file);
}

struct totals {
	unsigned saves, full, cuts, repacks;
};

static void one_round(const struct setting *s, uint64_t seed, struct totals *totals,
	struct model *m, struct model *old)
{
	struct rng r = {seed};
	struct nor f;

	nor_init(&f, &s->g);
	m->n = old->n = 0;
	m->root_mtime_ns = old->root_mtime_ns = ROMFS_NO_MTIME;
	begin(&f, m, &r, s->size_max);
	for (unsigned save = 0; save < s->saves; save++) {
		struct romfs_plan *plan;
		struct error err = {0};
		uint64_t need;
		int ret;

		model_copy(old, m);
		random_save(m, &r, s->size_max, seed % 2);
		need = reckoned(&f, m);
		ret = plan_from(&f, m, old, &plan, &err);
		if (ret < 0) {
			assert_int_equal(ret, -ENOSPC);
			if (need <= s->g.size)
				fail_msg("%llu bytes do not fit: %s",
					(unsigned long long)need, err.text);
			assert_non_null(strstr(err.text, "the partition holds"));
			model_copy(m, old);
			totals->full++;
			continue;
		}
		expect_checks(&f, plan);
		/* Half of all saves: the rest makes the partition age. */
		if (rng_below(&r, 2))
			totals->cuts +=
				cut_everywhere(&f, plan, old, m, need <= s->g.size, &r);
		nor_run(&f, plan, plan->n_ops, 0, &r);
		nor_expect(&f, m, need <= s->g.size);
		totals->saves++;
		totals->repacks += plan->way == ROMFS_WAY_REPLACE;
		romfs_plan_free(plan);

		/* The same again is nothing. */
		if (need <= s->g.size) {
			assert_int_equal(plan_from(&f, m, m, &plan, &err), 0);
			assert_int_equal(plan->n_ops, 0);
			assert_int_equal(plan->way, ROMFS_WAY_NOTHING);
			romfs_plan_free(plan);
			assert_int_equal(plan_from(&f, m, NULL, &plan, &err), 0);
			assert_int_equal(plan->n_ops, 0); /* written again, same bytes */
			romfs_plan_free(plan);
		}
	}
	nor_done(&f);
}

/* Files until df says 0, then the last byte: whatever df promises can be planned. */
static void fill_up(const struct setting *s, uint64_t seed)
{
	struct rng r = {seed};
	struct model m, old;
	struct nor f;

	nor_init(&f, &s->g);
	model_init(&m);
	model_init(&old);
	for (unsigned save = 0; save < 12; save++) {
		struct romfs_plan *plan;
		struct model_entry *e;
		struct error err = {0};
		uint64_t need;

		model_copy(&old, &m);
		for (;;) {
			unsigned n = m.n;

			model_random(&m, &r, 1, s->size_max);
			if (reckoned(&f, &m) > s->g.size || m.n > 400) {
				m.n = n;
				break;
			}
		}
		e = m.n ? &m.v[rng_below(&r, m.n)] : NULL;
		if (e && !e->dir) {
			e->seed = rng_next(&r);
			e->size += (uint32_t)(s->g.size - reckoned(&f, &m));
			while (reckoned(&f, &m) > s->g.size)
				e->size--;
		}
		need = reckoned(&f, &m);
		if (plan_from(&f, &m, &old, &plan, &err) < 0)
			fail_msg("%llu bytes of %llu do not fit: %s",
				(unsigned long long)need, (unsigned long long)s->g.size,
				err.text);
		nor_run(&f, plan, plan->n_ops, 0, &r);
		nor_expect(&f, &m, true);
		romfs_plan_free(plan);
		for (unsigned k = rng_below(&r, 4); k && m.n; k--)
			model_remove(&m, m.v[rng_below(&r, m.n)].path);
	}
	model_done(&m);
	model_done(&old);
	nor_done(&f);
}

static void test_fill_to_the_last_byte(void **state)
{
	for (size_t k = 0; k < ARRAY_SIZE(settings); k++)
		for (unsigned round = 0; round < 2; round++) {
			uint64_t seed = 0xF111u * (k + 1) + round * 104729;

			print_message(
				"setting %zu seed %llx\n", k, (unsigned long long)seed);
			fill_up(&settings[k], seed);
		}
}

/* 100 KiB files on 8 MiB: how much of it can be used. */
static void test_usable(void **state)
{
	const struct romfs_geometry g = {
		.size = 8 << 20, .erase_block = 4096, .write_unit = 256};
	uint64_t sum = romfs_plan_overhead(&g), used = 0, one;

	one = romfs_plan_entry_bytes(ROMFS_FILE, 12, 100 << 10, 1);
	for (; sum + one <= g.size; sum += one)
		used += 100 << 10;
	used += g.size - sum - 40; /* a last file that takes the rest */
	assert_true(used * 1000 >= g.size * 997);
}

static void test_does_not_fit(void **state)
{
	const struct romfs_geometry g = {
		.size = 16 << 10, .erase_block = 4096, .write_unit = 256};
	struct romfs_plan *plan;
	struct error err = {0};
	struct model m;
	struct nor f;

	nor_init(&f, &g);
	model_init(&m);
	model_add(&m, "big", false)->size = 20000;
	assert_int_equal(plan_from(&f, &m, NULL, &plan, &err), -ENOSPC);
	assert_null(plan);
	assert_string_equal(err.text,
		"the files need 20256 bytes, and the partition holds 16384: "
		"remove or shrink some (3872 bytes at least)");
	model_done(&m);
	nor_done(&f);
}

/* --- what a save costs -------------------------------------------------------------- */

/* 200 files, 6 MiB, on 8 MiB. */
static void big_tree(struct model *m, struct rng *r)
{
	uint32_t left = 6u << 20;

	model_add(m, "lib", true);
	model_add(m, "lib/assets", true);
	for (unsigned i = 0; i < 200; i++) {
		static const char *const dirs[] = {"", "lib/", "lib/assets/"};
		char path[64];
		struct model_entry *e;

		snprintf(path, sizeof(path), "%smodule_%03u.py", dirs[i % 3], i);
		e = model_add(m, path, false);
		e->seed = 8 * rng_next(r) + 1;
		e->mtime_ns = 1700000000000000000 + i;
		e->size = i % 4 == 0 ? 2000 : (i == 199 ? left : rng_below(r, 82000));
		e->size = MIN(e->size, left);
		left -= e->size;
	}
}

struct cost {
	uint64_t erases, bytes, worst_erases, worst_bytes, saves;
};

static void save(struct nor *f, const struct model *m, const struct model *old,
	struct cost *cost, struct rng *r)
{
	struct romfs_plan *plan;
	struct error err = {0};

	if (plan_from(f, m, old, &plan, &err) < 0)
		fail_msg("%s", err.text);
	nor_run(f, plan, plan->n_ops, 0, r);
	nor_expect(f, m, true);
	cost->erases += plan->erase_count;
	cost->bytes += plan->program_bytes;
	cost->worst_erases = MAX(cost->worst_erases, plan->erase_count);
	cost->worst_bytes = MAX(cost->worst_bytes, plan->program_bytes);
	cost->saves++;
	romfs_plan_free(plan);
}

/* One 2 KiB file of the big tree is written again and again, a bit longer or shorter, as
 * an editor does it: its directory's time changes too. */
static void small_saves(struct nor *f, struct model *m, struct model *old, unsigned n,
	struct cost *cost, struct rng *r)
{
	while (n--) {
		struct model_entry *e;

		model_copy(old, m);
		do
			e = &m->v[rng_below(r, m->n)];
		while (e->dir || e->size > 2048);
		e->size = 2000 + rng_below(r, 49);
		e->seed = 8 * rng_next(r) + 1;
		e->mtime_ns += 1000000000;
		if (strchr(e->path, '/')) {
			char dir[200];

			snprintf(dir, sizeof(dir), "%.*s",
				(int)(strrchr(e->path, '/') - e->path), e->path);
			model_find(m, dir)->mtime_ns = e->mtime_ns;
		} else {
			m->root_mtime_ns = e->mtime_ns;
		}
		save(f, m, old, cost, r);
	}
}

static void test_cost_of_small_saves(void **state)
{
	const struct romfs_geometry g = {
		.size = 8 << 20, .erase_block = 4096, .write_unit = 256};

	for (unsigned dirty = 0; dirty <= 1; dirty++) {
		struct cost first = {0}, cost = {0};
		struct model m, old;
		struct rng r = {0xC057 + dirty};
		struct nor f;

		nor_init(&f, &g);
		model_init(&m);
		model_init(&old);
		if (dirty)
			for (uint64_t i = 0; i < g.size; i++)
				f.b[i] = (uint8_t)rng_below(&r, 255);
		nor_settle(&f);
		big_tree(&m, &r);
		save(&f, &m, &old, &first, &r);
		if (!dirty) /* blank flash is not erased */
			assert_int_equal(first.erases, 0);
		/* Pages of 256 bytes, and the metadata. */
		assert_true(first.bytes < (6u << 20) + 200 * 256 + 20000);

		small_saves(&f, &m, &old, 150, &cost, &r);
		print_message(
			"%s: first %llu erases; saves at most %llu erases, %llu bytes; mean "
			"%.2f erases, %.0f bytes\n",
			dirty ? "dirty" : "blank", (unsigned long long)first.erases,
			(unsigned long long)cost.worst_erases,
			(unsigned long long)cost.worst_bytes, (double)cost.erases / 150,
			(double)cost.bytes / 150);
		assert_true(cost.worst_erases <= 4);
		assert_true(cost.worst_bytes <= 4 * 4096);
		model_done(&m);
		model_done(&old);
		nor_done(&f);
	}
}

/* Where nothing can be appended, what changes of an entry stands in one erase block,
 * whichever entry it is. */
static void test_entry_changes_in_one_block(void **state)
{
	const struct romfs_geometry g = {
		.size = 1 << 20, .erase_block = 1024, .write_unit = 1};
	struct cost cost = {0};
	struct model m, old;
	struct rng r = {0x7C};
	struct nor f;

	nor_init(&f, &g);
	model_init(&m);
	model_init(&old);
	model_random(&m, &r, 400, 200);
	for (unsigned i = 0; i < m.n; i++)
		m.v[i].mtime_ns = 1;
	save(&f, &m, NULL, &cost, &r);
	for (unsigned i = 0; i < m.n; i++) {
		model_copy(&old, &m);
		m.v[i].mtime_ns = -2 - (int64_t)i; /* every byte of it changes */
		m.v[i].seed += 8;
		save(&f, &m, &old, &cost, &r);
		assert_true(cost.worst_erases <= 2);
	}
	model_done(&m);
	model_done(&old);
	nor_done(&f);
}

/* The image that mpremote wrote is taken over: its data stays where it is. */
static void test_adopts_packed_image(void **state)
{
	const struct romfs_geometry g = {
		.size = 8 << 20, .erase_block = 4096, .write_unit = 256};
	struct cost cost = {0};
	struct model m, old;
	struct rng r = {0xADA7};
	struct romfs_tree *tree;
	struct nor f;
	uint64_t size;

	nor_init(&f, &g);
	model_init(&m);
	model_init(&old);
	big_tree(&m, &r);
	for (unsigned i = 0; i < m.n; i++)
		m.v[i].mtime_ns = ROMFS_NO_MTIME;
	tree = model_tree(&m);
	{
		struct bytes packed = {0};

		assert_int_equal(romfs_pack(tree, NULL, model_content, &m, sink_bytes,
					 &packed, &size, NULL),
			0);
		memcpy(f.b, packed.p, packed.n);
		bytes_done(&packed);
	}
	romfs_tree_free(tree);
	nor_settle(&f);

	/* As it is: nothing to do. */
	{
		struct romfs_plan *plan;

		/* Patterns of the tests align "a*", "b*", "c*": none of these names. */
		assert_int_equal(plan_from(&f, &m, &m, &plan, NULL), 0);
		assert_int_equal(plan->n_ops, 0);
		assert_int_equal(plan->image_size, size);
		romfs_plan_free(plan);
	}
	small_saves(&f, &m, &old, 1, &cost, &r);
	print_message("adopted with %llu erases, %llu bytes\n",
		(unsigned long long)cost.erases, (unsigned long long)cost.bytes);
	assert_true(cost.erases <= 6);
	assert_true(cost.bytes <= 150000); /* the metadata, and what stood in its place */
	cost = (struct cost){0};
	small_saves(&f, &m, &old, 20, &cost, &r);
	assert_true(cost.worst_erases <= 4);
	model_done(&m);
	model_done(&old);
	nor_done(&f);
}

/* Where only a prefix can be erased, new content goes behind it. */
static void test_prefix_erase_appends(void **state)
{
	const struct romfs_geometry g = {.size = 1 << 20,
		.erase_block = 4096,
		.write_unit = 4,
		.prefix_erase = true};
	struct cost cost = {0};
	struct model m, old;
	struct rng r = {0x9FEF};
	struct nor f;

	nor_init(&f, &g);
	model_init(&m);
	model_init(&old);
	for (unsigned i = 0; i < 30; i++) {
		char path[16];
		struct model_entry *e;

		snprintf(path, sizeof(path), "m%02u.py", i);
		e = model_add(&m, path, false);
		e->size = 2000;
		e->seed = 8 * i + 1;
	}
	save(&f, &m, &old, &cost, &r);
	assert_int_equal(cost.erases, 0);
	small_saves(&f, &m, &old, 100, &cost, &r);
	assert_true(cost.worst_erases <= 1); /* of the block that holds the head */
	model_done(&m);
	model_done(&old);
	nor_done(&f);
}

/* The header's write unit, programmed byte by byte: no tree before all of it is there. */
static void test_torn_header(void **state)
{
	static const uint32_t units[] = {1, 4, 8, 16, 32, 256, 1024, 2048};

	for (size_t k = 0; k < ARRAY_SIZE(units); k++) {
		const struct romfs_geometry g = {
			.size = 128 << 10, .erase_block = 4096, .write_unit = units[k]};
		const struct romfs_op *last;
		struct romfs_plan *plan;
		struct rng r = {0x70};
		struct model m;
		struct nor f;

		nor_init(&f, &g);
		model_init(&m);
		model_random(&m, &r, 40, 800);
		assert_int_equal(plan_from(&f, &m, NULL, &plan, NULL), 0);
		last = &plan->ops[plan->n_ops - 2]; /* and its check */
		assert_int_equal(last->kind, ROMFS_OP_PROGRAM);
		assert_int_equal(last->off, 0);
		assert_int_equal(
			last->len, MAX((3 + units[k] - 1) / units[k] * units[k], 3));
		nor_run(&f, plan, plan->n_ops - 2, 0, &r);
		for (uint64_t n = 0; n < last->len; n++) {
			assert_int_not_equal(nor_sees(&f, &m), SEES_OTHER);
			assert_int_equal(
				io_pread_full(f.next_fd, f.b + n, 1, (off_t)n), 0);
		}
		assert_int_equal(nor_sees(&f, &m), SEES_TREE);
		romfs_plan_free(plan);
		model_done(&m);
		nor_done(&f);
	}
}

static void test_empty(void **state)
{
	const struct romfs_geometry g = {
		.size = 64 << 10, .erase_block = 4096, .write_unit = 256};
	struct cost cost = {0};
	struct romfs_plan *plan;
	struct model none, m;
	struct rng r = {1};
	struct nor f;

	nor_init(&f, &g);
	model_init(&none);
	model_init(&m);
	assert_int_equal(plan_from(&f, &none, NULL, &plan, NULL), 0);
	assert_int_equal(plan->n_ops, 0); /* blank flash is right for an empty tree */
	romfs_plan_free(plan);
	model_add(&m, "f", false)->size = 5000;
	save(&f, &m, NULL, &cost, &r);
	save(&f, &none, &m, &cost, &r);
	assert_memory_equal(f.b, "\xd2\xcd\x31", 3); /* an empty ROMFS, not nothing */
	assert_int_equal(plan_from(&f, &none, NULL, &plan, NULL), 0);
	assert_int_equal(plan->n_ops, 0);
	romfs_plan_free(plan);
	model_done(&none);
	model_done(&m);
	nor_done(&f);
}

static void test_bad_geometry(void **state)
{
	static const struct romfs_geometry bad[] = {
		{.size = 0, .erase_block = 4096, .write_unit = 1},
		{.size = 4096, .erase_block = 0, .write_unit = 1},
		{.size = 4096, .erase_block = 4096, .write_unit = 0},
		{.size = 5000, .erase_block = 4096, .write_unit = 1},
		{.size = 4096, .erase_block = 4096, .write_unit = 3},
		{.size = UINT64_C(2) << 30, .erase_block = 4096, .write_unit = 1},
		{.size = 1 << 30, .erase_block = 1 << 30, .write_unit = 1},
	};
	struct romfs_flash flash = {.source = {.size = UINT64_MAX}};
	struct romfs_plan *plan = NULL;
	struct romfs_tree *tree;

	assert_int_equal(romfs_tree_new(&tree), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(romfs_plan(&bad[i], &flash, ROMFS_REWRITE, tree, NULL, NULL,
					 NULL, -1, &plan, NULL),
			-EINVAL);
	assert_null(plan);
	romfs_tree_free(tree);
}

static void test_random_saves(void **state)
{
	struct totals totals = {0};
	struct model m, old;

	model_init(&m);
	model_init(&old);
	for (size_t k = 0; k < ARRAY_SIZE(settings); k++)
		for (unsigned round = 0; round < settings[k].rounds; round++) {
			uint64_t seed = 0x9E3779B9u * (k + 1) + round * 7919;

			print_message(
				"setting %zu seed %llx\n", k, (unsigned long long)seed);
			one_round(&settings[k], seed, &totals, &m, &old);
		}
	model_done(&m);
	model_done(&old);
	print_message("%u saves, %u did not fit, %u cuts, %u repacks\n", totals.saves,
		totals.full, totals.cuts, totals.repacks);
	assert_true(totals.saves > 1000 && totals.full > 200 && totals.cuts > 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random_saves),
		cmocka_unit_test(test_fill_to_the_last_byte),
		cmocka_unit_test(test_usable),
		cmocka_unit_test(test_does_not_fit),
		cmocka_unit_test(test_cost_of_small_saves),
		cmocka_unit_test(test_entry_changes_in_one_block),
		cmocka_unit_test(test_adopts_packed_image),
		cmocka_unit_test(test_prefix_erase_appends),
		cmocka_unit_test(test_torn_header),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_bad_geometry),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
