/* SPDX-License-Identifier: MIT */
/* The planner: from (geometry, what flash holds now, the wanted tree) to flash operations.
 *
 * Pure: no device, no clock, no thread. What flash shall hold at the end is written to a
 * file of the caller's (`next`), which is both the source of every programmed byte and the
 * mirror of the flash once all operations are done.
 *
 * This planner keeps what it can where it is: a file whose content is on flash stays at
 * its place, new content goes into blank space, into blocks that hold nothing alive, where
 * its old version was, or where else it fits, and only blocks whose bytes differ are
 * touched. What the old tree does not need is erased and programmed first, while that tree
 * is still there. Then block 0, with the header, is made invalid, and its first write unit
 * is written last of all, so a cut leaves the old tree, "no file system", or the new tree,
 * never a mixture. A prefix erase must proceed upwards for this, and a program of one write
 * unit happen whole or not at all.
 * A planner for the append layout takes its place behind this interface. */
#pragma once

#include "libromfs/pack.h"
#include "libromfs/parse.h"

struct romfs_geometry {
	uint64_t size;	      /* bytes of the partition, a multiple of erase_block */
	uint32_t erase_block; /* bytes, >= 1; need not be a power of two */
	uint32_t write_unit;  /* bytes; divides erase_block */
	bool no_erase;	      /* memory that is overwritten freely (MRAM) */
	bool prefix_erase;    /* only a prefix from 0 can be erased ("whole" targets) */
};

/* Flash as it is now. `read` gives -ENODATA (err untouched) for bytes whose content is not
 * known, for example after a cut: such a block is never taken for blank or for equal; it is
 * erased (or overwritten), be it in use or not, so that `next` is right about it. The whole
 * partition is read, free space too, several times and in pieces of an erase block. */
struct romfs_flash {
	struct romfs_source source; /* size == geometry.size */
	const struct romfs_image *image; /* parsed from it, or NULL: nothing to keep */
};

enum romfs_op_kind {
	ROMFS_OP_ERASE,	  /* [off, off+len): whole erase blocks */
	ROMFS_OP_PROGRAM, /* [off, off+len): whole write units; bytes of `next` at src */
};

struct romfs_op {
	uint64_t off, len; /* bytes from the start of the partition */
	uint64_t src;	   /* PROGRAM: offset in `next` */
	enum romfs_op_kind kind;
};

struct romfs_plan {
	struct romfs_op *ops; /* to be done in this order; none: flash is right already */
	size_t n_ops;
	/* Ranges whose hash on the board must equal `next` when all is done: what was
	 * written, and the erase blocks beside it. Sorted, merged. */
	struct romfs_extent *verify;
	size_t n_verify;
	uint64_t image_size;  /* bytes of the new image */
	uint64_t erase_count; /* erase blocks to erase */
	uint64_t program_bytes;
	bool repacked; /* nothing could stay where it was */
};

/* Plans; `wanted` is sorted and its files' data_off set to their place in `next`. Files
 * with data_off set on entry are on flash at that place with these bytes; the others come
 * from `content`, which must be able to give those on flash too: it is asked where the
 * source does not know them. A file without data_off that has the bytes which its path has
 * on flash already counts as unchanged. `next_fd` is an open file, not the one behind the
 * source, rewritten to exactly geometry.size bytes; it is not fsynced. Where nothing
 * stands it holds what flash holds: 0xFF in blocks that are erased, else what was there.
 * -ENOSPC, with how much is wanted and how much there is, when the tree does not fit. On
 * failure only the order of `wanted` and the bytes of next_fd have changed. */
must_check int romfs_plan(const struct romfs_geometry *geometry,
	const struct romfs_flash *now, struct romfs_tree *wanted,
	const struct romfs_pack_options *options, romfs_content_fn content, void *content_ctx,
	int next_fd, struct romfs_plan **out, struct error *err);
void romfs_plan_free(struct romfs_plan *plan);
DEFINE_CLEANUP(struct romfs_plan *, romfs_plan_free);

/* What df and ENOSPC reckon with: a tree whose entries' sum, with the overhead, is at most
 * geometry.size can always be planned, with its notes, from whatever is on flash. Bytes
 * that an entry of this name, size and alignment takes at most in the tightest form that
 * the planner has. */
uint64_t romfs_plan_entry_bytes(
	enum romfs_type type, size_t name_len, uint64_t size, uint32_t align);
uint64_t romfs_plan_overhead(const struct romfs_geometry *geometry);
