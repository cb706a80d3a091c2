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
#define REPORTS 20u

enum sees { SEES_OLD, SEES_NEW, SEES_NONE, SEES_OTHER };

struct counts {
	uint64_t saves, refused, cuts, recovered, again, none[5], spared, failed_blocks, stuck;
	uint64_t ways[5];
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
	struct sim at[SAVES + 1], live[RECOVERIES + 2], cut[RECOVERIES + 2];
	struct model model[SAVES + 1];
};

/* What may be seen while a step is carried out. */
struct passage {
	const struct step *step;
	const struct model *old, *m; /* old: NULL where no tree was */
	struct sight was, will;
	size_t first, last; /* operations on block 0, the first and the last */
};

static jmp_buf *bail; /* where a case that fails goes on */
static uint64_t case_now;
static unsigned failures;

void case_fail(const char *format, ...)
{
	va_list ap;

	if (failures++ < REPORTS) {
		printf("case %" PRIu64 ": ", case_now);
		va_start(ap, format);
		vprintf(format, ap);
		va_end(ap);
		printf("\n");
	}
	longjmp(*bail, 1);
}

static uint64_t number(const struct run *run, unsigned place)
{
	return ((run->memory * UINT64_C(10) + run->start) * 1000 + run->actions) * 1000000 +
	       place;
}

/* --- what is seen ------------------------------------------------------------------ */

/* A case alone tells what it does. */
static void tell(const struct run *run, const struct step *t)
{
	static const char *const kinds[] = {"erase", "program", "check"},
				 *const ways[] = {"nothing", "erase", "append", "renew",
					 "replace"},
				 *const goals[] = {"save", "rewrite", "tidy", "pack"};

	if (run->only == ALL)
		return;
	printf("%s: %s\n", goals[t->goal], ways[t->plan->way]);
	for (size_t k = 0; k < t->plan->n_ops; k++)
		printf("  %2zu %-7s %6" PRIu64 " +%" PRIu64 "  from %" PRIu64 "\n", k,
			kinds[t->plan->ops[k].kind], t->plan->ops[k].off,
			t->plan->ops[k].len, t->plan->ops[k].src);
}

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

static enum sees look(
	const struct passage *p, const struct sim *s, bool wide, struct view *v)
{
	view_flash(s->b, s->g.size, wide, v);
	if (sight_is(v, p->will))
		return SEES_NEW;
	if (p->old && sight_is(v, p->was))
		return SEES_OLD;
	return v->mounted && v->n ? SEES_OTHER : SEES_NONE;
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
	if (p->step->plan->way != ROMFS_WAY_RENEW && p->step->plan->way != ROMFS_WAY_REPLACE)
		return false;
	return (at->op > p->first || (at->op == p->first && at->begun)) && at->op <= p->last;
}

static enum sees judge_as(struct run *run, const struct passage *p, const struct sim *s,
	const struct place *at, bool wide)
{
	bool none = may_see_none(p, at);
	struct view v;
	enum sees sees = look(p, s, wide, &v);

	/* The header outlived the erase of its block by chance: no plan can help that. */
	if (sees == SEES_OTHER && none && at->torn_erase && at->op == p->first) {
		run->counts->spared++;
		return SEES_OTHER;
	}
	if (sees == SEES_OTHER || (sees == SEES_NONE && !none))
		case_fail("way %d, cut in operation %zu of %zu: a board of %u bits sees %s (%s)",
			p->step->plan->way, at->op, p->step->plan->n_ops, wide ? 64 : 32,
			sees == SEES_NONE ? "no file system" : "a tree that nobody wrote",
			v.wrong ? v.wrong : "it is sound");
	return sees;
}

static enum sees judge(struct run *run, const struct passage *p, const struct sim *s,
	const struct place *at)
{
	enum sees sees = judge_as(run, p, s, at, false), wide = judge_as(run, p, s, at, true);

	/* A header that is not complete can be complete enough for 32 bits. */
	if (sees != wide)
		return SEES_OTHER;
	run->counts->none[p->step->plan->way] += p->old && sees == SEES_NONE;
	return sees;
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
	enum sees sees, unsigned level, bool bad, struct rng *r)
{
	const struct model *there =
		sees == SEES_NEW ? p->m : (sees == SEES_OLD ? p->old : NULL);
	bool promised = host_reckon(s, p->m) <= s->g.size;
	struct host h;
	struct step t;
	int ret;

