/* SPDX-License-Identifier: MIT */
/* The process behind one board: started by systemd, which sandboxes it, where its socket unit
 * is there; else by ourselves, as the user of the boards. Its link is a connected socket, good
 * for use when the process has spoken first.
 *
 * Loop thread only; never waits. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "util/error.h"

struct launcher {
	sd_event *event;
	const char *socket_path; /* romount-board.socket; NULL: never by systemd */
	char *program;		 /* of launcher_init: romount-board's absolute path */
	bool become;		 /* uid and gid */
	uid_t uid;
	gid_t gid;
};

/* Finds the program; -ENOENT. $ROMOUNT_LIBEXEC, romountd's own directory, LIBEXECDIR. */
must_check int launcher_init(struct launcher *l, struct error *err);
void launcher_clear(struct launcher *l);

struct process;

struct process_hooks {
	/* It has spoken: the socket is the callee's. At most once, never after `gone`. */
	void (*linked)(void *ctx, int fd);
	/* It runs no more, or never did; `why` is a sentence's end ("was killed by signal 9"),
	 * "" where it ended well. Where its number is not known, the link's end tells, and this
	 * is not called. The process may be freed here. */
	void (*gone)(void *ctx, const char *why);
	void *ctx;
};

must_check int process_start(const struct launcher *l, const struct process_hooks *hooks,
	struct process **out, struct error *err);
/* What still runs is killed, where it can be. */
void process_free(struct process *p);
DEFINE_CLEANUP(struct process *, process_free);

pid_t process_pid(const struct process *p); /* 0: not known */
/* SIGKILL; 0 where its end will be told. -ESRCH, -EPERM: its number is not known, or it is not
 * ours to kill; whoever closes the link then has done all that can be done (the unit has a
 * watchdog). */
int process_kill(struct process *p);
