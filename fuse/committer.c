/* SPDX-License-Identifier: MIT */
#include "fuse/committer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fuse/handover.h"
#include "fuse/verify.h"

#define RETRY_MIN_MS 2000u
#define RETRY_MAX_MS 600000u
/* A node that appears is not ready yet: udev sets its owner, the board boots. */
#define APPEARED_MS 300u

struct committer {
	struct committer_options o;
	struct committer_waiter *waiters;
	struct commit *running;
	struct flash_progress progress;
	sd_event_source *timer;	 /* quiet or retry, whichever is due */
	struct port_waker waker; /* after a failure */
	bool armed;
	uint64_t first_change_us; /* of what is not on flash yet; 0: nothing */
	uint64_t last_change_us;
	unsigned retry_ms;
	sd_event_source *idle; /* when nobody has wanted anything for a while */
	bool wrote; /* this mount has: what it left is for it to tidy up */
	struct error err;
	struct handover handover;
	unsigned steps; /* made in a row, for what is to be written */
	struct worker_job quiet_job;
	bool quiet_asked, quiet; /* the job is queued; its done() runs */
	uint64_t commits, erased_blocks, programmed_bytes;
	struct committer_turn *turn; /* of somebody who has it, or waits for it */
	bool turn_begun;
	struct committer_order order; /* in the turn */
	uint64_t verifying; /* the change that was written, while all is compared; or 0 */
};

static void start(struct committer *c);
static void plan_idle_work(struct committer *c, unsigned in_ms);
static void arm_idle(struct committer *c, uint64_t at_us);
static void begin_turn(struct committer *c);
static void on_tidied(struct worker_job *j);

static uint64_t now_us(struct committer *c)
{
	uint64_t us = 0;

	(void)sd_event_now(c->o.event, CLOCK_MONOTONIC, &us);
	return us;
}

static void arm(struct committer *c, uint64_t at_us);

/* Files that could not be staged when they were closed: the folder shows bytes of theirs
 * that are safe nowhere. Whoever asks whether all is well must hear of them. */
static bool is_leftover(const struct node *n)
{
	return n->dirty && !n->opens;
}

static bool has_leftovers(const struct folder *f)
{
	struct node *root = node_root(f->nodes);

	for (const struct node *n = root; n; n = node_next(root, n))
		if (is_leftover(n))
			return true;
	return false;
}

static bool is_flash_well(const struct committer *c)
{
	return !flash_is_mixed(c->o.flash) && !flash_is_doubtful(c->o.flash);
}

static bool is_settled(const struct committer *c)
{
	return !folder_is_staged(c->o.folder) && is_flash_well(c) && !has_leftovers(c->o.folder);
}

/* A job of ours, or somebody else's turn. */
static bool is_taken(const struct committer *c)
{
	return c->running || c->verifying || c->turn_begun;
}

/* When the tree has been quiet for long enough, by what is known now. */
static uint64_t quiet_at(const struct committer *c)
{
	uint64_t quiet = c->last_change_us + (uint64_t)c->o.quiet_ms * 1000;
	uint64_t latest = c->first_change_us + (uint64_t)c->o.quiet_max_ms * 1000;

	return MIN(quiet, latest);
}

static int on_timer(sd_event_source *s, uint64_t us, void *data)
{
	struct committer *c = data;

	(void)s;
	c->armed = false;
	if (is_taken(c))
		return 0;
	if (!c->err.code && us < quiet_at(c)) {
		arm(c, quiet_at(c)); /* there were changes meanwhile */
	} else if (!is_settled(c)) {
		start(c);
	} else { /* only junk has changed */
		c->first_change_us = 0;
		(void)!folder_compact_journal(c->o.folder);
	}
	return 0;
}

static void arm(struct committer *c, uint64_t at_us)
{
	int r;

	c->armed = true;

	if (!c->timer)
		r = sd_event_add_time(c->o.event, &c->timer, CLOCK_MONOTONIC, at_us, 10000,
			on_timer, c);
	else
		r = sd_event_source_set_time(c->timer, at_us);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->timer, SD_EVENT_ONESHOT);
	if (r < 0)
		log_to(c->o.log, LOG_ERR, "no timer for the next commit: %s", strerror(-r));
}

static void stop_watching(struct committer *c)
{
	if (c->o.port)
		port_unwatch(c->o.port, &c->waker);
}

static void disarm(struct committer *c)
{
	c->armed = false;
	if (c->timer)
		(void)sd_event_source_set_enabled(c->timer, SD_EVENT_OFF);
	stop_watching(c);
}

static void on_port(void *ctx)
{
	struct committer *c = ctx;

	arm(c, now_us(c) + APPEARED_MS * 1000);
}

