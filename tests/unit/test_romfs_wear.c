/* SPDX-License-Identifier: MIT */
/* Ten thousand saves on a partition of 1 MiB, with a host that tidies up when it is idle:
 * contents stay right, no space is lost, and all blocks wear about alike.
 *
 * ROMOUNT_SHARE=N does one in N of the saves; SEED=N does others. */
#include <inttypes.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "romfs_host.h"

#define SAVES 10000u
#define LONG_LIFE 1000u /* saves after which wear must be even */
#define SIZE (1u << 20)
#define BLOCK 4096u
#define FILE_MAX 24000u
#define PERIOD 400u /* saves until the partition is to be fuller, or emptier */

struct life {
	const char *name;
	struct romfs_geometry g;
	uint32_t constant; /* bytes of files that never change */
	unsigned bad;	   /* blocks that fail on the way */
};

static const struct life lives[] = {
	{"NOR", {.size = SIZE, .erase_block = BLOCK, .write_unit = 256, .twice = true}, 0,
		0},
	{"NOR, most of it constant",
		{.size = SIZE, .erase_block = BLOCK, .write_unit = 1, .twice = true},
		600u << 10, 3},
	{"ECC", {.size = SIZE, .erase_block = BLOCK, .write_unit = 32}, 200u << 10, 0},
};

struct user {
	const struct life *life;
	struct rng r;
	struct sim sim;
	struct model m, old;
	int fd;
	unsigned n, refused, tidies;
	uint32_t fill; /* bytes that the files are to take, about */
	unsigned ways[5];
	uint64_t in_the_way; /* erases while the user waited */
};

static jmp_buf bail;
static uint64_t seed;
static unsigned save_now;

void case_fail(const char *format, ...)
{
	va_list ap;

	printf("save %u of SEED=%" PRIu64 ": ", save_now, seed);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
	longjmp(bail, 1);
}

#define must(condition, ...)                                                             \
	do {                                                                             \
		if (!(condition))                                                        \
			case_fail(__VA_ARGS__);                                          \
	} while (0)

/* --- what the user does ------------------------------------------------------------ */

static struct model_entry *some_file(struct user *u)
{
	for (unsigned tries = 0; tries < 20 && u->m.n; tries++) {
		struct model_entry *e = &u->m.v[rng_below(&u->r, u->m.n)];

		if (!e->dir && e->path[0] != 'c')
			return e;
	}
	return NULL;
}

static uint32_t some_size(struct user *u)
{
	uint32_t small = rng_below(&u->r, 3000);

	return rng_below(&u->r, 3) ? small : rng_below(&u->r, FILE_MAX);
}

static void create(struct user *u)
{
	char path[40];
	struct model_entry *e;

	snprintf(path, sizeof(path), "lib/f%u%s", rng_below(&u->r, 200),
		rng_below(&u->r, 8) ? ".py" : ".bin");
	if (model_find(&u->m, path) || u->m.n > 200)
		return;
	e = model_add(&u->m, path, false);
	e->size = some_size(u);
	e->seed = rng_next(&u->r);
	e->mtime_ns = rng_next(&u->r);
}

static void change(struct user *u)
{
	struct model_entry *e = some_file(u);
	bool too_full = host_reckon(&u->sim, &u->m) > u->fill;

	if (!e || (!too_full && rng_below(&u->r, 3) == 0)) {
		create(u);
	} else if (too_full && rng_below(&u->r, 2)) {
		model_remove(&u->m, e->path);
	} else {
		e->seed = rng_next(&u->r);
		e->size = rng_below(&u->r, 3) ? e->size + rng_below(&u->r, 9)
					      : some_size(u);
		e->mtime_ns = rng_next(&u->r);
	}
}

