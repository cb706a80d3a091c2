/* SPDX-License-Identifier: MIT */
/* One plan: made, and brought to flash. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "fuse/commit_private.h"

/* A cut leaves the block that was being written, and on some boards its neighbour. Where
 * blocks are smaller than what is written at once (MRAM), it leaves as many bytes. */
#define STRANGERS_OF_A_CUT 4u
#define STRANGE_BYTES_OF_A_CUT (4u * 4096)

/* --- planning -------------------------------------------------------------------------- */

static int plan_once(struct commit *c, enum romfs_goal goal, const struct wanted *w,
	struct patch *patch, struct romfs_plan **out, struct error *err)
{
	const struct romfs_geometry geometry = flash_romfs_geometry(c->flash);
	const struct romfs_flash now = commit_flash_now(c);

	/* It may have been planned before. */
	for (uint32_t i = 0; i < romfs_tree_count(w->tree); i++)
		romfs_tree_node(w->tree, i)->data_off = w->places[i];
	return romfs_plan(&geometry, &now, goal, w->tree, c->pack, w->content, w->ctx,
		patch_fd(patch), out, err);
}

/* The front of the image, which the planner always looks at: known but where the last commit
 * could not be stored. */
static int fetch_meta(struct commit *c, struct error *err)
{
	uint64_t front = MIN(flash_geometry(c->flash)->size, (uint64_t)MIRROR_CHUNK);
	int r = 0;

	if (flash_is_mixed(c->flash) || !c->image)
		return 0;
	r = flash_fetch(c->flash, 0, front, err);
	for (size_t i = 0; i < c->image->n_meta && r == 0; i++)
		r = flash_fetch(c->flash, c->image->meta[i].off, c->image->meta[i].len, err);
	return r;
}

/* What would make a better plan: 1 if something was learnt. */
static int learn_more(struct commit *c, bool makes_head, struct error *err)
{
	const struct romfs_flash now = commit_flash_now(c);
	int r;

	if (flash_is_mixed(c->flash))
		return 0;
	r = flash_find_blank(c->flash, c->image, err);
	return r == 0 && makes_head ? flash_probe_twice(c->flash, &now, err) : r;
}

int commit_plan(struct commit *c, enum romfs_goal goal, const struct wanted *w,
	struct patch *patch, struct romfs_plan **out, struct error *err)
{
	int r = fetch_meta(c, err);

	while (r == 0) {
		struct error why = {0};
		struct romfs_plan *plan = NULL;
		int more;

		r = plan_once(c, goal, w, patch, &plan, &why);
		more = r == -ENOSPC || (r == 0 && plan->n_ops)
			       ? learn_more(c, r == 0 && plan->way >= ROMFS_WAY_RENEW, err)
			       : 0;
		if (more == 0 && r == 0) {
			*out = plan;
			return 0;
		}
		romfs_plan_free(plan);
		if (more == 0 && r < 0)
			return error_set(err, r, "%s", why.text);
		r = MIN(more, 0);
	}
	return r;
}

/* --- carrying out ---------------------------------------------------------------------- */

/* What will be read back is what was asked for: the last look before flash changes. */
static int read_next(struct commit *c, const struct wanted *w, const struct romfs_source *next,
	struct error *err)
{
	enum romfs_status status = w->blank ? ROMFS_BLANK : ROMFS_VALID;
	const struct romfs_image *image;
	int r;

	base_clear(&c->next);
	r = base_read(next, &c->next, err);
	if (r < 0)
		return error_prefix(err, r, "what is to be written");
	image = c->next.image;
	if (image->status == status &&
		romfs_tree_count(image->tree) == romfs_tree_count(w->tree))
		return 0;
	return error_set(err, -EUCLEAN,
		"the image to write does not hold the folder (%s): this is a mistake in romount, "
		"and nothing was written",
		image->why.text);
}

/* From here on a cut is healed by whoever comes next. */
static int declare(struct commit *c, struct error *err)
{
	const struct romfs_geometry g = flash_romfs_geometry(c->flash);
	uint64_t of_a_cut = MAX(STRANGERS_OF_A_CUT, STRANGE_BYTES_OF_A_CUT / g.erase_block);
	struct intent intent = {.strangers = c->strangers + of_a_cut};
	int r;

	memcpy(intent.base, c->base->fingerprint, SHA256_SIZE);
	memcpy(intent.next, c->next.fingerprint, SHA256_SIZE);
	memcpy(intent.next_name, c->next_name, sizeof(intent.next_name));
	r = intent_write(c->dirfd, &intent);
	if (r < 0)
		return error_set(err, r, "cannot note the commit in the state directory: %s",
			strerror(-r));
	return 0;
}

static int on_host(int r, struct error *err)
{
	return r < 0 && !err->code
		? error_set(err, r, "cannot keep a commit in the state directory: %s",
			  strerror(-r))
		: r;
}

static int open_port(struct commit *c, struct error *err)
{
	int r = flash_connect(c->flash, err);

	return r < 0 ? r : flash_trust(c->flash, err);
}

/* A chunk that is touched in part, and not known, would not be known afterwards either: what
 * was gained there would be lost to us. */
