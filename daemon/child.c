/* SPDX-License-Identifier: MIT */
#include "daemon/child.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#define ENV_MAX 256u
#define LINK_FD 3
#define EXIT_NOT_STARTED 127

struct child {
	pid_t pid;
	int pidfd;
	sd_event_source *source;
	child_ended_fn ended;
	void *ctx;
};

/* --- between fork and exec: nothing that takes a lock, since another thread may hold it --- */

static void write_number(char *out, unsigned long n)
{
	unsigned long power = 1;

	while (n / power >= 10)
		power *= 10;
	for (; power; power /= 10)
		*out++ = (char)('0' + n / power % 10);
	*out = '\0';
}

#define LISTEN_PID "LISTEN_PID="
#define PID_DIGITS 20u

static void run_child(const struct child_options *o, char **env, char *listen_pid, int null)
{
	sigset_t none;

	sigemptyset(&none);
	write_number(listen_pid + strlen(LISTEN_PID), (unsigned long)getpid());
	if (dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return;
	if (o->stderr_fd >= 0 && dup2(o->stderr_fd, STDERR_FILENO) < 0)
		return;
	/* dup2 onto itself would leave it to be closed by exec. */
	if (o->fd == LINK_FD && fcntl(LINK_FD, F_SETFD, 0) < 0)
		return;
	if (o->fd >= 0 && o->fd != LINK_FD && dup2(o->fd, LINK_FD) < 0)
		return;
	if (close_range(o->fd >= 0 ? LINK_FD + 1 : LINK_FD, ~0u, 0) < 0 || setsid() < 0)
		return;
	if (o->become &&
		(setgroups(0, NULL) < 0 || setresgid(o->gid, o->gid, o->gid) < 0 ||
			setresuid(o->uid, o->uid, o->uid) < 0))
		return;
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || signal(SIGPIPE, SIG_DFL) == SIG_ERR)
		return;
	execve(o->argv[0], o->argv, env);
}

/* Ours without what is meant for us alone, then the child's. */
static int make_env(const struct child_options *o, char *listen_pid, char *env[ENV_MAX])
{
	static const char *const ours[] = {
		"LISTEN_FDS=", "LISTEN_PID=", "LISTEN_FDNAMES=", "NOTIFY_SOCKET=", "WATCHDOG_"};
	static char listen_fds[] = "LISTEN_FDS=1";
	unsigned n = 0, i, k;

	for (i = 0; environ[i]; i++) {
		bool skip = false;

		for (k = 0; k < ARRAY_SIZE(ours); k++)
			skip |= strncmp(environ[i], ours[k], strlen(ours[k])) == 0;
		if (skip)
			continue;
		if (n > ENV_MAX - 16)
			return -E2BIG;
		env[n++] = environ[i];
	}
	for (i = 0; o->env && o->env[i] && i < 8; i++)
		env[n++] = (char *)(uintptr_t)o->env[i];
	if (o->listen) {
		env[n++] = listen_fds;
		env[n++] = listen_pid;
	}
	env[n] = NULL;
	return 0;
}

static int start(const struct child_options *o, pid_t *out)
{
	_cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char listen_pid[sizeof(LISTEN_PID) + PID_DIGITS] = LISTEN_PID;
	char *env[ENV_MAX];
	int r = make_env(o, listen_pid, env);
	pid_t pid;

	if (r < 0)
		return r;
	if (null < 0)
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		run_child(o, env, listen_pid, null);
		_exit(EXIT_NOT_STARTED);
	}
	*out = pid;
	return 0;
}

/* --- its end --- */

static int reap(struct child *c, char *why, size_t cap)
{
	siginfo_t si = {0};

	why[0] = '\0';
	/* Another's child: that it is gone is all that can be known. */
	if (waitid(P_PIDFD, (id_t)c->pidfd, &si, WEXITED | WNOHANG) < 0 || si.si_pid == 0) {
		snprintf(why, cap, "ended");
		return -1;
	}
	if (si.si_code != CLD_EXITED) {
		snprintf(why, cap, "was killed by signal %d (%s)", si.si_status,
			strsignal(si.si_status));
		return -1;
	}
	if (si.si_status == EXIT_NOT_STARTED)
		snprintf(why, cap, "could not be started");
	else if (si.si_status)
		snprintf(why, cap, "ended with code %d", si.si_status);
	return si.si_status;
}

static int on_end(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct child *c = data;
	char why[96];
	int code;

	(void)s;
	(void)fd;
	(void)events;
	code = reap(c, why, sizeof(why));
	c->pid = 0;
	c->source = sd_event_source_disable_unref(c->source);
	c->ended(c->ctx, code, why);
	return 0;
}

int child_adopt(sd_event *event, pid_t pid, int pidfd, child_ended_fn ended, void *ctx,
	struct child **out)
{
	_cleanup_(child_freep) struct child *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(pidfd);
		return -ENOMEM;
	}
	*c = (struct child){.pid = pid, .pidfd = pidfd, .ended = ended, .ctx = ctx};
	r = sd_event_add_io(event, &c->source, pidfd, EPOLLIN, on_end, c);
	if (r < 0)
		return r;
	*out = TAKE_PTR(c);
	return 0;
}

int child_start(sd_event *event, const struct child_options *options, child_ended_fn ended,
	void *ctx, struct child **out, struct error *err)
{
	pid_t pid;
	int pidfd, r = start(options, &pid);

	if (r < 0)
		return error_set(
			err, r, "cannot start %s: %s", options->argv[0], strerror(-r));
	/* Nobody has waited for it yet: the number is still its own. */
	pidfd = pidfd_open(pid, 0);
	r = pidfd < 0 ? -errno : child_adopt(event, pid, pidfd, ended, ctx, out);
	if (r < 0) {
		kill(pid, SIGKILL);
		return error_set(
			err, r, "cannot watch %s: %s", options->argv[0], strerror(-r));
	}
	return 0;
}

void child_free(struct child *c)
{
	if (!c)
		return;
	(void)child_kill(c);
	sd_event_source_disable_unref(c->source);
	close(c->pidfd);
	free(c);
}

pid_t child_pid(const struct child *c)
{
	return c->pid;
}

int child_kill(struct child *c)
{
	if (c->pid && pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0) < 0 && errno != ESRCH)
		return -errno;
	return 0;
}
