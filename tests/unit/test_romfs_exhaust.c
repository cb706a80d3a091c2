/* SPDX-License-Identifier: MIT */
/* Every sequence of up to three saves on small memories, cut everywhere: a board sees the
 * old tree or the new one, and the host finds its way from there, cut again.
 *
 *	test_romfs_exhaust			all of it
 *	test_romfs_exhaust CASE			the one case that a failure has printed
 *	test_romfs_exhaust --states DIR N	writes some N states that cuts have left
 *
 * ROMOUNT_SHARE=N takes one in N of the sequences of three saves.
 *
 * The number of a case is made of decimal digits: two for the memory, one for the start,
 * three for the actions, six for the place of the cut in the last of them (999999: no cut). */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "exhaust_saves.h"
#include "exhaust_states.h"

#define SAVES 3u
#define NO_CUT 999999u
#define ALL UINT64_MAX
#define RECOVERIES 2u /* cut again while recovering, and once more in that */
#define REPORTS 4u    /* for each thing that goes wrong */
#define FLAWS 40u
#define WAYS (ROMFS_WAY_REPLACE + 1u)

enum sees { SEES_OLD, SEES_NEW, SEES_NONE, SEES_OTHER };

struct counts {
	uint64_t saves, refused, cuts, recovered, again, none[WAYS], spared,
		failed_blocks, stuck;
	uint64_t ways[WAYS];
};

/* One memory and one start; and where in them the test is. */
struct run {
	unsigned memory;
	enum start start;
	unsigned actions; /* their digits */
	uint64_t only;	  /* the case to do, or ALL */
	unsigned share;
	int fd;
	struct states *states;
	struct counts *counts;
	struct sim at[SAVES + 1], live, cut[RECOVERIES + 1];
	uint8_t *read;
	struct model model[SAVES + 1];
};

/* What may be seen while a step is carried out. */
struct passage {
	const struct step *step;
	const struct model *old, *m; /* old: NULL where no tree was */
	struct sight was, will;
	bool spared;	    /* a header that a torn erase has left leads to anything */
	size_t first, last; /* operations on block 0, the first and the last */
};

static jmp_buf *bail; /* where a case that fails goes on */
static uint64_t case_now;
static unsigned failures;

static struct flaw {
	const char *format;
	unsigned n;
} flaws[FLAWS];

static struct flaw *flaw_of(const char *format)
{
	unsigned i = 0;

	while (i + 1 < FLAWS && flaws[i].format && flaws[i].format != format)
		i++;
	flaws[i].format = format;
	return &flaws[i];
}

void case_fail(const char *format, ...)
{
	va_list ap;

	failures++;
	if (flaw_of(format)->n++ < REPORTS) {
		printf("case %" PRIu64 ": ", case_now);
		va_start(ap, format);
		vprintf(format, ap);
		va_end(ap);
		printf("\n");
		fflush(stdout);
	}
	longjmp(*bail, 1);
}

static void report_failures(void)
{
	for (unsigned i = 0; i < FLAWS && flaws[i].n; i++)
		printf("%8u times: %s\n", flaws[i].n, flaws[i].format);
	if (failures)
		printf("%u cases failed; test_romfs_exhaust CASE does one alone\n",
			failures);
}

static uint64_t number(const struct run *run, unsigned place)
{
	return ((run->memory * UINT64_C(10) + run->start) * 1000 + run->actions) *
		       1000000 +
	       place;
}

/* --- what is seen ------------------------------------------------------------------ */

static void passage_init(struct passage *p, const struct step *t, const struct sim *s,
	const struct model *old, const struct model *m)
{
	*p = (struct passage){.step = t, .old = old, .m = m, .first = SIZE_MAX};
	p->will = sight_of(m);
	if (old)
		p->was = sight_of(old);
	for (size_t k = 0; k < t->plan->n_ops; k++) {
		const struct romfs_op *op = &t->plan->ops[k];

		if (op->kind == ROMFS_OP_CHECK || op->off >= s->g.erase_block)
			continue;
		p->first = MIN(p->first, k);
		p->last = k;
	}
}

/* What boards of 32 and of 64 bits see. */
struct seen {
	enum sees by[2];
	const char *wrong;
};

