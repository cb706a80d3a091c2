/* SPDX-License-Identifier: MIT */
#include "fuse/commit.h"

#include <errno.h>
#include <string.h>

#include "fuse/commit_private.h"
#include "fuse/tidy.h"

#define ATTEMPTS 2u
/* More blocks that fail in one commit, and it is not the blocks. */
#define SET_ASIDE_MAX 8u
/* Steps by which room is gained, before flash is written anew in any way that fits. */
#define STEPS_MAX 64u

int commit_new(struct folder *f, struct snapshot *snapshot, struct commit **out)
{
	struct commit *c = calloc(1, sizeof(*c));
	int r = c ? snapshot_places(f, &c->keep, &c->n_keep) : -ENOMEM;

	if (r < 0) {
		free(c);
		return r;
	}
	c->snapshot = snapshot;
	if (folder_capacity(f) < f->charged)
		c->crowd = f->charged;
	c->job.run = commit_run;
	*out = c;
	return 0;
}

void commit_free(struct commit *c)
{
	if (!c)
		return;
	snapshot_free(c->snapshot);
	romfs_image_free(c->parsed);
	base_clear(&c->next);
	moves_done(&c->moves);
	free(c->keep);
	free(c);
}

struct romfs_flash commit_flash_now(const struct commit *c)
{
	const struct wear *wear = flash_wear(c->flash);

	return (struct romfs_flash){
		.source = flash_now_source(c->flash),
		.image = c->image,
		.keep = c->keep,
		.n_keep = c->n_keep,
		.erases = wear ? wear_erases(wear) : NULL,
		.bad = wear ? wear_bad(wear) : NULL,
	};
}

/* --- a snapshot ------------------------------------------------------------------------ */

int commit_fetch_strays(struct commit *c, struct error *err)
{
	size_t i;
	int r = 0;

	for (i = 0; i < c->snapshot->n_stray && r == 0; i++) {
		const struct romfs_extent *e = &c->snapshot->stray[i];

		/* What a cut took before it was read is lost, and no reason to stop. */
		if (flash_holds_base(c->flash, e->off, e->len))
			r = flash_fetch(c->flash, e->off, e->len, err);
	}
	return r;
}

/* Bytes that the base had and flash has no more are new content to the planner; the mirror
 * still has them. */
static int find_places(struct commit *c, uint64_t **out)
{
	const struct romfs_tree *tree = c->snapshot->tree;
	uint32_t i, count = romfs_tree_count(tree);
	uint64_t *places = calloc(count, sizeof(*places));

	if (!places)
		return -ENOMEM;
	for (i = 0; i < count; i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);
		const struct content *content = &c->snapshot->items[n->user].content;

		places[i] = content->kind == CONTENT_BASE &&
					    flash_holds_base(c->flash, content->off, n->size)
				    ? content->off
				    : ROMFS_NO_OFFSET;
	}
	*out = places;
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct content *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* Whether files of the snapshot are read from the same bytes of flash. */
static int shares_bytes(const struct snapshot *s)
{
	uint32_t n = 0, count = romfs_tree_count(s->tree);
	_cleanup_free_ struct content *v = calloc(count, sizeof(*v));
	uint64_t end = 0;

	if (!v)
		return -ENOMEM;
	for (uint32_t i = 0; i < count; i++)
		if (s->items[i].content.kind == CONTENT_BASE)
			v[n++] = s->items[i].content;
	qsort(v, n, sizeof(*v), by_offset);
	for (uint32_t i = 0; i < n; i++) {
		if (v[i].size && v[i].off < end)
			return 1;
		end = MAX(end, v[i].off + v[i].size);
	}
	return 0;
}

/* Flash that is written anew has each file by itself: if that is more than it holds, a cut at
 * the wrong time could not be healed, so nothing is begun. */
static int check_crowd(const struct commit *c, struct error *err)
{
	const struct dev_geometry *g = flash_geometry(c->flash);
	int r = c->crowd ? shares_bytes(c->snapshot) : 0;

	if (r <= 0)
		return r;
	return error_set(err, -ENOSPC,
		"rom%u cannot be changed while its files share so many bytes on flash: each by "
		"itself they need %llu bytes, and the partition holds %llu; remove some of them",
		g->number, (unsigned long long)c->crowd, (unsigned long long)g->size);
}

/* Beside what flash shows, if need be after room was gained; else in its place. 1: a step was
 * made instead. */
static int plan_save(struct commit *c, const struct wanted *w, struct patch *patch,
	struct romfs_plan **plan, struct error *err)
{
	const struct dev_geometry *g = flash_geometry(c->flash);
	uint64_t erases = 0, most = g->size / g->erase_block;
	int r = c->steps < STEPS_MAX ? 0 : -ENOSPC;

	/* No block is worth a second erase. */
	while (r == 0 && erases <= most) {
		uint64_t before = c->erased_blocks;

		r = commit_plan(c, ROMFS_SAVE, w, patch, plan, err);
		if (r != -ENOSPC)
			return r;
		error_clear(err);
		r = commit_tidy(c, err);
		erases += c->erased_blocks - before;
	}
	if (r == 0)
		r = -ENOSPC;
	if (r != -ENOSPC)
		return r;
	error_clear(err);
	return commit_plan(c, ROMFS_REWRITE, w, patch, plan, err);
}

