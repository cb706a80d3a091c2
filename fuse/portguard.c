/* SPDX-License-Identifier: MIT */
#include "fuse/portguard.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

/* IN_MODIFY is somebody who writes, through a descriptor that may be older than the watch. */
#define EVENTS                                                                           \
	(IN_OPEN | IN_CLOSE | IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF)

struct portguard {
	char *path;
	int fd, wd; /* of inotify; -1 */
	struct stat node; /* what is watched */
	bool inside; /* between enter and leave */
	bool alone;
};

struct seen {
	unsigned opens, closes;
	bool writes, other;
};

static void count(struct seen *seen, const struct inotify_event *e, int wd)
{
	if (e->mask & IN_Q_OVERFLOW)
		seen->other = true;
	if (e->wd != wd) /* of a node that is watched no more */
		return;
	seen->opens += !!(e->mask & IN_OPEN);
	seen->closes += !!(e->mask & IN_CLOSE);
	seen->writes |= !!(e->mask & IN_MODIFY);
	seen->other |= !!(e->mask & ~(uint32_t)(IN_OPEN | IN_CLOSE | IN_MODIFY));
}

static void look(struct portguard *g, struct seen *seen)
{
	char buf[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t n;

	*seen = (struct seen){0};
	while ((n = read(g->fd, buf, sizeof(buf))) > 0)
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *e = (const void *)p;

			count(seen, e, g->wd);
			p += sizeof(*e) + e->len;
		}
	/* -EAGAIN is the end of the queue. */
	seen->other |= n == 0 || errno != EAGAIN;
}

/* A pty's number may come again with another device behind it: the time tells. */
static bool is_same_node(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_rdev == b->st_rdev &&
		a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
		a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bool is_in_place(const struct portguard *g)
{
	struct stat st;

	return g->wd >= 0 && stat(g->path, &st) == 0 && is_same_node(&st, &g->node);
}

/* The watch comes before the look at the node: what changes between the two is an event. */
static void watch(struct portguard *g)
{
	g->alone = false;
	if (g->wd >= 0)
		(void)!inotify_rm_watch(g->fd, g->wd);
	g->wd = g->fd < 0 ? -1 : inotify_add_watch(g->fd, g->path, EVENTS);
	if (g->wd >= 0 && stat(g->path, &g->node) < 0) {
		(void)!inotify_rm_watch(g->fd, g->wd);
		g->wd = -1;
	}
}

int portguard_new(const char *path, struct portguard **out)
{
	struct portguard *g = calloc(1, sizeof(*g));

	if (!g)
		return -ENOMEM;
	g->wd = -1;
	g->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	g->path = strdup(path);
	if (!g->path) {
		portguard_free(g);
		return -ENOMEM;
	}
	watch(g);
	*out = g;
	return 0;
}

void portguard_free(struct portguard *g)
{
	if (!g)
		return;
	if (g->fd >= 0)
		close(g->fd);
	free(g->path);
	free(g);
}

void portguard_enter(struct portguard *g)
{
	struct seen seen;

	look(g, &seen);
	g->inside = true;
	if (seen.opens || seen.closes || seen.writes || seen.other)
		g->alone = false;
	if (!is_in_place(g))
		watch(g);
}

void portguard_leave(struct portguard *g)
{
	struct seen seen;

	look(g, &seen);
	g->inside = false;
	/* Equal events in a row are one: who opens between our look and our own opening shows
	 * by closing, or by writing later. */
	if (seen.opens > 1 || seen.opens != seen.closes || seen.other || !is_in_place(g))
		g->alone = false;
}

bool portguard_alone(const struct portguard *g)
{
	return g->alone;
}

void portguard_reset(struct portguard *g)
{
	g->alone = g->wd >= 0 && g->inside;
}