static struct seen look(const struct passage *p, const struct sim *s, uint8_t *read)
{
	struct seen seen = {0};

	for (unsigned wide = 0; wide < 2; wide++) {
		enum sees *sees = &seen.by[wide];
		struct view v;

		view_flash(s->b, s->g.size, wide, read, &v);
		if (sight_is(&v, p->will))
			*sees = SEES_NEW;
		else if (p->old && sight_is(&v, p->was))
			*sees = SEES_OLD;
		else
			*sees = v.mounted && v.n ? SEES_OTHER : SEES_NONE;
		seen.wrong = v.wrong ? v.wrong : seen.wrong;
	}
	return seen;
}

struct place {
	size_t op;
	bool begun; /* something of this operation was done */
	bool torn_erase;
};

/* "No file system" may be seen before there is one, and while block 0 is written anew. */
static bool may_see_none(const struct passage *p, const struct place *at)
{
	if (!p->old)
		return true;
	if (p->step->plan->way != ROMFS_WAY_RENEW &&
		p->step->plan->way != ROMFS_WAY_REPLACE)
		return false;
	return (at->op > p->first || (at->op == p->first && at->begun)) &&
	       at->op <= p->last;
}

static void judge_as(struct run *run, const struct passage *p, const struct seen *seen,
	const struct place *at, bool wide)
{
	bool none = may_see_none(p, at);
	enum sees sees = seen->by[wide];

	/* The header outlived the erase of its block by chance: no plan can help that. */
	if (sees == SEES_OTHER && none && at->torn_erase && at->op == p->first)
		run->counts->spared++;
	else if (sees == SEES_OTHER && p->spared && at->op <= p->first)
		;
	else if (sees == SEES_OTHER || (sees == SEES_NONE && !none))
		case_fail(
			"way %d, cut in operation %zu of %zu: a board of %u bits sees %s (%s)",
			p->step->plan->way, at->op, p->step->plan->n_ops, wide ? 64 : 32,
			sees == SEES_NONE ? "no file system" : "a tree that nobody wrote",
			seen->wrong ? seen->wrong : "it is sound");
}

static enum sees judge(struct run *run, const struct passage *p, const struct seen *seen,
	const struct place *at)
{
	judge_as(run, p, seen, at, false);
	judge_as(run, p, seen, at, true);
	/* A header that is not complete can be complete enough for 32 bits. */
	if (seen->by[0] != seen->by[1])
		return SEES_OTHER;
	run->counts->none[p->step->plan->way] += p->old && seen->by[0] == SEES_NONE;
	return seen->by[0];
}

/* Every way on every memory has its share of the sample. */
static void offer(
	struct run *run, const struct passage *p, const struct sim *s, bool none)
{
	states_offer(run->states, run->memory * WAYS + p->step->plan->way, case_now, s->b,
		s->g.size, p->old, p->m, none);
}

/* --- after a cut ------------------------------------------------------------------- */

static void cut_in_recovery(struct run *run, const struct passage *p, const struct sim *s,
	unsigned level, struct rng *r);

static void forget_or_read(const struct step *t, struct sim *s, struct rng *r)
{
	if (rng_below(r, 4))
		sim_settle(s);
	else
		step_forget(t, s);
}

/* Brings `m` to what the cut has left, cut again on the way. */
static void recover(struct run *run, const struct passage *p, struct sim *s,
	enum sees sees, unsigned level, struct rng *r)
{
	const struct model *there =
		sees == SEES_NEW ? p->m : (sees == SEES_OLD ? p->old : NULL);
	/* What df promises, it promises for memory that does not fail. */
	bool bad = memchr(s->bad, 1, s->blocks);
	bool promised = !bad && host_reckon(s, p->m) <= s->g.size;
	struct host h;
	struct step t;
	int ret;

	host_init(&h, s, run->fd);
	h.forgetful = rng_below(r, 2);
	while ((ret = host_next(&h, there, p->m, &t)) > 0) {
		struct passage next;

		passage_init(&next, &t, s, there, t.goal == ROMFS_TIDY ? there : p->m);
		next.spared = sees == SEES_OTHER;
		if (level < RECOVERIES)
			cut_in_recovery(run, &next, s, level, r);
		step_run(&t, s);
		step_expect_done(&t, s);
		if (t.goal == ROMFS_TIDY)
			host_expect(&h, there, false);
		step_done(&t);
	}
	if (ret == 0)
		host_expect(&h, p->m, promised);
	else if (bad)
		run->counts->stuck++;
	else if (promised)
		case_fail("no way back: -ENOSPC");
	host_done(&h);
	run->counts->recovered++;
}

