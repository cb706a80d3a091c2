/* SPDX-License-Identifier: MIT */
/* The board's end of an emulated USB serial port: bytes between a gadget's tty and a virtio
 * port, behind which the host runs the board.
 *
 *   relay TTY PORT
 *
 * Runs from before the plug to after the unplug. What came for an earlier plug is thrown away,
 * as a board that had no power would. */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

struct way {
	int from, to;
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
	char old[4096];

	if (fd < 0)
		err(1, "%s", name);
	while (read(fd, old, sizeof(old)) > 0)
		;
	return fd;
}

static void move_on(struct way *w, short from, short to)
{
	ssize_t n;

	if (w->start == w->end && (from & POLLIN)) {
		n = read(w->from, w->bytes, sizeof(w->bytes));
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			errx(0, "the line is cut");
		w->start = 0;
		w->end = n > 0 ? (size_t)n : 0;
	}
	if (w->start < w->end && (to & POLLOUT)) {
		n = write(w->to, w->bytes + w->start, w->end - w->start);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			err(1, "write");
		w->start += n > 0 ? (size_t)n : 0;
	}
}

static short wanted(const struct way *in, const struct way *out)
{
	return (short)((in->start == in->end ? POLLIN : 0) |
		(out->start < out->end ? POLLOUT : 0));
}

int main(int argc, char **argv)
{
	static struct way in, out; /* into the board, out of it */
	struct pollfd p[2];

	if (argc != 3)
		errx(2, "usage: relay TTY PORT");
	in.from = out.to = open_tty(argv[1]);
	in.to = out.from = open_port(argv[2]);
	puts("ready");
	fflush(stdout);
	for (;;) {
		p[0] = (struct pollfd){ .fd = in.from, .events = wanted(&in, &out) };
		p[1] = (struct pollfd){ .fd = out.from, .events = wanted(&out, &in) };
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			err(1, "poll");
		if ((p[0].revents | p[1].revents) & (POLLERR | POLLHUP))
			errx(0, "the line is cut");
		move_on(&in, p[0].revents, p[1].revents);
		move_on(&out, p[1].revents, p[0].revents);
	}
}
