/* SPDX-License-Identifier: MIT */
/* A port by its path. The locks are libdev's; who else has it is told by the kernel's events
 * about its node. */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>

#include "fuse/port.h"
#include "fuse/portguard.h"
#include "fuse/portwait.h"
#include "libdev/tty.h"

struct port_path {
	struct port base; /* first */
	char *path;
	struct portguard *guard;
	sd_event_source *source;
	pthread_mutex_t lock; /* of watch_fd, which the worker empties */
	int watch_fd;	      /* of `source`; -1 */
	atomic_bool inside;  /* we have it, or try to: what is seen is our own */
};

static struct port_path *path_of(struct port *p)
{
	return container_of(p, struct port_path, base);
}

static int path_open(struct port *base, unsigned baud, int cancel_fd,
	struct dev_transport **out, struct error *err)
{
	const struct dev_tty_options options = {.baud = baud, .cancel_fd = cancel_fd};
	struct port_path *p = path_of(base);
	int r;

	atomic_store(&p->inside, true);
	portguard_enter(p->guard);
	r = dev_tty_open(p->path, &options, out, err);
	/* To whoever reads a file, that would say that there is no such file. */
	return r == -ENOENT ? -ENODEV : r;
}

static void path_closed(struct port *base)
{
	struct port_path *p = path_of(base);

	portguard_leave(p->guard);
	/* Closing has made its event already. */
	pthread_mutex_lock(&p->lock);
	if (p->watch_fd >= 0)
		(void)portwait_seen(p->watch_fd, p->path);
	pthread_mutex_unlock(&p->lock);
	atomic_store(&p->inside, false);
}

static bool path_alone(const struct port *base)
{
	const struct port_path *p = (const struct port_path *)base;

	return portguard_alone(p->guard);
}

static void path_reset(struct port *base)
{
	portguard_reset(path_of(base)->guard);
}

static int path_wait(struct port *base, int cancel_fd, deadline_t deadline)
{
	struct port_path *p = path_of(base);
	_cleanup_close_ int fd = portwait_watch(p->path);

	return fd < 0 ? fd : portwait_next(fd, p->path, cancel_fd, deadline);
}

static int on_event(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct port_path *p = data;
	bool ours = atomic_load(&p->inside);

	(void)s;
	(void)events;
	if (portwait_seen(fd, p->path) && !ours)
		port_wake(&p->base);
	return 0;
}

/* `fd` becomes what the worker empties; -1: nothing. */
static void exchange(struct port_path *p, int fd)
{
	int old;

	pthread_mutex_lock(&p->lock);
	old = p->watch_fd;
	p->watch_fd = fd;
	pthread_mutex_unlock(&p->lock);
	if (old >= 0)
		close(old);
}

static void path_unwatch(struct port *base)
{
	struct port_path *p = path_of(base);

	p->source = sd_event_source_disable_unref(p->source);
	exchange(p, -1);
}

static int path_watch(struct port *base, sd_event *event)
{
	struct port_path *p = path_of(base);
	int fd = portwait_watch(p->path), r;

	if (fd < 0)
		return fd;
	r = sd_event_add_io(event, &p->source, fd, EPOLLIN, on_event, p);
	if (r < 0)
		close(fd);
	else
		exchange(p, fd);
	return MIN(r, 0);
}

static void path_free(struct port *base)
{
	struct port_path *p = path_of(base);

	portguard_free(p->guard);
	pthread_mutex_destroy(&p->lock);
	free(p->path);
	free(p);
}

static const struct port_ops path_ops = {
	.open = path_open,
	.closed = path_closed,
	.alone = path_alone,
	.reset = path_reset,
	.wait = path_wait,
	.watch = path_watch,
	.unwatch = path_unwatch,
	.free = path_free,
};

int port_path_new(const char *path, struct port **out)
{
	struct port_path *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return -ENOMEM;
	p->base.ops = &path_ops;
	p->watch_fd = -1;
	r = -pthread_mutex_init(&p->lock, NULL);
	if (r < 0) {
		free(p);
		return r;
	}
	p->path = strdup(path);
	p->base.name = p->path;
	r = p->path ? portguard_new(path, &p->guard) : -ENOMEM;
	if (r < 0) {
		path_free(&p->base);
		return r;
	}
	*out = &p->base;
	return 0;
}
