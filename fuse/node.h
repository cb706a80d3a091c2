/* SPDX-License-Identifier: MIT */
/* The node table: what the folder shows, in memory. Files and directories by id and by
 * (parent, name). It knows nothing of journals, flash or FUSE requests, and it is the only
 * place that links and unlinks nodes. For the loop's thread alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "fuse/journal.h"
#include "libromfs/tree.h"

struct scratch;

struct node {
	uint64_t id;	     /* journal id and inode number; never used twice */
	struct node *parent; /* NULL: the root, or unlinked */
	char *name;
	uint8_t type; /* enum romfs_type */
	bool linked;  /* reachable from the root */
	bool junk;    /* never goes to flash, by its name or a parent's (junk.h) */
	bool fresh;	 /* created, and not in the journal yet */
	bool mtime_set;	 /* by the user since the last write: to be kept even where the bytes
			  * turn out to be the same */
	int64_t mtime_ns, ctime_ns; /* what a reader sees */
	uint64_t seq;	 /* of the last frame about it: what a close waits for */
	int64_t note_ns; /* modification time that the journal and flash keep */
	struct content content;	 /* bytes that are safe: staged or on flash */
	struct scratch *scratch; /* open for writing: these bytes are newer or equal */
	bool dirty;		 /* the scratch holds what was not staged yet */
	uint64_t size;		 /* what a reader sees: of the scratch, or of the content */
	uint64_t charged;	 /* bytes of the partition that are reckoned for it */
	uint64_t lookups;	 /* references that the kernel holds */
	unsigned opens;		 /* open handles */
	unsigned n_children;
	struct node *first_child, *last_child, *next, *prev; /* siblings, oldest first */
	struct node *id_chain, *name_chain;		     /* hash buckets */
};

struct node_table;

must_check int node_table_new(struct node_table **out); /* with a root */
void node_table_free(struct node_table *t);
DEFINE_CLEANUP(struct node_table *, node_table_free);

/* A table whose nodes node_take_over can move: no id that it gives to its first `count` nodes
 * is given by `t`. Another thread may fill it. */
must_check int node_table_beside(
	struct node_table *t, uint64_t count, struct node_table **out);
/* All that stands in a table beside `t` stands below the root of `t` from now on, where none
 * of its names is taken; `from` is empty then. Cannot fail, and copies nothing. */
void node_take_over(struct node_table *t, struct node_table *from);

struct node *node_root(const struct node_table *t);
size_t node_count(const struct node_table *t); /* linked or not */
struct node *node_by_id(const struct node_table *t, uint64_t id);
struct node *node_child(const struct node_table *t, const struct node *dir, const char *name);

/* A new node, linked below `dir`. `id` 0 takes the next free one; a given id must be
 * unused (-EEXIST), as must the name. */
must_check int node_add(struct node_table *t, struct node *dir, const char *name,
	enum romfs_type type, uint64_t id, struct node **out);
/* Moves a linked node to a name that is free. Takes the name over, which came from malloc:
 * moving cannot fail once the journal has it. */
void node_move(struct node_table *t, struct node *n, struct node *dir, char *name);
/* Two linked nodes, neither below the other, take each other's place. */
void node_exchange(struct node_table *t, struct node *a, struct node *b);
/* Takes it out of the tree (a directory must be empty). It lives on while it is open or
 * known to the kernel, else it is freed at once. */
void node_unlink(struct node_table *t, struct node *n);
/* Frees the node if nothing refers to it any more: call after lookups or opens fell. */
void node_release(struct node_table *t, struct node *n);

/* Levels of directories above the node (the root has 0), and below it. */
unsigned node_depth(const struct node *n);
unsigned node_height(const struct node *n);
/* Next node in preorder below `top`, NULL at the end; start with n = top. */
struct node *node_next(const struct node *top, const struct node *n);
/* Next unlinked node that lives on (open, or known to the kernel); start with NULL. */
struct node *node_next_orphan(const struct node_table *t, const struct node *n);
/* Path from the root, no leading '/', as raw bytes; like snprintf. */
size_t node_path(const struct node *n, char *out, size_t cap);

#define node_foreach_child(dir, c)                                                       \
	for (struct node *c = (dir)->first_child; c; c = c->next)
