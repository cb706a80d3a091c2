/* SPDX-License-Identifier: MIT */
/* Small text files in directories that others may write to as well: nothing that stands there
 * is followed, waited for or believed. */
#pragma once

#include <sys/types.h>

#include "util/macros.h"

/* Replaces `name` in `dirfd`; readers see the old or the new text whole. Not flushed, for what
 * is information: after a power cut it may be empty. */
must_check int textfile_replace(int dirfd, const char *name, mode_t mode, const char *text);
/* The same for what is state: file and directory are flushed, which may take long. After a
 * power cut the old or the new text is there. */
must_check int textfile_keep(int dirfd, const char *name, mode_t mode, const char *text);
/* Up to cap - 1 bytes, terminated at the first NUL; -ENOENT where `name` is no file. */
must_check int textfile_read(int dirfd, const char *name, char *out, size_t cap);
