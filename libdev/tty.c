/* SPDX-License-Identifier: MIT */
#include "libdev/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>

struct tty {
	struct dev_transport base;
	int fd;
	int cancel_fd;
	bool exclusive; /* we set TIOCEXCL */
	bool configured;
	struct termios saved;
	char name[128];
};

/* Linux gives pty slaves the majors 136 to 143 (Documentation/admin-guide/devices.txt). */
static bool is_pty(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && major(st.st_rdev) >= 136 && major(st.st_rdev) <= 143;
}

/* Waits for `events` on the port; 0 when they are there, else -errno. */
static int tty_wait(struct tty *t, short events, deadline_t deadline)
{
	for (;;) {
		struct pollfd p[2] = {
			{.fd = t->fd, .events = events},
			{.fd = t->base.finishing ? -1 : t->cancel_fd, .events = POLLIN},
		};
		int n = poll(p, 2, deadline_left(deadline));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		if (p[1].revents)
			return -ECANCELED;
		if (p[0].revents & POLLNVAL)
			return -EBADF;
		if (p[0].revents)
			return 0;
		if (deadline_left(deadline) == 0)
			return -ETIMEDOUT;
	}
}

/* A port whose device went away answers with EIO or end of file, by driver. */
static int gone(int error)
{
	switch (error) {
	case EIO:
	case ENXIO:
	case ENODEV:
		return -ENODEV;
	default:
		return -error;
	}
}

static ssize_t tty_read(struct dev_transport *base, void *buf, size_t cap, deadline_t deadline)
{
	struct tty *t = container_of(base, struct tty, base);

	for (;;) {
		int r = tty_wait(t, POLLIN, deadline);
		ssize_t n;

		if (r < 0)
			return r;
		n = read(t->fd, buf, cap);
		if (n > 0) {
			base->bytes_in += (uint64_t)n;
			return n;
		}
		if (n == 0)
			return -ENODEV;
		if (errno != EAGAIN && errno != EINTR)
			return gone(errno);
	}
}

static int tty_write(
	struct dev_transport *base, const void *buf, size_t len, deadline_t deadline)
{
	struct tty *t = container_of(base, struct tty, base);
	const char *p = buf;

