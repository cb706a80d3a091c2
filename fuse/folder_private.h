/* SPDX-License-Identifier: MIT */
/* What the files of the folder share among themselves. */
#pragma once

#include "fuse/folder.h"

int64_t folder_now(void); /* ns since the epoch */
/* Counts a change of what flash shall hold, if the node matters for it. */
void folder_note_change(struct folder *f, const struct node *n);
/* The node as the journal keeps it; points into the node. */
void folder_entry_of(const struct node *n, struct journal_entry *out);
