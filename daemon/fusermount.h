/* SPDX-License-Identifier: MIT */
/* One run of fusermount3, which mounts and unmounts for whoever is not root. Ended after ten
 * seconds. */
#pragma once

#include <systemd/sd-event.h>

#include "util/error.h"

struct fusermount;

/* `fuse_fd`: the opened /dev/fuse where something was mounted, the callee's; else -1. `text`
 * is what went wrong, printable, "" where nothing did. Free it here, or later. */
typedef void (*fusermount_done_fn)(void *ctx, int fuse_fd, const char *text);

/* fusermount3 -o OPTIONS -- PATH; with `options` NULL: fusermount3 -u -z -- PATH. */
must_check int fusermount_start(sd_event *event, const char *program, const char *options,
	const char *path, fusermount_done_fn done, void *ctx, struct fusermount **out,
	struct error *err);
void fusermount_free(struct fusermount *f);
DEFINE_CLEANUP(struct fusermount *, fusermount_free);
