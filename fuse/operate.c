/* SPDX-License-Identifier: MIT */
/* Operations on a whole partition: how they get their turn, and the short ones. */
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "fuse/invalidate.h"
#include "fuse/operate_private.h"
#include "fuse/verify.h"

struct flash *operation_flash(const struct operation *op)
{
	return op->v->attached.flash;
}

static void tell_changed(const struct operation *op)
{
	if (op->v->o.changed)
		op->v->o.changed(op->v->o.ctx);
}

/* --- the end ----------------------------------------------------------------------------- */

static void operation_free(struct operation *op)
{
	sd_event_source_disable_unref(op->start);
	if (op->o.fd >= 0)
		close(op->o.fd);
	if (op->image_fd >= 0)
		close(op->image_fd);
	if (op->cancel_fd >= 0)
		close(op->cancel_fd);
	for (size_t i = 0; i < op->n_names; i++)
		free(op->names[i]);
	free(op->names);
	free(op->result.extents);
	folder_replacement_free(op->replacement);
	romfs_image_free(op->image);
	free(op);
}

static void finish(struct operation *op)
{
	struct volume *v = op->v;

	if (op->waits)
		committer_forget(v->committer, &op->waiter);
	v->operation = NULL;
	committer_end_turn(v->committer, &op->turn);
	tell_changed(op);
	op->o.done(op->o.ctx, &op->result);
	operation_free(op);
}

static void run_rest(struct worker_job *job)
{
	struct operation *op = container_of(job, struct operation, job);

	(void)!flash_disconnect(operation_flash(op), NULL);
}

static void on_rested(struct worker_job *job)
{
	finish(container_of(job, struct operation, job));
}

void operation_end(struct operation *op, int result)
{
	op->result.result = result;
	if (result < 0)
		(void)!error_set(&op->result.err, result, "%s", strerror(-result));
	if (!op->has_turn || op->job.dropped) {
		finish(op);
		return;
	}
	op->job = (struct worker_job){.run = run_rest, .done = on_rested};
	worker_submit(op->v->o.worker, &op->job, true);
}

/* --- jobs and commits -------------------------------------------------------------------- */

static void run_job(struct worker_job *job)
{
	struct operation *op = container_of(job, struct operation, job);

	op->job_result = op->run(op, &op->result.err);
	if (op->job_result < 0) /* the session is over (target.h) */
		(void)!flash_disconnect(operation_flash(op), NULL);
}

static void on_job(struct worker_job *job)
{
	struct operation *op = container_of(job, struct operation, job);
	bool cancelled = op->job_result >= 0 && !op->switched && atomic_load(&op->cancel);
	int r = job->dropped || cancelled ? -ECANCELED : op->job_result;

	tell_changed(op);
	if (r < 0)
		operation_end(op, r);
	else
		op->next(op);
}

void operation_submit(struct operation *op, operation_run_fn run, operation_next_fn next)
{
	op->run = run;
	op->next = next;
	op->job = (struct worker_job){.run = run_job, .done = on_job};
	worker_submit(op->v->o.worker, &op->job, false);
}

static void on_committed(void *ctx, int r, bool changed, const struct error *err)
{
	struct operation *op = ctx;

	op->committing = false;
	op->job_result = changed;
	if (r < 0) {
		op->result.err = *err;
		operation_end(op, r);
	} else {
		op->next(op);
	}
}

void operation_commit(
	struct operation *op, const struct committer_order *order, operation_next_fn next)
{
	struct committer_order o = *order;

	o.done = on_committed;
	o.ctx = op;
	op->next = next;
	op->committing = true;
	committer_commit(op->v->committer, &o);
}

static void on_verified(void *ctx, int r, uint64_t bytes, const struct error *err)
{
	struct operation *op = ctx;

	op->result.bytes = bytes;
	if (r < 0)
		op->result.err = *err;
	operation_end(op, r);
}

void operation_verify(struct operation *op)
{
	const struct verify_options o = {.worker = op->v->o.worker,
		.flash = operation_flash(op),
		.base = &op->v->attached.base,
		.progress = &op->progress,
		.cancel = op->switched ? NULL : &op->cancel,
		.done = on_verified,
		.ctx = op};
	int r = verify_start(&o);

	if (r < 0)
		operation_end(op, r);
}

/* --- the folder --------------------------------------------------------------------------- */

