/* SPDX-License-Identifier: MIT */
/* What a journal should say: the nodes after a series of changes, contents by checksum. */
#pragma once

#include "fuse/journal.h"
#include "tests/unit/scratch.h"

#define MODEL_NODES 48u /* ids 1 to 47 */

struct model_node {
	bool there;
	uint8_t type;
	char name[256];
	uint64_t parent, size;
	int64_t mtime_ns;
	uint32_t crc; /* of the content */
	struct content content;
};

struct model {
	struct model_node nodes[MODEL_NODES];
	int log_fd; /* where CONTENT_LOG is read for its checksum */
};

extern const struct journal_header model_header;

/* A journal_replay_fn on a struct model. */
int model_apply(void *ctx, const struct journal_change *change);
/* Equal digests: equal nodes. Where in which file contents stand is no part of it. */
uint32_t model_digest(const struct model *m);

/* Opens the journal in the directory and replays it. The model is reset first. */
int model_open(int dirfd, struct model *m, bool *changed, struct journal **out,
	struct error *err);

/* One frame of random changes on the nodes. `planned` is told the digest after it, before
 * it is appended. On success the model has them. */
int model_random_append(struct model *m, struct journal *j, int data_fd, uint64_t *rng,
	void (*planned)(void *ctx, uint32_t digest), void *ctx);
/* journal_rewrite with the model's nodes. */
int model_rewrite(struct model *m, struct journal *j);
/* Asks for a flush of everything and waits for it. */
int model_sync(struct journal *j, uint64_t *seq);
