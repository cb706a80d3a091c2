/* SPDX-License-Identifier: MIT */
/* What is mounted, by PROC/self/mountinfo: without a look at the mounts themselves. `proc` is
 * "/proc", or a tree of a test's own. Never waits. */
#pragma once

#include <stdbool.h>

#include "util/macros.h"

/* Each mount with its place and type ("fuse.romount"), as the table stands now: the last
 * mounted first, which is the order to unmount them. */
must_check int mounttable_each(const char *proc,
	void (*each)(void *ctx, const char *path, const char *type), void *ctx);
/* Whether something is mounted right at `path`; true also where that cannot be told. */
bool mounttable_has(const char *proc, const char *path);
