/* SPDX-License-Identifier: MIT */
#include "romfs_sim.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "util/io.h"

#define must(condition, ...)                                                             \
	do {                                                                             \
		if (!(condition))                                                        \
			case_fail(__VA_ARGS__);                                          \
	} while (0)

static void *get(size_t n, size_t size)
{
	void *p = calloc(n + 1, size);

	if (!p)
		abort();
	return p;
}

typedef unsigned long long ull;

/* --- the chip -------------------------------------------------------------------- */

void sim_init(struct sim *s, const struct romfs_geometry *g)
{
	*s = (struct sim){.g = *g,
		.units = (uint32_t)(g->size / g->write_unit),
		.blocks = (uint32_t)(g->size / g->erase_block)};
	s->b = get(g->size, 1);
	s->programmed = get(s->units, sizeof(*s->programmed));
	s->unknown = get(s->blocks, sizeof(*s->unknown));
	s->bad = get(s->blocks, sizeof(*s->bad));
	s->erases = get(s->blocks, sizeof(*s->erases));
	memset(s->b, 0xFF, g->size);
}

void sim_done(struct sim *s)
{
	free(s->b);
	free(s->programmed);
	free(s->unknown);
	free(s->bad);
	free(s->erases);
	*s = (struct sim){0};
}

void sim_copy(struct sim *to, const struct sim *from)
{
	memcpy(to->b, from->b, from->g.size);
	memcpy(to->programmed, from->programmed, from->units * sizeof(*from->programmed));
	memcpy(to->unknown, from->unknown, from->blocks * sizeof(*from->unknown));
	memcpy(to->bad, from->bad, from->blocks * sizeof(*from->bad));
	memcpy(to->erases, from->erases, from->blocks * sizeof(*from->erases));
}

void sim_settle(struct sim *s)
{
	memset(s->unknown, 0, s->blocks * sizeof(*s->unknown));
	for (uint32_t u = 0; u < s->units; u++) {
		const uint8_t *p = s->b + (uint64_t)u * s->g.write_unit;

		s->programmed[u] = false;
		for (uint32_t i = 0; i < s->g.write_unit; i++)
			s->programmed[u] |= p[i] != 0xFF;
	}
}

void sim_dirty(struct sim *s, struct rng *r)
{
	for (uint64_t off = 0; off < s->g.size;) {
		uint32_t n = 1 + rng_below(r, (uint32_t)(s->g.size / 6));
		bool blank = rng_below(r, 3) == 0;

		for (; n && off < s->g.size; n--, off++)
			s->b[off] = blank ? 0xFF : (uint8_t)rng_next(r);
	}
	s->b[0] = 'U';
	sim_settle(s);
}

/* Bits are only ever cleared by programming, but in memory that is overwritten. */
void sim_program(struct sim *s, uint64_t off, const uint8_t *bytes)
{
	uint32_t unit = s->g.write_unit, block = (uint32_t)(off / s->g.erase_block);
	uint8_t *p = s->b + off;

	must(!s->bad[block], "the unit at %llu stands in a block set aside", (ull)off);
	if (!s->g.no_erase) {
		must(!s->unknown[block],
			"the unit at %llu is programmed, and was never known to be blank",
			(ull)off);
		must(s->g.twice || !s->programmed[off / unit],
			"the unit at %llu is programmed twice", (ull)off);
		for (uint32_t i = 0; i < unit; i++)
			must((p[i] & bytes[i]) == bytes[i],
				"byte %llu cannot become %02x: it is %02x", (ull)off + i,
				bytes[i], p[i]);
	}
	memcpy(p, bytes, unit);
	s->programmed[off / unit] = true;
}

