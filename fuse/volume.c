/* SPDX-License-Identifier: MIT */
#include "fuse/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

#include "fuse/invalidate.h"
#include "fuse/pending.h"
#include "fuse/volume_private.h"

#define QUIET_MAX_FACTOR 30u
/* Requests handled in a row before the other events get their turn. */
#define BURST 64u

static const struct log_sink *log_of(const struct volume *v)
{
	return v->o.attach.flash.log;
}

/* --- what the committer, the folder and the view tell --- */

static void on_state(void *ctx)
{
	struct volume *v = ctx;

	status_save(&v->view);
	if (v->o.changed)
		v->o.changed(v->o.ctx);
}

static void on_change(void *ctx)
{
	struct volume *v = ctx;

	committer_changed(v->committer);
	if (v->o.changed)
		v->o.changed(v->o.ctx);
}

/* --- attaching --- */

static void run_attaching(struct worker_job *job)
{
	struct volume *v = container_of(job, struct volume, attaching);

	v->result = attach(&v->o.attach, &v->attached, &v->err);
}

static int on_kick(sd_event_source *s, void *data)
{
	struct volume *v = data;

	(void)s;
	v->kick = sd_event_source_disable_unref(v->kick);
	status_save(&v->view);
	committer_kick(v->committer);
	return 0;
}

static int start_committer(struct volume *v)
{
	const struct attach_options *o = &v->o.attach;
	const struct committer_options options = {
		.folder = v->attached.folder,
		.flash = v->attached.flash,
		.base = &v->attached.base,
		.worker = v->o.worker,
		.event = v->o.event,
		.port = o->flash.link ? link_port(o->flash.link) : NULL,
		.quiet_ms = v->o.quiet_ms,
		.quiet_max_ms = v->o.quiet_ms * QUIET_MAX_FACTOR,
		.idle_ms = v->o.idle_ms,
		.verify_all = v->o.verify_all,
		.notify = on_state,
		.ctx = v,
		.log = o->flash.log,
	};
	int r = committer_new(&options, &v->committer);

	if (r < 0)
		return r;
	v->attached.folder->changed = on_change;
	v->attached.folder->changed_ctx = v;
	return 0;
}

static int start(struct volume *v)
{
	int r = readahead_new(
		v->o.worker, v->attached.flash, &v->attached.base, &v->readahead);

	if (r == 0)
		r = start_committer(v);
	if (r == 0)
		r = sd_event_add_defer(v->o.event, &v->kick, on_kick, v);
	if (r < 0)
		return r;
	v->view = (struct view){
		.folder = v->attached.folder,
		.flash = v->attached.flash,
		.worker = v->o.worker,
		.readahead = v->readahead,
		.committer = v->committer,
		.base = &v->attached.base,
		.event = v->o.event,
		.port = flash_name(v->attached.flash),
		.mountpoint = v->o.mountpoint,
		.found_stale = on_state,
		.found_ctx = v,
		.uid = v->o.uid,
		.gid = v->o.gid,
	};
	v->up = true;
	return 0;
}

/* Whoever is told may free the volume. */
static void on_attached(struct worker_job *job)
{
	struct volume *v = container_of(job, struct volume, attaching);
	int r = job->dropped ? -ECANCELED : v->result;

	if (r == 0) {
		r = start(v);
		if (r < 0)
			(void)!error_set(&v->err, r, "cannot start: %s", strerror(-r));
	}
	v->ready(v->ready_ctx, r, r < 0 ? v->err.text : v->attached.notes);
}

int volume_new(const struct volume_options *options, volume_ready_fn ready, void *ctx,
	struct volume **out)
{
	struct volume *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v->o = *options;
	v->ready = ready;
	v->ready_ctx = ctx;
	v->attaching.run = run_attaching;
	v->attaching.done = on_attached;
	*out = v;
	worker_submit(v->o.worker, &v->attaching, false);
	return 0;
}

/* --- requests --- */

/* Who holds a lock that the kernel wants waits for an answer. */
static int answer_one(void *ctx)
{
	struct volume *v = ctx;
	int n = fuse_session_receive_buf(v->session, &v->buf);

	if (n > 0)
		fuse_session_process_buf(v->session, &v->buf);
	pending_end_all(&v->view, -EIO);
	return n > 0 || n == -EINTR || n == -EAGAIN ? 0 : -ENODEV;
}

/* The folder is gone from the file system, or taken away; who still waits for an answer gets
 * an error. */
static void close_fuse(struct volume *v)
{
	if (!v->session)
		return;
	v->fuse_source = sd_event_source_disable_unref(v->fuse_source);
	if (v->invalidations)
		pending_end_all(&v->view, -EIO);
	invalidation_finish(&v->invalidations, answer_one, v);
	if (v->mounted)
		fuse_session_unmount(v->session);
	v->mounted = false;
	view_stop(&v->view);
	fuse_session_destroy(v->session);
	v->session = NULL;
	free(v->buf.mem);
	v->buf = (struct fuse_buf){0};
}

static void tell_served(struct volume *v)
{
	if (v->told || !v->view.initialised)
		return;
	v->told = true;
	if (v->o.served)
		v->o.served(v->o.ctx);
}

static int on_fuse(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct volume *v = data;
	unsigned i;

	(void)s;
	(void)fd;
	(void)events;
	for (i = 0; i < BURST; i++) {
		int n = fuse_session_receive_buf(v->session, &v->buf);

		if (n == -EINTR || n == -EAGAIN)
			return 0;
		if (n > 0)
			fuse_session_process_buf(v->session, &v->buf);
		if (n <= 0 || fuse_session_exited(v->session)) {
			volume_end(v, true);
			return 0;
		}
		tell_served(v);
	}
	return 0;
}