int committer_new(const struct committer_options *options, struct committer **out)
{
	struct committer *c = calloc(1, sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->o = *options;
	c->waker = (struct port_waker){.wake = on_port, .ctx = c};
	c->handover = (struct handover){
		.folder = options->folder, .flash = options->flash, .base = options->base};
	*out = c;
	return 0;
}

static void answer(struct committer *c, uint64_t up_to, int result)
{
	struct committer_waiter **p = &c->waiters;

	while (*p) {
		struct committer_waiter *w = *p;

		if (w->change > up_to) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->done(w->ctx, result);
		p = &c->waiters; /* `done` may have changed the list */
	}
}

void committer_free(struct committer *c)
{
	if (!c)
		return;
	answer(c, UINT64_MAX, -ECANCELED);
	sd_event_source_disable_unref(c->timer);
	stop_watching(c);
	sd_event_source_disable_unref(c->idle);
	handover_done(&c->handover);
	free(c);
}

bool committer_is_busy(const struct committer *c)
{
	return c->running != NULL;
}

void committer_changed(void *data)
{
	struct committer *c = data;

	c->last_change_us = now_us(c);
	if (is_taken(c))
		return; /* armed again when it ends */
	if (!c->first_change_us) {
		c->first_change_us = c->last_change_us;
		c->o.notify(c->o.ctx);
	}
	/* A timer that is set stays: moving it for each of thousands of changes costs more
	 * than waking up once too early. After a failure it is the retry's. */
	if (!c->armed)
		arm(c, quiet_at(c));
}

void committer_sync(struct committer *c, struct committer_waiter *w)
{
	w->change = c->o.folder->change;
	if (!is_taken(c) && is_settled(c)) {
		w->done(w->ctx, 0);
		return;
	}
	w->next = c->waiters;
	c->waiters = w;
	if (c->running)
		atomic_store(&c->running->linger, false);
	start(c);
}

void committer_forget(struct committer *c, struct committer_waiter *w)
{
	for (struct committer_waiter **p = &c->waiters; *p; p = &(*p)->next) {
		if (*p == w) {
			*p = w->next;
			return;
		}
	}
}

void committer_kick(struct committer *c)
{
	if (!is_settled(c))
		start(c);
}

/* An attempt stops the board's program: none is made where nothing but the user can help.
 * A full disk fails before the port is opened, and may have room again at any time; a tree
 * that does not fit the partition is refused when it is written. */
static bool heals_by_itself(int r)
{
	return r != -ESTALE && r != -EROFS;
}

static void failed(struct committer *c, int r, const struct error *err, uint64_t change)
{
	if (!c->err.code || strcmp(c->err.text, err->text) != 0)
		log_to(c->o.log, LOG_ERR, "%s", err->text[0] ? err->text : strerror(-r));
	c->err = *err;
	c->err.code = r;
	if (!c->err.text[0])
		snprintf(c->err.text, sizeof(c->err.text), "%s", strerror(-r));
	c->retry_ms = c->retry_ms ? MIN(c->retry_ms * 2, RETRY_MAX_MS) : RETRY_MIN_MS;
	if (heals_by_itself(r) || handover_is_open(&c->handover)) {
		/* What others do at the port says when another attempt is worth it; the timer
		 * is for all else. */
		if (c->o.port && port_watch(c->o.port, c->o.event, &c->waker) < 0)
			log_to(c->o.log, LOG_DEBUG, "%s cannot be watched", c->o.port->name);
		arm(c, now_us(c) + (uint64_t)c->retry_ms * 1000);
	}
	c->o.notify(c->o.ctx);
	answer(c, change, r);
}

/* All that can be staged is, also behind one that cannot: the first error. */
static int stage_leftovers(struct folder *f, struct error *err)
{
	struct node *root = node_root(f->nodes);
	uint64_t seq;
	int first = 0;

	for (struct node *n = root; n; n = node_next(root, n)) {
		int r = is_leftover(n) ? folder_stage(f, n, &seq) : 0;

		if (r == 0 && is_leftover(n))
			r = -EIO;
		folder_close_scratch(f, n);
		if (r < 0 && first == 0)
			first = error_set(err, r,
				"%s was closed, but cannot be kept on this computer: %s; it is "
				"lost when the folder is unmounted",
				n->name, strerror(-r));
	}
	return first;
}

static void succeeded(struct committer *c, uint64_t change)
{
	struct error err = {0};
	int r = stage_leftovers(c->o.folder, &err);

	if (r < 0) {
		failed(c, r, &err, change);
		return;
	}
	if (c->err.code)
		log_to(c->o.log, LOG_NOTICE, "writing flash works again");
	error_clear(&c->err);
	c->retry_ms = 0;
	c->first_change_us = 0;
	disarm(c);
	c->o.notify(c->o.ctx);
	if (c->turn_begun)
		return; /* the port may be open: its end tells those who wait */
	answer(c, change, 0);
	if (!c->waiters && !is_settled(c))
		committer_changed(c);
}

/* What was asked for is on flash, verified, and the port is closed. Who waits need not wait
 * for the host's own books: a crash before they are kept finds the intent, and the same
 * tree on flash. */
static void answer_early(struct committer *c, const struct commit *job)
{
	bool light = job->outcome == COMMIT_DONE && !job->next_name[0] && !c->o.verify_all;

	if (light && !has_leftovers(c->o.folder))
		answer(c, job->snapshot->change, 0);
}

/* What a job has brought, taken over. */
static int take(struct committer *c, struct commit *job)
{
	int r = job->job.dropped ? -ECANCELED : job->result;

	if (r == 0)
		r = handover_take(&c->handover, job, &job->err);
	c->running = NULL;
	c->erased_blocks += job->erased_blocks;
	c->programmed_bytes += job->programmed_bytes;
	if (job->snapshot) {
		c->commits += r == 0 && job->outcome == COMMIT_DONE;
		c->wrote |= r == 0 && job->outcome != COMMIT_NOTHING;
	}
	return r;
}

/* The end of a commit, and of what belongs to it. */
static void ended(struct committer *c, bool dropped, bool alone)
{
	if (dropped)
		return;
	/* Who asked for what came later has not been told yet. */
	if (c->waiters)
		start(c);
	begin_turn(c);
	plan_idle_work(c, alone ? 0 : c->o.idle_ms);
}

static void on_verified(void *ctx, int r, uint64_t bytes, const struct error *err)
{
	struct committer *c = ctx;
	uint64_t change = c->verifying;

	(void)bytes;
	c->verifying = 0;
	if (r == 0)
		(void)!flash_disconnect(c->o.flash, NULL);
	if (r < 0)
		failed(c, r, err, change);
	else
		succeeded(c, change);
	ended(c, r == -ECANCELED, false);
}

/* False: nothing is to be compared, or cannot be. */
static bool verify_all(struct committer *c, uint64_t change)
{
	const struct verify_options o = {.worker = c->o.worker,
		.flash = c->o.flash,
		.base = c->o.base,
		.progress = &c->progress,
		.done = on_verified,
		.ctx = c};

	if (!c->o.verify_all || handover_is_open(&c->handover) || verify_start(&o) < 0)
		return false;
	c->verifying = change;
	return true;
}

static void on_done(struct worker_job *j)
{
	struct commit *job = container_of(j, struct commit, job);
	struct committer *c = job->job_ctx;
	uint64_t change = job->snapshot->change;
	bool step, alone = !c->waiters, dropped = j->dropped, verifies = false;
	int r = dropped ? -ECANCELED : job->result;

	/* Somebody came to wait when the job had decided to leave the port open. */
	if (r == 0 && c->waiters && job->outcome != COMMIT_STEP && !c->o.verify_all)
		(void)!flash_disconnect(c->o.flash, NULL);
	if (r == 0)
		answer_early(c, job);
	r = take(c, job);
	step = r == 0 && job->outcome == COMMIT_STEP;
	c->steps = step ? c->steps + 1 : 0;
	if (r < 0)
		failed(c, r, &job->err, change);
	else if (step)
		start(c);
	else if (job->outcome == COMMIT_DONE && verify_all(c, change))
		verifies = true;
	else
		succeeded(c, change);
	commit_free(job);
	if (!verifies)
		ended(c, dropped, alone);
}

/* What went wrong on the host the last time: before anything else is done to flash, the
 * journal and the mirror must be known to agree with it. */
static int mend(struct committer *c, struct error *err)
{
	struct folder *f = c->o.folder;
	struct journal_header header = f->header;
	int r = handover_is_open(&c->handover) ? handover_resume(&c->handover, err) : 0;

	if (r < 0)
		return r;
	header.dirty = folder_needs_journal(f);
	/* A failed flush stays failed until the journal is rewritten. */
	if (journal_request_sync(f->journal, journal_seq(f->journal)) < 0)
		r = folder_rewrite_journal(f, &header, err);
	return r;
}

static int prepare(struct committer *c, struct commit **out, struct error *err)
{
	struct folder *f = c->o.folder;
	struct snapshot *snapshot;
	int r;

	(void)!folder_compact_journal(f); /* of use, but no commit fails for want of it */
	r = snapshot_take(f, &snapshot);
	if (r == 0) {
		r = commit_new(f, snapshot, out);
		if (r < 0)
			snapshot_free(snapshot);
	}
	return r < 0 ? error_set(err, r, "cannot prepare a commit: %s", strerror(-r)) : 0;
}

static void on_quiet(struct worker_job *job)
{
	struct committer *c = container_of(job, struct committer, quiet_job);

	c->quiet_asked = false;
	if (job->dropped)
		return;
	c->quiet = true;
	start(c);
	c->quiet = false;
	begin_turn(c); /* where there was nothing to write, or it failed at once */
}

static void do_nothing(struct worker_job *job)
{
	(void)job;
}

/* Taking an image over changes what the worker works with: it is done while the worker waits
 * for a job of ours to be taken in. */
static void wait_for_quiet(struct committer *c)
{
	if (c->quiet_asked)
		return;
	c->quiet_asked = true;
	c->quiet_job = (struct worker_job){.run = do_nothing, .done = on_quiet};
	worker_submit(c->o.worker, &c->quiet_job, true);
}

static bool may_linger(const struct committer *c)
{
	return c->o.verify_all || (c->o.idle_ms && !c->waiters);
}

static void submit(struct committer *c, struct commit *job, bool linger)
{
	atomic_init(&job->linger, linger);
	job->flash = c->o.flash;
	job->base = c->o.base;
	job->dirfd = c->o.folder->dirfd;
	if (!job->pack)
		job->pack = c->o.folder->pack;
	job->progress = &c->progress;
	job->job_ctx = c;
	c->running = job;
	worker_submit(c->o.worker, &job->job, false);
}

static void start(struct committer *c)
{
	struct folder *f = c->o.folder;
	struct error err = {0};
	struct commit *job;
	int r;

	if (is_taken(c))
		return;
	if (handover_is_open(&c->handover) && !c->quiet) {
		wait_for_quiet(c);
		return;
	}
	r = mend(c, &err);
	(void)!stage_leftovers(f, NULL); /* succeeded() tells */
	if (r == 0 && !folder_is_staged(f) && is_flash_well(c)) {
		succeeded(c, f->change);
		return;
	}
	if (r == 0)
		r = prepare(c, &job, &err);
	if (r < 0) {
		failed(c, r, &err, UINT64_MAX);
		return;
	}
	disarm(c);
	atomic_store(&c->progress.done, 0);
	atomic_store(&c->progress.total, 0);
	job->job.done = on_done;
	job->steps = c->steps;
	submit(c, job, may_linger(c));
	c->o.notify(c->o.ctx);
}

/* --- idle work ------------------------------------------------------------------------- */

/* Only what this mount has left behind, and only while nobody wants anything. */
static bool may_tidy(const struct committer *c)
{
	return c->o.idle_ms && c->wrote && !is_taken(c) && !c->turn && !c->waiters &&
		!c->err.code && is_settled(c);
}

static void start_tidying(struct committer *c, bool under_way)
{
	struct commit *job;

	if (!may_tidy(c) || commit_new(c->o.folder, NULL, &job) < 0)
		return;
	job->tidying = under_way;
	job->job.done = on_tidied;
	(void)flash_was_read(c->o.flash);
	submit(c, job, may_linger(c));
}

/* A step that found the port held by somebody, or the board gone, is not worth a word; it is
 * made after the next commit. One that was cut is healed like any commit. */
static void on_tidied(struct worker_job *j)
{
	struct commit *job = container_of(j, struct commit, job);
	struct committer *c = job->job_ctx;
	bool more, dropped = j->dropped;
	int r = take(c, job);

	more = r == 0 && job->tidied;
	if (r < 0 && !dropped && (!is_flash_well(c) || handover_is_open(&c->handover)))
		failed(c, r, &job->err, UINT64_MAX);
	commit_free(job);
	if (dropped)
		return;
	if (c->waiters)
		start(c);
	else if (!is_settled(c))
		committer_changed(c);
	else if (more && flash_was_read(c->o.flash))
		plan_idle_work(c, c->o.idle_ms);
	else if (more)
		start_tidying(c, true);
	begin_turn(c);
}

static int on_idle(sd_event_source *s, uint64_t us, void *data)
{
	struct committer *c = data;
	uint64_t due = c->last_change_us + (uint64_t)c->o.idle_ms * 1000;

	(void)s;
	if (us < due)
		arm_idle(c, due);
	else
		start_tidying(c, false);
	return 0;
}

static void arm_idle(struct committer *c, uint64_t at_us)
{
	int r;

	if (!c->idle)
		r = sd_event_add_time(c->o.event, &c->idle, CLOCK_MONOTONIC, at_us, 100000,
			on_idle, c);
	else
		r = sd_event_source_set_time(c->idle, at_us);
	if (r >= 0)
		r = sd_event_source_set_enabled(c->idle, SD_EVENT_ONESHOT);
	if (r < 0)
		log_to(c->o.log, LOG_ERR, "no timer for tidying up: %s", strerror(-r));
}

static void plan_idle_work(struct committer *c, unsigned in_ms)
{
	if (!may_tidy(c))
		return;
	if (in_ms == 0)
		start_tidying(c, false);
	else
		arm_idle(c, now_us(c) + (uint64_t)in_ms * 1000);
}

/* --- turns ------------------------------------------------------------------------------- */

static void begin_turn(struct committer *c)
{
	if (!c->turn || is_taken(c) || c->waiters)
		return;
	c->turn_begun = true;
	disarm(c);
	c->turn->begin(c->turn->ctx);
}

int committer_take_turn(struct committer *c, struct committer_turn *t)
{
	if (c->turn)
		return -EBUSY;
	c->turn = t;
	begin_turn(c);
	return 0;
}

void committer_end_turn(struct committer *c, struct committer_turn *t)
{
	if (c->turn != t)
		return;
	c->turn = NULL;
	if (!c->turn_begun)
		return;
	c->turn_begun = false;
	if (c->waiters)
		start(c);
	else if (c->err.code && !is_settled(c))
		arm(c, now_us(c) + (uint64_t)c->retry_ms * 1000);
	else if (!is_settled(c))
		committer_changed(c);
	plan_idle_work(c, c->o.idle_ms);
}

static void ordered_done(struct committer *c, int r, bool changed, const struct error *err)
{
	const struct committer_order order = c->order;

	c->order = (struct committer_order){0};
	c->o.notify(c->o.ctx);
	order.done(order.ctx, r, changed, err);
}

static void on_ordered(struct worker_job *j)
{
	struct commit *job = container_of(j, struct commit, job);
	struct committer *c = job->job_ctx;
	bool saves = job->snapshot != NULL;
	uint64_t change = saves ? job->snapshot->change : 0;
	uint64_t before = c->o.folder->change;
	int r = take(c, job);
	const struct error err = job->err;
	bool changed = job->outcome != COMMIT_NOTHING || job->tidied;
	bool step = saves && r == 0 && job->outcome == COMMIT_STEP;

	c->steps = step ? c->steps + 1 : 0;
	commit_free(job);
	if (step) {
		struct committer_order again = c->order;

		/* What the step has counted is nobody's change of the folder. */
		again.change += c->o.folder->change - before;
		committer_commit(c, &again);
		return;
	}
	if (r < 0 && saves)
		failed(c, r, &err, change);
	else if (saves)
		succeeded(c, change);
	ordered_done(c, r, changed, &err);
}

void committer_commit(struct committer *c, const struct committer_order *order)
{
	struct error err = {0};
	struct commit *job = NULL;
	int r;

	c->order = *order;
	r = mend(c, &err);
	(void)!stage_leftovers(c->o.folder, NULL); /* succeeded() tells */
	if (r == 0)
		r = order->aim < COMMIT_ERASE ? prepare(c, &job, &err)
					      : commit_new(c->o.folder, NULL, &job);
	if (r < 0) {
		(void)!error_set(&err, r, "cannot prepare a commit: %s", strerror(-r));
		ordered_done(c, r, false, &err);
		return;
	}
	disarm(c);
	atomic_store(&c->progress.done, 0);
	atomic_store(&c->progress.total, 0);
	job->job.done = on_ordered;
	job->aim = order->aim;
	job->image_fd = order->image_fd;
	job->image_size = order->image_size;
	job->change = order->change;
	job->steps = c->steps;
	job->pack = order->pack;
	submit(c, job, order->linger);
	c->o.notify(c->o.ctx);
}

const struct flash_progress *committer_progress(const struct committer *c)
{
	return &c->progress;
}

void committer_status(const struct committer *c, struct committer_status *out)
{
	*out = (struct committer_status){
		.state = c->verifying || (c->running && c->running->snapshot)
					? COMMITTER_WRITING
			: c->err.code		? COMMITTER_FAILED
			: is_settled(c)		? COMMITTER_CLEAN
						: COMMITTER_STAGED,
		.done = atomic_load(&c->progress.done),
		.total = atomic_load(&c->progress.total),
		.error = c->err.text,
		.commits = c->commits,
		.erased_blocks = c->erased_blocks,
		.programmed_bytes = c->programmed_bytes,
	};
}
