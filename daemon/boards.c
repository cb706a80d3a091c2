/* SPDX-License-Identifier: MIT */
#include "daemon/boards.h"

#include <errno.h>
#include <string.h>

#include "daemon/ident.h"
#include "daemon/names.h"

#define SYSFS "/sys"

_Static_assert(NAMES_MAX <= BOARD_NAME_MAX, "a name fits");
_Static_assert(STATE_KEY_SIZE <= BOARD_NAME_MAX + 1, "an identity fits");

struct boards {
	struct board_env env;
	const struct seat *seat;
	void (*ended)(void *ctx);
	void *ended_ctx;
};

/* --- who is it? --- */

static struct board *find_ident(struct boards *all, const char *ident)
{
	struct board *b = NULL;

	while ((b = registry_next(all->env.registry, b)))
		if (strcmp(b->ident, ident) == 0)
			return b;
	return NULL;
}

static struct board *find_key(struct boards *all, const char *key)
{
	struct board *b = NULL;

	while ((b = registry_next(all->env.registry, b)))
		if (b->present && strcmp(b->place.key, key) == 0)
			return b;
	return NULL;
}

static bool is_known(struct boards *all, const char *ident)
{
	_cleanup_close_ int fd = -1;

	return store_open_board(all->env.store, ident, false, &fd, NULL) == 0;
}

/* Who once was the second of two goes on as that, whichever of them is first this time. */
static bool choose_ident(
	struct boards *all, const struct place *place, char out[STATE_KEY_SIZE])
{
	char twin[STATE_KEY_SIZE];
	struct board *b;

	ident_name(SYSFS, place, false, out);
	ident_name(SYSFS, place, true, twin);
	b = find_ident(all, out);
	if (!(b && b->present) && !is_known(all, twin))
		return false;
	b = find_ident(all, twin);
	if (b && b->present) /* the same socket twice: a mistake of somebody's configuration */
		return false;
	memcpy(out, twin, STATE_KEY_SIZE);
	return true;
}

/* --- what is it called? --- */

struct claim {
	struct boards *all;
	const struct board *self;
	struct mount_dir *dir;
	struct error err;
};

static bool never_taken(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return false;
}

/* A name that is free is claimed at once. */
static bool is_taken(void *ctx, const char *name)
{
	struct claim *c = ctx;
	struct board *b = registry_find(c->all->env.registry, name);

	if (b && b != c->self)
		return true;
	if (c->dir && strcmp(mount_dir_name(c->dir), name) == 0)
		return false;
	mount_dir_release(TAKE_PTR(c->dir));
	error_clear(&c->err);
	return mount_dir_claim(c->all->env.mounts, name, &c->dir, &c->err) < 0;
}

/* The name that it had, if that still says what it is; else a new one. */
static int claim_name(struct claim *c, const struct place *place, const char *before,
	char out[NAMES_MAX + 1])
{
	const char *alias = place->policy.alias;
	char plain[NAMES_MAX + 1];
	int r = names_make(alias, place->product, place->serial, never_taken, NULL, plain);

	if (r == 0 && strncmp(before, plain, strlen(plain)) == 0 && !is_taken(c, before)) {
		snprintf(out, NAMES_MAX + 1, "%s", before);
		return 0;
	}
	return names_make(alias, place->product, place->serial, is_taken, c, out);
}

/* --- coming --- */

static void read_memo(struct boards *all, const char *ident, struct store_memo *memo)
{
	if (store_read_memo(all->env.store, ident, memo) < 0)
		*memo = (struct store_memo){.interface = -1};
}

static int take_up(struct boards *all, const struct place *place, struct error *err)
{
	char ident[STATE_KEY_SIZE], name[NAMES_MAX + 1];
	bool is_twin = choose_ident(all, place, ident);
	struct board *b = find_ident(all, ident);
	struct claim claim = {.all = all, .self = b};
	struct store_memo memo;
	int r;

	if (b && b->present)
		return error_set(err, -EEXIST, "%s is there already as %s", place->key, b->name);
	read_memo(all, ident, &memo);
	/* By itself, a memo that is another's is no reason to believe anything. */
	memo.identity[0] = '\0';
	if (!is_twin)
		ident_line(SYSFS, place, 0, memo.identity);
	if (b)
		board_identify(b, memo.identity);
	if (b && board_has_dir(b)) {
		board_plug(b, place, NULL);
		return 0;
	}
	r = claim_name(&claim, place, memo.name, name);
	if (r < 0)
		return error_set(err, r, "no name is free: %s",
			claim.err.text[0] ? claim.err.text : strerror(-r));
	if (b && strcmp(b->name, name) != 0) {
		board_free(b);
		b = NULL;
	}
	r = b ? 0 : board_new(&all->env, ident, &memo, name, &b, err);
	if (r < 0) {
		mount_dir_release(claim.dir);
		return r;
	}
	board_plug(b, place, claim.dir);
	return 0;
}