static void begin(struct user *u)
{
	uint32_t left = u->life->constant;

	model_add(&u->m, "const", true);
	model_add(&u->m, "lib", true);
	for (unsigned i = 0; left > 0; i++) {
		char path[40];
		struct model_entry *e;

		snprintf(path, sizeof(path), "const/%u.dat", i);
		e = model_add(&u->m, path, false);
		e->size = MIN(left, 20000 + 1000 * i);
		e->seed = 1 + 8 * i;
		left -= e->size;
	}
}

/* --- what the host does ---------------------------------------------------------------- */

static struct romfs_usage usage(struct user *u)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	struct romfs_flash flash = {.source = sim_source(&u->sim),
		.erases = u->sim.erases,
		.bad = u->sim.bad};
	struct romfs_usage use;
	struct error err = {0};

	must(romfs_parse(&flash.source, &image, &err) == 0, "%s", err.text);
	flash.image = image;
	must(romfs_usage(&u->sim.g, &flash, &use, &err) == 0, "%s", err.text);
	must(use.live + use.blank + use.dead + use.mixed + use.bad == u->sim.g.size,
		"%" PRIu64 " live, %" PRIu64 " blank, %" PRIu64 " dead, %" PRIu64
		" mixed: not all of it",
		use.live, use.blank, use.dead, use.mixed);
	return use;
}

static void carry_out(struct user *u, struct step *t, bool waits)
{
	step_run(t, &u->sim);
	if (save_now % 50 == 0)
		step_expect_done(t, &u->sim);
	u->ways[t->plan->way]++;
	u->in_the_way += waits ? t->plan->erase_count : 0;
	step_done(t);
}

static void tidy(struct user *u, unsigned rounds, uint64_t enough)
{
	while (rounds-- && usage(u).blank < enough) {
		struct host h;
		struct step t;
		int r;

		host_init(&h, &u->sim, u->fd);
		r = host_tidy(&h, &u->m, &t);
		if (r > 0) {
			carry_out(u, &t, false);
			u->tidies++;
		}
		host_done(&h);
		if (r <= 0)
			break;
	}
}

/* The files that are new stand where the plan has put them; now and then, all is right. */
static void expect_saved(struct user *u, const struct host *h)
{
	uint8_t *want = malloc(SIZE);

	if (!want)
		abort();
	for (uint32_t i = 1; i < romfs_tree_count(h->wanted); i++) {
		const struct romfs_node *n = romfs_tree_node(h->wanted, i);
		const struct model_entry *e = &u->m.v[n->user],
					 *old = model_find(&u->old, e->path);

		if (e->dir || (old && old->seed == e->seed && rng_below(&u->r, 50)))
			continue;
		model_bytes(e, 0, want, e->size);
		must(memcmp(u->sim.b + n->data_off, want, e->size) == 0, "%s is wrong",
			e->path);
	}
	free(want);
	if (u->n % 40 == 0)
		host_expect(h, &u->m, true);
}

/* False: it does not fit. */
static bool save(struct user *u)
{
	struct host h;
	struct step t;
	int r;

	host_init(&h, &u->sim, u->fd);
	while ((r = host_next(&h, &u->old, &u->m, &t)) > 0)
		carry_out(u, &t, true);
	if (r == 0)
		expect_saved(u, &h);
	host_done(&h);
	return r == 0;
}

static void fail_some_block(struct user *u)
{
	uint32_t k = 1 + rng_below(&u->r, u->sim.blocks - 1);

	u->sim.bad[k] = 1;
}

static void one_save(struct user *u)
{
	uint32_t least = u->life->constant + SIZE / 10;

	save_now = u->n;
	if (u->n % PERIOD == 0)
		u->fill = least + rng_below(&u->r, SIZE * 85 / 100 - least);
	if (u->life->bad && (u->n + 1) % (SAVES / (u->life->bad + 1)) == 0)
		fail_some_block(u);
	model_copy(&u->old, &u->m);
	for (unsigned changes = 1 + rng_below(&u->r, 3); changes; changes--)
		change(u);
	/* What df does not admit is refused before it comes to a plan. */
	if (host_reckon(&u->sim, &u->m) > SIZE - u->life->bad * BLOCK) {
		model_copy(&u->m, &u->old);
		u->refused++;
		return;
	}
	must(save(u), "it does not fit, and df says it does");
	if (rng_below(&u->r, 3) == 0)
		tidy(u, 4, SIZE / 16);
}

