/* SPDX-License-Identifier: MIT */
/* A power cut for one file: what was flushed is there, and each sector written since is in
 * any one of the states that it went through. By the linker's wraps of fault.h; one file at
 * a time, up to 16 MiB. Truncations are not followed. */
#pragma once

#include "tests/unit/scratch.h"

/* The file as it is now counts as flushed. */
void powercut_start(int fd);
/* Follows it no longer; what is flushed from here on is lost. */
void powercut_stop(void);
/* Puts a file there as the cut has left it. */
void powercut_leave(const struct scratch *dir, const char *name, uint64_t *rng);
