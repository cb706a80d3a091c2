/* SPDX-License-Identifier: MIT */
#include "fuse/commit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* A cut leaves the block that was being written, and on some boards its neighbour. Where
 * blocks are smaller than what is written at once (MRAM), it leaves as many bytes. */
#define STRANGERS_OF_A_CUT 4u
#define STRANGE_BYTES_OF_A_CUT (4u * 4096)

#define ATTEMPTS 2u

int commit_new(struct snapshot *snapshot, struct commit **out)
{
	struct commit *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->snapshot = snapshot;
	c->job.run = commit_run;
	*out = c;
	return 0;
}

void commit_free(struct commit *c)
{
	if (!c)
		return;
	snapshot_free(c->snapshot);
	base_clear(&c->next);
	free(c);
}

static int foreign(struct commit *c, struct error *err)
{
	return error_set(err, -ESTALE,
		"another program has changed rom%u; what you staged is kept: unmount and mount "
		"again to see what is there now",
		flash_geometry(c->flash)->number);
}

/* After a cut: what does each block hold? Bytes that the base had and flash has no more are
 * new content to the planner; the mirror still has them. `again`: nobody else had the board
 * since we wrote. */
static int survey(struct commit *c, bool again, struct error *err)
{
	_cleanup_close_ int next_fd = -1;
	struct intent intent;
	struct flash_census census;
	uint32_t i, count = romfs_tree_count(c->snapshot->tree);
	bool noted = intent_read(c->dirfd, &intent) == 0;
	int r;

	if (noted)
		next_fd = openat(c->dirfd, intent.next_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	r = flash_survey(c->flash, TAKE_FD(next_fd), &census, err);
	if (r < 0)
		return r;
	if (!again && noted && census.unknown > intent.strangers)
		return foreign(c, err);
	/* What the next survey will find besides the base and a new image. */
	c->strangers = census.next + census.unknown;
	for (i = 0; i < count; i++) {
		struct romfs_node *n = romfs_tree_node(c->snapshot->tree, i);

		if (n->data_off != ROMFS_NO_OFFSET &&
			!flash_holds_base(c->flash, n->data_off, n->size))
			n->data_off = ROMFS_NO_OFFSET;
	}
	return 0;
}

/* The tree may have been planned before, by an attempt that failed. */
static void reset_places(struct commit *c)
{
	uint32_t i, count = romfs_tree_count(c->snapshot->tree);

	for (i = 0; i < count; i++) {
		struct romfs_node *n = romfs_tree_node(c->snapshot->tree, i);
		const struct content *content = &c->snapshot->items[n->user].content;

		n->data_off = content->kind == CONTENT_BASE ? content->off : ROMFS_NO_OFFSET;
	}
}

/* What flash shows, for the planner to build on. After a cut that is no more the base, and may
 * be nothing, even if it is the base's tree that is wanted. */
static const struct romfs_image *image_on_flash(
	struct commit *c, const struct romfs_source *now, struct romfs_image **parsed)
{
	const struct romfs_image *image = c->base->image;

	/* Blank flash would do for an empty folder, but somebody has written something, and
	 * a board shall find a file system then. */
	if (!flash_is_mixed(c->flash))
		return image->status == ROMFS_VALID ? image : NULL;
	if (romfs_parse(now, parsed, NULL) < 0 || (*parsed)->status != ROMFS_VALID)
		return NULL; /* not whole, or not known */
	return *parsed;
}

static int make_plan(struct commit *c, int next_fd, struct romfs_plan **plan, struct error *err)
{
	const struct romfs_geometry geometry = flash_romfs_geometry(c->flash);
	const struct romfs_source base = flash_base_source(c->flash);
	_cleanup_(romfs_image_freep) struct romfs_image *parsed = NULL;
	struct romfs_flash now = {.source = flash_now_source(c->flash)};
	struct snapshot_reader reader = {.snapshot = c->snapshot, .flash = &base};

	now.image = c->anew ? NULL : image_on_flash(c, &now.source, &parsed);
	return romfs_plan(&geometry, &now, c->goal, c->snapshot->tree, c->pack,
		snapshot_content, &reader, next_fd, plan, err);
}

/* From here on a cut is healed by whoever comes next. */
static int declare(struct commit *c, int next_fd, struct error *err)
{
	const struct romfs_geometry g = flash_romfs_geometry(c->flash);
	uint64_t of_a_cut = MAX(STRANGERS_OF_A_CUT, STRANGE_BYTES_OF_A_CUT / g.erase_block);
	struct intent intent = {.strangers = c->strangers + of_a_cut};
	int r = flash_keep_base(c->flash, err);

	if (r < 0)
		return r;

	memcpy(intent.base, c->base->fingerprint, SHA256_SIZE);
	memcpy(intent.next, c->next.fingerprint, SHA256_SIZE);
	memcpy(intent.next_name, c->next_name, sizeof(intent.next_name));
	if (fdatasync(next_fd) < 0)
		r = -errno;
	if (r == 0)
		r = intent_write(c->dirfd, &intent);
	if (r < 0)
		return error_set(err, r, "cannot note the commit in the state directory: %s",
			strerror(-r));
	intent_sweep(c->dirfd, c->next_name);
	return 0;
}

static int open_next(struct commit *c, int *fd, struct error *err)
{
	uint32_t token;

	if (getrandom(&token, sizeof(token), 0) != sizeof(token))
		return error_set(err, -EIO, "no random bytes for a file name");
	snprintf(c->next_name, sizeof(c->next_name), "next-%08x", (unsigned)token);
	*fd = openat(c->dirfd, c->next_name,
		O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return error_set(err, -errno, "cannot make %s in the state directory: %s",
			c->next_name, strerror(errno));
	return 0;
}

static int fetch_strays(struct commit *c, struct error *err)
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

/* What will be read back is what was asked for: the last look before flash changes. */
static int check_next(const struct commit *c, struct error *err)
{
	const struct romfs_image *image = c->next.image;
	uint32_t want = romfs_tree_count(c->snapshot->tree);

	if (image->status == ROMFS_VALID && romfs_tree_count(image->tree) == want)
		return 0;
	return error_set(err, -EUCLEAN,
		"the image to write does not hold the folder (%s): this is a mistake in romount, "
		"and nothing was written",
		image->why.text);
}

static int attempt(struct commit *c, bool again, struct error *err)
{
	_cleanup_(romfs_plan_freep) struct romfs_plan *plan = NULL;
	_cleanup_close_ int next_fd = -1;
	struct romfs_source next;
	int r;

	reset_places(c);
	c->strangers = 0;
	r = flash_is_mixed(c->flash) ? survey(c, again, err) : 0;
	if (r == 0)
		r = fetch_strays(c, err);
	if (r == 0)
		r = open_next(c, &next_fd, err);
	if (r == 0)
		r = make_plan(c, next_fd, &plan, err);
	if (r < 0)
		return r;
	c->rewritten = plan->n_ops > 0 || flash_is_mixed(c->flash);
	if (!c->rewritten)
		return 0;
	next = romfs_source_fd(&next_fd, flash_geometry(c->flash)->size);
	base_clear(&c->next);
	r = base_read(&next, &c->next, err);
	if (r == 0)
		r = check_next(c, err);
	if (r == 0)
		r = flash_connect(c->flash, err);
	if (r == 0)
		r = flash_trust(c->flash, err);
	if (r == 0)
		r = declare(c, next_fd, err);
	if (r == 0)
		r = flash_execute(c->flash, plan, next_fd, c->progress, err);
	/* What flash held only for a time stands behind the image. */
	if (r == 0 && ftruncate(next_fd, (off_t)flash_geometry(c->flash)->size) < 0)
		r = error_set(err, -errno, "cannot finish %s: %s", c->next_name,
			strerror(errno));
	c->erased_blocks += plan->erase_count;
	c->programmed_bytes += plan->program_bytes;
	return r;
}

static bool is_worth_another(int r)
{
	return r == -EIO || r == -ETIMEDOUT || r == -EPROTO || r == -EILSEQ;
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
	unsigned i;

	for (i = 0; i < ATTEMPTS; i++) {
		error_clear(&c->err);
		c->result = attempt(c, i > 0, &c->err);
		if (!is_worth_another(c->result))
			break;
		(void)!flash_disconnect(c->flash, NULL);
	}
	sweep(c->dirfd);
	/* What was asked for is done or told; a board that cannot be left in good order is
	 * found so at the next session. */
	if (!c->stays || c->result < 0)
		(void)!flash_disconnect(c->flash, NULL);
}
