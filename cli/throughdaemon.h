/* SPDX-License-Identifier: MIT */
/* Words that may mean a board of romountd as well as a port, an image or a folder, in the
 * commands that also work without a daemon. */
#pragma once

#include "cli/pick.h"

/* 1: the daemon has it: *client is the caller's. 0: it is for the command itself; also where
 * no daemon runs, unless the options ask for one. `word` NULL: the only board there is.
 * Otherwise -errno: nothing has this name. */
must_check int throughdaemon_find(const struct client_options *o, const char *word,
	struct client **client, struct pick *out, struct error *err);