/* One cut of this step, in a place by chance. */
static void cut_in_recovery(struct run *run, const struct passage *p, const struct sim *s,
	unsigned level, struct rng *r)
{
	const struct romfs_plan *plan = p->step->plan;
	size_t k = rng_below(r, (uint32_t)plan->n_ops);
	const struct romfs_op *op = &plan->ops[k];
	struct sim *cut = &run->cut[level + 1];
	struct place at = {.op = k};
	struct seen seen;
	enum sees sees;

	if (level && rng_below(r, 3))
		return;
	sim_copy(cut, s);
	for (size_t i = 0; i < k; i++)
		step_run_op(p->step, cut, i);
	if (op->kind == ROMFS_OP_PROGRAM) {
		uint32_t units = (uint32_t)(op->len / s->g.write_unit);
		uint64_t end = op->off + (uint64_t)rng_below(r, units) * s->g.write_unit;

		for (uint64_t off = op->off; off < end; off += s->g.write_unit)
			sim_program(cut, off, step_bytes(p->step, op, off));
		if (s->g.twice)
			sim_tear(cut, end, step_bytes(p->step, op, end), r);
		at.begun = s->g.twice || end > op->off;
	} else if (op->kind == ROMFS_OP_ERASE) {
		uint32_t n = rng_below(r, (uint32_t)(op->len / s->g.erase_block));
		uint32_t block = (uint32_t)(op->off / s->g.erase_block);

		for (uint32_t i = 0; i < n; i++)
			sim_erase(cut, block + i, SIM_ERASE_ALL, r);
		sim_erase(cut, block + n,
			(enum sim_erase)(1 + rng_below(r, SIM_ERASE_N - 1)), r);
		at.begun = at.torn_erase = true;
	}
	run->counts->again++;
	if (run->only != ALL)
		printf("cut in operation %zu%s\n", k, at.begun ? ", begun" : "");
	seen = look(p, cut, NULL);
	sees = judge(run, p, &seen, &at);
	if (run->states && rng_below(r, 16) == 0 && sees != SEES_OTHER)
		offer(run, p, cut, may_see_none(p, &at));
	forget_or_read(p->step, cut, r);
	recover(run, p, cut, sees, level + 1, r);
}

/* A block that fails is set aside; what stands there by then is anything. */
static bool fail_block(struct run *run, struct sim *s, const struct romfs_op *op,
	uint64_t off, struct rng *r)
{
	uint32_t block = (uint32_t)(off / s->g.erase_block);

	if (block == 0 || s->g.prefix_erase || s->g.no_erase || rng_below(r, 6) ||
		op->kind == ROMFS_OP_CHECK)
		return false;
	if (op->kind == ROMFS_OP_ERASE)
		sim_erase(s, block, SIM_ERASE_MIX, r);
	s->bad[block] = 1;
	run->counts->failed_blocks++;
	return true;
}

/* --- every cut of a step ------------------------------------------------------------ */

struct cutter {
	struct run *run;
	const struct passage *passage;
	unsigned place; /* of the next cut */
	uint32_t rest;	/* one cut in so many is recovered from */
	struct sim *live;
	uint8_t *read; /* the bytes of `live` that decide what is seen */
	struct seen seen;
	bool stale; /* `read` and `seen` are of an earlier `live` */
};

/* Where a cut has come to. */
struct cut {
	const struct romfs_op *op;
	struct place at;
	uint64_t off;
	int how; /* >= 0 tears: an erase in that way, a write unit in any */
};

static void look_at_live(struct cutter *c)
{
	if (!c->stale)
		return;
	memset(c->read, 0, c->live->g.size);
	c->seen = look(c->passage, c->live, c->read);
	c->stale = false;
}

/* A byte that no reader looks at changes nothing for any. */
static bool is_read(const struct cutter *c, uint64_t off)
{
	return memchr(c->read + off, 1, c->live->g.write_unit);
}

