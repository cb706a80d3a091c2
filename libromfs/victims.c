/* SPDX-License-Identifier: MIT */
#include "libromfs/victims.h"

#include <errno.h>
#include <string.h>

/* A block lags that was erased less than half as often as the one that was most often. */
#define LAG_MIN 8u

#define WINDOW_MAX 16u /* blocks that are emptied together */

struct victims {
	struct append *a;
	uint64_t n;	   /* erase blocks */
	uint64_t *begun;   /* by erase block: bytes of movable files that begin in front of it */
	uint64_t *ended;   /* bytes of those that end in front of it */
	uint8_t *fixed;	   /* by erase block: holds what does not move */
	uint32_t worst;	   /* erases of the block that was erased most often */
};

/* Consecutive blocks, and what must move to empty them. */
struct window {
	uint64_t first, n, cost;
};

static bool is_movable(const struct append *a, uint32_t i)
{
	return a->pl->home[i] != ROMFS_NO_OFFSET && !a->moves[i] &&
	       (a->place[i] == a->pl->home[i] || a->n_items == 0);
}

static uint32_t erases_of(const struct victims *v, uint64_t b)
{
	return v->a->pl->now->erases ? v->a->pl->now->erases[b] : 0;
}

/* Files are in one piece each, so sums tell what reaches into any window. */
static void find_costs(struct victims *v)
{
	const struct append *a = v->a;
	uint64_t block = a->pl->geometry->erase_block;

	memset(v->begun, 0, (v->n + 2) * sizeof(*v->begun));
	memset(v->ended, 0, (v->n + 2) * sizeof(*v->ended));
	for (uint32_t i = 0; i < romfs_tree_count(a->pl->wanted); i++) {
		uint64_t size = romfs_tree_node(a->pl->wanted, i)->size;

		if (!is_movable(a, i))
			continue;
		v->begun[a->pl->home[i] / block + 1] += size;
		v->ended[(a->pl->home[i] + size + block - 1) / block] += size;
	}
	for (uint64_t b = 1; b <= v->n; b++) {
		v->begun[b] += v->begun[b - 1];
		v->ended[b] += v->ended[b - 1];
	}
}

static uint64_t cost_of(const struct victims *v, uint64_t first, uint64_t n)
{
	return v->begun[first + n] - v->ended[first];
}

static int start(struct victims *v, struct append *a)
{
	uint64_t block = a->pl->geometry->erase_block, front;

	*v = (struct victims){.a = a, .n = a->pl->geometry->size / block};
	v->begun = malloc((v->n + 2) * sizeof(*v->begun));
	v->ended = malloc((v->n + 2) * sizeof(*v->ended));
	v->fixed = calloc(v->n, 1);
	if (!v->begun || !v->ended || !v->fixed)
		return error_set(a->err, -ENOMEM, "out of memory");
	front = (a->head.size + block - 1) / block;
	for (uint64_t b = 0; b < v->n; b++) {
		v->fixed[b] = b < front || room_is_bad(&a->room, b * block, 1);
		/* The front is erased for another reason than the rest. */
		if (b >= front)
			v->worst = MAX(v->worst, erases_of(v, b));
	}
	return 0;
}

static void done(struct victims *v)
{
	free(v->begun);
	free(v->ended);
	free(v->fixed);
}

/* Marks what stands there. */
static void take_window(struct victims *v, const struct window *w)
{
	struct append *a = v->a;
	uint64_t block = a->pl->geometry->erase_block;
	uint64_t from = w->first * block, to = from + w->n * block;

	for (uint32_t i = 0; i < romfs_tree_count(a->pl->wanted); i++) {
		uint64_t size = romfs_tree_node(a->pl->wanted, i)->size;

		if (is_movable(a, i) && a->pl->home[i] < to && a->pl->home[i] + size > from)
			a->moves[i] = true;
	}
}

/* --- the emptiest ------------------------------------------------------------------- */

/* What a window costs by each block that it gains: the less the better. Of two that are as
 * empty the less worn one. */
static bool is_better(const struct victims *v, const struct window *w, uint64_t gained,
	double *best)
{
	double score = (double)w->cost / (double)gained;

	score += score * erases_of(v, w->first) / (4.0 * (v->worst + 1.0));
	if (score >= *best)
		return false;
	*best = score;
	return true;
}

