/* SPDX-License-Identifier: MIT */
#include "libdev/line.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int line_init(struct line *l, int fd, const char *name, int cancel_fd,
	const struct dev_transport_ops *ops)
{
	int flags = fcntl(fd, F_GETFL);

	l->fd = fd;
	l->cancel_fd = cancel_fd;
	l->base.ops = ops;
	l->base.name = l->name;
	snprintf(l->name, sizeof(l->name), "%s", name);
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

void line_done(struct line *l)
{
	if (l->fd >= 0)
		close(l->fd);
	l->fd = -1;
}

/* Waits for `events` on the descriptor; 0 when they are there, else -errno. */
static int wait_for(struct line *l, short events, deadline_t deadline)
{
	for (;;) {
		struct pollfd p[2] = {
			{.fd = l->fd, .events = events},
			{.fd = l->base.finishing ? -1 : l->cancel_fd, .events = POLLIN},
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

/* A port whose device went away answers with EIO or end of file, by driver; a connection that
 * is no more with one of the others. */
static int gone(int error)
{
	switch (error) {
	case EIO:
	case ENXIO:
	case ENODEV:
	case EPIPE:
	case ECONNRESET:
	case ECONNABORTED:
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
		return -ENODEV;
	default:
		return -error;
	}
}

ssize_t line_read(struct dev_transport *t, void *buf, size_t cap, deadline_t deadline)
{
	struct line *l = line_of(t);

	for (;;) {
		int r = wait_for(l, POLLIN, deadline);
		ssize_t n;

		if (r < 0)
			return r;
		n = read(l->fd, buf, cap);
		if (n > 0) {
			t->bytes_in += (uint64_t)n;
			return n;
		}
		if (n == 0)
			return -ENODEV;
		if (errno != EAGAIN && errno != EINTR)
			return gone(errno);
	}
}

static ssize_t put(struct line *l, const void *buf, size_t len)
{
	return l->is_socket ? send(l->fd, buf, len, MSG_NOSIGNAL) : write(l->fd, buf, len);
}

int line_write(struct dev_transport *t, const void *buf, size_t len, deadline_t deadline)
{
	struct line *l = line_of(t);
	const char *p = buf;

	while (len) {
		ssize_t n = put(l, p, len);

		if (n > 0) {
			t->bytes_out += (uint64_t)n;
			p += n;
			len -= (size_t)n;
			continue;
		}
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return gone(errno);
		int r = wait_for(l, POLLOUT, deadline);
		if (r < 0)
			return r;
	}
	return 0;
}
