/* SPDX-License-Identifier: MIT */
#include "exhaust_saves.h"

#include <string.h>

#define NOR(n, block, unit)                                                              \
	{                                                                                \
		.size = (n) * (block), .erase_block = (block), .write_unit = (unit),     \
		.twice = true                                                            \
	}
#define ONCE(n, block, unit)                                                             \
	{                                                                                \
		.size = (n) * (block), .erase_block = (block), .write_unit = (unit)      \
	}
#define PREFIX(n, block, unit)                                                           \
	{                                                                                \
		.size = (n) * (block), .erase_block = (block), .write_unit = (unit),     \
		.prefix_erase = true                                                     \
	}
#define FREE(n, block, unit)                                                             \
	{                                                                                \
		.size = (n) * (block), .erase_block = (block), .write_unit = (unit),     \
		.no_erase = true                                                         \
	}

/* Blocks that are no multiple of 256 bytes have small pages: more of them go together. */
const struct setting settings[] = {
	{"NOR 8x256 by 1", NOR(8, 256, 1)}, /* too small to append */
	{"NOR 8x320 by 16", NOR(8, 320, 16)},
	{"NOR 8x656 by 1", NOR(8, 656, 1)},
	{"NOR 4x2240 by 4", NOR(4, 2240, 4)},
	{"NOR 8x688 by 16", NOR(8, 688, 16)},
	{"NOR 6x2048 by 256", NOR(6, 2048, 256)},
	{"NOR 2x2816 by 1", NOR(2, 2816, 1)},
	{"once 8x272 by 1", ONCE(8, 272, 1)},
	{"once 16x258 by 2", ONCE(16, 258, 2)},
	{"once 16x260 by 4", ONCE(16, 260, 4)},
	{"ECC 8x520 by 8", ONCE(8, 520, 8)},
	{"ECC 8x528 by 16", ONCE(8, 528, 16)},
	{"ECC 8x1056 by 32", ONCE(8, 1056, 32)},
	{"ECC 2x2048 by 8", ONCE(2, 2048, 8)},
	{"ECC 16x64 by 8", ONCE(16, 64, 8)},
	{"pages 6x2048 by 512", ONCE(6, 2048, 512)},
	{"prefix 8x516 by 4", PREFIX(8, 516, 4)},
	{"prefix 8x520 by 8", PREFIX(8, 520, 8)},
	{"MRAM 4096 by 16", FREE(256, 16, 16)},
	{"MRAM 4096 by 1", FREE(2, 2048, 1)},
};
const unsigned n_settings = ARRAY_SIZE(settings);

const char *const start_names[START_N] = {"blank", "packed", "full", "dirty", "aged"};
const char *const action_names[ACT_END] = {"-", "create", "grow", "shrink", "delete",
	"rename", "fill", "rewrite", "mkdir", "tidy"};

static struct model_entry *add(
	struct model *m, const char *path, bool dir, uint64_t size, uint32_t seed)
{
	struct model_entry *e = model_add(m, path, dir);

	e->size = dir ? 0 : (uint32_t)size;
	e->seed = seed;
	return e;
}

/* Makes the newest file as large as df lets it be; false where it lets nothing. */
static bool fill_up(const struct sim *s, struct model *m, struct model_entry *e)
{
	uint64_t need = host_reckon(s, m);

	if (need < s->g.size)
		e->size += (uint32_t)(s->g.size - need);
	while (e->size && host_reckon(s, m) > s->g.size)
		e->size--;
	return host_reckon(s, m) <= s->g.size;
}

/* --- starts ------------------------------------------------------------------------ */

struct image {
	uint8_t *b;
	uint64_t n, max;
};

static int take_bytes(void *ctx, const void *buf, size_t len, struct error *err)
{
	struct image *im = ctx;

	if (len > im->max - im->n)
		abort();
	memcpy(im->b + im->n, buf, len);
	im->n += len;
	return 0;
}

static bool pack(struct sim *s, const struct model *m)
{
	_cleanup_(romfs_tree_freep) struct romfs_tree *tree = model_tree(m);
	struct image im = {.b = s->b, .max = s->g.size};
	uint64_t size;

	if (romfs_pack_size(tree, NULL, &size, NULL) < 0 || size > s->g.size)
		return false;
	if (romfs_pack(tree, NULL, model_content, (void *)(uintptr_t)m, take_bytes, &im,
		    &size, NULL) < 0)
		abort();
	sim_settle(s);
	return true;
}

static void small_tree(const struct sim *s, struct model *m)
{
	add(m, "a.py", false, s->g.size / 10, 3);
	add(m, "lib", true, 0, 0);
	add(m, "lib/b.bin", false, s->g.size / 16, 5);
	add(m, "z", false, 5, 7);
}

