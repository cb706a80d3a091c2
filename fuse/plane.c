/* SPDX-License-Identifier: MIT */
#include "fuse/plane.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>

#include "fuse/committer.h"
#include "fuse/status.h"
#include "fuse/view.h"
#include "fuse/worker.h"

/* The port stays open this long after the last read, so that reading many files in a row
 * stops the board's program only once. */
#define LINGER_MS 300u
#define QUIET_MAX_FACTOR 30u
/* Requests handled in a row before the other events get their turn. */
#define BURST 64u

struct plane {
	const struct plane_options *o;
	struct link *link; /* NULL: an image file */
	struct attached attached;
	struct view view;
	struct fuse_session *session;
	struct fuse_buf buf;
	bool mounted;
	sd_event *event;
	sd_event_source *fuse_source;
	struct worker *worker;
	struct readahead *readahead;
	struct committer *committer;
	struct committer_waiter last_sync;
	int cancel_fd;
	/* While attaching: readable when there is a signal, or nobody waits any more. Nothing
	 * is read from its members. */
	int give_up_fd, signal_fd;
	bool ending;
	int result;
};

/* --- hooks --- */

static void worker_idle(void *ctx)
{
	struct plane *p = ctx;

	flash_rest(p->attached.flash);
}

static bool worker_wants_idle(void *ctx)
{
	const struct plane *p = ctx;

	return !flash_is_resting(p->attached.flash);
}

static void on_state(void *ctx)
{
	struct plane *p = ctx;

	status_save(&p->view);
}

/* --- the end --- */

static void on_last_sync(void *ctx, int result)
{
	struct plane *p = ctx;

	if (result < 0) {
		struct committer_status s;

		committer_status(p->committer, &s);
		log_to(p->o->attach.flash.log, LOG_WARNING,
			"not everything is on flash (%s); it is kept, and the next mount writes "
			"it, or lays it out as plain files where another program was first",
			s.error[0] ? s.error : strerror(-result));
		p->result = result;
	}
	(void)sd_event_exit(p->event, 0);
}

/* The folder is gone from the file system: what is staged still goes to flash. */
static void begin_end(struct plane *p)
{
	if (p->ending)
		return;
	p->ending = true;
	p->fuse_source = sd_event_source_disable_unref(p->fuse_source);
	p->last_sync.done = on_last_sync;
	p->last_sync.ctx = p;
	committer_sync(p->committer, &p->last_sync);
}

static void unmount(struct plane *p)
{
	if (!p->mounted)
		return;
	p->mounted = false;
	fuse_session_unmount(p->session);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	struct plane *p = data;

	(void)s;
	(void)si;
	if (p->ending) { /* asked twice: do not finish, keep */
		(void)!eventfd_write(p->cancel_fd, 1);
		return 0;
	}
	unmount(p);
	begin_end(p);
	return 0;
}

/* --- requests --- */

static int on_fuse(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct plane *p = data;
	unsigned i;

	(void)s;
	(void)fd;
	(void)events;
	for (i = 0; i < BURST; i++) {
		int n = fuse_session_receive_buf(p->session, &p->buf);

		if (n == -EINTR || n == -EAGAIN)
			return 0;
		if (n > 0)
			fuse_session_process_buf(p->session, &p->buf);
		if (n <= 0 || fuse_session_exited(p->session)) {
			begin_end(p);
			return 0;
		}
	}
	return 0;
}

/* --- the beginning --- */

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

static int make_session(struct plane *p, struct error *err)
{
	char options[256];
	char *argv[] = {(char[]){"romount"}, (char[]){"-o"}, options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	snprintf(options, sizeof(options),
		"default_permissions,nosuid,nodev,noexec,fsname=romount,subtype=romount");
	p->session = fuse_session_new(&args, &view_ops, sizeof(view_ops), &p->view);
	fuse_opt_free_args(&args);
	if (!p->session)
		return error_set(err, -EIO, "libfuse cannot start");
	if (fuse_session_mount(p->session, p->o->mountpoint) != 0)
		return error_set(err, -EIO,
			"cannot mount at %s: is fuse3 installed, /dev/fuse there, and the folder "
			"yours?",
			p->o->mountpoint);
	p->mounted = true;
	return 0;
}

static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

static int watch(int epoll_fd, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events};

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e) < 0 ? -errno : 0;
}

