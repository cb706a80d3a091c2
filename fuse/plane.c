/* SPDX-License-Identifier: MIT */
#include "fuse/plane.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include "fuse/volume.h"

/* The port stays open this long after the last read, so that reading many files in a row
 * stops the board's program only once. */
#define LINGER_MS 300u

struct plane {
	const struct plane_options *o;
	sd_event *event;
	sd_event_source *hangup;
	struct worker *worker;
	struct link *link; /* NULL: an image file */
	struct volume *_Atomic volume; /* the worker's hooks ask, too */
	int cancel_fd; /* readable: the worker shall not wait any more */
	bool told;     /* whoever started us: the start is over */
	bool given_up; /* before that */
	int result;
};

/* --- the place --- */

/* Files below a mount are out of reach, and a user would take them for lost. */
static int check_empty(const char *path, struct error *err)
{
	DIR *dir = opendir(path);
	const struct dirent *e;
	unsigned n = 0;

	if (!dir)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	while ((e = readdir(dir)))
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(dir);
	if (n)
		return error_set(err, -ENOTEMPTY,
			"%s is not empty; what is in it would be hidden, choose an empty folder",
			path);
	return 0;
}

static int check_mountpoint(const char *path, struct error *err)
{
	struct stat st, up;
	char parent[PATH_MAX];

	if (stat(path, &st) < 0)
		return errno == ENOTCONN
			? error_set(err, -errno,
				  "%s is a mount whose program has died; run "
				  "'fusermount3 -u %s' first",
				  path, path)
			: error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return error_set(err, -ENOTDIR, "%s is not a folder", path);
	if (snprintf(parent, sizeof(parent), "%s/..", path) >= (int)sizeof(parent))
		return error_set(err, -ENAMETOOLONG, "%s: name too long", path);
	if (stat(parent, &up) == 0 && up.st_dev != st.st_dev)
		return error_set(err, -EBUSY,
			"%s is a mount point already; if the program behind it is gone: "
			"fusermount3 -u %s",
			path, path);
	return check_empty(path, err);
}

/* --- the end --- */

static void on_ended(void *ctx, int result)
{
	struct plane *p = ctx;

	p->result = result;
	(void)sd_event_exit(p->event, 0);
}

static void give_up(struct plane *p)
{
	p->given_up = !p->told;
	(void)!eventfd_write(p->cancel_fd, 1);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	struct plane *p = data;

	(void)s;
	(void)si;
	/* Asked twice: do not finish, keep. */
	if (!p->told || volume_is_ending(p->volume))
		give_up(p);
	else
		volume_end(p->volume, true);
	return 0;
}

/* Nobody waits for the folder any more. */
static int on_hangup(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct plane *p = data;

	(void)s;
	(void)fd;
	(void)events;
	p->hangup = sd_event_source_disable_unref(p->hangup);
	give_up(p);
	return 0;
}

/* --- the beginning --- */

static int tell(struct plane *p, int result, const char *text)
{
	p->told = true;
	p->hangup = sd_event_source_disable_unref(p->hangup);
	return p->o->ready(p->o->ctx, result, text);
}

/* Attached, or not. If whoever asked for the folder is gone, what waits in the journal stays
 * there. */
static void on_ready(void *ctx, int result, const char *text)
{
	struct plane *p = ctx;
	struct error err = {0};
	int r = result, heard;

	if (p->given_up)
		r = error_set(&err, -ECANCELED, "interrupted; nothing is mounted");
	else if (r == 0)
		r = volume_mount(p->volume, p->o->mountpoint, &err);
	heard = tell(p, r, err.text[0] ? err.text : text);
	if (r == 0 && heard < 0)
		r = heard;
	p->result = r;
	if (r < 0)
		(void)sd_event_exit(p->event, 0);
}

static void worker_idle(void *ctx)
{
	const struct plane *p = ctx;

	volume_rest(p->volume);
}

static bool worker_wants_idle(void *ctx)
{
	const struct plane *p = ctx;

	return p->volume && !volume_is_resting(p->volume);
}

