/* SPDX-License-Identifier: MIT */
#include "fuse/pending.h"

#include <errno.h>
#include <time.h>

#include "fuse/fetch.h"
#include "fuse/status.h"

int pending_errno(int result)
{
	switch (result) {
	case 0:
		return 0;
	case -EBUSY:
	case -ENODEV:
	case -ENOSPC:
	case -EINTR:
	case -ENOMEM:
	case -ETIMEDOUT:
	case -EACCES:
	case -EDQUOT:
	case -EFBIG:
		return -result;
	default: /* the rest is told by the state attribute and the log */
		return EIO;
	}
}

static int on_interrupted(sd_event_source *s, void *data)
{
	(void)s;
	pending_reply_err(data, -EINTR);
	return 0;
}

/* Called by libfuse with the request locked, perhaps from within pending_new: the answer has
 * to come later. Without memory for that, the request waits as if nobody had interrupted. */
static void on_interrupt(fuse_req_t req, void *data)
{
	struct pending *p = data;

	(void)req;
	if (!p->interrupt)
		(void)!sd_event_add_defer(p->view->event, &p->interrupt, on_interrupted, p);
}

struct pending *pending_new(struct view *v, fuse_req_t req, struct node *n)
{
	struct pending *p = calloc(1, sizeof(*p));

	if (!p) {
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	p->view = v;
	p->req = req;
	p->node = n;
	if (n)
		n->lookups++;
	p->next = v->pendings;
	p->prev = &v->pendings;
	if (p->next)
		p->next->prev = &p->next;
	v->pendings = p;
	fuse_req_interrupt_func(req, on_interrupt, p);
	return p;
}

/* Frees it as soon as nothing refers to it any more. */
static void release(struct pending *p)
{
	p->deadline = sd_event_source_disable_unref(p->deadline);
	p->interrupt = sd_event_source_disable_unref(p->interrupt);
	if (p->waiting)
		return;
	*p->prev = p->next;
	if (p->next)
		p->next->prev = p->prev;
	if (p->node) {
		p->node->lookups--;
		node_release(p->view->folder->nodes, p->node);
	}
	free(p);
}

void pending_end(struct pending *p)
{
	p->req = NULL;
	p->seq = 0;
	if (p->for_commit && p->waiting) {
		committer_forget(p->view->committer, &p->waiter);
		p->waiting = false;
	}
	release(p);
}

void pending_reply_err(struct pending *p, int result)
{
	if (p->req)
		fuse_reply_err(p->req, pending_errno(result));
	pending_end(p);
}

static int on_deadline(sd_event_source *s, uint64_t us, void *data)
{
	(void)s;
	(void)us;
	pending_reply_err(data, -ETIMEDOUT);
	return 0;
}

static bool has_come(const struct pending *p)
{
	const struct folder *f = p->view->folder;

	return p->req && p->bytes.len && folder_is_known(f, &p->bytes);
}

/* Whoever goes on may change the list. */
void pending_bytes_came(struct view *v)
{
	struct pending *p = v->pendings;

	while (p) {
		if (has_come(p)) {
			p->bytes.len = 0;
			p->resume(p, 0);
			p = v->pendings;
		} else {
			p = p->next;
		}
	}
}

static void on_fetched(void *ctx, int result, const struct error *err)
{
	struct pending *p = ctx;

	(void)err;
	if (result == -ESTALE)
		p->view->found_stale(p->view->found_ctx);
	p->waiting = false;
	p->deadline = sd_event_source_disable_unref(p->deadline);
	p->bytes.len = 0;
	if (p->req)
		p->resume(p, result);
	else
		release(p);
}

void pending_wait_bytes(struct pending *p, const struct romfs_extent *missing, pending_fn resume)
{
	struct view *v = p->view;
	int r;

	p->resume = resume;
	p->bytes = *missing;
	p->deadline = sd_event_source_disable_unref(p->deadline);
	r = sd_event_add_time_relative(v->event, &p->deadline, CLOCK_MONOTONIC,
		(uint64_t)VIEW_DEADLINE_MS * 1000, 100000, on_deadline, p);
	if (r >= 0)
		r = fetch_start(v->worker, v->flash, missing, on_fetched, p);
	if (r < 0) {
		pending_reply_err(p, r);
		return;
	}
	p->waiting = true;
}

void pending_wait_journal(struct pending *p, uint64_t seq)
{
	int r = journal_request_sync(p->view->folder->journal, seq);

	if (r < 0)
		pending_reply_err(p, r);
	else
		p->seq = seq;
}

void pending_journal_synced(struct view *v)
{
	struct pending *p, *next;
	uint64_t seq = 0;
	int r = journal_synced(v->folder->journal, &seq);

	for (p = v->pendings; p; p = next) {
		next = p->next;
		if (p->seq && (r < 0 || p->seq <= seq))
			pending_reply_err(p, r);
	}
}

static void on_committed(void *ctx, int result)
{
	struct pending *p = ctx;

	p->waiting = false;
	pending_reply_err(p, result);
}

void pending_wait_commit(struct pending *p)
{
	p->for_commit = true;
	p->waiting = true;
	p->waiter.done = on_committed;
	p->waiter.ctx = p;
	committer_sync(p->view->committer, &p->waiter);
}

void pending_end_all(struct view *v, int result)
{
	struct pending *p, *next;

	for (p = v->pendings; p; p = next) {
		next = p->next;
		if (p->req)
			pending_reply_err(p, result);
	}
}