/* Before the first word to the board: its program must not stay stopped because ours has
 * been ended. Threads inherit the mask. */
static int block_signals(struct plane *p)
{
	sigset_t set;
	size_t i;
	int r;

	sigemptyset(&set);
	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&set, signals[i]);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	/* Where files may not grow any more (ulimit -f), writing fails and is told. */
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return -errno;
	p->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	p->give_up_fd = epoll_create1(EPOLL_CLOEXEC);
	if (p->cancel_fd < 0 || p->signal_fd < 0 || p->give_up_fd < 0)
		return -errno;
	r = watch(p->give_up_fd, p->cancel_fd, EPOLLIN);
	if (r == 0)
		r = watch(p->give_up_fd, p->signal_fd, EPOLLIN);
	/* The writing end of a pipe has an error when the last reader is gone. */
	if (r == 0 && p->o->hangup_fd >= 0)
		r = watch(p->give_up_fd, p->o->hangup_fd, 0);
	return r;
}

/* From here on the loop sees the signals, and only cancel_fd ends a wait of the worker. */
static int stop_giving_up(struct plane *p, struct error *err)
{
	struct epoll_event e;
	int n = epoll_wait(p->give_up_fd, &e, 1, 0);
	int r = n < 0 ? -errno : 0;

	if (n > 0)
		return error_set(err, -ECANCELED, "interrupted; nothing is mounted");
	if (r == 0 && epoll_ctl(p->give_up_fd, EPOLL_CTL_DEL, p->signal_fd, NULL) < 0)
		r = -errno;
	if (r == 0 && p->o->hangup_fd >= 0 &&
		epoll_ctl(p->give_up_fd, EPOLL_CTL_DEL, p->o->hangup_fd, NULL) < 0)
		r = -errno;
	return r < 0 ? error_set(err, r, "cannot start: %s", strerror(-r)) : 0;
}

static int add_signals(struct plane *p)
{
	size_t i;
	int r = 0;

	for (i = 0; i < ARRAY_SIZE(signals) && r >= 0; i++)
		r = sd_event_add_signal(p->event, NULL, signals[i], on_signal, p);
	return r;
}

