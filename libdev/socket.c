/* SPDX-License-Identifier: MIT */
#include "libdev/socket.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "libdev/line.h"

/* More than any buffer between here and there holds: who still sends then never stops. */
#define DISCARD_MAX (4u << 20)

static void socket_discard(struct dev_transport *t)
{
	int fd = line_of(t)->fd;
	char buf[4096];
	size_t dropped = 0;
	ssize_t n;

	while (dropped < DISCARD_MAX && (n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		dropped += (size_t)n;
}

static void socket_free(struct dev_transport *t)
{
	struct line *l = line_of(t);

	line_done(l);
	free(l);
}

static const struct dev_transport_ops socket_ops = {
	.read = line_read,
	.write = line_write,
	.discard = socket_discard,
	.free = socket_free,
};

/* -errno where the descriptor is no connection. */
static int check(int fd)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(int);
	int type = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
		return -errno;
	if (type != SOCK_STREAM)
		return -EPROTOTYPE;
	len = sizeof(peer);
	return getpeername(fd, (struct sockaddr *)&peer, &len) < 0 ? -errno : 0;
}

/* Frames of the agent are small and wait for their answers. A local socket has neither of
 * the two. */
static void tune(int fd)
{
	const int on = 1;

	(void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	(void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
}

int dev_socket_adopt(int fd, const char *name, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err)
{
	_cleanup_close_ int owned = fd;
	struct line *l;
	int r = check(fd);

	if (r < 0)
		return error_set(err, r, "%s is no connection: %s", name, strerror(-r));
	l = calloc(1, sizeof(*l));
	if (!l)
		return error_set(err, -ENOMEM, "out of memory");
	l->is_socket = true;
	r = line_init(l, TAKE_FD(owned), name, options ? options->cancel_fd : -1, &socket_ops);
	if (r < 0) {
		socket_free(&l->base);
		return error_set(err, r, "cannot use %s: %s", name, strerror(-r));
	}
	tune(fd);
	*out = &l->base;
	return 0;
}

int dev_transport_adopt(int fd, const char *name, const struct dev_tty_options *options,
	struct dev_transport **out, struct error *err)
{
	return isatty(fd) ? dev_tty_adopt(fd, name, options, out, err)
			  : dev_socket_adopt(fd, name, options, out, err);
}
