/* SPDX-License-Identifier: MIT */
/* What the files of the folder share among themselves. */
#pragma once

#include "fuse/folder.h"

int64_t folder_now(void); /* ns since the epoch */
/* Counts a change of what flash shall hold, if the node matters for it. */
void folder_note_change(struct folder *f, const struct node *n);
/* Bytes that are safe, of a place that a node refers to. -ENODATA as folder.h has it. */
must_check int folder_read_content(const struct folder *f, const struct content *c,
	uint64_t off, void *buf, size_t len);
must_check int folder_copy_content(const struct folder *f, const struct content *c, int fd);
/* Copies the safe bytes of a linked file into the journal, wherever they are. */
must_check int folder_keep_content(struct folder *f, struct node *n);
/* The node as the journal keeps it; points into the node. */
void folder_entry_of(const struct node *n, struct journal_entry *out);
/* Takes a node out of the tree that the journal does not have any more. */
void folder_unlink_node(struct folder *f, struct node *n);