static int listen_to_fuse(struct plane *p)
{
	int fd = fuse_session_fd(p->session);
	int flags = fcntl(fd, F_GETFL);

	/* A request may be gone again when we come to read it (interrupted). */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return sd_event_add_io(p->event, &p->fuse_source, fd, EPOLLIN, on_fuse, p);
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

static int start_worker(struct plane *p)
{
	const struct worker_hooks hooks = {
		.idle = worker_idle,
		.wants_idle = worker_wants_idle,
		.ctx = p,
		.linger_ms = LINGER_MS,
	};
	const struct attach_options *o = &p->o->attach;
	struct committer_options options = {
		.folder = p->attached.folder,
		.flash = p->attached.flash,
		.base = &p->attached.base,
		.event = p->event,
		.port = p->link ? link_port(p->link) : NULL,
		.quiet_ms = p->o->quiet_ms,
		.quiet_max_ms = p->o->quiet_ms * QUIET_MAX_FACTOR,
		.idle_ms = p->o->idle_ms,
		.notify = on_state,
		.ctx = p,
		.log = o->flash.log,
	};
	int r = worker_new(&hooks, &p->worker);

	if (r < 0)
		return r;
	r = readahead_new(p->worker, p->attached.flash, &p->attached.base, &p->readahead);
	if (r < 0)
		return r;
	options.worker = p->worker;
	r = committer_new(&options, &p->committer);
	if (r < 0)
		return r;
	p->attached.folder->changed = committer_changed;
	p->attached.folder->changed_ctx = p->committer;
	return sd_event_add_io(
		p->event, NULL, worker_event_fd(p->worker), EPOLLIN, on_worker, p);
}

static int start(struct plane *p, struct error *err)
{
	int r = sd_event_new(&p->event);

	if (r >= 0)
		r = add_signals(p);
	if (r >= 0)
		r = start_worker(p);
	if (r < 0)
		return error_set(err, r, "cannot start: %s", strerror(-r));
	p->view = (struct view){
		.folder = p->attached.folder,
		.flash = p->attached.flash,
		.worker = p->worker,
		.readahead = p->readahead,
		.committer = p->committer,
		.base = &p->attached.base,
		.event = p->event,
		.port = flash_name(p->attached.flash),
		.mountpoint = p->o->mountpoint,
		.uid = getuid(),
		.gid = getgid(),
	};
	r = make_session(p, err);
	if (r < 0)
		return r;
	r = view_start(&p->view);
	if (r >= 0)
		r = listen_to_fuse(p);
	return r < 0 ? error_set(err, r, "cannot start: %s", strerror(-r)) : 0;
}

static void stop(struct plane *p)
{
	unmount(p);
	worker_free(p->worker);
	readahead_free(p->readahead);
	if (p->session)
		view_stop(&p->view);
	committer_free(p->committer);
	if (p->session)
		fuse_session_destroy(p->session);
	sd_event_source_disable_unref(p->fuse_source);
	sd_event_unref(p->event);
	attached_clear(&p->attached);
	link_free(p->link);
	free(p->buf.mem);
	if (p->give_up_fd >= 0)
		close(p->give_up_fd);
	if (p->signal_fd >= 0)
		close(p->signal_fd);
	if (p->cancel_fd >= 0)
		close(p->cancel_fd);
}

static int make_link(struct plane *p)
{
	const struct flash_options *flash = &p->o->attach.flash;
	struct link_options options = {
		.baud = p->o->baud,
		.cancel_fd = p->give_up_fd,
		.busy_wait_ms = flash->busy_wait_ms,
		.log = flash->log,
	};
	int r;

	if (!p->o->port)
		return 0;
	r = port_path_new(p->o->port, &options.port);
	return r < 0 ? r : link_new(&options, &p->link);
}

static int begin(struct plane *p, struct error *err)
{
	struct attach_options attach_options = p->o->attach;
	struct error why = {0};
	int r = check_mountpoint(p->o->mountpoint, err);

	if (r < 0)
		return r;
	r = block_signals(p);
	if (r == 0)
		r = make_link(p);
	if (r < 0)
		return error_set(err, r, "cannot start: %s", strerror(-r));
	attach_options.flash.link = p->link;
	attach_options.flash.cancel_fd = p->give_up_fd;
	r = attach(&attach_options, &p->attached, &why);
	if (r < 0 && r != -ECANCELED)
		return error_set(err, r, "%s", why.text);
	if (stop_giving_up(p, err) < 0)
		return err->code;
	return r < 0 ? error_set(err, r, "%s", why.text) : start(p, err);
}

int plane_run(const struct plane_options *options)
{
	struct plane p = {.o = options, .cancel_fd = -1, .give_up_fd = -1, .signal_fd = -1};
	struct error err = {0};
	int r = begin(&p, &err), heard;

	heard = options->ready(options->ctx, r, r < 0 ? err.text : p.attached.notes);
	if (r == 0 && heard < 0) {
		/* Whoever asked for the mount is gone. What waits in the journal stays. */
		r = heard;
	} else if (r == 0) {
		status_save(&p.view);
		committer_kick(p.committer);
		r = sd_event_loop(p.event);
		r = r < 0 ? r : p.result;
	}
	stop(&p);
	return r;
}