	host_init(&h, s, run->fd);
	h.forgetful = rng_below(r, 2);
	while ((ret = host_next(&h, there, p->m, &t)) > 0) {
		struct passage next;

		tell(run, &t);
		passage_init(&next, &t, s, there,
			t.goal == ROMFS_TIDY ? there : p->m);
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
		sim_erase(cut, block + n, (enum sim_erase)(1 + rng_below(r, SIM_ERASE_N - 1)), r);
		at.begun = at.torn_erase = true;
	}
	run->counts->again++;
	if (run->only != ALL)
		printf("cut in operation %zu%s\n", k, at.begun ? ", begun" : "");
	sees = judge(run, p, cut, &at);
	if (run->states && rng_below(r, 16) == 0 && sees != SEES_OTHER)
		states_offer(run->states, run->memory, case_now, cut->b, cut->g.size, p->old,
			p->m, may_see_none(p, &at));
	forget_or_read(p->step, cut, r);
	recover(run, p, cut, sees, level + 1, false, r);
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
	bool sparse;	/* one in eight of the many places inside a long operation */
	uint64_t dense; /* recover from one in so many of those inside an operation */
};

static void after_cut(struct cutter *c, const struct place *at, uint64_t off, const struct romfs_op *op, struct rng *r)
{
	struct run *run = c->run;
	struct sim *cut = &run->cut[0];
	enum sees sees = judge(run, c->passage, cut, at);
	bool bad;

	if (run->states && sees != SEES_OTHER)
		states_offer(run->states, run->memory, case_now, cut->b, cut->g.size,
			c->passage->old, c->passage->m, may_see_none(c->passage, at));
	if (run->only == ALL && at->begun && rng_next(r) % c->dense)
		return;
	if (run->states && rng_below(r, 32))
		return;
	bad = fail_block(run, cut, op, off, r);
	if (bad)
		sim_settle(cut);
	else
		forget_or_read(c->passage->step, cut, r);
	recover(run, c->passage, cut, sees, 0, bad, r);
}

/* `how` >= 0 tears: an erase in that way, a write unit in any. */
static void cut(struct cutter *c, const struct sim *live, size_t k, uint64_t off,
	int how, bool begun)
{
	struct run *run = c->run;
	const struct romfs_op *op = &c->passage->step->plan->ops[k];
	struct place at = {.op = k, .begun = begun || how >= 0};
	struct rng r = {case_now * 0x9E3779B97F4A7C15u | 1};

	if (run->only != ALL)
		printf("cut in operation %zu at %" PRIu64 ", torn %d\n", k, off, how);
	rng_next(&r);
	sim_copy(&run->cut[0], live);
	if (how >= 0 && op->kind == ROMFS_OP_ERASE) {
		at.torn_erase = true;
		sim_erase(&run->cut[0], (uint32_t)(off / live->g.erase_block),
			(enum sim_erase)how, &r);
	} else if (how >= 0) {
		sim_tear(&run->cut[0], off, step_bytes(c->passage->step, op, off), &r);
	}
	after_cut(c, &at, off, op, &r);
}

static void cut_here(struct cutter *c, const struct sim *live, size_t k, uint64_t off,
	int how, bool begun)
{
	jmp_buf *outer = bail, here;

	case_now = number(c->run, c->place++);
	if (c->run->only != ALL && c->run->only != case_now)
		return;
	c->run->counts->cuts++;
	bail = &here;
	if (setjmp(here) == 0)
		cut(c, live, k, off, how, begun);
	bail = outer;
}

static void cut_erase(struct cutter *c, struct sim *live, size_t k)
{
	const struct romfs_op *op = &c->passage->step->plan->ops[k];
	uint32_t size = live->g.erase_block;
	struct rng r = {1};

	for (uint64_t off = op->off; off < op->off + op->len; off += size) {
		bool begun = off > op->off;

		cut_here(c, live, k, off, -1, begun);
		cut_here(c, live, k, off, SIM_ERASE_FRONT, begun);
		cut_here(c, live, k, off, SIM_ERASE_BACK, begun);
		cut_here(c, live, k, off, SIM_ERASE_MIX, begun);
		cut_here(c, live, k, off, SIM_ERASE_MIX, begun);
		sim_erase(live, (uint32_t)(off / size), SIM_ERASE_ALL, &r);
	}
}

static void cut_program(struct cutter *c, struct sim *live, size_t k)
{
	const struct step *t = c->passage->step;
	const struct romfs_op *op = &t->plan->ops[k];
	uint32_t unit = live->g.write_unit;

	c->dense = op->len / unit / 4 + 1;
	for (uint64_t off = op->off; off < op->off + op->len; off += unit) {
		uint64_t n = (off - op->off) / unit, left = (op->off + op->len - off) / unit;

		if (c->sparse && MIN(n, left) > 16 && (n + c->place) % 8)
			c->place += 2;
		else {
			cut_here(c, live, k, off, -1, n > 0);
			if (live->g.twice)
				cut_here(c, live, k, off, 0, true);
		}
		sim_program(live, off, step_bytes(t, op, off));
	}
}

