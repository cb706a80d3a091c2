/* SPDX-License-Identifier: MIT */
#include "daemon/portopen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "libdev/tty.h"
#include "util/clock.h"

#define CONNECT_MS 6000u /* for all addresses of a name: less than grant.c waits */
#define USB_KEY "usb/"

/* --- ttys --- */

/* A number like ttyACM0 is given to the next device at once: the device is looked for on the
 * way up from the tty, by the name that it has on the bus. */
static bool is_behind(dev_t rdev, const char *key)
{
	char link[64], real[PATH_MAX], part[PLACE_TEXT + 2];

	if (strncmp(key, USB_KEY, strlen(USB_KEY)) != 0)
		return true;
	snprintf(link, sizeof(link), "/sys/dev/char/%u:%u", major(rdev), minor(rdev));
	snprintf(part, sizeof(part), "/%s/", key + strlen(USB_KEY));
	return realpath(link, real) && strstr(real, part) != NULL;
}

static int failed(struct portopen *p, int code)
{
	char holder[200];

	switch (code) {
	case EBUSY:
		portopen_holder(p->node, 0, holder, sizeof(holder));
		return error_set(&p->err, -EBUSY, "%s is in use by %s; close that program", p->node,
			holder[0] ? holder : "another program");
	case EACCES:
	case EPERM:
		return error_set(&p->err, -EACCES,
			"no permission to open %s; 'romount doctor' tells what to do", p->node);
	case ENOENT:
	case ENXIO:
	case ENODEV:
	case EIO:
		return error_set(&p->err, -ENODEV,
			"nothing is behind %s any more; plug the board in again", p->node);
	default:
		return error_set(
			&p->err, -code, "cannot open %s: %s", p->node, strerror(code));
	}
}

static int check_node(struct portopen *p, const struct stat *st)
{
	if (!S_ISCHR(st->st_mode))
		return error_set(&p->err, -ENOTTY, "%s is no serial port", p->node);
	if (!is_behind(st->st_rdev, p->key))
		return error_set(&p->err, -ENODEV, "%s is another device now", p->node);
	return 0;
}

