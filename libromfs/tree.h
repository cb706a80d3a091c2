/* SPDX-License-Identifier: MIT */
/* The tree of directories and files that one ROMFS holds, or shall hold.
 *
 * Plain data: nodes in one array, names in one pool, so that thousands of entries cost
 * little memory and freeing is one call. The parser makes trees from images, the folder
 * makes them from what the user staged, the packer and the planner read them.
 *
 * A tree belongs to whoever made it and is not locked: one thread at a time. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/macros.h"

#define ROMFS_NO_NODE UINT32_MAX
#define ROMFS_ROOT 0u		  /* index of the root directory, always there */
#define ROMFS_NO_MTIME INT64_MIN  /* the image keeps no modification time */
#define ROMFS_NO_OFFSET UINT64_MAX

#define ROMFS_NAME_MAX 255u	/* bytes; what Linux can show */
#define ROMFS_DEPTH_MAX 64u	/* directories inside each other */
#define ROMFS_ENTRIES_MAX 65536u
#define ROMFS_SIZE_MAX (1u << 30) /* largest image that is looked at, bytes */

enum romfs_type { ROMFS_DIR, ROMFS_FILE };

struct romfs_node {
	uint32_t parent; /* ROMFS_NO_NODE for the root */
	uint32_t first_child, last_child, next_sibling; /* ROMFS_NO_NODE where none */
	uint32_t name;					/* offset into the name pool */
	uint16_t name_len;
	uint8_t type;	   /* enum romfs_type */
	int64_t mtime_ns;  /* since the epoch, or ROMFS_NO_MTIME */
	uint64_t size;	   /* bytes of file data; 0 for a directory */
	uint64_t data_off; /* where in the flash (from the start of the partition) the
			    * file's data stands now, or ROMFS_NO_OFFSET: new content */
	uint64_t user;	   /* the maker's own: which staged content this is */
};

struct romfs_tree;

must_check int romfs_tree_new(struct romfs_tree **out);
void romfs_tree_free(struct romfs_tree *tree);
DEFINE_CLEANUP(struct romfs_tree *, romfs_tree_free);

/* Adds a node below `parent` as its last child; its other fields are for the caller to
 * set through romfs_tree_node. -EINVAL for a bad name (empty, ".", "..", with '/' or NUL),
 * -ENAMETOOLONG, -ELOOP for too deep, -EOVERFLOW for too many entries. Names are not
 * checked against the siblings' (romfs_tree_find does that). */
must_check int romfs_tree_add(struct romfs_tree *tree, uint32_t parent, enum romfs_type type,
	const char *name, size_t name_len, uint32_t *index);

uint32_t romfs_tree_count(const struct romfs_tree *tree);
/* The pointer is valid until the next romfs_tree_add. */
struct romfs_node *romfs_tree_node(const struct romfs_tree *tree, uint32_t index);
/* NUL-terminated; valid until the next romfs_tree_add. */
const char *romfs_tree_name(const struct romfs_tree *tree, uint32_t index);
/* Child of that name, or ROMFS_NO_NODE. */
uint32_t romfs_tree_find(
	const struct romfs_tree *tree, uint32_t parent, const char *name, size_t len);
/* Node at a '/'-separated path from the root ("" or "/" is the root). */
uint32_t romfs_tree_lookup(const struct romfs_tree *tree, const char *path);
/* Path from the root without a leading '/', as raw bytes; like snprintf. */
size_t romfs_tree_path(
	const struct romfs_tree *tree, uint32_t index, char *out, size_t cap);
/* Sorts every directory's children by name, by bytes (for valid UTF-8 the order of code
 * points, which is how mpremote sorts). */
must_check int romfs_tree_sort(struct romfs_tree *tree);

/* All nodes, the root first: every directory in front of what it holds, siblings by name,
 * whatever order the tree itself has. The caller frees. */
must_check int romfs_tree_preorder(const struct romfs_tree *tree, uint32_t **out);

#define romfs_tree_foreach_child(tree, dir, i)                                           \
	for (uint32_t i = romfs_tree_node(tree, dir)->first_child; i != ROMFS_NO_NODE;   \
		i = romfs_tree_node(tree, i)->next_sibling)
