/* SPDX-License-Identifier: MIT */
/* Files that a commit has given another place on flash without changing them, and the nodes
 * that refer to the old one. */
#pragma once

#include "fuse/folder.h"

struct moves {
	struct move {
		uint64_t from, to, size; /* bytes of the partition */
	} *v;
	size_t n, cap;
};

void moves_done(struct moves *m);
/* `size` bytes at `from` stand at `to`. The same place is no move. */
must_check int moves_add(struct moves *m, uint64_t from, uint64_t to, uint64_t size);
/* Loop thread: whatever node has such a content, linked or not, has it at the new place. */
void moves_apply(const struct moves *m, struct folder *f);
void moves_undo(const struct moves *m, struct folder *f);