static struct seen see_cut(struct cutter *c, const struct cut *k)
{
	if (k->how < 0 || (k->op->kind == ROMFS_OP_PROGRAM && !is_read(c, k->off)))
		return c->seen;
	return look(c->passage, &c->run->cut[0], NULL);
}

static void after_cut(struct cutter *c, const struct cut *k, bool always, struct rng *r)
{
	struct run *run = c->run;
	struct sim *cut = &run->cut[0];
	struct seen seen = see_cut(c, k);
	enum sees sees = judge(run, c->passage, &seen, &k->at);

	if (run->states && sees != SEES_OTHER)
		offer(run, c->passage, cut, may_see_none(c->passage, &k->at));
	if (!always)
		return;
	if (fail_block(run, cut, k->op, k->off, r))
		sim_settle(cut);
	else
		forget_or_read(c->passage->step, cut, r);
	recover(run, c->passage, cut, sees, 0, r);
}

static void cut(struct cutter *c, const struct cut *k)
{
	struct rng r = {case_now * 0x9E3779B97F4A7C15u | 1};
	struct run *run = c->run;
	struct sim *s = &run->cut[0];
	uint64_t units = k->op->len / s->g.write_unit;
	bool recovers;

	rng_next(&r);
	/* The edges of operations, and a few places inside of them. */
	recovers = rng_next(&r) % c->rest == 0;
	recovers &= rng_below(&r, k->at.begun ? (uint32_t)units / 4 + 1 : 1) == 0;
	recovers &= rng_below(&r, 16) == 0 || !run->states;
	recovers |= run->only != ALL;
	look_at_live(c);
	if (recovers || k->how >= 0 || run->states)
		sim_copy(s, c->live);
	if (k->how >= 0 && k->op->kind == ROMFS_OP_ERASE)
		sim_erase(s, (uint32_t)(k->off / s->g.erase_block),
			(enum sim_erase)k->how, &r);
	else if (k->how >= 0)
		sim_tear(s, k->off, step_bytes(c->passage->step, k->op, k->off), &r);
	after_cut(c, k, recovers, &r);
}

static void cut_here(struct cutter *c, size_t op, uint64_t off, int how)
{
	const struct romfs_op *ops = c->passage->step->plan->ops;
	struct cut k = {.op = &ops[op],
		.off = off,
		.how = how,
		.at = {.op = op,
			.begun = how >= 0 || off > ops[op].off,
			.torn_erase = how >= 0 && ops[op].kind == ROMFS_OP_ERASE}};
	jmp_buf *outer = bail, here;

	case_now = number(c->run, c->place++);
	if (c->run->only != ALL && c->run->only != case_now)
		return;
	if (c->run->only != ALL)
		printf("cut in operation %zu at %" PRIu64 ", torn %d\n", op, off, how);
	c->run->counts->cuts++;
	bail = &here;
	if (setjmp(here) == 0)
		cut(c, &k);
	bail = outer;
}

static void cut_erase(struct cutter *c, size_t k)
{
	const struct romfs_op *op = &c->passage->step->plan->ops[k];
	uint32_t size = c->live->g.erase_block;
	struct rng r = {1};

	for (uint64_t off = op->off; off < op->off + op->len; off += size) {
		cut_here(c, k, off, -1);
		cut_here(c, k, off, SIM_ERASE_FRONT);
		cut_here(c, k, off, SIM_ERASE_BACK);
		cut_here(c, k, off, SIM_ERASE_MIX);
		cut_here(c, k, off, SIM_ERASE_MIX);
		sim_erase(c->live, (uint32_t)(off / size), SIM_ERASE_ALL, &r);
		c->stale = true;
	}
}

static void cut_program(struct cutter *c, size_t k)
{
	const struct step *t = c->passage->step;
	const struct romfs_op *op = &t->plan->ops[k];
	uint32_t unit = c->live->g.write_unit;

	for (uint64_t off = op->off; off < op->off + op->len; off += unit) {
		cut_here(c, k, off, -1);
		if (c->live->g.twice)
			cut_here(c, k, off, 0);
		sim_program(c->live, off, step_bytes(t, op, off));
		c->stale |= is_read(c, off);
	}
}

