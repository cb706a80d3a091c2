/* SPDX-License-Identifier: MIT */
/* Waiting for a port (or a file) that another process holds, by the events of its node. */
#pragma once

#include <stdbool.h>

#include "util/clock.h"
#include "util/macros.h"

/* An inotify descriptor: readable when somebody closes the port, or when its node appears
 * (again) after an unplug. -errno. */
must_check int portwait_watch(const char *path);
/* Empties it; true if one of the events is about this port. */
bool portwait_seen(int fd, const char *path);

/* Blocks until it is worth trying to open the port again: 0, -ETIMEDOUT when the deadline
 * has passed, -ECANCELED when cancel_fd (or -1) becomes readable. Our own attempts make
 * events too, which cannot be told from others', so what came before the call is dropped,
 * and to make good for a close that fell into that gap a wait ends after half a second. */
must_check int portwait_next(int fd, const char *path, int cancel_fd, deadline_t deadline);
