/* SPDX-License-Identifier: MIT */
/* The planner: from (geometry, what flash holds now, the wanted tree) to flash operations.
 *
 * Pure: no device, no clock, no thread. The bytes to program are written to a file of the
 * caller's (`next`).
 *
 * The usual way is to append (FORMAT.md, "The append layout"): file data and a new ROOT go
 * into blank flash, then one slot in front of the old ROOT is used, by an operation that
 * happens whole or not at all. Nothing that the old tree needs is touched before, so a cut
 * leaves the old tree or the new one. Where the slots are used up, or there are none yet,
 * block 0 is written anew, its first write unit last: a cut in the middle of that leaves no
 * file system. Where even that leaves too little room, the old tree is given up first, and
 * flash is rewritten in place or as a packed image; a cut leaves the old tree, none, or the
 * new one. */
#pragma once

#include "libromfs/pack.h"
#include "libromfs/parse.h"

struct romfs_geometry {
	uint64_t size;	      /* bytes of the partition, a multiple of erase_block */
	uint32_t erase_block; /* bytes, >= 1; need not be a power of two */
	uint32_t write_unit;  /* bytes; divides erase_block */
	bool no_erase;	      /* memory that is overwritten freely (MRAM) */
	bool prefix_erase;    /* only a prefix from 0 can be erased ("whole" targets) */
	bool twice;	      /* a programmed write unit may be programmed again, clearing more
			       * bits (NOR without ECC): proven, never assumed */
};

/* Flash as it is now. `read` gives -ENODATA (err untouched) for bytes whose content is not
 * known: other programs' leftovers, or what a cut has left. Unknown free space is never
 * taken for blank: it is left alone, or erased where it is needed. Only metadata and free
 * space are read, in pieces of an erase block or less; the bytes of files come from
 * `content`. */
struct romfs_flash {
	struct romfs_source source;	 /* size == geometry.size */
	const struct romfs_image *image; /* parsed from it, or NULL: nothing to keep */
	const uint32_t *erases; /* by erase block: how often it was erased; NULL: not known */
	/* What somebody needs though neither tree may: appends, renewals and tidying leave it
	 * alone. In any order. */
	const struct romfs_extent *keep;
	size_t n_keep;
	const uint8_t *bad; /* by erase block: not 0: it has failed, and nothing new goes
			     * there; NULL: none has */
};

enum romfs_goal {
	ROMFS_SAVE,    /* the wanted tree while the old one is there all the time, or all but
			* the moment in which block 0 is written; else -ENOSPC */
	ROMFS_REWRITE, /* the wanted tree in any way that fits */
	ROMFS_TIDY,    /* `wanted` is the tree on flash: one step that gains blank blocks, by
			* erasing dead ones or, where there are none, by moving live data out
			* of the emptiest; no operations where nothing can be gained */
	ROMFS_PACK,    /* the wanted tree as romfs_pack writes it, at the start */
};

/* How a plan brings the new tree to flash, by what a cut can leave. */
enum romfs_way {
	ROMFS_WAY_NOTHING, /* flash is right already: no operations */
	ROMFS_WAY_ERASE,   /* dead blocks are erased; the tree is not touched */
	ROMFS_WAY_APPEND,  /* the old tree or the new one, at any time */
	ROMFS_WAY_RENEW,   /* the same, but "no file system" while block 0 is written */
	ROMFS_WAY_REPLACE, /* "no file system" from its first operation on block 0 to the last */
};

enum romfs_op_kind {
	ROMFS_OP_ERASE,	  /* [off, off+len): whole erase blocks */
	ROMFS_OP_PROGRAM, /* [off, off+len): whole write units; bytes of `next` at src */
	ROMFS_OP_CHECK,	  /* flash at [off, off+len) must hold the bytes of `next` at src;
			   * nothing behind it may be done where it does not */
};

struct romfs_op {
	uint64_t off, len; /* bytes from the start of the partition */
	uint64_t src; /* PROGRAM, CHECK: offset in `next`. At geometry.size and behind it are
		       * bytes that flash holds only for a time */
	enum romfs_op_kind kind;
};