/* Carries the step out on `live`, and cuts it everywhere. */
static void cut_step(struct cutter *c)
{
	const struct romfs_plan *plan = c->passage->step->plan;

	c->stale = true;
	for (size_t k = 0; k < plan->n_ops; k++)
		if (plan->ops[k].kind == ROMFS_OP_ERASE)
			cut_erase(c, k);
		else if (plan->ops[k].kind == ROMFS_OP_PROGRAM)
			cut_program(c, k);
}

/* --- sequences ------------------------------------------------------------------------ */

/* Saving the same again is nothing, also when its bytes come anew. */
static void expect_nothing_to_do(struct run *run, struct sim *s, const struct model *m)
{
	struct host h;
	struct step t;

	host_init(&h, s, run->fd);
	if (host_next(&h, m, m, &t) != 0)
		case_fail("the same tree again is more than nothing");
	host_done(&h);
	host_init(&h, s, run->fd);
	if (host_next(&h, NULL, m, &t) != 0)
		case_fail("the same bytes again are more than nothing");
	host_done(&h);
}

static int next_step(struct host *h, bool idle, const struct model *old,
	const struct model *m, struct step *t)
{
	if (!idle)
		return host_next(h, old, m, t);
	if (h->tidies++)
		return 0;
	return host_tidy(h, old, t);
}

/* From at[depth] to at[depth + 1], by as many steps as it takes. False: it does not fit. */
static bool do_save(struct run *run, unsigned depth, bool idle, const char *rewritten)
{
	struct sim *s = &run->at[depth + 1];
	const struct model *m = &run->model[depth + 1], *old = &run->model[depth];
	bool promised = host_reckon(s, m) <= s->g.size;
	static const uint32_t rest[SAVES] = {1, 3, 24};
	struct cutter c = {
		.run = run, .rest = rest[depth], .live = &run->live, .read = run->read};
	struct view v;
	struct host h;
	struct step t;
	int r;

	sim_copy(s, &run->at[depth]);
	view_flash(s->b, s->g.size, false, NULL, &v);
	if (!v.mounted)
		old = NULL;
	host_init(&h, s, run->fd);
	h.rewritten = rewritten;
	while ((r = next_step(&h, idle, old, m, &t)) > 0) {
		struct passage p;

		passage_init(&p, &t, s, old, t.goal == ROMFS_TIDY ? old : m);
		c.passage = &p;
		sim_copy(&run->live, s);
		step_run(&t, s); /* whatever breaks a rule is not worth cutting */
		step_expect_done(&t, s);
		run->counts->ways[t.plan->way]++;
		cut_step(&c);
		case_now = number(run, NO_CUT);
		if (t.goal == ROMFS_TIDY)
			host_expect(&h, old, false);
		step_done(&t);
	}
	if (r < 0 && promised)
		case_fail("it does not fit, and df says it does");
	if (r == 0)
		host_expect(&h, m, promised);
	host_done(&h);
	if (r == 0 && promised && !idle)
		expect_nothing_to_do(run, s, m);
	run->counts->saves += r == 0;
	run->counts->refused += r < 0;
	return r == 0;
}

static bool wanted(const struct run *run, unsigned depth, unsigned actions)
{
	uint64_t only = run->only / 1000000 % 1000;

	if (run->only == ALL)
		return depth < SAVES ||
		       (actions + run->memory + run->start) % run->share == 0;
	for (; only; only /= 10)
		if (only == actions)
			return true;
	return false;
}

static bool try_save(struct run *run, unsigned depth, bool idle, const char *rewritten)
{
	jmp_buf *outer = bail, here;
	volatile bool done = false;

	case_now = number(run, NO_CUT);
	bail = &here;
	if (setjmp(here) == 0)
		done = do_save(run, depth, idle, rewritten);
	bail = outer;
	return done;
}

static void sequences(struct run *run, unsigned depth, unsigned actions)
{
	for (unsigned a = 1; a < ACT_END && depth < SAVES; a++) {
		struct model *m = &run->model[depth + 1];
		const char *rewritten;

		if (!wanted(run, depth + 1, actions * 10 + a))
			continue;
		model_copy(m, &run->model[depth]);
		if (!action_do((enum action)a, depth, &run->at[depth], m, &rewritten))
			continue;
		if (a == ACT_TIDY)
			model_copy(m, &run->model[depth]);
		run->actions = actions * 10 + a;
		if (try_save(run, depth, a == ACT_TIDY, rewritten))
			sequences(run, depth + 1, actions * 10 + a);
	}
}