static int open_tty(struct portopen *p)
{
	_cleanup_close_ int fd = -1;
	struct stat before, st;
	int r;

	/* Opening raises DTR, which resets some boards: looked at before, and again after. */
	if (stat(p->node, &before) < 0)
		return failed(p, errno);
	r = check_node(p, &before);
	if (r < 0)
		return r;
	fd = open(p->node, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return failed(p, errno);
	if (fstat(fd, &st) < 0)
		return failed(p, errno);
	if (st.st_rdev != before.st_rdev)
		return error_set(&p->err, -ENODEV, "%s is another device now", p->node);
	r = check_node(p, &st);
	if (r < 0)
		return r;
	if (!isatty(fd))
		return errno == EIO ? failed(p, EIO)
				    : error_set(&p->err, -ENOTTY, "%s is no serial port",
					      p->node);
	p->fd = TAKE_FD(fd);
	return 0;
}

void portopen_holder(const char *node, pid_t except, char *out, size_t cap)
{
	char all[400], own[64], *save = NULL, *one;
	size_t used = 0;

	out[0] = '\0';
	if (!dev_tty_holder(node, all, sizeof(all)))
		return;
	snprintf(own, sizeof(own), " (pid %d)", (int)except);
	for (one = strtok_r(all, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		size_t len = strlen(one);

		one += strspn(one, " ");
		len = strlen(one);
		if (len >= strlen(own) && strcmp(one + len - strlen(own), own) == 0)
			continue;
		used += (size_t)snprintf(
			out + used, cap - used, "%s%s", used ? ", " : "", one);
		if (used >= cap)
			return;
	}
}

/* --- sockets --- */

/* "HOST:PORT" or "[ADDRESS]:PORT". */
static int split(const char *text, char *host, size_t cap, const char **port)
{
	const char *colon = strrchr(text, ':');
	size_t len = colon ? (size_t)(colon - text) : 0;

	if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
		text++;
		len -= 2;
	}
	if (len == 0 || len >= cap || !colon[1])
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	*port = colon + 1;
	return 0;
}

/* Where nobody listens at a port that the kernel hands out by itself, a connection may get the
 * same number at our end, and answer itself. */
static bool is_itself(int fd)
{
	struct sockaddr_storage here, there;
	socklen_t n_here = sizeof(here), n_there = sizeof(there);

	memset(&here, 0, sizeof(here));
	memset(&there, 0, sizeof(there));
	return getsockname(fd, (struct sockaddr *)&here, &n_here) == 0 &&
		getpeername(fd, (struct sockaddr *)&there, &n_there) == 0 &&
		n_here == n_there && memcmp(&here, &there, n_here) == 0;
}

static int connect_to(const struct addrinfo *a, deadline_t deadline)
{
	_cleanup_close_ int fd = socket(
		a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int on = 1, code = 0, n;
	socklen_t len = sizeof(code);

	if (fd < 0)
		return -errno;
	if (connect(fd, a->ai_addr, a->ai_addrlen) < 0 && errno != EINPROGRESS)
		return -errno;
	do
		n = poll(&p, 1, deadline_left(deadline));
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &len) < 0)
		return -errno;
	if (code)
		return -code;
	if (is_itself(fd))
		return -ECONNREFUSED;
	/* A cable that was pulled shows by keepalives alone. */
	(void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return TAKE_FD(fd);
}

static int unresolved(struct portopen *p, const char *host, int code)
{
	const char *why = code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code);

	if (code == EAI_NONAME)
		return error_set(&p->err, -ENODEV,
			"%s: no computer named '%s' is known (%s); correct the name in "
			"socket=, or have it known; it is tried again now and then",
			p->node, host, why);
	return error_set(&p->err, -ENODEV,
		"%s: the address of '%s' cannot be found out (%s); is this computer online? It "
		"is tried again now and then",
		p->node, host, why);
}

static int unconnected(struct portopen *p, int code)
{
	if (code == ECONNREFUSED)
		return error_set(&p->err, -ENODEV,
			"nobody listens at %s (%s); start the serial port server (ser2net, QEMU) "
			"there, or correct socket=; it is tried again now and then",
			p->node, strerror(code));
	return error_set(&p->err, -ENODEV,
		"cannot connect to %s: %s; is that computer there? It is tried again now and then",
		p->node, strerror(code));
}

/* An address that does not answer leaves time for those behind it. */
static int connect_one_of(const struct addrinfo *all)
{
	deadline_t deadline = deadline_in(CONNECT_MS);
	const struct addrinfo *a;
	unsigned left = 0;
	int r = -EADDRNOTAVAIL;

	for (a = all; a; a = a->ai_next)
		left++;
	for (a = all; a && r < 0; a = a->ai_next, left--)
		r = connect_to(a, deadline_in((unsigned)deadline_left(deadline) / left));
	return r;
}

/* Addresses of a kind that this computer has none of are refused by connect(2) at once, so
 * nothing is left out here: AI_ADDRCONFIG would not count those of the computer itself. */
static int open_socket(struct portopen *p)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *all = NULL;
	char host[PLACE_TEXT];
	const char *port;
	int r;

	if (split(p->node, host, sizeof(host), &port) < 0)
		return error_set(&p->err, -EINVAL, "'%s' is not HOST:PORT", p->node);
	r = getaddrinfo(host, port, &hints, &all);
	if (r != 0)
		return unresolved(p, host, r);
	r = connect_one_of(all);
	freeaddrinfo(all);
	if (r < 0)
		return unconnected(p, -r);
	p->fd = r;
	return 0;
}

void portopen_run(struct portopen *p)
{
	p->fd = -1;
	(void)(p->is_socket ? open_socket(p) : open_tty(p));
}