void sim_tear(struct sim *s, uint64_t off, const uint8_t *bytes, struct rng *r)
{
	uint32_t kept = rng_next(r), way = rng_below(r, 3);

	for (uint32_t i = 0; i < s->g.write_unit; i++) {
		uint8_t old = s->b[off + i], some = (uint8_t)rng_next(r);

		if (way == 1) /* few bits are missing */
			some &= (uint8_t)(rng_next(r) & rng_next(r));
		else if (way == 2) /* byte by byte */
			some = i < kept % s->g.write_unit ? 0 : 0xFF;
		s->b[off + i] = (uint8_t)(bytes[i] | (old & some));
	}
	s->programmed[off / s->g.write_unit] = true;
}

void sim_erase(struct sim *s, uint32_t block, enum sim_erase how, struct rng *r)
{
	uint64_t size = s->g.erase_block, off = block * size;
	uint8_t *p = s->b + off;
	uint32_t density = rng_below(r, 3);

	s->erases[block]++;
	for (uint64_t i = 0; i < size; i++) {
		uint8_t some = (uint8_t)rng_next(r);

		if (density == 1)
			some |= (uint8_t)rng_next(r);
		else if (density == 2)
			some &= (uint8_t)rng_next(r);
		if (how == SIM_ERASE_ALL || (how == SIM_ERASE_FRONT && i < size / 2) ||
			(how == SIM_ERASE_BACK && i >= size / 2))
			p[i] = 0xFF;
		else if (how == SIM_ERASE_MIX ||
			 (how == SIM_ERASE_FRONT && i < size / 2 + 16))
			p[i] |= some;
	}
	/* Half erased, nothing may be programmed there, whatever it looks like. */
	for (uint64_t u = off / s->g.write_unit; u < (off + size) / s->g.write_unit; u++)
		s->programmed[u] = how != SIM_ERASE_ALL;
	if (how == SIM_ERASE_ALL)
		s->unknown[block] = false;
}

static int read_known(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct sim *s = ctx;

	must(off + len <= s->g.size, "%zu bytes at %llu are read", len, (ull)off);
	for (uint64_t k = off / s->g.erase_block; k * s->g.erase_block < off + len; k++)
		if (s->unknown[k])
			return -ENODATA;
	memcpy(buf, s->b + off, len);
	return 0;
}

struct romfs_source sim_source(struct sim *s)
{
	return (struct romfs_source){.read = read_known, .ctx = s, .size = s->g.size};
}

/* --- plans ------------------------------------------------------------------------ */

bool step_is_dense(const struct step *t)
{
	return t->plan->way == ROMFS_WAY_RENEW || t->plan->way == ROMFS_WAY_REPLACE;
}

static void check_op(const struct step *t, const struct sim *s, const struct romfs_op *op)
{
	uint32_t unit = s->g.write_unit, block = s->g.erase_block;

	must(op->len > 0 && op->off <= s->g.size && op->len <= s->g.size - op->off,
		"an operation on %llu bytes at %llu", (ull)op->len, (ull)op->off);
	if (op->kind == ROMFS_OP_ERASE) {
		must(!s->g.no_erase, "an erase of memory that is never erased");
		must(op->off % block == 0 && op->len % block == 0,
			"%llu bytes at %llu are no blocks", (ull)op->len, (ull)op->off);
		must(!s->g.prefix_erase || op->off == 0, "an erase at %llu, not a prefix",
			(ull)op->off);
		for (uint64_t k = op->off / block; k < (op->off + op->len) / block; k++)
			must(!s->bad[k], "block %llu, set aside, is erased", (ull)k);
		return;
	}
	must(op->src == op->off || op->src >= s->g.size || step_is_dense(t),
		"bytes for %llu stand at %llu of the file", (ull)op->off, (ull)op->src);
	must(op->src >= s->g.size || op->kind == ROMFS_OP_CHECK || step_is_dense(t) ||
			op->src + op->len <= t->next_len,
		"the file ends in front of the bytes for %llu", (ull)op->off);
	must(op->src < s->g.size || op->src + op->len <= t->next_len,
		"the file ends in front of %llu", (ull)(op->src + op->len));
	must(op->kind == ROMFS_OP_CHECK || (op->off % unit == 0 && op->len % unit == 0),
		"%llu bytes at %llu are no write units", (ull)op->len, (ull)op->off);
}

