/* SPDX-License-Identifier: MIT */
/* romount-board: one board's process, started by romountd with a connected socket as its
 * descriptor 3 (by systemd, or by itself; LISTEN_FDS). Everything else comes over that. */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "fuse/boardproc.h"
#include "fuse/sandbox.h"
#include "fuse/watchdog.h"

static int fail(const char *what, int r)
{
	fprintf(stderr, "<3>romount-board: %s: %s\n", what, strerror(-r));
	return 1;
}

/* The daemon decides what a Ctrl-C means; where files may not grow, or nobody reads, that is
 * told by the call. */
static int set_signals(void)
{
	static const int ignored[] = {SIGINT, SIGHUP, SIGPIPE, SIGXFSZ};
	sigset_t set;

	for (size_t i = 0; i < ARRAY_SIZE(ignored); i++)
		if (signal(ignored[i], SIG_IGN) == SIG_ERR)
			return -errno;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? -errno : 0;
}

int main(void)
{
	struct error err = {0};
	sd_event *event;
	int r = sd_listen_fds(1);

	if (r != 1) {
		fputs("romount-board is started by romountd, see romountd(8)\n", stderr);
		return 2;
	}
	(void)mallopt(M_ARENA_MAX, 1);
	r = set_signals();
	if (r == 0)
		r = sd_event_new(&event);
	if (r < 0)
		return fail("cannot start", r);
	r = watchdog_start(event);
	if (r < 0)
		return fail("no watchdog", r);
	r = sandbox_enter(&err);
	if (r < 0)
		return fail(err.text, r);
	r = boardproc_run(event, SD_LISTEN_FDS_START);
	sd_event_unref(event);
	return r < 0 ? fail("failed", r) : 0;
}
