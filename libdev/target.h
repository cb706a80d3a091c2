/* SPDX-License-Identifier: MIT */
/* A target: a partition (or an image file) as something to read, erase and program. The
 * differences between ports (see quirks.h) end here.
 *
 * Blocking, for one worker thread; every call ends by its own deadline, which grows with
 * the work, or by the transport's cancel descriptor. Every result that a board gives is
 * checked; all bounds are checked here, on the host, before a byte is sent: ranges must lie
 * inside the partition and be whole erase blocks (erase) or whole write units (program),
 * else -EINVAL, which is our own mistake. -ENODEV: the board is gone; -EIO: it said that an
 * operation failed, or bytes were not what they should be; -ETIMEDOUT: it stopped
 * answering. After any error the session is over: free it and open a new one. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"
#include "util/sha256.h"

enum dev_target_kind {
	DEV_TARGET_BLOCK,   /* a block device object: ioctl and writeblocks */
	DEV_TARGET_PARTIAL, /* rom_ioctl erases any range */
	DEV_TARGET_WHOLE,   /* rom_ioctl erases a prefix, from 0 */
	DEV_TARGET_READONLY, /* neither erases nor programs */
	DEV_TARGET_IMAGE,   /* a file */
};

/* Whether a write unit that was programmed may be programmed again, without an erase, as
 * long as bits are only cleared. UNKNOWN: dev_target_probe_twice finds out. */
enum dev_twice {
	DEV_TWICE_UNKNOWN,
	DEV_TWICE_NO,
	DEV_TWICE_YES,
};

struct dev_geometry {
	enum dev_target_kind kind;
	unsigned number;      /* N of romN */
	uint64_t size;	      /* bytes */
	uint32_t erase_block; /* bytes: smallest erasable range, aligned to itself */
	uint32_t write_unit;  /* bytes: programs are aligned multiples of it */
	bool no_erase;	      /* overwritten freely: nothing needs erasing */
	bool prefix_erase;    /* erase takes [0, len) only */
	enum dev_twice twice;
	bool has_address;     /* address is known */
	uint64_t address;     /* where the board maps the partition */
	unsigned erase_ms_max;	 /* worst case for one erase block */
	unsigned program_ms_max; /* worst case for 4 KiB */
};

struct dev_extent {
	uint64_t off, len; /* bytes */
};

struct dev_counters {
	uint64_t erased_blocks, programmed_bytes, read_bytes, hashed_bytes;
};

struct dev_target;

struct dev_target_ops {
	int (*read)(struct dev_target *t, uint64_t off, void *buf, size_t len,
		struct error *err);
	/* SHA-256 of each consecutive `step` bytes of [off, off+len) (the last may be
	 * shorter), computed on the board: ceil(len/step) digests. */
	int (*hash)(struct dev_target *t, uint64_t off, uint64_t len, uint64_t step,
		uint8_t (*out)[SHA256_SIZE], struct error *err);
	/* SHA-256 of each extent as a whole. NULL: hash() for each. */
	int (*hash_list)(struct dev_target *t, const struct dev_extent *v, size_t n,
		uint8_t (*out)[SHA256_SIZE], struct error *err);
	int (*erase)(struct dev_target *t, uint64_t off, uint64_t len, struct error *err);
	int (*program)(struct dev_target *t, uint64_t off, const void *buf, size_t len,
		struct error *err);
	/* As program, but 1 where flash refused, and the target goes on. NULL: never refuses. */
	int (*try_program)(struct dev_target *t, uint64_t off, const void *buf, size_t len,
		struct error *err);
	/* Tells the board that a series of operations is over. */
	int (*finish)(struct dev_target *t, struct error *err);
	void (*free)(struct dev_target *t);
};

#define DEV_NOT_REFUSED UINT64_MAX
struct dev_target {
	const struct dev_target_ops *ops;
	struct dev_geometry geometry;
	struct dev_counters counters;
	/* Where flash refused the last erase or program, as the board tells; any other error
	 * leaves DEV_NOT_REFUSED. */
	uint64_t refused_at;
};

/* These check bounds and count, then call the operation. */
must_check int dev_target_read(
	struct dev_target *t, uint64_t off, void *buf, size_t len, struct error *err);
must_check int dev_target_hash(struct dev_target *t, uint64_t off, uint64_t len,
	uint64_t step, uint8_t (*out)[SHA256_SIZE], struct error *err);
/* SHA-256 of each of `n` extents, of any size, in any order: many in one request, where
 * dev_target_hash would need one each. */
must_check int dev_target_hash_list(struct dev_target *t, const struct dev_extent *v, size_t n,
	uint8_t (*out)[SHA256_SIZE], struct error *err);
must_check int dev_target_erase(
	struct dev_target *t, uint64_t off, uint64_t len, struct error *err);
must_check int dev_target_program(
	struct dev_target *t, uint64_t off, const void *buf, size_t len, struct error *err);
must_check int dev_target_finish(struct dev_target *t, struct error *err);
void dev_target_free(struct dev_target *t);
DEFINE_CLEANUP(struct dev_target *, dev_target_free);

/* Finds out whether flash may be programmed twice, on the write unit at `off`, which must be
 * blank (else -EINVAL, and nothing is done): programs some of its bits, then more, and reads
 * back. Whatever else comes of it, a refusal included, is a no, and the target goes on.
 * Leaves at most 4 bytes that are not blank, at the unit's start. */
must_check int dev_target_probe_twice(
	struct dev_target *t, uint64_t off, bool *twice, struct error *err);

const char *dev_target_kind_name(enum dev_target_kind kind); /* "block device", ... */

/* An image file as a target: erase block 4096, write unit 1; `size` bytes, or the file's
 * own size where 0. For writing, this is rounded up to whole erase blocks, and a file that
 * is shorter grows, with 0xFF, when it is first written; a reader sees a file of any size as
 * it is. A smaller `size` than the file's is an error.
 * The file is locked (flock) while it is open for writing; a missing file is an error.
 * Programming ANDs nothing: a file holds any byte. finish() is fsync. */
must_check int dev_image_open(
	const char *path, uint64_t size, bool writable, struct dev_target **out,
	struct error *err);
