/* SPDX-License-Identifier: MIT */
/* One thing that may wait in the kernel (opening a device, a name server, all of /proc), done
 * by a short-lived thread, so that the loop never waits. */
#pragma once

#include <systemd/sd-event.h>

#include "util/macros.h"

typedef void (*chore_fn)(void *ctx);

/* `work` runs on the thread and touches nothing but its context; then `done` is called on the
 * loop's thread, once. The context is `done`'s to free. A chore cannot be stopped: who loses
 * interest says so in the context. Where the daemon ends before, `done` is not called. */
must_check int chore_start(sd_event *event, chore_fn work, chore_fn done, void *ctx);
