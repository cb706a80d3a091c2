/* SPDX-License-Identifier: MIT */
/* Reckoning of space: what each node will take on flash, so that ENOSPC comes when the user
 * writes and never later. Loop thread only.
 *
 * A file counts with the larger of what is safe and what is being written: a commit takes
 * what is safe, and a close may follow at any time. */
#pragma once

#include "fuse/folder.h"

/* Reckons the node with this size from now on; -ENOSPC leaves the old reckoning. */
must_check int space_charge(struct folder *f, struct node *n, uint64_t size);
/* The same by what it is now, where room was made or checked before. */
void space_settle(struct folder *f, struct node *n);
void space_release(struct folder *f, struct node *n);
void space_recount(struct folder *f);
/* Whether the node, with all below it, may take this name in `dir`, where `over` (or NULL)
 * goes away for it. */
must_check int space_check_move(const struct folder *f, const struct node *n,
	const struct node *over, const struct node *dir, const char *name);
/* Whether two nodes may take each other's place. */
must_check int space_check_exchange(
	const struct folder *f, const struct node *a, const struct node *b);
/* Whether flash would have room for all of a table beside the folder's (node_table_beside), if
 * the folder held nothing else. The thread that has that table. */
must_check int space_check_table(const struct folder *f, const struct node_table *nodes);
