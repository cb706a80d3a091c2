/* SPDX-License-Identifier: MIT */
#include "fuse/readahead.h"

#include <errno.h>

/* What is read next begins no further away from the end of what was read last: between two
 * files lie a record and padding, and the kernel's own reading ahead swaps neighbours. */
#define NEAR (256u << 10)
#define WINDOW_MIN (256u << 10)
#define WINDOW_MAX (1u << 20)
/* Whoever comes waits for one piece at most: 320 ms at 800 kB/s. */
#define PIECE (256u << 10)

struct readahead {
	struct worker_job job;
	struct worker *worker;
	struct flash *flash;
	const struct base *base;
	uint64_t last;	 /* end of what was read last */
	uint64_t done;	 /* everything from there to here was asked for */
	uint64_t window; /* bytes to be ahead; 0: nobody reads in order */
	struct romfs_extent piece;
	int result;
	bool busy;
};

static void run(struct worker_job *job)
{
	struct readahead *a = container_of(job, struct readahead, job);

	a->result = flash_fetch(a->flash, a->piece.off, a->piece.len, NULL);
	if (a->result < 0)
		(void)!flash_disconnect(a->flash, NULL); /* the session is over (target.h) */
}

/* The piece at `off`, or where files' bytes go on behind it; empty at the end. */
static struct romfs_extent next_piece(const struct base *base, uint64_t off)
{
	const struct romfs_tree *tree = base->image->tree;
	uint64_t start = UINT64_MAX, end = 0;

	for (uint32_t i = 0; i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		if (n->type != ROMFS_FILE || n->data_off == ROMFS_NO_OFFSET || n->size == 0)
			continue;
		end = MAX(end, n->data_off + n->size);
		if (n->data_off + n->size > off)
			start = MIN(start, MAX(n->data_off, off));
	}
	if (start >= end)
		return (struct romfs_extent){0};
	return (struct romfs_extent){start, MIN(end - start, (uint64_t)PIECE)};
}

static void go_on(struct readahead *a)
{
	uint64_t target = a->last + a->window;

	if (a->busy || a->done >= target)
		return;
	a->piece = next_piece(a->base, a->done);
	if (a->piece.len == 0 || a->piece.off >= target)
		return;
	a->busy = true;
	worker_submit(a->worker, &a->job, false);
}

static void done(struct worker_job *job)
{
	struct readahead *a = container_of(job, struct readahead, job);

	a->busy = false;
	if (job->dropped)
		return;
	if (a->result < 0) {
		a->window = 0; /* whoever wants these bytes hears why */
		return;
	}
	a->done = MAX(a->done, a->piece.off + a->piece.len);
	go_on(a);
}

int readahead_new(struct worker *worker, struct flash *flash, const struct base *base,
	struct readahead **out)
{
	struct readahead *a = calloc(1, sizeof(*a));

	if (!a)
		return -ENOMEM;
	a->worker = worker;
	a->flash = flash;
	a->base = base;
	a->job.run = run;
	a->job.done = done;
	*out = a;
	return 0;
}

void readahead_free(struct readahead *a)
{
	free(a);
}

static bool is_near(uint64_t a, uint64_t b)
{
	return (a > b ? a - b : b - a) <= NEAR;
}

void readahead_note(struct readahead *a, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;

	if (!is_near(off, a->last)) {
		a->window = 0;
		a->done = end;
		a->last = end;
		return;
	}
	a->last = MAX(a->last, end);
	a->done = MAX(a->done, a->last);
	a->window = a->window ? MIN(a->window * 2, (uint64_t)WINDOW_MAX) : WINDOW_MIN;
	go_on(a);
}
