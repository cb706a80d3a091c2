/* SPDX-License-Identifier: MIT */
#include "fuse/watchdog.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

struct watchdog {
	int fd;
	uint64_t every_us;
};

static void watchdog_free(void *data)
{
	struct watchdog *w = data;

	closep(&w->fd);
	free(w);
}

static int connect_socket(const char *path)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t len = strlen(path);

	if (fd < 0)
		return -errno;
	if (len == 0 || len >= sizeof(address.sun_path))
		return -EINVAL;
	memcpy(address.sun_path, path, len);
	if (path[0] == '@') /* abstract */
		address.sun_path[0] = '\0';
	if (connect(fd, (const void *)&address,
		    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int on_time(sd_event_source *s, uint64_t us, void *data)
{
	static const char alive[] = "WATCHDOG=1";
	const struct watchdog *w = data;
	int r;

	(void)!send(w->fd, alive, sizeof(alive) - 1, MSG_NOSIGNAL);
	r = sd_event_source_set_time(s, us + w->every_us);
	return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int watchdog_start(sd_event *event)
{
	const char *path = getenv("NOTIFY_SOCKET");
	sd_event_source *source;
	struct watchdog *w;
	uint64_t us = 0;
	int r = sd_watchdog_enabled(0, &us);

	if (r <= 0 || !path)
		return MIN(r, 0);
	w = calloc(1, sizeof(*w));
	if (!w)
		return -ENOMEM;
	w->every_us = us / 2;
	w->fd = connect_socket(path);
	r = w->fd < 0 ? w->fd
		      : sd_event_add_time_relative(event, &source, CLOCK_MONOTONIC, 0,
				us / 8, on_time, w);
	if (r < 0) {
		watchdog_free(w);
		return r;
	}
	(void)sd_event_source_set_destroy_callback(source, watchdog_free);
	(void)sd_event_source_set_floating(source, true);
	sd_event_source_unref(source);
	return 1;
}
