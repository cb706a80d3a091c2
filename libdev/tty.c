/* SPDX-License-Identifier: MIT */
#include "libdev/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include "libdev/line.h"

struct tty {
	struct line line;
	bool exclusive; /* we set TIOCEXCL */
	bool configured;
	struct termios saved;
};

static struct tty *tty_of(struct dev_transport *t)
{
	return container_of(line_of(t), struct tty, line);
}

/* Linux gives pty slaves the majors 136 to 143 (Documentation/admin-guide/devices.txt). */
static bool is_pty(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && major(st.st_rdev) >= 136 && major(st.st_rdev) <= 143;
}

static void tty_discard(struct dev_transport *base)
{
	tcflush(line_of(base)->fd, TCIFLUSH);
}

static void tty_free(struct dev_transport *base)
{
	struct tty *t = tty_of(base);
	int fd = t->line.fd;

	if (t->configured) {
		/* What a dead board did not take must not hold up close(2), which waits up
		 * to 30 s for it; whoever cares about its last bytes waited for an answer. */
		tcflush(fd, TCOFLUSH);
		tcsetattr(fd, TCSANOW, &t->saved);
	}
	if (t->exclusive)
		ioctl(fd, TIOCNXCL);
	line_done(&t->line);
	free(t);
}

static const struct dev_transport_ops tty_ops = {
	.read = line_read,
	.write = line_write,
	.discard = tty_discard,
	.free = tty_free,
};

static int busy_unnamed(const char *name, struct error *err)
{
	return error_set(err, -EBUSY,
		"%s is in use by another program; close it and try again", name);
}

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
	return busy_unnamed(path, err);
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

static int use_failed(const char *name, int code, struct error *err)
{
	switch (code) {
	case ENXIO:
	case ENODEV:
	case EIO:
		return error_set(err, -ENODEV,
			"nothing is behind %s any more; plug the board in again", name);
	default:
		return error_set(err, -code, "cannot open %s: %s", name, strerror(code));
	}
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
	default:
		return use_failed(path, code, err);
	}
}

/* Tools look at different locks (flock: pyserial, picocom; TIOCEXCL: minicom,
 * ModemManager), and root passes TIOCEXCL at open(2), so both are checked and taken. On
 * a pty the exclusive flag is left alone: it would outlive a killed process for as long
 * as the other program keeps its own descriptor of the slave. */
static int lock(struct tty *t, const char *name, struct error *err)
{
	int set = 0, fd = t->line.fd;

	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? busy_unnamed(name, err)
					    : use_failed(name, errno, err);
	if (is_pty(fd))
		return 0;
	if (ioctl(fd, TIOCGEXCL, &set) == 0 && set)
		return busy_unnamed(name, err);
	if (ioctl(fd, TIOCEXCL) == 0)
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
static int configure(struct tty *t, const char *name, unsigned baud, struct error *err)
{
	struct termios tio;
	speed_t speed;
	int fd = t->line.fd;

	if (speed_of(baud ? baud : 115200, &speed) < 0)
		return error_set(err, -EINVAL, "%s: %u is no standard baud rate", name, baud);
	if (tcgetattr(fd, &tio) < 0) {
		if (errno == ENOTTY || errno == EINVAL)
			return error_set(err, -ENOTTY, "%s is not a serial port", name);
		return use_failed(name, errno, err);
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
	if (tcsetattr(fd, TCSANOW, &tio) < 0)
		return use_failed(name, errno, err);
	t->configured = true;
	tcflush(fd, TCIFLUSH);
	return 0;
}

int dev_tty_adopt(int fd, const char *name, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err)
{
	_cleanup_(dev_transport_freep) struct dev_transport *result = NULL;
	struct tty *t = calloc(1, sizeof(*t));
	int r;

	if (!t) {
		close(fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	r = line_init(&t->line, fd, name, options ? options->cancel_fd : -1, &tty_ops);
	result = &t->line.base;
	if (r < 0)
		return use_failed(name, -r, err);
	if (!isatty(fd))
		return error_set(err, -ENOTTY, "%s is not a serial port", name);
	r = lock(t, name, err);
	if (r == 0)
		r = configure(t, name, options ? options->baud : 0, err);
	if (r < 0)
		return r;
	*out = TAKE_PTR(result);
	return 0;
}

int dev_tty_open(const char *path, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	int r;

	if (fd < 0)
		return open_failed(path, errno, err);
	r = dev_tty_adopt(fd, path, options, out, err);
	if (r != -EBUSY)
		return r;
	error_clear(err);
	return busy(path, err);
}
