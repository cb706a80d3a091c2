/* SPDX-License-Identifier: MIT */
/* A request that is answered later. It ends in one of four ways: what it waits for happens,
 * its deadline passes (ETIMEDOUT), its caller is interrupted (EINTR), or the folder goes
 * (EIO). */
#pragma once

#include "fuse/view.h"

struct pending;

/* Goes on with the request: answers it, or waits again. `result` is 0 or -errno. Must end
 * with pending_reply_*, or with another wait. */
typedef void (*pending_fn)(struct pending *p, int result);

struct pending {
	struct view *view;
	fuse_req_t req; /* NULL: answered already, only the wait has to end */
	struct node *node; /* kept alive; may be NULL */
	pending_fn resume;
	bool waiting; /* fetch or commit still refers to this */
	uint64_t seq; /* of the journal; 0: not waiting for it */
	struct committer_waiter waiter;
	bool for_commit;
	struct romfs_extent bytes; /* that are waited for; empty: none are */
	sd_event_source *deadline, *interrupt;
	struct pending *next, **prev;
	/* What the request was, for `resume`. */
	struct fuse_file_info fi;
	struct stat attr;
	int to_set;
	uint64_t off;
	size_t size;
};

/* NULL (and the request answered with ENOMEM) when memory is short. */
struct pending *pending_new(struct view *v, fuse_req_t req, struct node *n);

/* Then resume(p, ...) is called: */
void pending_wait_bytes(struct pending *p, const struct romfs_extent *missing, pending_fn resume);
/* The request is answered with 0 or the error when all staged bytes up to seq are durable. */
void pending_wait_journal(struct pending *p, uint64_t seq);
/* ... when all that is staged by now is on flash. */
void pending_wait_commit(struct pending *p);

/* After an answer that the caller has sent itself. */
void pending_end(struct pending *p);
void pending_reply_err(struct pending *p, int result);

/* The mirror has got something: by somebody's fetch, or by a commit, which learns all that it
 * needs of flash before it writes, while the job that was to fetch it waits behind. */
void pending_bytes_came(struct view *v);
/* The journal's flusher has ended a round. */
void pending_journal_synced(struct view *v);
/* Answers all with this error. */
void pending_end_all(struct view *v, int result);

/* The errno that a program shall see for one of ours. */
int pending_errno(int result);
