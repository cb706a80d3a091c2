/* SPDX-License-Identifier: MIT */
/* The question before something is destroyed. */
#pragma once

#include "cli/pick.h"

/* `what` is "format", `loss` what will be gone, "" for nothing. 0: go on; -ECANCELED: no, or
 * nobody can be asked and --yes was not given. */
must_check int confirm(const char *what, const char *name, const char *loss, bool yes,
	struct error *err);

/* "12 files, 340 KiB, and 2 files that wait to be written", by asking the daemon for the map of
 * the partition. Runs the client's loop: what was picked must be picked again. */
must_check int confirm_loss(struct client *c, const struct boards_partition *p, char *out,
	size_t cap, struct error *err);
