/* SPDX-License-Identifier: MIT */
/* Directories that are known as ours after a crash, by an empty file in them that has the
 * directory's name in its own: `.NAME.made` where we have made the directory, `.NAME.used`
 * where it was there, and empty. A copy, or one that was renamed, is its owner's.
 *
 * The mark is a name without contents, and is there before the directory has its name: a crash
 * or a power cut leaves either nothing of this name, or a directory with its mark. What it may
 * leave besides is `.NAME.romount`, which the next markdir_make uses.
 *
 * All return 0 or -errno. Waits for the local file system only. */
#pragma once

#include <stdbool.h>

#include "util/macros.h"

/* Makes `name` in `rootfd`, or takes what is there where that is an empty directory of this
 * user's. -EEXIST: something else is there. The caller closes *fd. */
must_check int markdir_make(int rootfd, const char *name, int *fd);

/* Whether the opened directory has a mark, for its name. */
bool markdir_is_marked(int fd, const char *name);
/* Whether an entry of the directory is its mark. */
bool markdir_is_mark(const char *name, const char *entry);

/* Takes the mark away, and the directory if it was made; everything else in it must be gone
 * before. -ENOTEMPTY: it is not, and the directory stays as its owner's. */
must_check int markdir_remove(int rootfd, int fd, const char *name);

/* Removes `entry` of `rootfd` if it is what a crash in markdir_make, or in markdir_remove, has
 * left with its mark. */
void markdir_remove_half(int rootfd, const char *entry);