/* Sorted, merged, inside: and by write unit for those who ask. */
static void take_touched(struct step *t, const struct sim *s)
{
	const struct romfs_plan *plan = t->plan;
	uint64_t end = 0;

	t->touched = get(s->units, sizeof(*t->touched));
	for (size_t i = 0; i < plan->n_touched; i++) {
		const struct romfs_extent *e = &plan->touched[i];

		must(e->len && (i == 0 || e->off > end) && e->len <= s->g.size - e->off,
			"what is touched is not sorted and merged");
		end = e->off + e->len;
		for (uint64_t u = e->off / s->g.write_unit; u * s->g.write_unit < end;
			u++)
			t->touched[u] = true;
	}
}

static void check_counts(const struct step *t, const struct sim *s)
{
	uint64_t erased = 0, programmed = 0;
	const struct romfs_plan *plan = t->plan;

	for (size_t k = 0; k < plan->n_ops; k++) {
		const struct romfs_op *op = &plan->ops[k];

		check_op(t, s, op);
		if (op->kind == ROMFS_OP_ERASE)
			erased += op->len / s->g.erase_block;
		else if (op->kind == ROMFS_OP_PROGRAM)
			programmed += op->len;
	}
	must(erased == plan->erase_count, "%llu erases, said to be %llu", (ull)erased,
		(ull)plan->erase_count);
	must(programmed == plan->program_bytes,
		"%llu bytes are programmed, said to be %llu", (ull)programmed,
		(ull)plan->program_bytes);
	must((plan->way == ROMFS_WAY_NOTHING) == (plan->n_ops == 0),
		"way %d with %zu operations", plan->way, plan->n_ops);
	must(plan->way != ROMFS_WAY_ERASE || programmed == 0, "WAY_ERASE programs");
}

#define NONE UINT64_MAX

static uint64_t first_open(const bool *open, uint64_t from, uint64_t to)
{
	const bool *found = memchr(open + from, true, to - from);

	return found ? (uint64_t)(found - open) : NONE;
}

/* What any operation but the last one changes is read back in front of that; what that one
 * changes, behind it. */
static void check_checks(const struct step *t, const struct sim *s)
{
	const struct romfs_plan *plan = t->plan;
	bool *open = get(s->g.size, sizeof(*open));
	size_t last = plan->n_ops;
	bool programs = plan->way != ROMFS_WAY_ERASE;
	uint64_t bare = NONE;

	for (size_t k = 0; k < plan->n_ops; k++)
		if (plan->ops[k].kind != ROMFS_OP_CHECK)
			last = k;
	for (size_t k = 0; k < plan->n_ops && bare == NONE; k++) {
		const struct romfs_op *op = &plan->ops[k];

		if (k == last && programs)
			bare = MIN(first_open(open, 0, op->off),
				first_open(open, op->off + op->len, s->g.size));
		memset(open + op->off, op->kind != ROMFS_OP_CHECK, op->len);
	}
	bare = MIN(bare, first_open(open, 0, s->g.size));
	free(open);
	must(bare == NONE, "byte %llu is not checked in time", (ull)bare);
}

bool step_told;

static void tell(const struct step *t)
{
	static const char *const kinds[] = {"erase", "program", "check"},
				 *const ways[] = {"nothing", "erase", "append", "renew",
					 "replace"},
				 *const goals[] = {"save", "rewrite", "tidy", "pack"};

	printf("%s: %s\n", goals[t->goal], ways[t->plan->way]);
	for (size_t k = 0; k < t->plan->n_ops; k++)
		printf("  %2zu %-7s %6llu +%llu  from %llu\n", k,
			kinds[t->plan->ops[k].kind], (ull)t->plan->ops[k].off,
			(ull)t->plan->ops[k].len, (ull)t->plan->ops[k].src);
}

