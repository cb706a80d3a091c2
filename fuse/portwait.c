/* SPDX-License-Identifier: MIT */
#include "fuse/portwait.h"

#include <errno.h>
#include <libgen.h>
#include <poll.h>
#include <string.h>
#include <sys/inotify.h>

#define CLOSE_EVENTS (IN_CLOSE_WRITE | IN_CLOSE_NOWRITE | IN_DELETE_SELF)
#define GAP_MS 500u
#define APPEAR_EVENTS (IN_CREATE | IN_MOVED_TO | IN_ATTRIB)

int portwait_watch(const char *path)
{
	_cleanup_close_ int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	_cleanup_free_ char *copy = strdup(path);

	if (!copy)
		return -ENOMEM;
	if (fd < 0)
		return -errno;
	/* The node itself may be missing just now. */
	(void)!inotify_add_watch(fd, path, CLOSE_EVENTS);
	if (inotify_add_watch(fd, dirname(copy), APPEAR_EVENTS | IN_ONLYDIR) < 0)
		return -errno;
	return TAKE_FD(fd);
}

bool portwait_seen(int fd, const char *path)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	bool seen = false;
	ssize_t n;

	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *e = (const void *)p;

			if (e->len == 0 || strcmp(e->name, name) == 0)
				seen = true;
			p += sizeof(*e) + e->len;
		}
	}
	return seen;
}

int portwait_next(int fd, const char *path, int cancel_fd, deadline_t deadline)
{
	struct pollfd p[2] = {
		{.fd = fd, .events = POLLIN}, {.fd = cancel_fd, .events = POLLIN}};
	deadline_t gap = deadline_in(GAP_MS);
	int r;

	(void)portwait_seen(fd, path);
	if (deadline_left(deadline) == 0)
		return -ETIMEDOUT;
	do
		r = poll(p, 2, deadline_left(MIN(deadline, gap)));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return -errno;
	return p[1].revents ? -ECANCELED : 0;
}
