/* SPDX-License-Identifier: MIT */
/* The data plane: one partition's folder, mounted, until it is unmounted or told to end. */
#pragma once

#include "fuse/attach.h"

struct plane_options {
	struct attach_options attach; /* without the link */
	const char *port;	      /* NULL: an image file */
	unsigned baud;
	const char *mountpoint;
	unsigned quiet_ms;
	unsigned idle_ms; /* committer.h */
	/* The start is given up when this descriptor hangs up (POLLERR, POLLHUP); -1: none. */
	int hangup_fd;
	/* Called once when the mount stands (0 and the notes for the user, or ""), or when it
	 * failed (-errno and the error's text). Negative where nobody has heard it: then the
	 * folder is unmounted again. */
	int (*ready)(void *ctx, int result, const char *text);
	void *ctx;
};

/* Runs until the end; SIGINT, SIGTERM and SIGHUP unmount, or give the start up, and the
 * board is given back. What is staged is written before it
 * returns, or kept for the next time (then the text of why is logged). 0 or -errno. */
must_check int plane_run(const struct plane_options *options);