/* --- the end ------------------------------------------------------------------------- */

static void expect_even_wear(struct user *u)
{
	uint64_t sum = 0, worst = 0, n = 0;
	uint32_t least = UINT32_MAX;

	for (uint32_t k = 1; k < u->sim.blocks; k++) {
		if (u->sim.bad[k])
			continue;
		sum += u->sim.erases[k];
		worst = MAX(worst, u->sim.erases[k]);
		least = MIN(least, u->sim.erases[k]);
		n++;
	}
	printf("  erases: %.1f a block, from %u to %" PRIu64
	       "; block 0: %u; %.2f a save, "
	       "%.2f of them while the user waits\n",
		(double)sum / (double)n, least, worst, u->sim.erases[0],
		(double)sum / u->n, (double)u->in_the_way / u->n);
	/* The place of writing has hardly gone once round the partition. */
	if (u->n < LONG_LIFE)
		return;
	must(worst * n <= 2 * sum + 4 * n, "a block was erased %" PRIu64 " times", worst);
	must(u->sim.erases[0] * n <= 2 * sum + 4 * n, "block 0 was erased %u times",
		u->sim.erases[0]);
}

/* When all is deleted and tidied up, all of it can be programmed again, but for the blocks
 * of the head and of the ROOT. */
static void expect_no_loss(struct user *u)
{
	struct romfs_usage use;

	model_copy(&u->old, &u->m);
	u->m.n = 0;
	must(save(u), "an empty tree does not fit");
	tidy(u, 2 * u->sim.blocks, SIZE);
	use = usage(u);
	must(use.blank + use.bad + 3 * BLOCK >= SIZE,
		"%" PRIu64 " bytes are blank when all is deleted", use.blank);
}

static bool live(struct user *u, unsigned saves)
{
	if (setjmp(bail))
		return false;
	begin(u);
	for (u->n = 0; u->n < saves; u->n++)
		one_save(u);
	expect_even_wear(u);
	expect_no_loss(u);
	return true;
}

static bool run(const struct life *life, unsigned saves)
{
	struct user *u = calloc(1, sizeof(*u));
	bool good;

	if (!u)
		abort();
	u->life = life;
	u->r.s = seed * 0x9E3779B97F4A7C15u | 1;
	sim_init(&u->sim, &life->g);
	model_init(&u->m);
	model_init(&u->old);
	u->fd = memfd_create("next", MFD_CLOEXEC);
	if (u->fd < 0)
		abort();
	printf("%s: %u saves\n", life->name, saves);
	good = live(u, saves);
	printf("  %u refused; %u tidied; steps: %u erase, %u append, %u renew, %u replace\n",
		u->refused, u->tidies, u->ways[ROMFS_WAY_ERASE],
		u->ways[ROMFS_WAY_APPEND], u->ways[ROMFS_WAY_RENEW],
		u->ways[ROMFS_WAY_REPLACE]);
	fflush(stdout);
	close(u->fd);
	sim_done(&u->sim);
	model_done(&u->m);
	model_done(&u->old);
	free(u);
	return good;
}

int main(void)
{
	unsigned saves = SAVES;
	bool good = true;

	mallopt(M_MMAP_THRESHOLD, 64 << 20); /* else every plan's buffers are new pages */
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	seed = host_number("SEED", 1);
	saves /= (unsigned)host_number("ROMOUNT_SHARE", 1);
#ifdef __SANITIZE_ADDRESS__
	saves /= 10;
#endif
	for (size_t k = 0; k < ARRAY_SIZE(lives); k++)
		good &= run(&lives[k], saves);
	return good ? 0 : 1;
}
