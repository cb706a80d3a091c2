/* SPDX-License-Identifier: MIT */
#include "libromfs/victims.h"

#include <errno.h>
#include <string.h>

/* A block lags that was erased less than half as often as the one that was most often. */
#define LAG_MIN 8u

#define NO_BLOCK UINT64_MAX

struct victims {
	struct append *a;
	uint64_t *cost; /* by erase block: bytes to move for it; UINT64_MAX: never */
	uint64_t n;
	uint32_t worst; /* erases of the block that was erased most often */
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

static void find_costs(struct victims *v)
{
	const struct append *a = v->a;
	uint64_t block = a->pl->geometry->erase_block;

	memset(v->cost, 0, v->n * sizeof(*v->cost));
	for (uint32_t i = 0; i < romfs_tree_count(a->pl->wanted); i++) {
		uint64_t size = romfs_tree_node(a->pl->wanted, i)->size;
		uint64_t home = a->pl->home[i];

		for (uint64_t b = home / block; is_movable(a, i) && b * block < home + size; b++)
			v->cost[b] += size;
	}
	for (uint64_t b = 0; b < v->n; b++)
		if (b * block < a->head.size || room_is_bad(&a->room, b * block, 1))
			v->cost[b] = UINT64_MAX;
}

static int start(struct victims *v, struct append *a)
{
	uint64_t block = a->pl->geometry->erase_block;

	*v = (struct victims){.a = a, .n = a->pl->geometry->size / block};
	v->cost = malloc(v->n * sizeof(*v->cost));
	if (!v->cost)
		return error_set(a->err, -ENOMEM, "out of memory");
	/* The front is erased for another reason than the rest. */
	for (uint64_t b = (a->head.size + block - 1) / block; b < v->n; b++)
		v->worst = MAX(v->worst, erases_of(v, b));
	return 0;
}

static void done(struct victims *v)
{
	free(v->cost);
}

/* Marks what stands in the block; how many bytes that are. */
static uint64_t take_block(struct victims *v, uint64_t b)
{
	struct append *a = v->a;
	uint64_t block = a->pl->geometry->erase_block, sum = 0;

	for (uint32_t i = 0; i < romfs_tree_count(a->pl->wanted); i++) {
		uint64_t size = romfs_tree_node(a->pl->wanted, i)->size;

		if (!is_movable(a, i) || a->pl->home[i] >= (b + 1) * block ||
			a->pl->home[i] + size <= b * block)
			continue;
		a->moves[i] = true;
		sum += size;
	}
	return sum;
}

/* --- the emptiest ------------------------------------------------------------------- */

/* Of two that are as empty the less worn one. */
static uint64_t emptiest(const struct victims *v, uint64_t budget)
{
	uint64_t best = NO_BLOCK, best_score = UINT64_MAX;

	for (uint64_t b = 0; b < v->n; b++) {
		uint64_t score;

		if (v->cost[b] == 0 || v->cost[b] > budget)
			continue;
		score = v->cost[b] + v->cost[b] * erases_of(v, b) / (2 * (v->worst + 1ull));
		if (score < best_score) {
			best = b;
			best_score = score;
		}
	}
	return best;
}

/* Takes one block after the other, and remembers where that gained most. */
static int try_emptiest(struct victims *v, uint64_t budget, bool *best)
{
	struct append *a = v->a;
	uint32_t count = romfs_tree_count(a->pl->wanted);
	uint64_t before = a->potential, most = before, block = a->pl->geometry->erase_block;
	int found = 0;

	for (;;) {
		uint64_t b;
		int r;

		find_costs(v);
		b = emptiest(v, budget);
		if (b == NO_BLOCK)
			break;
		budget -= take_block(v, b);
		r = append_try(a);
		if (r < 0 && r != -ENOSPC)
			return r;
		if (r == -ENOSPC)
			break;
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

static uint64_t coldest(const struct victims *v, uint64_t budget)
{
	uint64_t best = NO_BLOCK;

	for (uint64_t b = 0; b < v->n; b++)
		if (v->cost[b] && v->cost[b] <= budget && lags(v, b) &&
			(best == NO_BLOCK || erases_of(v, b) < erases_of(v, best)))
			best = b;
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
	uint64_t before = a->potential, block = a->pl->geometry->erase_block, b;
	_cleanup_(done) struct victims v = {0};
	int r = a->pl->now->erases ? start(&v, a) : 0;

	if (r < 0 || !a->pl->now->erases)
		return r;
	find_costs(&v);
	b = coldest(&v, budget);
	if (b == NO_BLOCK)
		return 0;
	(void)take_block(&v, b);
	r = append_try(a);
	if (r == 0 && a->potential + block >= before && (!settle || is_settled(&v)))
		return 1;
	memset(a->moves, 0, romfs_tree_count(a->pl->wanted) * sizeof(*a->moves));
	a->potential = before;
	return r == -ENOSPC ? 0 : MIN(r, 0);
}
