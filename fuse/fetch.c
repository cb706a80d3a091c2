/* SPDX-License-Identifier: MIT */
#include "fuse/fetch.h"

#include <errno.h>

/* Others who wait come in between: 160 ms at 800 kB/s. */
#define PIECE (128u << 10)

struct fetch {
	struct worker_job job;
	struct worker *worker;
	struct flash *flash;
	struct romfs_extent extent; /* what is left */
	fetch_done_fn done;
	void *ctx;
	int result;
	struct error err;
};

static uint64_t piece(const struct fetch *f)
{
	return MIN(f->extent.len, (uint64_t)PIECE);
}

static void run(struct worker_job *job)
{
	struct fetch *f = container_of(job, struct fetch, job);

	bool was_stale = flash_is_stale(f->flash);

	flash_note_read(f->flash);
	f->result = flash_fetch(f->flash, f->extent.off, piece(f), &f->err);
	if (f->result == -ESTALE && !was_stale)
		log_to(flash_log(f->flash), LOG_ERR, "%s", f->err.text);
	if (f->result < 0)
		(void)!flash_disconnect(f->flash, NULL); /* the session is over (target.h) */
}

static void done(struct worker_job *job)
{
	struct fetch *f = container_of(job, struct fetch, job);
	uint64_t len = piece(f);

	if (!job->dropped && f->result == 0 && f->extent.len > len) {
		f->extent.off += len;
		f->extent.len -= len;
		worker_submit(f->worker, job, true);
		return;
	}
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
	f->worker = worker;
	f->flash = flash;
	f->extent = *extent;
	f->done = done_fn;
	f->ctx = ctx;
	worker_submit(worker, &f->job, true);
	return 0;
}
