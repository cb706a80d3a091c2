/* SPDX-License-Identifier: MIT */
/* An emulated board: a pty that looks like a serial port, and behind it real MicroPython.
 *
 * This process owns the pty and paces the line; the interpreter, its flash and all options
 * are in board.mjs, which runs under node as its child with
 *   3  bytes from the host    4  bytes to the host    5  commands (lines; see command())
 * and decides everything. When the child ends, so does this process, with its exit code,
 * and the port goes away as at an unplug. */
#include "config.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "tests/board/lane.h"

struct board {
	int master, slave, command, signals;
	pid_t child;
	char pts[64];
	char link[512];
	uint64_t random;
	struct lane in, out; /* as the board sees it */
	char line[1024];
	size_t line_len;
};

static void open_pty(struct board *b)
{
	struct termios t;

	b->master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (b->master < 0 || grantpt(b->master) || unlockpt(b->master) ||
		ptsname_r(b->master, b->pts, sizeof(b->pts)))
		err(1, "cannot make a pty");
	/* Kept open, so that the master sees no EIO whenever the host closes the port. */
	b->slave = open(b->pts, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (b->slave < 0 || tcgetattr(b->slave, &t))
		err(1, "%s", b->pts);
	cfmakeraw(&t);
	cfsetspeed(&t, B115200);
	if (tcsetattr(b->slave, TCSANOW, &t))
		err(1, "%s", b->pts);
}

/* A stable name, replaced in one step; it is what tells that the board is ready. */
static void make_link(struct board *b, const char *path)
{
	char temporary[sizeof(b->link) + 16];

	if (strlen(path) >= sizeof(b->link))
		errx(1, "%s: name too long", path);
	snprintf(temporary, sizeof(temporary), "%s.%d", path, (int)getpid());
	if (symlink(b->pts, temporary) || rename(temporary, path))
		err(1, "%s", path);
	snprintf(b->link, sizeof(b->link), "%s", path);
}

static void drop_link(const struct board *b)
{
	char target[sizeof(b->pts)];
	ssize_t n = *b->link ? readlink(b->link, target, sizeof(target)) : -1;

	/* Another board may have taken the name over. */
	if (n == (ssize_t)strlen(b->pts) && !memcmp(target, b->pts, (size_t)n))
		unlink(b->link);
}

static void start_child(struct board *b, char **args)
{
	int in[2], out[2], command[2];
	sigset_t none;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC) ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, command))
		err(1, "pipe");
	b->child = fork();
	if (b->child < 0)
		err(1, "fork");
	if (!b->child) {
		int from = fcntl(in[0], F_DUPFD, 20), to = fcntl(out[1], F_DUPFD, 20);
		int talk = fcntl(command[1], F_DUPFD, 20);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		if (dup2(from, 3) < 0 || dup2(to, 4) < 0 || dup2(talk, 5) < 0 ||
			close(from) || close(to) || close(talk))
			err(1, "dup2");
		execvp("node", args);
		err(127, "node (is nodejs installed?)");
	}
	close(in[0]);
	close(out[1]);
	close(command[1]);
	fcntl(in[1], F_SETFL, O_NONBLOCK);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	b->in.from = b->out.to = b->master;
	b->in.to = in[1];
	b->out.from = out[0];
	b->command = command[0];
}

static void watch_signals(struct board *b)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	b->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	signal(SIGPIPE, SIG_IGN);
}

static void reply_stats(struct board *b)
{
	dprintf(b->command,
		"{\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 ",\"lost\":%" PRIu64
		",\"flipped\":%" PRIu64 ",\"doubled\":%" PRIu64 ",\"dropped\":%" PRIu64 "}\n",
		b->in.bytes, b->out.bytes, b->in.lost + b->out.lost,
		b->in.flipped + b->out.flipped, b->in.doubled + b->out.doubled,
		b->out.dropped);
}

static void reset_stats(struct lane *l)
{
	l->bytes = l->lost = l->flipped = l->doubled = l->dropped = 0;
}