static int on_worker(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct plane *p = data;

	(void)s;
	(void)fd;
	(void)events;
	worker_dispatch(p->worker);
	return 0;
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

/* Before the first word to the board: its program must not stay stopped because ours has
 * been ended. Threads inherit the mask. What comes while the start is ended is seen first. */
static int add_signals(struct plane *p)
{
	sd_event_source *s;
	sigset_t set;
	size_t i;
	int r = 0;

	sigemptyset(&set);
	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	/* Where files may not grow any more (ulimit -f), writing fails and is told. */
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return -errno;
	for (i = 0; i < ARRAY_SIZE(signals) && r >= 0; i++) {
		r = sd_event_add_signal(p->event, &s, signals[i], on_signal, p);
		if (r >= 0)
			r = sd_event_source_set_priority(s, SD_EVENT_PRIORITY_IMPORTANT);
		if (r >= 0)
			r = sd_event_source_set_floating(s, true);
		if (r >= 0)
			sd_event_source_unref(s);
	}
	return r;
}

/* The writing end of a pipe has an error when the last reader is gone. */
static int add_hangup(struct plane *p)
{
	int r;

	if (p->o->hangup_fd < 0)
		return 0;
	r = sd_event_add_io(p->event, &p->hangup, p->o->hangup_fd, 0, on_hangup, p);
	return r < 0 ? r
		     : sd_event_source_set_priority(p->hangup, SD_EVENT_PRIORITY_IMPORTANT);
}

static int start_worker(struct plane *p)
{
	const struct worker_hooks hooks = {
		.idle = worker_idle,
		.wants_idle = worker_wants_idle,
		.ctx = p,
		.linger_ms = LINGER_MS,
	};
	int r = worker_new(&hooks, &p->worker);

	return r < 0 ? r
		     : sd_event_add_io(p->event, NULL, worker_event_fd(p->worker), EPOLLIN,
			       on_worker, p);
}

static int make_link(struct plane *p)
{
	const struct flash_options *flash = &p->o->attach.flash;
	struct link_options options = {
		.baud = p->o->baud,
		.cancel_fd = p->cancel_fd,
		.busy_wait_ms = flash->busy_wait_ms,
		.log = flash->log,
	};
	int r;

	if (!p->o->port)
		return 0;
	r = port_path_new(p->o->port, &options.port);
	return r < 0 ? r : link_new(&options, &p->link);
}

static int start_volume(struct plane *p)
{
	struct volume_options options = {
		.attach = p->o->attach,
		.event = p->event,
		.worker = p->worker,
		.mountpoint = p->o->mountpoint,
		.uid = getuid(),
		.gid = getgid(),
		.quiet_ms = p->o->quiet_ms,
		.idle_ms = p->o->idle_ms,
		.ended = on_ended,
		.ctx = p,
	};
	struct volume *v;
	int r;

	options.attach.flash.link = p->link;
	options.attach.flash.cancel_fd = p->cancel_fd;
	r = volume_new(&options, on_ready, p, &v);
	if (r == 0)
		p->volume = v;
	return r;
}

static int begin(struct plane *p, struct error *err)
{
	int r = check_mountpoint(p->o->mountpoint, err);

	if (r < 0)
		return r;
	p->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = p->cancel_fd < 0 ? -errno : sd_event_new(&p->event);
	if (r >= 0)
		r = add_signals(p);
	if (r >= 0)
		r = add_hangup(p);
	if (r >= 0)
		r = start_worker(p);
	if (r >= 0)
		r = make_link(p);
	if (r >= 0)
		r = start_volume(p);
	return r < 0 ? error_set(err, r, "cannot start: %s", strerror(-r)) : 0;
}

static void stop(struct plane *p)
{
	worker_free(p->worker);
	volume_free(p->volume);
	link_free(p->link);
	sd_event_source_disable_unref(p->hangup);
	sd_event_unref(p->event);
	if (p->cancel_fd >= 0)
		close(p->cancel_fd);
}

int plane_run(const struct plane_options *options)
{
	struct plane p = {.o = options, .cancel_fd = -1};
	struct error err = {0};
	int r = begin(&p, &err);

	if (r < 0) {
		(void)tell(&p, r, err.text);
	} else {
		r = sd_event_loop(p.event);
		r = r < 0 ? r : p.result;
	}
	stop(&p);
	return r;
}
