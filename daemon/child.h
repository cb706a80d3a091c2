/* SPDX-License-Identifier: MIT */
/* A process that is watched, and ended, by its descriptor: never by a number that may be
 * somebody else's by then. Started here, or another's child that was told of.
 *
 * Loop thread only; never waits. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "util/error.h"

struct child;

struct child_options {
	char *const *argv; /* argv[0]: an absolute path */
	const char *const *env; /* more lines of the environment, up to a NULL; may be NULL */
	int fd;		   /* the child's descriptor 3, or -1; all others are closed there */
	int stderr_fd;	   /* -1: ours */
	bool listen;	   /* LISTEN_FDS and LISTEN_PID tell of descriptor 3 */
	bool become;	   /* uid and gid below, no other groups */
	uid_t uid;
	gid_t gid;
};

/* Once; `why` is "" after exit code 0, else "ended with code 3", "was killed by signal 11".
 * `code` is the exit code, -1 where a signal or somebody else ended it. The child may be freed
 * here. */
typedef void (*child_ended_fn)(void *ctx, int code, const char *why);

must_check int child_start(sd_event *event, const struct child_options *options,
	child_ended_fn ended, void *ctx, struct child **out, struct error *err);
/* Takes the descriptor, also on failure. */
must_check int child_adopt(sd_event *event, pid_t pid, int pidfd, child_ended_fn ended,
	void *ctx, struct child **out);
/* What still runs is killed. */
void child_free(struct child *c);
DEFINE_CLEANUP(struct child *, child_free);

pid_t child_pid(const struct child *c);
/* SIGKILL; its end is told as any other. -EPERM: somebody else's. */
int child_kill(struct child *c);
