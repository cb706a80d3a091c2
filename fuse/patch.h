/* SPDX-License-Identifier: MIT */
/* The patch: the bytes that one append brings to flash, in a nameless file of the state
 * directory, and what the host knows of the chunks of the mirror that they touch.
 *
 * A commit by appending writes a patch in place of a whole image: in its order, planned
 * (patch_fd), completed, forgotten in the mirror, carried out, applied to the mirror. For
 * the worker's thread; waits for the disk. After a crash the file is gone, and the mirror
 * knows nothing of the chunks: they are fetched again when they are needed. */
#pragma once

#include "fuse/mirror.h"
#include "libromfs/parse.h"

struct patch;

/* For a partition of `size` bytes. */
must_check int patch_new(int dirfd, uint64_t size, struct patch **out);
void patch_free(struct patch *p);
DEFINE_CLEANUP(struct patch *, patch_free);

/* What romfs_plan takes as next_fd; the patch's. */
int patch_fd(const struct patch *p);
/* After planning: `touched` is the plan's. Chunks that it touches in part are filled up with
 * what the mirror (or NULL) knows of the rest. What it does not know is not known in the
 * patch. */
must_check int patch_complete(struct patch *p, const struct romfs_extent *touched, size_t n,
	const struct mirror *m);
/* The same for a plan that has written the whole partition but for `unknown`. */
must_check int patch_whole(struct patch *p, const struct romfs_extent *unknown, size_t n);
/* Makes a patch whole, as far as `now` knows the rest of flash. */
must_check int patch_fill(
	struct patch *p, const struct romfs_source *now, struct error *err);
/* Gives it a name in the directory, so that it is there after a crash. Its bytes are on disk
 * when this returns, its name when the directory is. */
must_check int patch_keep(struct patch *p, int dirfd, const char *name);
/* The named one can be adopted as the mirror: what it does not know is not claimed. */
must_check int patch_seal(struct patch *p);
/* What flash holds when all is done: the patch's bytes, and `under` (the caller's, kept in
 * use) where it has none. Offsets at `size` and behind it are bytes of the plan that flash
 * holds for a time. */
struct romfs_source patch_source(struct patch *p, const struct romfs_source *under);

/* All chunks that the plan touches are not in the mirror any more, also after a power cut
 * once this returns 0: before flash changes. */
must_check int patch_forget(const struct patch *p, struct mirror *m);
/* Flash holds the patch. What cannot be stored, or was not known whole, stays unknown. */
void patch_apply(const struct patch *p, struct mirror *m);