static void note_name(void *ctx, const char *name)
{
	struct operation *op = ctx;

	if (op->n_names == op->cap_names) {
		size_t cap = op->cap_names ? 2 * op->cap_names : 64;
		char **names = reallocarray(op->names, cap, sizeof(*names));

		if (!names)
			return;
		op->names = names;
		op->cap_names = cap;
	}
	op->names[op->n_names] = strdup(name);
	op->n_names += op->names[op->n_names] != NULL;
}

/* Without it programs see for a while what was there before. */
static void tell_kernel(struct operation *op)
{
	struct volume *v = op->v;

	if (!v->session)
		return;
	if (invalidation_start(v->session, TAKE_PTR(op->names), op->n_names,
		    &v->invalidations) < 0)
		log_to(v->o.attach.flash.log, LOG_WARNING,
			"the folder may show what was there before until it is mounted again");
	op->n_names = op->cap_names = 0;
}

static int run_wait(struct operation *op, struct error *err)
{
	return folder_replacement_wait(op->replacement, err);
}

static void on_claimed(struct operation *op)
{
	int r = folder_replacement_switch(op->replacement, note_name, op, &op->result.err);

	if (r < 0) {
		operation_end(op, r);
		return;
	}
	op->switched = true;
	op->change = op->v->attached.folder->change;
	/* Not before: the old folder has no right to what another program wrote. */
	if (op->stale)
		flash_give_up(operation_flash(op));
	tell_kernel(op);
	operation_submit(op, run_wait, op->replaced);
}

static int run_claim(struct operation *op, struct error *err)
{
	struct flash *flash = operation_flash(op);
	int r = flash_connect(flash, err);

	if (r == 0)
		r = flash_trust(flash, err);
	if (r == -ESTALE) {
		error_clear(err);
		op->stale = true;
		r = 0;
	}
	if (r == 0 && !op->tree)
		flash_forgive(flash);
	return r;
}

static void on_made(struct operation *op)
{
	operation_submit(op, run_claim, on_claimed);
}

static int run_make(struct operation *op, struct error *err)
{
	return folder_replacement_make(op->replacement, op->tree, op->image_fd, op->fits, err);
}

void operation_replace(struct operation *op, const struct romfs_tree *tree, bool fits,
	operation_next_fn replaced)
{
	int r = folder_replacement_new(
		op->v->attached.folder, &op->replacement, &op->result.err);

	op->tree = tree;
	op->fits = fits;
	op->replaced = replaced;
	if (r < 0)
		operation_end(op, r);
	else
		operation_submit(op, run_make, on_made);
}

/* --- verify and format ---------------------------------------------------------------------- */

static const struct operation_kind operation_check = {
	.name = "verify", .after_staged = true, .begin = operation_verify};

static void after_format(struct operation *op)
{
	operation_end(op, 0);
}

static void write_nothing(struct operation *op)
{
	operation_commit(op, &(struct committer_order){.aim = COMMIT_ANEW}, after_format);
}

static void begin_format(struct operation *op)
{
	operation_replace(op, NULL, true, write_nothing);
}

static const struct operation_kind operation_format = {
	.name = "format", .begin = begin_format};

/* --- compact ---------------------------------------------------------------------------- */

static void tidy(struct operation *op)
{
	const struct committer_order order = {
		.aim = op->o.packed ? COMMIT_ERASE : COMMIT_TIDY, .linger = true};
	bool gained = op->job_result > 0;

	if (gained && atomic_load(&op->cancel)) {
		operation_end(op, -ECANCELED);
	} else if (!gained || op->steps == 0) {
		operation_end(op, 0);
	} else {
		op->steps--;
		operation_commit(op, &order, tidy);
	}
}

static void begin_tidying(struct operation *op)
{
	op->job_result = 1;
	tidy(op);
}

