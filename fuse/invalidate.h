/* SPDX-License-Identifier: MIT */
/* Tells the kernel that names right below the root are not what it has kept, nor anything
 * below them. The kernel takes the directory's lock for that, which somebody may hold who
 * waits for an answer of the loop's thread: so it has a thread of its own. */
#pragma once

#include "fuse/view.h"

struct invalidation;

/* Takes the names over, and their list, also on failure. What is under way is kept in `*list`,
 * from which those that are over are taken out. */
must_check int invalidation_start(struct fuse_session *session, char **names, size_t n,
	struct invalidation **list);
/* Waits for the end of all, while `serve` answers one request that has come: 0; it gives
 * -errno when none will come any more. */
void invalidation_finish(
	struct invalidation **list, int (*serve)(void *ctx), void *ctx);