/* Several blocks side by side are cheaper by the block, since files reach over their borders,
 * and give room for larger files. */
static struct window emptiest(const struct victims *v, uint64_t budget)
{
	struct window best = {0};
	double score = 1e300;

	for (uint64_t b = 0; b < v->n; b++) {
		uint64_t gained = 0;

		for (uint64_t n = 1; n <= WINDOW_MAX && b + n <= v->n; n++) {
			struct window w = {b, n, cost_of(v, b, n)};

			if (v->fixed[b + n - 1] || w.cost > budget)
				break;
			gained += cost_of(v, b + n - 1, 1) ? 1 : 0;
			if (gained && is_better(v, &w, gained, &score))
				best = w;
		}
	}
	return best;
}

/* Takes one window after the other, and remembers where that gained most. */
static int try_emptiest(struct victims *v, uint64_t budget, bool *best)
{
	struct append *a = v->a;
	uint32_t count = romfs_tree_count(a->pl->wanted);
	uint64_t before = a->potential, most = before, block = a->pl->geometry->erase_block;
	int found = 0;

	for (;;) {
		struct window w;
		int r;

		find_costs(v);
		w = emptiest(v, budget);
		if (w.n == 0)
			break;
		budget -= w.cost;
		take_window(v, &w);
		r = append_try(a);
		if (r == -ENOSPC)
			break;
		if (r < 0)
			return r;
		if (a->potential >= MAX(most, before + block)) {
			memcpy(best, a->moves, count * sizeof(*best));
			most = a->potential;
			found = 1;
		}
	}
	a->potential = before;
	return found;
}

int victims_empty(struct append *a, uint64_t budget)
{
	uint32_t count = romfs_tree_count(a->pl->wanted);
	_cleanup_free_ bool *best = calloc(count, sizeof(*best));
	_cleanup_(done) struct victims v = {0};
	int r = best ? start(&v, a) : error_set(a->err, -ENOMEM, "out of memory");

	if (r == 0)
		r = try_emptiest(&v, budget, best);
	if (r < 0)
		return r;
	memcpy(a->moves, best, count * sizeof(*best));
	if (r == 0)
		return 0;
	r = append_try(a);
	return r < 0 ? r : 1;
}

/* --- the coldest -------------------------------------------------------------------- */

static bool lags(const struct victims *v, uint64_t b)
{
	return 2 * (uint64_t)erases_of(v, b) + LAG_MIN <= v->worst;
}

static struct window coldest(const struct victims *v, uint64_t budget)
{
	struct window best = {0};

	for (uint64_t b = 0; b < v->n; b++) {
		struct window w = {b, 1, cost_of(v, b, 1)};

		if (!v->fixed[b] && w.cost && w.cost <= budget && lags(v, b) &&
			(best.n == 0 || erases_of(v, b) < erases_of(v, best.first)))
			best = w;
	}
	return best;
}

static bool is_settled(const struct victims *v)
{
	const struct append *a = v->a;
	uint64_t block = a->pl->geometry->erase_block;

	for (size_t k = 0; k < a->taken.n; k++)
		for (uint64_t b = a->taken.v[k].off / block;
			b * block < a->taken.v[k].off + a->taken.v[k].len; b++)
			if (lags(v, b))
				return false;
	return true;
}

int victims_cold(struct append *a, uint64_t budget, bool settle)
{
	uint64_t before = a->potential, block = a->pl->geometry->erase_block;
	_cleanup_(done) struct victims v = {0};
	struct window w;
	int r = a->pl->now->erases ? start(&v, a) : 0;

	if (r < 0 || !a->pl->now->erases)
		return r;
	find_costs(&v);
	w = coldest(&v, budget);
	if (w.n == 0)
		return 0;
	take_window(&v, &w);
	r = append_try(a);
	if (r == 0 && a->potential + block >= before && (!settle || is_settled(&v)))
		return 1;
	memset(a->moves, 0, romfs_tree_count(a->pl->wanted) * sizeof(*a->moves));
	a->potential = before;
	return r == -ENOSPC ? 0 : MIN(r, 0);
}
