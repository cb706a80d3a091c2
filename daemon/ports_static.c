/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/ports_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#define WATCHES_MAX 64u
#define LINKS_MAX 40u /* as the kernel */
#define GOES (IN_DELETE | IN_MOVED_FROM)
#define GOES_SELF (IN_DELETE_SELF | IN_MOVE_SELF)
#define COMES (IN_CREATE | IN_MOVED_TO)
#define LOST (IN_Q_OVERFLOW | IN_IGNORED | IN_UNMOUNT)

/* What is behind the path. */
struct sight {
	char *node; /* NULL: no tty */
	dev_t dev, rdev;
	ino_t ino;
	bool usable; /* we may open it: udev's rules come after the node */
};

/* A name in a directory on the way; or a directory itself, since much may go on in one. */
struct watch {
	struct static_tty *tty;
	sd_event_source *source;
	char *name; /* NULL: the directory itself */
};

struct static_tty {
	sd_event *event;
	char *path;
	struct static_hooks hooks;
	struct sight seen;
	struct watch watches[WATCHES_MAX];
	size_t n_watches;
};

const char *static_tty_node(const struct static_tty *t)
{
	return t->seen.node;
}

static void unwatch(struct static_tty *t)
{
	for (size_t i = 0; i < t->n_watches; i++) {
		sd_event_source_disable_unref(t->watches[i].source);
		free(t->watches[i].name);
	}
	memset(t->watches, 0, sizeof(t->watches));
	t->n_watches = 0;
}

static int look(struct static_tty *t, bool was_away);

static bool concerns(const struct watch *w, const struct inotify_event *event)
{
	if (!w->name)
		return event->len == 0;
	return event->len != 0 && strcmp(event->name, w->name) == 0;
}

static int on_inotify(
	sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct watch *w = userdata;

	if (!(event->mask & LOST) && !concerns(w, event))
		return 0;
	/* What cannot be watched any more was watched until now: the look itself counts. */
	(void)look(w->tty, event->mask & GOES);
	return 0;
}

/* `name` in the directory `path`, or where that is NULL, the directory itself. 0: there is no
 * such directory, which whoever watches the one above it hears of. */
static int watch(struct static_tty *t, const char *path, const char *name)
{
	struct watch *w = &t->watches[t->n_watches];
	uint32_t events = name ? GOES | COMES : GOES_SELF | IN_DONT_FOLLOW;
	int r;

	if (t->n_watches == WATCHES_MAX)
		return -ELOOP;
	w->name = name ? strdup(name) : NULL;
	if (name && !w->name)
		return -ENOMEM;
	w->tty = t;
	r = sd_event_add_inotify(
		t->event, &w->source, path, events | IN_ATTRIB | IN_ONLYDIR, on_inotify, w);
	if (r < 0) {
		free(TAKE_PTR(w->name));
		return r == -ENOENT || r == -ENOTDIR ? 0 : r;
	}
	t->n_watches++;
	return 1;
}

/* --- the way to the tty ---------------------------------------------------------------- */

struct walk {
	char at[PATH_MAX];   /* where we are: no link on the way, no '/' at the end */
	char rest[PATH_MAX]; /* where to from there */
	unsigned links;
};

/* Takes the next name off the rest; false at the end. */
static bool next_name(struct walk *w, char name[NAME_MAX + 1])
{
	const char *from = w->rest + strspn(w->rest, "/");
	size_t n = strcspn(from, "/");

	if (n == 0 || n > NAME_MAX)
		return false;
	memcpy(name, from, n);
	name[n] = '\0';
	memmove(w->rest, from + n, strlen(from + n) + 1);
	return true;
}

static int follow(struct walk *w, const char *link)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t n = readlink(link, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	snprintf(rest, sizeof(rest), "%s", w->rest);
	if (++w->links > LINKS_MAX ||
		snprintf(w->rest, sizeof(w->rest), "%s/%s", target, rest) >=
			(int)sizeof(w->rest))
		return -ELOOP;
	if (target[0] == '/')
		w->at[0] = '\0';
	return 0;
}

/* One step, watched before it is looked at. */
static int step(struct static_tty *t, struct walk *w, const char *name)
{
	char path[PATH_MAX];
	struct stat st;
	int r;

	if (!strcmp(name, "."))
		return 0;
	if (!strcmp(name, "..")) {
		char *slash = strrchr(w->at, '/');

		if (slash)
			*slash = '\0';
		return 0;
	}
	if (snprintf(path, sizeof(path), "%s/%s", w->at, name) >= (int)sizeof(path))
		return -ENAMETOOLONG;
	r = watch(t, path, NULL);
	if (r == 0)
		r = watch(t, w->at[0] ? w->at : "/", name);
	if (r < 0)
		return r;
	if (lstat(path, &st) < 0)
		return -errno;
	if (S_ISLNK(st.st_mode))
		return follow(w, path);
	snprintf(w->at, sizeof(w->at), "%s", path);
	return 0;
}

/* 0 also where there is no tty; -errno where that cannot be told, or not be watched. */
static int walk(struct static_tty *t, struct sight *out)
{
	struct walk w = {0};
	char name[NAME_MAX + 1];
	struct stat st;
	int r = 0;

	snprintf(w.rest, sizeof(w.rest), "%s", t->path);
	while (r == 0 && next_name(&w, name))
		r = step(t, &w, name);
	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (r < 0)
		return r;
	if (lstat(w.at, &st) < 0 || !S_ISCHR(st.st_mode))
		return 0;
	out->node = strdup(w.at);
	if (!out->node)
		return -ENOMEM;
	out->dev = st.st_dev;
	out->rdev = st.st_rdev;
	out->ino = st.st_ino;
	out->usable = faccessat(AT_FDCWD, w.at, R_OK | W_OK, AT_EACCESS) == 0;
	return 0;
}

/* What cannot be opened yet, and then can, is told as a new one: somebody may have failed. */
static bool is_same(const struct sight *a, const struct sight *b)
{
	return a->node && b->node && !strcmp(a->node, b->node) && a->dev == b->dev &&
		a->rdev == b->rdev && a->ino == b->ino && (a->usable || !b->usable);
}

static int look(struct static_tty *t, bool was_away)
{
	struct sight now = {0}, before = t->seen;
	int r;

	unwatch(t);
	r = walk(t, &now);
	if (before.node && !was_away && is_same(&before, &now)) {
		free(now.node);
		return r;
	}
	t->seen = (struct sight){0};
	if (before.node)
		t->hooks.gone(t->hooks.ctx);
	free(before.node);
	t->seen = now;
	if (now.node)
		t->hooks.here(t->hooks.ctx);
	return r;
}

int static_tty_look(struct static_tty *t)
{
	return look(t, false);
}

int static_tty_new(sd_event *event, const char *path, const struct static_hooks *hooks,
	struct static_tty **out)
{
	struct static_tty *t = calloc(1, sizeof(*t));

	if (!t)
		return -ENOMEM;
	t->path = strdup(path);
	if (!t->path) {
		free(t);
		return -ENOMEM;
	}
	t->event = event;
	t->hooks = *hooks;
	*out = t;
	return 0;
}

void static_tty_free(struct static_tty *t)
{
	if (!t)
		return;
	unwatch(t);
	free(t->seen.node);
	free(t->path);
	free(t);
}