struct romfs_plan {
	struct romfs_op *ops; /* to be done in this order */
	size_t n_ops;
	enum romfs_way way;
	/* What the operations change, sorted and merged, when all are done. With WAY_NOTHING,
	 * WAY_ERASE and WAY_APPEND `next` has bytes only there; elsewhere flash keeps what it
	 * holds, and a CHECK there (of a neighbour) is against that. With the other ways
	 * `next` holds the whole partition. */
	struct romfs_extent *touched;
	size_t n_touched;
	/* Free space that is not known and stays so: `next` holds anything there. */
	struct romfs_extent *unknown;
	size_t n_unknown;
	uint64_t image_size;  /* bytes of the new image */
	uint64_t erase_count; /* erase blocks to erase */
	uint64_t program_bytes;
	uint64_t moved_bytes; /* of these: of files that change their place only */
};

/* Plans; `wanted` is sorted and its files' data_off set to their place in flash when all is
 * done. Files with data_off set on entry are on flash at that place with these bytes; the
 * others come from `content`, which must be able to give those on flash too. A file without
 * data_off that has the bytes which its path has on flash already counts as unchanged.
 * `next_fd` is an open file, not the one behind the source, truncated and rewritten; it is
 * not fsynced. -ENOSPC, with how much is wanted and how much there is, when the tree does
 * not fit (ROMFS_SAVE: does not fit beside the old one). On failure only the order of
 * `wanted` and the bytes of next_fd have changed. */
must_check int romfs_plan(const struct romfs_geometry *geometry,
	const struct romfs_flash *now, enum romfs_goal goal, struct romfs_tree *wanted,
	const struct romfs_pack_options *options, romfs_content_fn content, void *content_ctx,
	int next_fd, struct romfs_plan **out, struct error *err);
/* The same for flash whose first `len` bytes shall be those of `next_fd`, byte by byte; they
 * hold `image`, which was parsed from them. The rest of the erase block in which they end
 * becomes blank where it has to be erased, and everything behind it stays as it is. */
must_check int romfs_plan_image(const struct romfs_geometry *geometry,
	const struct romfs_flash *now, const struct romfs_image *image, uint64_t len,
	int next_fd, struct romfs_plan **out, struct error *err);
void romfs_plan_free(struct romfs_plan *plan);
DEFINE_CLEANUP(struct romfs_plan *, romfs_plan_free);

/* After a cut while a slot was being used, flash that shows the new tree may show the old one
 * later: the bit that makes the difference may be half cleared. Programming `out`, in which
 * that bit stands, again with the bytes that it reads as makes it last. 1: do so before
 * anything else; 0: this memory cannot, or need not. */
must_check int romfs_confirm(const struct romfs_geometry *geometry,
	const struct romfs_source *now, struct romfs_extent *out, struct error *err);

/* How the room of a partition is used, for people and for whoever decides on ROMFS_TIDY. */
struct romfs_usage {
	bool append;	 /* the image has the append layout's head */
	unsigned slots, slots_free; /* saves until block 0 is written anew */
	unsigned walk;	 /* records that a board walks before the tree */
	uint64_t live;	 /* bytes of files and metadata */
	uint64_t blank;	 /* bytes of pages that can be programmed at once */
	uint64_t dead;	 /* bytes of erase blocks that hold nothing alive, and are not blank */
	uint64_t mixed;	 /* dead bytes in erase blocks that hold live ones too */
	uint64_t bad;	 /* bytes of blocks that are set aside and hold nothing alive */
};
must_check int romfs_usage(const struct romfs_geometry *geometry,
	const struct romfs_flash *now, struct romfs_usage *out, struct error *err);

/* What df and ENOSPC reckon with: a tree whose entries' sum, with the overhead, is at most
 * geometry.size can always be planned, with its notes, from whatever is on flash. Bytes
 * that an entry of this name, size and alignment takes at most in the tightest form that
 * the planner has. */
uint64_t romfs_plan_entry_bytes(
	enum romfs_type type, size_t name_len, uint64_t size, uint32_t align);
uint64_t romfs_plan_overhead(const struct romfs_geometry *geometry);
