/* SPDX-License-Identifier: MIT */
/* The mirror: the host's copy of one partition's flash, as far as it is known.
 *
 * One file, `base` in the partition's state directory: the partition's bytes, and behind
 * them one byte per chunk of 4 KiB (the last chunk may be shorter) that tells whether the
 * chunk is there (FORMAT.md). Both in one file, so that no crash can pair the bytes of one
 * image with the map of another. The map on disk never claims a chunk that is not on disk.
 *
 * Threads: mirror_read, mirror_has, mirror_missing and mirror_ref for any thread, while one
 * other stores, forgets or flushes. mirror_adopt and mirror_free only while nobody else is
 * in any of these; references stay valid. Everything but mirror_has, mirror_missing and the
 * references waits for the disk, mirror_read for reading alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "libromfs/parse.h"
#include "util/error.h"
#include "util/macros.h"

#define MIRROR_CHUNK 4096u

struct mirror;

/* Opens the mirror of a partition of `size` bytes. Where there is none, or one of another
 * size, or one that makes no sense, a new one with nothing in it takes its place. */
must_check int mirror_open(
	int dirfd, uint64_t size, struct mirror **out, struct error *err);
/* What was stored and not flushed is not there the next time. */
void mirror_free(struct mirror *m);
DEFINE_CLEANUP(struct mirror *, mirror_free);

uint64_t mirror_size(const struct mirror *m);

/* -ENODATA where any of the bytes is not there. Ranges lie inside the partition, else
 * -EINVAL, for all functions. */
must_check int mirror_read(const struct mirror *m, uint64_t off, void *buf, size_t len);
bool mirror_has(const struct mirror *m, uint64_t off, uint64_t len);
/* True: something of the range is missing; *run_off and *run_len are the first row of
 * missing chunks that touch it, as whole chunks, to be read from the board and stored. */
bool mirror_missing(const struct mirror *m, uint64_t off, uint64_t len, uint64_t *run_off,
	uint64_t *run_len);

/* Takes whole chunks; they are there at once, for this process. Over a chunk that is there
 * and differs, it is forgotten first. */
must_check int mirror_store(struct mirror *m, uint64_t off, const void *buf, size_t len);
/* Makes what was stored last: data first, then the map. */
must_check int mirror_flush(struct mirror *m);
/* The chunks that touch the range are not there any more, also after a power cut once this
 * returns 0: to be called BEFORE flash is changed there. On failure they may be there
 * again after a restart: do not change the flash. */
must_check int mirror_forget(struct mirror *m, uint64_t off, uint64_t len);
/* The same for many ranges, with one flush. */
must_check int mirror_forget_list(
	struct mirror *m, const struct romfs_extent *list, size_t n);

/* Makes a file of exactly the partition's bytes one that can be adopted: it grows by a map,
 * in which everything is there but the chunks that touch `unknown`. On disk when it returns
 * 0. */
must_check int mirror_seal(
	int fd, uint64_t size, const struct romfs_extent *unknown, size_t n);
/* The file `name` in the directory, sealed, becomes the mirror by a rename: after a crash
 * the old mirror is there or the new one. -EUCLEAN where it is not sealed, or is one of
 * another partition. On failure the old one goes on, but for a failed flush of the directory
 * after the rename: then the new one is in use and the old one's map is cleared. */
must_check int mirror_adopt(
	struct mirror *m, int dirfd, const char *name, struct error *err);

/* The file behind the mirror, which stays readable when another was adopted meanwhile.
 * Bytes that were there when the reference was taken do not change, unless forgotten and
 * stored again. Reference counts are for any thread. */
struct mirror_file;
struct mirror_file *mirror_ref(const struct mirror *m);
void mirror_unref(struct mirror_file *file);
DEFINE_CLEANUP(struct mirror_file *, mirror_unref);
int mirror_file_fd(const struct mirror_file *file); /* pread in [0, size) */
uint64_t mirror_file_size(const struct mirror_file *file);