void boards_plugged(struct boards *all, const struct place *place)
{
	struct board *b = find_key(all, place->key);
	struct error err = {0};

	if (place->n_ttys == 0)
		return;
	if (b)
		board_plug(b, place, NULL);
	else if (take_up(all, place, &err) < 0)
		log_to(all->env.log, LOG_ERR, "cannot show the board at %s: %s",
			place->ttys[0].node, err.text);
}

void boards_unplugged(struct boards *all, const char *key)
{
	struct board *b = find_key(all, key);

	if (b)
		board_unplug(b);
}

void boards_check_owners(struct boards *all)
{
	struct board *b = NULL;

	while ((b = registry_next(all->env.registry, b)))
		board_check_owner(b);
}

static void find_owner(void *ctx, const struct policy *policy, uid_t *uid, gid_t *gid)
{
	struct boards *all = ctx;
	struct error err = {0};

	if (seat_owner(all->seat, policy->owner, uid, gid, &err) == 0)
		return;
	log_to(all->env.log, LOG_WARNING, "%s; the folder is root's", err.text);
	*uid = 0;
	*gid = 0;
}

/* --- going --- */

static bool are_off(struct boards *all)
{
	struct board *b = NULL;

	while ((b = registry_next(all->env.registry, b)))
		if (!board_is_off(b))
			return false;
	return true;
}

static void check_ended(struct boards *all)
{
	void (*ended)(void *ctx) = all->ended;

	if (!ended || !are_off(all))
		return;
	all->ended = NULL;
	mount_root_drain(all->env.mounts, ended, all->ended_ctx);
}

static void on_rest(void *ctx, struct board *b)
{
	struct boards *all = ctx;

	if (!b->present && b->n_partitions == 0)
		board_free(b);
	check_ended(all);
}

void boards_end(struct boards *all, unsigned seconds, void (*ended)(void *ctx), void *ctx)
{
	struct board *b = registry_next(all->env.registry, NULL), *next;

	for (; b; b = next) {
		next = registry_next(all->env.registry, b);
		board_end(b, seconds);
	}
	all->ended = ended;
	all->ended_ctx = ctx;
	check_ended(all);
}

void boards_kill(struct boards *all)
{
	struct board *b = NULL;

	while ((b = registry_next(all->env.registry, b)))
		board_kill(b);
}

/* --- those that are away --- */

static void take_up_absent(void *ctx, const char *ident)
{
	struct boards *all = ctx;
	_cleanup_close_ int fd = -1;
	_cleanup_free_ struct board *staged = calloc(1, sizeof(*staged));
	struct store_memo memo;
	struct board *b;
	struct error err = {0};
	char name[NAMES_MAX + 1];

	if (!staged || store_open_board(all->env.store, ident, false, &fd, NULL) < 0)
		return;
	store_read_staged(fd, staged);
	if (staged->n_partitions == 0)
		return;
	read_memo(all, ident, &memo);
	snprintf(name, sizeof(name), "%s", memo.name[0] ? memo.name : ident);
	/* Names are remembered from different times. */
	if (registry_find(all->env.registry, name))
		snprintf(name, sizeof(name), "%s", ident);
	if (board_new(&all->env, ident, &memo, name, &b, &err) < 0)
		log_to(all->env.log, LOG_WARNING, "%s", err.text);
}

int boards_new(const struct boards_options *options, struct boards **out, struct error *err)
{
	struct boards *all = calloc(1, sizeof(*all));

	if (!all)
		return error_set(err, -ENOMEM, "out of memory");
	all->env = options->env;
	all->seat = options->seat;
	all->env.owner = find_owner;
	all->env.at_rest = on_rest;
	all->env.ctx = all;
	store_each(all->env.store, take_up_absent, all);
	*out = all;
	return 0;
}

void boards_free(struct boards *all)
{
	struct board *b;

	if (!all)
		return;
	while ((b = registry_next(all->env.registry, NULL)))
		board_free(b);
	free(all);
}
