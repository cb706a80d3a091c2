/* SPDX-License-Identifier: MIT */
#include "fuse/fetch.h"

#include <errno.h>

struct fetch {
	struct worker_job job;
	struct flash *flash;
	struct romfs_extent extent;
	fetch_done_fn done;
	void *ctx;
	int result;
	struct error err;
};

static void run(struct worker_job *job)
{
	struct fetch *f = container_of(job, struct fetch, job);

	bool was_stale = flash_is_stale(f->flash);

	flash_note_read(f->flash);
	f->result = flash_fetch(f->flash, f->extent.off, f->extent.len, &f->err);
	if (f->result == -ESTALE && !was_stale)
		log_to(flash_log(f->flash), LOG_ERR, "%s", f->err.text);
	if (f->result < 0)
		(void)!flash_disconnect(f->flash, NULL); /* the session is over (target.h) */
}

static void done(struct worker_job *job)
{
	struct fetch *f = container_of(job, struct fetch, job);

	f->done(f->ctx, job->dropped ? -ECANCELED : f->result, &f->err);
	free(f);
}

int fetch_start(struct worker *worker, struct flash *flash, const struct romfs_extent *extent,
	fetch_done_fn done_fn, void *ctx)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->job.run = run;
	f->job.done = done;
	f->flash = flash;
	f->extent = *extent;
	f->done = done_fn;
	f->ctx = ctx;
	worker_submit(worker, &f->job, true);
	return 0;
}
