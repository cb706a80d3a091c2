/* SPDX-License-Identifier: MIT */
/* One order to romount-mount, which systemd starts for it: romountd itself has not the right
 * to mount. Given up after ten seconds.
 *
 * Loop thread only; never waits. */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "util/error.h"

struct mountcall;

struct mountcall_request {
	const char *source; /* NULL: unmount */
	const char *path;   /* absolute, without symbolic links */
	uid_t uid;
	gid_t gid;
};

/* `fuse_fd`: the opened /dev/fuse where something was mounted, the callee's; else -1. `text`
 * is what went wrong, printable, "" where nothing did. Free it here, or later. */
typedef void (*mountcall_done_fn)(void *ctx, int fuse_fd, const char *text);

/* -ENOENT or -ECONNREFUSED where nobody listens at `socket_path`. */
must_check int mountcall_start(sd_event *event, const char *socket_path,
	const struct mountcall_request *request, mountcall_done_fn done, void *ctx,
	struct mountcall **out, struct error *err);
void mountcall_free(struct mountcall *c);
DEFINE_CLEANUP(struct mountcall *, mountcall_free);
