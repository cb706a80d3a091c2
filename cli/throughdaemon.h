/* SPDX-License-Identifier: MIT */
/* Words that may mean a board of romountd as well as a port, an image or a folder, in the
 * commands that also work without a daemon. */
#pragma once

#include "cli/pick.h"

/* 1: the daemon has it: *client is the caller's. 0: it is for the command itself; also where
 * no daemon runs, unless the options ask for one. `word` NULL: the only board there is.
 * Otherwise -errno: nothing has this name; CLIENT_NO_DAEMON: no file has it, and no daemon runs
 * that might know a board of it. */
must_check int throughdaemon_find(const struct client_options *o, const char *word,
	struct client **client, struct pick *out, struct error *err);

/* A command on a partition that the daemon does where it has the board, and the command itself
 * where not. */
struct throughdaemon {
	const struct cli_command *command;
	struct client_options client;
	const char *word;
	int number;	    /* -p; -1: none was given */
	const char *method; /* of the partition */
	const char *done;   /* "NAME: done" */
	bool destroys, yes; /* asks before, but for --yes */
	bool has_flag, flag; /* the method's argument */
	const char *local; /* an option that was given and means nothing to the daemon; NULL */
};
/* 1: it is done, or has failed: *code is the exit code. 0: it is for the command itself. */
must_check int throughdaemon_run(const struct throughdaemon *t, int *code);