static int plan_aim(struct commit *c, const struct wanted *w, struct patch *patch,
	struct romfs_plan **plan, struct error *err)
{
	if (c->aim == COMMIT_SAVE)
		return plan_save(c, w, patch, plan, err);
	return commit_plan(c, c->aim == COMMIT_PACK ? ROMFS_PACK : ROMFS_REWRITE, w, patch,
		plan, err);
}

static int save(struct commit *c, struct error *err)
{
	const struct romfs_source base = flash_base_source(c->flash);
	struct snapshot_reader reader = {.snapshot = c->snapshot, .flash = &base};
	_cleanup_(romfs_plan_freep) struct romfs_plan *plan = NULL;
	_cleanup_(patch_freep) struct patch *patch = NULL;
	_cleanup_free_ uint64_t *places = NULL;
	struct wanted w = {
		.tree = c->snapshot->tree, .content = snapshot_content, .ctx = &reader};
	int r = check_crowd(c, err);

	if (r < 0)
		return r;
	r = find_places(c, &places);
	if (r == 0)
		r = patch_new(c->dirfd, flash_geometry(c->flash)->size, &patch);
	if (r < 0)
		return error_set(err, r, "cannot prepare a commit: %s", strerror(-r));
	w.places = places;
	r = commit_find_twins(c, places, err);
	if (r == 0)
		r = commit_fetch_strays(c, err);
	if (r == 0)
		r = plan_aim(c, &w, patch, &plan, err);
	if (r != 0)
		return MIN(r, 0);
	if (plan->n_ops == 0 && !flash_is_mixed(c->flash) && !flash_is_doubtful(c->flash))
		return 0;
	r = commit_carry_out(c, &w, patch, plan, err);
	if (r == 0)
		c->outcome = COMMIT_DONE;
	return r;
}

/* --- the job --------------------------------------------------------------------------- */

/* While nobody waits. Nothing is asked of the board to find out whether it is worth it. */
static int tidy_up(struct commit *c, struct error *err)
{
	const struct romfs_geometry geometry = flash_romfs_geometry(c->flash);
	const struct romfs_flash now = commit_flash_now(c);
	struct romfs_usage usage;
	int r = romfs_usage(&geometry, &now, &usage, err);

	if (r < 0)
		return r;
	if (c->aim == COMMIT_SAVE && !tidy_is_due(&usage, c->tidying, &c->may_move))
		return 0;
	/* Whoever holds the port shall not make others wait behind us. */
	r = flash_try_connect(c->flash, err);
	if (r < 0)
		return r;
	r = commit_tidy(c, err);
	if (r == -ENOSPC) {
		error_clear(err);
		return 0;
	}
	return MIN(r, 0);
}

static int attempt(struct commit *c, bool again, struct error *err)
{
	int r;

	c->outcome = COMMIT_NOTHING;
	r = commit_look(c, again, err);
	if (r != 0)
		return MIN(r, 0);
	if (c->aim == COMMIT_ANEW)
		c->image = NULL;
	if (c->aim == COMMIT_IMAGE)
		return commit_image(c, err);
	return c->snapshot ? save(c, err) : tidy_up(c, err);
}

static bool is_worth_another(int r)
{
	return r == -EIO || r == -ETIMEDOUT || r == -EPROTO || r == -EILSEQ;
}

static int all_fails(struct commit *c, unsigned blocks)
{
	struct error why = c->err;

	error_clear(&c->err);
	return error_set(&c->err, -EIO,
		"rom%u: %u blocks of flash have failed, one after the other: flash, or the "
		"board, is failing (%s)",
		flash_geometry(c->flash)->number, blocks, why.text);
}

/* A block that was found bad is not counted as a failure: the data goes elsewhere. */
static void run_attempts(struct commit *c)
{
	unsigned before = flash_set_aside(c->flash), known = before, failures = 0;

	for (bool again = false;; again = true) {
		unsigned now;

		error_clear(&c->err);
		c->result = attempt(c, again, &c->err);
		now = flash_set_aside(c->flash);
		/* What is left is too little, or it goes on and on: it is not the blocks. */
		if (c->result < 0 && known > before &&
			(c->result == -ENOSPC || now - before > SET_ASIDE_MAX))
			c->result = all_fails(c, now - before);
		else if (is_worth_another(c->result) &&
			(now > known || ++failures < ATTEMPTS)) {
			(void)!flash_disconnect(c->flash, NULL);
			flash_ask_again(c->flash);
			known = now;
			continue;
		}
		if (c->result < 0)
			flash_ask_again(c->flash);
		flash_settle_blocks(c->flash, c->result == 0);
		return;
	}
}

/* Images of attempts that no intent speaks of. */
static void sweep(int dirfd)
{
	struct intent intent;
	int r = intent_read(dirfd, &intent);

	if (r == 0)
		intent_sweep(dirfd, intent.next_name);
	else if (r == -ENOENT)
		intent_sweep(dirfd, NULL);
}

void commit_run(struct worker_job *job)
{
	struct commit *c = container_of(job, struct commit, job);

	run_attempts(c);
	sweep(c->dirfd);
	/* What was asked for is done or told; a board that cannot be left in good order is
	 * found so at the next session. The next step goes on in this one. */
	if (c->result < 0 || (c->outcome != COMMIT_STEP && !atomic_load(&c->linger)))
		(void)!flash_disconnect(c->flash, NULL);
}