	while (len) {
		ssize_t n = write(t->fd, p, len);

		if (n > 0) {
			base->bytes_out += (uint64_t)n;
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return gone(errno);
		int r = tty_wait(t, POLLOUT, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}

static void tty_discard(struct dev_transport *base)
{
	tcflush(container_of(base, struct tty, base)->fd, TCIFLUSH);
}

static void tty_free(struct dev_transport *base)
{
	struct tty *t = container_of(base, struct tty, base);

	if (t->configured) {
		/* What a dead board did not take must not hold up close(2), which waits up
		 * to 30 s for it; whoever cares about its last bytes waited for an answer. */
		tcflush(t->fd, TCOFLUSH);
		tcsetattr(t->fd, TCSANOW, &t->saved);
	}
	if (t->exclusive)
		ioctl(t->fd, TIOCNXCL);
	if (t->fd >= 0)
		close(t->fd);
	free(t);
}

static const struct dev_transport_ops tty_ops = {
	.read = tty_read,
	.write = tty_write,
	.discard = tty_discard,
	.free = tty_free,
};

static int busy(const char *path, struct error *err)
{
	char holder[200];

	bool known = dev_tty_holder(path, holder, sizeof(holder));

	/* Another of our own lets go by itself, when what is staged is on flash. */
	if (known && strncmp(holder, "romount (", 9) == 0)
		return error_set(err, -EBUSY,
			"%s is in use by %s, which is at work on the board; try again when it is "
			"done",
			path, holder);
	if (known)
		return error_set(err, -EBUSY,
			"%s is in use by %s; close that program and try again", path, holder);
	return error_set(err, -EBUSY,
		"%s is in use by another program; close it and try again", path);
}

static int denied(const char *path, struct error *err)
{
	struct stat st;
	struct group *g = stat(path, &st) == 0 ? getgrgid(st.st_gid) : NULL;

	if (g && (st.st_mode & S_IWGRP) && strcmp(g->gr_name, "root") != 0)
		return error_set(err, -EACCES,
			"no permission to open %s; it belongs to the group %s: \"sudo usermod "
			"-aG %s $USER\", then log in again", path, g->gr_name, g->gr_name);
	return error_set(err, -EACCES,
		"no permission to open %s; a udev rule that gives it to users of this "
		"computer is missing", path);
}

static int open_failed(const char *path, int code, struct error *err)
{
	switch (code) {
	case EBUSY:
		return busy(path, err);
	case EACCES:
	case EPERM:
		return denied(path, err);
	case ENOENT:
		return error_set(err, -ENOENT,
			"there is no port %s; is the board plugged in?", path);
	case ENXIO:
	case ENODEV:
	case EIO:
		return error_set(err, -ENODEV,
			"nothing is behind %s any more; plug the board in again", path);
	default:
		return error_set(err, -code, "cannot open %s: %s", path, strerror(code));
	}
}

/* Tools look at different locks (flock: pyserial, picocom; TIOCEXCL: minicom,
 * ModemManager), and root passes TIOCEXCL at open(2), so both are checked and taken. On
 * a pty the exclusive flag is left alone: it would outlive a killed process for as long
 * as the other program keeps its own descriptor of the slave. */
static int lock(struct tty *t, const char *path, struct error *err)
{
	int set = 0;

	if (flock(t->fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? busy(path, err)
					    : open_failed(path, errno, err);
	if (is_pty(t->fd))
		return 0;
	if (ioctl(t->fd, TIOCGEXCL, &set) == 0 && set)
		return busy(path, err);
	if (ioctl(t->fd, TIOCEXCL) == 0)
		t->exclusive = true;
	return 0;
}

static int speed_of(unsigned baud, speed_t *out)
{
	static const struct {
		unsigned baud;
		speed_t speed;
	} table[] = {
		{9600, B9600}, {19200, B19200}, {38400, B38400}, {57600, B57600},
		{115200, B115200}, {230400, B230400}, {460800, B460800},
		{500000, B500000}, {576000, B576000}, {921600, B921600},
		{1000000, B1000000}, {1500000, B1500000}, {2000000, B2000000},
		{3000000, B3000000}, {4000000, B4000000},
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].baud == baud) {
			*out = table[i].speed;
			return 0;
		}
	return -EINVAL;
}

/* open(2) raised DTR and RTS, both in one request on CDC and the common bridges. They stay
 * up: USB CDC boards drop their output without DTR, and the reset circuit of ESP boards is
 * at rest when the two are equal. HUPCL goes for good, so that they stay up when the port
 * is closed, too. */
static int configure(struct tty *t, const char *path, unsigned baud, struct error *err)
{
	struct termios tio;
	speed_t speed;

	if (speed_of(baud ? baud : 115200, &speed) < 0)
		return error_set(err, -EINVAL, "%s: %u is no standard baud rate", path, baud);
	if (tcgetattr(t->fd, &tio) < 0) {
		if (errno == ENOTTY || errno == EINVAL)
			return error_set(err, -ENOTTY, "%s is not a serial port", path);
		return open_failed(path, errno, err);
	}
	t->saved = tio;
	t->saved.c_cflag &= ~(tcflag_t)HUPCL;
	cfmakeraw(&tio);
	tio.c_cflag |= CLOCAL | CREAD;
	tio.c_cflag &= ~(tcflag_t)(HUPCL | CRTSCTS | CSTOPB);
	tio.c_cc[VMIN] = 1;
	tio.c_cc[VTIME] = 0;
	cfsetispeed(&tio, speed);
	cfsetospeed(&tio, speed);
	if (tcsetattr(t->fd, TCSANOW, &tio) < 0)
		return open_failed(path, errno, err);
	t->configured = true;
	tcflush(t->fd, TCIFLUSH);
	return 0;
}

int dev_tty_open(const char *path, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err)
{
	_cleanup_(dev_transport_freep) struct dev_transport *result = NULL;
	struct tty *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return error_set(err, -ENOMEM, "out of memory");
	t->base.ops = &tty_ops;
	t->base.name = t->name;
	t->fd = -1;
	t->cancel_fd = options ? options->cancel_fd : -1;
	snprintf(t->name, sizeof(t->name), "%s", path);
	result = &t->base;

	t->fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (t->fd < 0)
		return open_failed(path, errno, err);
	if (!isatty(t->fd))
		return error_set(err, -ENOTTY, "%s is not a serial port", path);
	r = lock(t, path, err);
	if (r < 0)
		return r;
	r = configure(t, path, options ? options->baud : 0, err);
	if (r < 0)
		return r;
	*out = TAKE_PTR(result);
	return 0;
}
