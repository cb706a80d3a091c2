/* SPDX-License-Identifier: MIT */
/* Whole reads and writes on files, and files that appear whole or not at all. All return
 * 0 or -errno. None may be used on a tty: they wait without a deadline. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/macros.h"

/* Exactly `len` bytes; a file that ends before gives -ENODATA. */
must_check int io_pread_full(int fd, void *buf, size_t len, off_t off);
must_check int io_pwrite_full(int fd, const void *buf, size_t len, off_t off);
must_check int io_write_full(int fd, const void *buf, size_t len);

/* fsync(2) of the directory `path` relative to `dirfd`. */
must_check int io_sync_dir(int dirfd, const char *path);

/* Replaces the file `name` in `dirfd` by these bytes: temporary file, fsync, rename,
 * fsync of the directory. After a crash at any point the old or the new bytes are there. */
must_check int io_replace_file(int dirfd, const char *name, const void *buf, size_t len);

/* flock(2) for writing, which a descriptor keeps that somebody forks with until execve(2)
 * closes it: after such a moment's death it is free only a little later. -EWOULDBLOCK: it is
 * not free within `wait_ms`, which this blocks for. */
must_check int io_lock(int fd, unsigned wait_ms);

/* mkdir -p, mode 0700 for each directory made. */
must_check int io_make_dirs(const char *path);