void step_init(struct step *t, struct sim *s, struct romfs_plan *plan,
	enum romfs_goal goal, int next_fd)
{
	struct stat st;

	*t = (struct step){.plan = plan, .goal = goal};
	if (fstat(next_fd, &st) < 0)
		abort();
	t->next_len = plan->n_ops ? (size_t)st.st_size : 0;
	t->next = get(MAX(t->next_len, s->g.size), 1);
	if (t->next_len && io_pread_full(next_fd, t->next, t->next_len, 0) < 0)
		abort();
	t->before = get(s->g.size, 1);
	memcpy(t->before, s->b, s->g.size);
	if (step_told)
		tell(t);
	check_counts(t, s);
	must(!plan->n_ops || !step_is_dense(t) || t->next_len >= s->g.size,
		"the next image has %zu bytes", t->next_len);
	take_touched(t, s);
	check_checks(t, s);
}

void step_done(struct step *t)
{
	romfs_plan_free(t->plan);
	free(t->next);
	free(t->before);
	free(t->touched);
	*t = (struct step){0};
}

const uint8_t *step_bytes(const struct step *t, const struct romfs_op *op, uint64_t off)
{
	return t->next + op->src + (off - op->off);
}

/* Outside of what is touched a sparse `next` says nothing: flash keeps its bytes. */
static uint8_t wanted_byte(const struct step *t, const struct sim *s, uint64_t off)
{
	bool there = step_is_dense(t) || t->touched[off / s->g.write_unit];

	return there ? t->next[off] : t->before[off];
}

static void run_check(
	const struct step *t, const struct sim *s, const struct romfs_op *op)
{
	for (uint64_t off = op->off; off < op->off + op->len; off++) {
		uint8_t want = op->src != op->off ? *step_bytes(t, op, off)
						  : wanted_byte(t, s, off);

		must(s->b[off] == want, "byte %llu is %02x and was to be %02x", (ull)off,
			s->b[off], want);
		must(s->g.no_erase || !s->unknown[off / s->g.erase_block],
			"byte %llu is checked, and nobody knows it", (ull)off);
	}
}

void step_run_op(const struct step *t, struct sim *s, size_t k)
{
	const struct romfs_op *op = &t->plan->ops[k];
	uint32_t size = op->kind == ROMFS_OP_ERASE ? s->g.erase_block : s->g.write_unit;
	struct rng none = {1};

	if (op->kind == ROMFS_OP_CHECK) {
		run_check(t, s, op);
		return;
	}
	for (uint64_t off = op->off; off < op->off + op->len; off += size)
		if (op->kind == ROMFS_OP_ERASE)
			sim_erase(s, (uint32_t)(off / size), SIM_ERASE_ALL, &none);
		else
			sim_program(s, off, step_bytes(t, op, off));
}

void step_run(const struct step *t, struct sim *s)
{
	for (size_t k = 0; k < t->plan->n_ops; k++)
		step_run_op(t, s, k);
}

static bool is_said_unknown(const struct step *t, uint64_t off)
{
	for (size_t i = 0; i < t->plan->n_unknown; i++)
		if (off - t->plan->unknown[i].off < t->plan->unknown[i].len)
			return true;
	return false;
}

void step_expect_done(const struct step *t, const struct sim *s)
{
	for (uint64_t off = 0; t->plan->n_ops && off < s->g.size; off++) {
		must(s->b[off] == t->before[off] || t->touched[off / s->g.write_unit],
			"byte %llu has changed, and is not said to be touched", (ull)off);
		must(s->b[off] == wanted_byte(t, s, off) || is_said_unknown(t, off),
			"byte %llu is %02x, and %02x in the next image", (ull)off,
			s->b[off], wanted_byte(t, s, off));
	}
}

void step_forget(const struct step *t, struct sim *s)
{
	for (uint32_t u = 0; u < s->units; u++)
		if (t->touched[u])
			s->unknown[(uint64_t)u * s->g.write_unit / s->g.erase_block] =
				true;
}