static int run_look(struct operation *op, struct error *err)
{
	struct flash *flash = operation_flash(op);
	const struct dev_geometry *g = flash_geometry(flash);
	const struct romfs_geometry geometry = flash_romfs_geometry(flash);
	const struct wear *wear = flash_wear(flash);
	const struct romfs_flash now = {.source = flash_now_source(flash),
		.image = op->v->attached.base.image,
		.bad = wear ? wear_bad(wear) : NULL};
	struct romfs_usage usage;
	int r = flash_trust(flash, err);

	if (r == 0 && now.image->status != ROMFS_VALID)
		r = error_set(err, -ENODATA, "rom%u holds nothing to make compact", g->number);
	if (r == 0)
		r = flash_find_blank(flash, now.image, err);
	if (r >= 0)
		r = romfs_usage(&geometry, &now, &usage, err);
	/* Memory that is erased from its start only has room again when all of it was written
	 * anew, as tight as can be. Each step of the others gains something; a planner that
	 * finds no end is a mistake of ours, and no reason to wear the flash out. */
	op->steps = 4 * (unsigned)(g->size / g->erase_block) + 16;
	op->pack = op->o.packed ||
		   (r == 0 && g->prefix_erase && usage.dead + usage.mixed >= g->erase_block);
	return r;
}

static void on_looked(struct operation *op)
{
	static const struct romfs_pack_options as_mpremote;
	const struct committer_order order = {.aim = COMMIT_PACK,
		.pack = op->o.packed ? &as_mpremote : NULL,
		.linger = true};

	if (op->pack)
		operation_commit(op, &order, begin_tidying);
	else
		begin_tidying(op);
}

static void begin_compact(struct operation *op)
{
	operation_submit(op, run_look, on_looked);
}

static const struct operation_kind operation_compact = {
	.name = "compact", .after_staged = true, .begin = begin_compact};

/* --- orders ------------------------------------------------------------------------------- */

static void on_turn(void *ctx)
{
	struct operation *op = ctx;

	op->has_turn = true;
	tell_changed(op);
	op->kind->begin(op);
}

static void take_turn(struct operation *op)
{
	int r;

	op->turn = (struct committer_turn){.begin = on_turn, .ctx = op};
	r = committer_take_turn(op->v->committer, &op->turn);
	if (r < 0)
		operation_end(op, r);
}

static void on_synced(void *ctx, int result)
{
	struct operation *op = ctx;
	struct committer_status status;

	op->waits = false;
	if (result < 0) {
		committer_status(op->v->committer, &status);
		if (status.error[0])
			(void)!error_set(&op->result.err, result, "%s", status.error);
		operation_end(op, result);
	} else if (atomic_load(&op->cancel)) {
		operation_end(op, -ECANCELED);
	} else {
		take_turn(op);
	}
}

static const struct operation_kind *const kinds[] = {
	[VOLUME_SAVE] = &operation_save,
	[VOLUME_RESTORE] = &operation_restore,
	[VOLUME_VERIFY] = &operation_check,
	[VOLUME_LAYOUT] = &operation_layout,
	[VOLUME_FORMAT] = &operation_format,
	[VOLUME_COMPACT] = &operation_compact,
};

static int on_start(sd_event_source *s, void *data)
{
	struct operation *op = data;

	(void)s;
	op->start = sd_event_source_disable_unref(op->start);
	if (!op->kind->after_staged) {
		take_turn(op);
		return 0;
	}
	op->waits = true;
	op->waiter = (struct committer_waiter){.done = on_synced, .ctx = op};
	committer_sync(op->v->committer, &op->waiter);
	return 0;
}

int volume_operate(struct volume *v, const struct volume_order *order)
{
	_cleanup_close_ int fd = order->fd;
	struct operation *op;
	int r;

	if (v->operation || v->ending)
		return -EBUSY;
	op = calloc(1, sizeof(*op));
	if (!op)
		return -ENOMEM;
	op->v = v;
	op->o = *order;
	op->o.fd = TAKE_FD(fd);
	op->kind = kinds[order->what];
	op->image_fd = -1;
	op->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = op->cancel_fd < 0 ? -errno
			      : sd_event_add_defer(v->o.event, &op->start, on_start, op);
	if (r < 0) {
		operation_free(op);
		return r;
	}
	v->operation = op;
	return 0;
}

void volume_operate_cancel(struct volume *v)
{
	if (!v->operation)
		return;
	atomic_store(&v->operation->cancel, true);
	(void)!eventfd_write(v->operation->cancel_fd, 1);
}

void operation_drop(struct operation *op)
{
	if (!op)
		return;
	op->result.result = error_set(&op->result.err, -ECANCELED, "the folder is gone");
	finish(op);
}

void operation_tell(const struct operation *op, struct volume_status *out)
{
	const struct flash_progress *p =
		op->committing ? committer_progress(op->v->committer) : &op->progress;

	out->job = op->kind->name;
	out->done = atomic_load(&p->done);
	out->total = atomic_load(&p->total);
}