static bool make_full(struct sim *s, struct model *m)
{
	struct model_entry *e;

	small_tree(s, m);
	e = add(m, "big", false, s->g.size / 2, 9);
	while (pack(s, m))
		e->size++;
	e->size--;
	memset(s->b, 0xFF, s->g.size);
	return pack(s, m);
}

static enum romfs_way save(
	struct sim *s, int next_fd, const struct model *old, const struct model *m)
{
	enum romfs_way way = ROMFS_WAY_NOTHING;
	struct host h;
	struct step t;
	int r;

	host_init(&h, s, next_fd);
	while ((r = host_next(&h, old, m, &t)) > 0) {
		step_run(&t, s);
		way = MAX(way, t.plan->way);
		step_done(&t);
	}
	if (r < 0)
		case_fail("a small tree does not fit");
	host_done(&h);
	return way;
}

/* Saves until block 0 is written for want of slots: the state two saves before that. */
static void age(struct sim *s, int next_fd, struct model *m, struct sim before[2],
	struct model was[2])
{
	struct model old;
	unsigned n;

	model_init(&old);
	for (n = 0; n < 70; n++) {
		enum romfs_way way;

		sim_copy(&before[n % 2], s);
		model_copy(&was[n % 2], &old);
		way = save(s, next_fd, &old, m);
		if (n > 6 && way >= ROMFS_WAY_RENEW)
			break;
		model_copy(&old, m);
		m->v[m->n - 1].seed += 8;
		m->v[m->n - 1].size = 5 + n % 3;
	}
	sim_copy(s, &before[(n + 1) % 2]);
	model_copy(m, &was[(n + 1) % 2]);
	model_done(&old);
}

static bool make_aged(struct sim *s, int next_fd, struct model *m)
{
	struct sim before[2];
	struct model was[2];

	small_tree(s, m);
	for (unsigned i = 0; i < 2; i++) {
		sim_init(&before[i], &s->g);
		model_init(&was[i]);
	}
	age(s, next_fd, m, before, was);
	for (unsigned i = 0; i < 2; i++) {
		sim_done(&before[i]);
		model_done(&was[i]);
	}
	return true;
}

bool start_make(enum start start, struct sim *s, int next_fd, struct model *m)
{
	struct rng r = {0x5EED};

	m->n = 0;
	switch (start) {
	case START_PACKED:
		small_tree(s, m);
		return pack(s, m);
	case START_FULL:
		return make_full(s, m);
	case START_DIRTY:
		sim_dirty(s, &r);
		return true;
	case START_AGED:
		return make_aged(s, next_fd, m);
	default:
		return true;
	}
}

/* --- actions ----------------------------------------------------------------------- */

static struct model_entry *first_file(const struct model *m)
{
	for (unsigned i = 0; i < m->n; i++)
		if (!m->v[i].dir && m->v[i].size)
			return &m->v[i];
	return NULL;
}

static struct model_entry *last_file(const struct model *m)
{
	for (unsigned i = m->n; i--;)
		if (!m->v[i].dir && m->v[i].size)
			return &m->v[i];
	return NULL;
}

static void name(char *out, size_t cap, char first, unsigned k, const struct model *m)
{
	snprintf(out, cap, "%s%c%u", model_find(m, "lib") && k % 2 ? "lib/" : "", first,
		k);
}

bool action_do(enum action a, unsigned k, const struct sim *s, struct model *m,
	const char **rewritten)
{
	struct model_entry *first = first_file(m), *last = last_file(m), *e;
	char path[40];

	*rewritten = NULL;
	m->root_mtime_ns = 1000 + k;
	switch (a) {
	case ACT_CREATE:
		name(path, sizeof(path), 'n', k, m);
		e = add(m, path, false, s->g.size / 12 + k, 101 + 8 * k);
		e->mtime_ns = k;
		return true;
	case ACT_FILL:
		name(path, sizeof(path), 'f', k, m);
		return fill_up(s, m, add(m, path, false, 0, 103 + 8 * k));
	case ACT_MKDIR:
		name(path, sizeof(path), 'd', k, m);
		add(m, path, true, 0, 0)->mtime_ns = -5;
		return true;
	case ACT_TIDY:
		return m->n > 0;
	default:
		break;
	}
	if (!first)
		return false;
	switch (a) {
	case ACT_GROW:
		first->size += first->size / 2 + 17;
		first->seed += 8;
		first->mtime_ns = 77;
		return true;
	case ACT_SHRINK:
		last->size /= 2;
		last->seed += 8;
		return true;
	case ACT_DELETE:
		model_remove(m, first->path);
		return true;
	case ACT_RENAME:
		name(path, sizeof(path), 'r', k, m);
		memcpy(last->path, path, sizeof(path));
		return true;
	default:
		*rewritten = first->path;
		return true;
	}
}
