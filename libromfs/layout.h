/* SPDX-License-Identifier: MIT */
/* Where everything of a new image stands. Private to libromfs. */
#pragma once

#include "libromfs/head.h"
#include "libromfs/meta.h"
#include "libromfs/space.h"

/* One call of romfs_plan: what it was given, and what was found out about it. */
struct planning {
	const struct romfs_geometry *geometry;
	const struct romfs_flash *now;
	struct romfs_tree *wanted;
	const struct romfs_pack_options *options;
	romfs_content_fn content;
	void *content_ctx;
	int next_fd;
	uint32_t *order; /* preorder of `wanted` */
	uint64_t *home;	 /* by index: where the file's bytes stand on flash, or NO_OFFSET */
	uint64_t *before; /* by index: where a file of this path stood, or NO_OFFSET */
	struct spans old; /* what a board reads of the old image; empty where none is valid */
};

enum layout_kind {
	LAYOUT_HEAD, /* a head, metadata and data anywhere behind it (head.h) */
	LAYOUT_LAID, /* metadata first, data by pointer (meta.h) */
	LAYOUT_PACKED,
};

struct layout {
	enum layout_kind kind;
	uint64_t *place;  /* by index: where the file's data shall stand */
	struct meta meta; /* of HEAD and LAID */
	struct head head; /* of HEAD */
	uint64_t root;	  /* of HEAD: where the metadata stands */
	struct romfs_pack_options pack; /* of PACKED */
	uint64_t size;	  /* bytes of the image */
	struct spans unknown; /* left alone by next_write */
};

#define PLANNING_BAD_FRONT                                                               \
	"the start of the partition must be written anew, and flash has failed there: "      \
	"no file system can be written to it any more"

void planning_done(struct planning *pl);
/* Checks the wanted tree and finds `order`, `home`, `before` and `old`. */
must_check int planning_init(struct planning *pl, struct error *err);
/* A valid image is on flash. */
bool planning_has_image(const struct planning *pl);
bool planning_is_bad(const struct planning *pl, uint64_t off, uint64_t len);
void layout_done(struct layout *l);
/* 1: flash holds the wanted tree already, every file where its home is. */
must_check int layout_keep(const struct planning *pl, struct error *err);
/* The best layout that fits. -ENOSPC. */
must_check int layout_choose(const struct planning *pl, struct layout *l, struct error *err);
/* The packed one, as the options want it. -ENOSPC. */
must_check int layout_pack(const struct planning *pl, struct layout *l, struct error *err);