/* Milliseconds and rates are decimal fractions. */
static void set_number(struct board *b, const char *key, double value)
{
	if (!strcmp(key, "speed"))
		b->in.speed = b->out.speed = (int64_t)value;
	else if (!strcmp(key, "latency"))
		b->in.latency = b->out.latency = (int64_t)(value * 1e6);
	else if (!strcmp(key, "late"))
		b->out.latency = b->in.latency + (int64_t)(value * 1e6);
	else if (!strcmp(key, "stall"))
		b->out.stall = (int64_t)(value * 1e6);
	else if (!strcmp(key, "seed"))
		b->random = (uint64_t)value * 0x9e3779b97f4a7c15u + 1;
	else if (!strcmp(key, "lose_in"))
		b->in.lose = value;
	else if (!strcmp(key, "lose_out"))
		b->out.lose = value;
	else if (!strcmp(key, "flip_in"))
		b->in.flip = value;
	else if (!strcmp(key, "flip_out"))
		b->out.flip = value;
	else if (!strcmp(key, "dup_in"))
		b->in.dup = value;
	else if (!strcmp(key, "dup_out"))
		b->out.dup = value;
	else
		errx(1, "unknown command %s", key);
}

static void command(struct board *b, char *line)
{
	char *value = strchr(line, ' ');

	if (value)
		*value++ = '\0';
	if (!strcmp(line, "stats")) {
		reply_stats(b);
	} else if (!strcmp(line, "reset")) {
		reset_stats(&b->in);
		reset_stats(&b->out);
	} else if (!strcmp(line, "pts")) {
		dprintf(b->command, "\"%s\"\n", b->pts);
	} else if (!strcmp(line, "link") && value) {
		make_link(b, value);
		dprintf(b->command, "\"%s\"\n", b->pts);
	} else if (value) {
		set_number(b, line, strtod(value, NULL));
	}
}

static void read_commands(struct board *b)
{
	ssize_t n = read(b->command, b->line + b->line_len,
		sizeof(b->line) - 1 - b->line_len);
	char *end;

	if (n <= 0)
		return;
	b->line_len += (size_t)n;
	b->line[b->line_len] = '\0';
	while ((end = strchr(b->line, '\n'))) {
		*end++ = '\0';
		command(b, b->line);
		b->line_len -= (size_t)(end - b->line);
		memmove(b->line, end, b->line_len + 1);
	}
}

/* The exit code to end with, or -1 to go on. */
static int read_signals(struct board *b)
{
	struct signalfd_siginfo info;
	int status;

	if (read(b->signals, &info, sizeof(info)) != sizeof(info))
		return -1;
	if (info.ssi_signo != SIGCHLD) {
		kill(b->child, SIGKILL);
		return 0;
	}
	if (waitpid(b->child, &status, WNOHANG) != b->child)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(struct board *b)
{
	struct pollfd p[6];

	for (;;) {
		int64_t wake = INT64_MAX, left;
		struct timespec timeout, *wait = NULL;
		int code;

		lane_poll(&b->in, p, &wake);
		lane_poll(&b->out, p + 2, &wake);
		p[4] = (struct pollfd){ .fd = b->command, .events = POLLIN };
		p[5] = (struct pollfd){ .fd = b->signals, .events = POLLIN };
		if (wake != INT64_MAX) {
			left = wake - now_ns();
			if (left < 0)
				left = 0;
			timeout.tv_sec = left / NSEC_PER_SEC;
			timeout.tv_nsec = left % NSEC_PER_SEC;
			wait = &timeout;
		}
		if (ppoll(p, 6, wait, NULL) < 0 && errno != EINTR)
			err(1, "poll");
		if (p[4].revents & POLLIN)
			read_commands(b);
		lane_run(&b->in, p);
		lane_run(&b->out, p + 2);
		if (p[5].revents && (code = read_signals(b)) >= 0)
			return code;
	}
}

int main(int argc, char **argv)
{
	static struct board b;
	char **args = calloc((size_t)argc + 3, sizeof(*args));
	int code;

	if (!args)
		err(1, "calloc");
	args[0] = (char[]){ "node" };
	args[1] = (char[]){ BOARD_DIR "/board.mjs" };
	memcpy(args + 2, argv + 1, (size_t)argc * sizeof(*args));

	b.random = 88172645463325252u;
	b.in.random = b.out.random = &b.random;
	prctl(PR_SET_TIMERSLACK, 1);
	watch_signals(&b);
	open_pty(&b);
	start_child(&b, args);
	code = run(&b);
	drop_link(&b);
	free(args);
	return code;
}
