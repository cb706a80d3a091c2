/* SPDX-License-Identifier: MIT */
/* Reckoning of space: what each node will take on flash, so that ENOSPC comes when the user
 * writes and never later. Loop thread only. */
#pragma once

#include "fuse/folder.h"

/* Reckons the node with this size from now on; -ENOSPC leaves the old reckoning. */
must_check int space_charge(struct folder *f, struct node *n, uint64_t size);
void space_release(struct folder *f, struct node *n);
void space_recount(struct folder *f);
/* Whether the node may take this name in `dir` (replacing `over`), being junk there or not. */
must_check int space_check_move(const struct folder *f, const struct node *n,
	const struct node *over, const struct node *dir, const char *name, bool junk);
