/* SPDX-License-Identifier: MIT */
/* What the exhaustive test goes through: memories, what stands on them at first, and what
 * a user does. */
#pragma once

#include "romfs_host.h"

struct setting {
	const char *name;
	struct romfs_geometry g;
};
extern const struct setting settings[];
extern const unsigned n_settings;

enum start {
	START_BLANK,
	START_PACKED, /* an image as mpremote writes it */
	START_FULL,   /* the same, to the last byte */
	START_DIRTY,  /* no file system */
	START_AGED,   /* saved so often that block 0 is soon due */
	START_N,
};
extern const char *const start_names[START_N];
/* False where there is no such thing. */
bool start_make(enum start start, struct sim *s, int next_fd, struct model *m);

enum action {
	ACT_CREATE = 1,
	ACT_GROW,
	ACT_SHRINK,
	ACT_DELETE,
	ACT_RENAME,
	ACT_FILL,    /* as much as df admits */
	ACT_REWRITE, /* with the bytes that it had */
	ACT_MKDIR,
	ACT_TIDY, /* no save: the host is idle */
	ACT_END,
};
extern const char *const action_names[ACT_END];
/* False where there is nothing to do it to. `k` tells the saves of a sequence apart. */
bool action_do(enum action a, unsigned k, const struct sim *s, struct model *m,
	const char **rewritten);