/* Carries the step out on `live`, and cuts it everywhere. */
static void cut_step(struct cutter *c, struct sim *live)
{
	const struct romfs_plan *plan = c->passage->step->plan;

	for (size_t k = 0; k < plan->n_ops; k++) {
		c->dense = 1;
		if (plan->ops[k].kind == ROMFS_OP_ERASE)
			cut_erase(c, live, k);
		else if (plan->ops[k].kind == ROMFS_OP_PROGRAM)
			cut_program(c, live, k);
	}
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
	struct sim *s = &run->at[depth + 1], *live = &run->live[0];
	const struct model *m = &run->model[depth + 1], *old = &run->model[depth];
	bool promised = host_reckon(s, m) <= s->g.size;
	struct cutter c = {.run = run, .sparse = depth == SAVES - 1};
	struct view v;
	struct host h;
	struct step t;
	int r;

	sim_copy(s, &run->at[depth]);
	view_flash(s->b, s->g.size, false, &v);
	if (!v.mounted)
		old = NULL;
	host_init(&h, s, run->fd);
	h.rewritten = rewritten;
	while ((r = next_step(&h, idle, old, m, &t)) > 0) {
		struct passage p;

		tell(run, &t);
		passage_init(&p, &t, s, old, t.goal == ROMFS_TIDY ? old : m);
		c.passage = &p;
		sim_copy(live, s);
		step_run(&t, s); /* whatever breaks a rule is not worth cutting */
		step_expect_done(&t, s);
		run->counts->ways[t.plan->way]++;
		cut_step(&c, live);
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
		return depth < SAVES || (actions + run->memory + run->start) % run->share == 0;
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
	for (unsigned i = 0; i < RECOVERIES + 2; i++) {
		sim_init(&run->live[i], &setting->g);
		sim_init(&run->cut[i], &setting->g);
	}
	try_start(run);
	for (unsigned i = 0; i <= SAVES; i++) {
		sim_done(&run->at[i]);
		model_done(&run->model[i]);
	}
	for (unsigned i = 0; i < RECOVERIES + 2; i++) {
		sim_done(&run->live[i]);
		sim_done(&run->cut[i]);
	}
}

static void run_all(struct run *run)
{
	for (run->memory = 0; run->memory < n_settings; run->memory++)
		for (run->start = 0; run->start < START_N; run->start++) {
			if (run->only != ALL && run->only / 1000000000 !=
							run->memory * 10u + run->start)
				continue;
			run_start(run);
		}
}

/* --- the program --------------------------------------------------------------------- */

static void report(const struct counts *c)
{
	printf("%" PRIu64 " saves, %" PRIu64 " refused; steps: %" PRIu64 " erase, %" PRIu64
	       " append, %" PRIu64 " renew, %" PRIu64 " replace\n",
		c->saves, c->refused, c->ways[ROMFS_WAY_ERASE], c->ways[ROMFS_WAY_APPEND],
		c->ways[ROMFS_WAY_RENEW], c->ways[ROMFS_WAY_REPLACE]);
	printf("%" PRIu64 " cuts, and %" PRIu64 " in %" PRIu64 " recoveries; %" PRIu64
	       " blocks failed, %" PRIu64 " of them left too little room\n",
		c->cuts, c->again, c->recovered, c->failed_blocks, c->stuck);
	printf("moments without a file system: %" PRIu64 " erase, %" PRIu64 " append, %" PRIu64
	       " renew, %" PRIu64 " replace; headers that outlived a torn erase: %" PRIu64 "\n",
		c->none[ROMFS_WAY_ERASE], c->none[ROMFS_WAY_APPEND], c->none[ROMFS_WAY_RENEW],
		c->none[ROMFS_WAY_REPLACE], c->spared);
}

static unsigned share(void)
{
	const char *text = getenv("ROMOUNT_SHARE");
	unsigned long n = text ? strtoul(text, NULL, 10) : 1;

#ifdef __SANITIZE_ADDRESS__
	n *= 8;
#endif
	return n ? (unsigned)n : 1;
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
		run->states = states_new((unsigned)strtoul(argv[3], NULL, 10), n_settings);
	else if (argc == 2)
		run->only = strtoull(argv[1], NULL, 10);
	run_all(run);
	report(&counts);
	if (run->states)
		r = states_write(run->states, argv[2]);
	if (r < 0)
		printf("%s: %s\n", argv[2], strerror(-r));
	if (failures)
		printf("%u cases failed; test_romfs_exhaust CASE does one alone\n", failures);
	if (run->only == ALL && run->share == 1 && counts.cuts < 100000)
		r = -ERANGE;
	states_free(run->states);
	close(run->fd);
	free(run);
	return r < 0 || failures ? 1 : 0;
}