static void try_start(struct run *run)
{
	jmp_buf here;

	run->actions = 0;
	case_now = number(run, NO_CUT);
	bail = &here;
	if (setjmp(here) == 0 &&
		start_make(run->start, &run->at[0], run->fd, &run->model[0]))
		sequences(run, 0, 0);
}

static void run_start(struct run *run)
{
	const struct setting *setting = &settings[run->memory];

	for (unsigned i = 0; i <= SAVES; i++) {
		sim_init(&run->at[i], &setting->g);
		model_init(&run->model[i]);
	}
	for (unsigned i = 0; i <= RECOVERIES; i++)
		sim_init(&run->cut[i], &setting->g);
	sim_init(&run->live, &setting->g);
	run->read = calloc(setting->g.size, 1);
	if (!run->read)
		abort();
	try_start(run);
	for (unsigned i = 0; i <= SAVES; i++) {
		sim_done(&run->at[i]);
		model_done(&run->model[i]);
	}
	for (unsigned i = 0; i <= RECOVERIES; i++)
		sim_done(&run->cut[i]);
	sim_done(&run->live);
	free(run->read);
}

static void run_all(struct run *run)
{
	for (run->memory = 0; run->memory < n_settings; run->memory++)
		for (run->start = 0; run->start < START_N; run->start++) {
			if (run->only != ALL &&
				run->only / 1000000000 != run->memory * 10u + run->start)
				continue;
			run_start(run);
		}
}

/* --- the program --------------------------------------------------------------------- */

static void report(const struct counts *c)
{
	printf("%" PRIu64 " saves, %" PRIu64 " refused; steps: %" PRIu64
	       " erase, %" PRIu64 " append, %" PRIu64 " renew, %" PRIu64 " replace\n",
		c->saves, c->refused, c->ways[ROMFS_WAY_ERASE], c->ways[ROMFS_WAY_APPEND],
		c->ways[ROMFS_WAY_RENEW], c->ways[ROMFS_WAY_REPLACE]);
	printf("%" PRIu64 " cuts, and %" PRIu64 " in %" PRIu64 " recoveries; %" PRIu64
	       " blocks failed, %" PRIu64 " of them left too little room\n",
		c->cuts, c->again, c->recovered, c->failed_blocks, c->stuck);
	printf("moments without a file system: %" PRIu64 " erase, %" PRIu64
	       " append, %" PRIu64 " renew, %" PRIu64
	       " replace; headers that outlived a torn erase: %" PRIu64 "\n",
		c->none[ROMFS_WAY_ERASE], c->none[ROMFS_WAY_APPEND],
		c->none[ROMFS_WAY_RENEW], c->none[ROMFS_WAY_REPLACE], c->spared);
}

static unsigned share(void)
{
	unsigned n = (unsigned)host_number("ROMOUNT_SHARE", 1);

#ifdef __SANITIZE_ADDRESS__
	n *= 16;
#endif
	return n;
}

int main(int argc, char **argv)
{
	struct counts counts = {0};
	struct run *run = calloc(1, sizeof(*run));
	int r = 0;

	if (!run)
		abort();
	run->only = ALL;
	run->share = share();
	run->counts = &counts;
	run->fd = memfd_create("next", MFD_CLOEXEC);
	if (run->fd < 0)
		abort();
	if (argc == 4 && strcmp(argv[1], "--states") == 0)
		run->states = states_new(
			(unsigned)strtoul(argv[3], NULL, 10), n_settings * WAYS);
	else if (argc == 2)
		run->only = strtoull(argv[1], NULL, 10);
	step_told = run->only != ALL;
	run_all(run);
	report(&counts);
	if (run->states)
		r = states_write(run->states, argv[2]);
	if (r < 0)
		printf("%s: %s\n", argv[2], strerror(-r));
	report_failures();
	if (run->only == ALL && run->share == 1 && counts.cuts < 100000)
		r = -ERANGE;
	states_free(run->states);
	close(run->fd);
	free(run);
	return r < 0 || failures ? 1 : 0;
}
