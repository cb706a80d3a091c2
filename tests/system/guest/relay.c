/* SPDX-License-Identifier: MIT */
/* The board's end of an emulated USB serial port: bytes between a gadget's tty and a virtio
 * port, behind which the host runs the board.
 *
 *   relay TTY PORT
 *
 * Runs from before the plug to after the unplug, through resets by the host, at which the tty
 * hangs up. What was under way before that is lost, as it is on a cable. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

struct line {
	const char *tty_name;
	int tty, port;
};

struct way {
	size_t start, end;
	char bytes[16384];
};

static int open_tty(const char *name)
{
	int fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	struct termios t;

	if (fd < 0 || tcgetattr(fd, &t))
		err(1, "%s", name);
	cfmakeraw(&t);
	if (tcsetattr(fd, TCSANOW, &t))
		err(1, "%s", name);
	return fd;
}

static int open_port(const char *name)
{
	int fd = open(name, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0)
		err(1, "%s", name);
	return fd;
}

static void start_anew(struct line *l, struct way *in, struct way *out)
{
	char old[4096];

	if (l->tty >= 0)
		close(l->tty);
	l->tty = open_tty(l->tty_name);
	while (read(l->port, old, sizeof(old)) > 0)
		;
	in->start = in->end = out->start = out->end = 0;
}

/* False when the tty has hung up; the port stays as long as the host. */
static bool move_on(struct way *w, int from, short can_read, int to, short can_write)
{
	ssize_t n;

	if (w->start == w->end && (can_read & POLLIN)) {
		n = read(from, w->bytes, sizeof(w->bytes));
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		w->start = 0;
		w->end = n > 0 ? (size_t)n : 0;
	}
	if (w->start < w->end && (can_write & POLLOUT)) {
		n = write(to, w->bytes + w->start, w->end - w->start);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		w->start += n > 0 ? (size_t)n : 0;
	}
	return true;
}

static short wanted(const struct way *in, const struct way *out)
{
	return (short)((in->start == in->end ? POLLIN : 0) |
		(out->start < out->end ? POLLOUT : 0));
}

int main(int argc, char **argv)
{
	static struct way in, out; /* into the board, out of it */
	struct line l = { .tty = -1 };

	if (argc != 3)
		errx(2, "usage: relay TTY PORT");
	l.tty_name = argv[1];
	l.port = open_port(argv[2]);
	start_anew(&l, &in, &out);
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd p[2] = {
			{ .fd = l.tty, .events = wanted(&in, &out) },
			{ .fd = l.port, .events = wanted(&out, &in) },
		};

		if (poll(p, 2, -1) < 0 && errno != EINTR)
			err(1, "poll");
		if (p[1].revents & (POLLERR | POLLHUP))
			errx(1, "the host has closed the port");
		if ((p[0].revents & (POLLERR | POLLHUP)) ||
			!move_on(&in, l.tty, p[0].revents, l.port, p[1].revents) ||
			!move_on(&out, l.port, p[1].revents, l.tty, p[0].revents))
			start_anew(&l, &in, &out);
	}
}