static int listen_to_fuse(struct volume *v)
{
	int fd = fuse_session_fd(v->session);
	int flags = fcntl(fd, F_GETFL);

	/* A request may be gone again when we come to read it (interrupted). */
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	return sd_event_add_io(v->o.event, &v->fuse_source, fd, EPOLLIN, on_fuse, v);
}

static int new_session(struct volume *v, struct error *err)
{
	char options[256];
	char *argv[] = {(char[]){"romount"}, (char[]){"-o"}, options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);

	snprintf(options, sizeof(options),
		"default_permissions,nosuid,nodev,noexec,fsname=romount,subtype=romount");
	v->session = fuse_session_new(&args, &view_ops, sizeof(view_ops), &v->view);
	fuse_opt_free_args(&args);
	return v->session ? 0 : error_set(err, -EIO, "libfuse cannot start");
}

static int serve(struct volume *v, struct error *err)
{
	int r;

	v->told = v->view.initialised = false;
	r = view_start(&v->view);
	if (r >= 0)
		r = listen_to_fuse(v);
	if (r >= 0)
		return 0;
	close_fuse(v);
	return error_set(err, r, "cannot start: %s", strerror(-r));
}

int volume_serve(struct volume *v, int fuse_fd, struct error *err)
{
	_cleanup_close_ int fd = fuse_fd;
	char name[32];
	int r = v->session ? error_set(err, -EBUSY, "the folder is shown already")
			   : new_session(v, err);

	if (r < 0)
		return r;
	snprintf(name, sizeof(name), "/dev/fd/%d", fd);
	if (fuse_session_mount(v->session, name) != 0) {
		close_fuse(v);
		return error_set(err, -EIO, "libfuse does not take the mounted descriptor");
	}
	fd = -1;
	return serve(v, err);
}

int volume_mount(struct volume *v, const char *mountpoint, struct error *err)
{
	int r = new_session(v, err);

	if (r < 0)
		return r;
	if (fuse_session_mount(v->session, mountpoint) != 0) {
		close_fuse(v);
		return error_set(err, -EIO,
			"cannot mount at %s: is fuse3 installed, /dev/fuse there, and the folder "
			"yours?",
			mountpoint);
	}
	v->mounted = true;
	return serve(v, err);
}

bool volume_is_served(const struct volume *v)
{
	return v->session != NULL;
}

/* --- the end --- */

static void tell_ended(struct volume *v, int result)
{
	v->ending = false;
	v->o.ended(v->o.ctx, result);
}

static void on_last_sync(void *ctx, int result)
{
	struct volume *v = ctx;

	if (result < 0) {
		struct committer_status s;

		committer_status(v->committer, &s);
		log_to(log_of(v), LOG_WARNING,
			"not everything is on flash (%s); it is kept, and the next mount writes "
			"it, or lays it out as plain files where another program was first",
			s.error[0] ? s.error : strerror(-result));
	}
	tell_ended(v, result);
}

static void do_nothing(struct worker_job *job)
{
	(void)job;
}

static void on_last_job(struct worker_job *job)
{
	tell_ended(container_of(job, struct volume, last_job), 0);
}

/* In front of all that waits: what runs now ends well, and nothing else of ours begins. */
static void wait_for_job(struct volume *v)
{
	v->kick = sd_event_source_disable_unref(v->kick);
	v->last_job = (struct worker_job){.run = do_nothing, .done = on_last_job};
	worker_submit(v->o.worker, &v->last_job, true);
}

void volume_end(struct volume *v, bool finish)
{
	close_fuse(v);
	volume_operate_cancel(v);
	if (v->ending)
		return;
	v->ending = true;
	if (!finish) {
		wait_for_job(v);
		return;
	}
	v->last_sync.done = on_last_sync;
	v->last_sync.ctx = v;
	committer_sync(v->committer, &v->last_sync);
}

bool volume_is_ending(const struct volume *v)
{
	return v->ending;
}

void volume_free(struct volume *v)
{
	if (!v)
		return;
	close_fuse(v);
	operation_drop(v->operation);
	readahead_free(v->readahead);
	committer_free(v->committer);
	sd_event_source_disable_unref(v->kick);
	attached_clear(&v->attached);
	free(v);
}

/* --- for the worker's hooks --- */

void volume_rest(struct volume *v)
{
	if (v->attached.flash)
		flash_rest(v->attached.flash);
}

bool volume_is_resting(const struct volume *v)
{
	return !v->attached.flash || flash_is_resting(v->attached.flash);
}

/* --- what there is to tell --- */

unsigned volume_number(const struct volume *v)
{
	return v->o.attach.flash.partition;
}

const struct dev_geometry *volume_geometry(const struct volume *v)
{
	return flash_geometry(v->attached.flash);
}

const struct dev_board_info *volume_board(const struct volume *v)
{
	return flash_board(v->attached.flash);
}

void volume_status(const struct volume *v, struct volume_status *out)
{
	*out = (struct volume_status){.job = ""};
	committer_status(v->committer, &out->commit);
	status_summarise(&v->view, &out->summary);
	if (out->commit.state == COMMITTER_WRITING) {
		out->job = "commit";
		out->done = out->commit.done;
		out->total = out->commit.total;
	}
	if (v->operation)
		operation_tell(v->operation, out);
}

void volume_save_status(struct volume *v)
{
	status_save(&v->view);
}

void volume_sync(struct volume *v, struct committer_waiter *w)
{
	committer_sync(v->committer, w);
}

void volume_forget(struct volume *v, struct committer_waiter *w)
{
	committer_forget(v->committer, w);
}

void volume_kick(struct volume *v)
{
	committer_kick(v->committer);
}