static int fetch_edges(struct commit *c, const struct romfs_plan *plan, struct error *err)
{
	uint64_t size = flash_geometry(c->flash)->size;
	int r = 0;

	for (size_t i = 0; r == 0 && i < plan->n_touched; i++) {
		uint64_t off = plan->touched[i].off, end = off + plan->touched[i].len;

		if (off % MIRROR_CHUNK)
			r = flash_fetch(c->flash, off - 1, 1, err);
		if (r == 0 && end % MIRROR_CHUNK && end < size)
			r = flash_fetch(c->flash, end, 1, err);
	}
	return r;
}

/* The tree that flash has stays until the last operation, which happens or not; and no byte
 * that the mirror goes on knowing is touched. */
static int append(struct commit *c, const struct wanted *w, struct patch *patch,
	const struct romfs_plan *plan, struct error *err)
{
	const struct romfs_source now = flash_now_source(c->flash);
	const struct romfs_source next = patch_source(patch, &now);
	struct mirror *mirror = flash_mirror(c->flash);
	bool changes_tree = plan->way != ROMFS_WAY_ERASE;
	int r = open_port(c, err);

	if (r == 0)
		r = fetch_edges(c, plan, err);
	if (r == 0)
		r = patch_complete(patch, plan->touched, plan->n_touched, mirror);
	if (r == 0 && changes_tree)
		r = read_next(c, w, &next, err);
	if (r == 0 && changes_tree)
		r = declare(c, err);
	if (r == 0)
		r = patch_forget(patch, mirror);
	if (r == 0)
		r = flash_execute(c->flash, plan, patch_fd(patch), &next, c->progress, err);
	if (r < 0)
		return on_host(r, err);
	patch_apply(patch, mirror);
	flash_has_news(c->flash);
	return 0;
}

static int name_next(struct commit *c, struct error *err)
{
	uint32_t token;

	if (getrandom(&token, sizeof(token), 0) != sizeof(token))
		return error_set(err, -EIO, "no random bytes for a file name");
	snprintf(c->next_name, sizeof(c->next_name), "next-%08x", (unsigned)token);
	return 0;
}

static int read_nothing(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	(void)ctx;
	(void)off;
	(void)buf;
	(void)len;
	(void)err;
	return -ENODATA;
}

/* What flash holds then, all of it. After a cut even an append is done so, since what the
 * mirror knows is not what flash holds then. */
static int make_whole(
	struct commit *c, struct patch *patch, const struct romfs_plan *plan, struct error *err)
{
	const struct romfs_source now = flash_now_source(c->flash);
	int r;

	if (plan->way == ROMFS_WAY_RENEW || plan->way == ROMFS_WAY_REPLACE)
		return patch_whole(patch, plan->unknown, plan->n_unknown);
	r = patch_complete(patch, plan->touched, plan->n_touched, NULL);
	return r < 0 ? r : patch_fill(patch, &now, err);
}

/* After an append that was cut off, the mirror cannot tell what the base was. If this is cut
 * off too, whoever comes next must find all bytes of its files on the host. */
static int fetch_kept(struct commit *c, const struct wanted *w, struct error *err)
{
	int r = 0;

	if (!flash_is_doubtful(c->flash))
		return 0;
	for (uint32_t i = 0; r == 0 && w->places && i < romfs_tree_count(w->tree); i++)
		if (w->places[i] != ROMFS_NO_OFFSET)
			r = flash_fetch(c->flash, w->places[i],
				romfs_tree_node(w->tree, i)->size, err);
	return r;
}

static int renew(struct commit *c, const struct wanted *w, struct patch *patch,
	const struct romfs_plan *plan, struct error *err)
{
	const struct romfs_source nothing = {
		.read = read_nothing, .size = flash_geometry(c->flash)->size};
	const struct romfs_source next = patch_source(patch, &nothing);
	int r = fetch_kept(c, w, err);

	if (r == 0)
		r = make_whole(c, patch, plan, err);
	if (r == 0)
		r = name_next(c, err);
	if (r == 0)
		r = read_next(c, w, &next, err);
	if (r == 0)
		r = open_port(c, err);
	if (r == 0)
		r = flash_keep_base(c->flash, err);
	if (r == 0)
		r = patch_keep(patch, c->dirfd, c->next_name);
	if (r == 0)
		r = declare(c, err);
	if (r < 0)
		return on_host(r, err);
	intent_sweep(c->dirfd, c->next_name);
	r = flash_execute(c->flash, plan, patch_fd(patch), &next, c->progress, err);
	if (r == 0)
		r = patch_seal(patch);
	return on_host(r, err);
}

int commit_carry_out(struct commit *c, const struct wanted *w, struct patch *patch,
	const struct romfs_plan *plan, struct error *err)
{
	bool light = !flash_is_mixed(c->flash) &&
		     (plan->way == ROMFS_WAY_APPEND || plan->way == ROMFS_WAY_ERASE);
	int r;

	c->next_name[0] = '\0';
	r = light ? append(c, w, patch, plan, err) : renew(c, w, patch, plan, err);
	c->erased_blocks += plan->erase_count;
	c->programmed_bytes += plan->program_bytes;
	return r;
}
