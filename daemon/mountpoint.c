/* SPDX-License-Identifier: MIT */
#include "daemon/mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "daemon/emptydir.h"
#include "daemon/fusermount.h"
#include "daemon/mountcall.h"

enum stage { NOTHING, MOUNTING, MOUNTED, UNMOUNTING };

struct mountpoint {
	const struct mount_way *way;
	int dirfd;
	int under; /* the directory that is mounted over; -1 */
	unsigned number;
	char name[16];
	char *path;
	enum stage stage;
	bool unwanted; /* while MOUNTING: to be unmounted then */
	bool waiting;  /* while it is unmounted, or will be: `request` comes next */
	struct mountpoint_request request;
	char source[80];
	struct fusermount *fusermount;
	struct mountcall *call;
	void (*idle)(void *ctx);
	void *ctx;
};

int mountpoint_new(const struct mount_way *way, int dirfd, const char *dir, unsigned number,
	void (*idle)(void *ctx), void *ctx, struct mountpoint **out)
{
	struct mountpoint *m = calloc(1, sizeof(*m));

	if (!m)
		return -ENOMEM;
	*m = (struct mountpoint){.way = way, .dirfd = dirfd, .under = -1, .number = number,
		.idle = idle, .ctx = ctx};
	snprintf(m->name, sizeof(m->name), "rom%u", number);
	if (asprintf(&m->path, "%s/%s", dir, m->name) < 0) {
		free(m);
		return -ENOMEM;
	}
	*out = m;
	return 0;
}

void mountpoint_free(struct mountpoint *m)
{
	if (!m)
		return;
	fusermount_free(m->fusermount);
	mountcall_free(m->call);
	closep(&m->under);
	free(m->path);
	free(m);
}

unsigned mountpoint_number(const struct mountpoint *m)
{
	return m->number;
}

const char *mountpoint_path(const struct mountpoint *m)
{
	return m->path;
}

bool mountpoint_is_idle(const struct mountpoint *m)
{
	return m->stage == NOTHING;
}

bool mountpoint_is_mounted(const struct mountpoint *m)
{
	return m->stage == MOUNTED;
}

/* --- the directory --- */

static int make_dir(struct mountpoint *m, struct error *err)
{
	struct stat st;

	closep(&m->under);
	m->under = -1;
	if (mkdirat(m->dirfd, m->name, 0755) < 0 && errno != EEXIST)
		return error_set(err, -errno, "cannot make the directory %s: %m", m->path);
	m->under = openat(m->dirfd, m->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (m->under < 0 || fstat(m->under, &st) < 0)
		return error_set(err, -errno, "cannot use %s: %m; take it away", m->path);
	if (st.st_uid != geteuid())
		return error_set(
			err, -EPERM, "%s belongs to somebody else; take it away", m->path);
	/* fusermount3 wants to be able to write there; see hide_dir. */
	if (fchmod(m->under, 0755) < 0)
		return error_set(err, -errno, "cannot use %s: %m", m->path);
	return 0;
}

/* Nobody shall write into the directory itself while nothing is mounted there: that would be
 * lost without a word. */
static void hide_dir(struct mountpoint *m)
{
	if (m->under >= 0)
		(void)fchmod(m->under, 0500);
}

/* --- steps --- */

static void tell(struct mountpoint *m, int result, int fd, const char *text)
{
	mountpoint_done_fn done = m->request.done;
	void *ctx = m->request.ctx;

	m->request.done = NULL;
	if (done)
		done(ctx, result, fd, text);
	else if (fd >= 0)
		close(fd);
}

static void start_mount(struct mountpoint *m);

static void on_unmounted(struct mountpoint *m)
{
	m->stage = NOTHING;
	if (unlinkat(m->dirfd, m->name, AT_REMOVEDIR) == 0 || errno == ENOENT) {
		closep(&m->under);
		m->under = -1;
	}
	if (m->waiting) {
		m->waiting = false;
		start_mount(m);
		return;
	}
	m->idle(m->ctx);
}

static void forget_errand(struct mountpoint *m)
{
	fusermount_free(TAKE_PTR(m->fusermount));
	mountcall_free(TAKE_PTR(m->call));
}

static void on_errand_unmounted(void *ctx, int fd, const char *text)
{
	struct mountpoint *m = ctx;

	(void)fd;
	(void)text; /* the user may have been first; what is still mounted shows by rmdir */
	forget_errand(m);
	on_unmounted(m);
}

/* Nobody listens: this is no system of systemd's, or the unit is not installed. */
static bool is_nobody(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED;
}

static int unmount_by_helper(struct mountpoint *m)
{
	struct mountcall_request request = {.path = m->path};

	if (!m->way->helper)
		return -ENOENT;
	return mountcall_start(m->way->event, m->way->helper, &request, on_errand_unmounted, m,
		&m->call, NULL);
}

static void start_unmount(struct mountpoint *m)
{
	char path[64];
	int r;

	m->stage = UNMOUNTING;
	if (m->way->fusermount)
		r = fusermount_start(m->way->event, m->way->fusermount, NULL, m->path,
			on_errand_unmounted, m, &m->fusermount, NULL);
	else
		r = unmount_by_helper(m);
	if (r >= 0)
		return;
	if (!m->way->fusermount && is_nobody(r)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", m->dirfd, m->name);
		(void)umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
	}
	on_unmounted(m);
}

/* fusermount3 mounts only where the user may write, so somebody was quicker. */
static void refuse_hidden(struct mountpoint *m, int fd)
{
	struct error err = {0};

	close(fd);
	error_set(&err, -ENOTEMPTY,
		"there are files in %s itself, which the board's folder would hide: move them "
		"away, then 'romount eject' and 'romount attach' the board",
		m->path);
	tell(m, err.code, -1, err.text);
	start_unmount(m);
}

static void on_mounted(struct mountpoint *m, int fd, const char *text)
{
	struct error err = {0};

	hide_dir(m);
	if (fd < 0 && m->unwanted) {
		on_unmounted(m);
		return;
	}
	if (fd < 0) {
		error_set(&err, -EIO, "cannot mount %s: %s", m->path, text);
		tell(m, -EIO, -1, err.text);
		on_unmounted(m);
		return;
	}
	m->stage = MOUNTED;
	if (m->unwanted) {
		close(fd);
		start_unmount(m);
		return;
	}
	if (!dir_is_empty(m->under)) {
		refuse_hidden(m, fd);
		return;
	}
	tell(m, 0, fd, "");
}

static void on_errand_mounted(void *ctx, int fd, const char *text)
{
	struct mountpoint *m = ctx;

	forget_errand(m);
	on_mounted(m, fd, text);
}

static void mount_by_fusermount(struct mountpoint *m)
{
	struct error err = {0};
	char options[256];

	/* default_permissions is not given away by root here: it is what keeps the modes. */
	snprintf(options, sizeof(options),
		"rw,nosuid,nodev,noexec,default_permissions,subtype=romount,fsname=%s",
		m->source);
	if (fusermount_start(m->way->event, m->way->fusermount, options, m->path,
		    on_errand_mounted, m, &m->fusermount, &err) < 0)
		on_mounted(m, -1, err.text);
}

static void mount_by_kernel(struct mountpoint *m)
{
	_cleanup_close_ int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	char options[128], path[64];

	if (fd < 0) {
		on_mounted(m, -1,
			errno == ENOENT || errno == ENODEV
				? "there is no /dev/fuse; 'modprobe fuse'"
				: strerror(errno));
		return;
	}
	snprintf(options, sizeof(options),
		"fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions", fd,
		(unsigned)m->request.uid, (unsigned)m->request.gid);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", m->under);
	if (mount(m->source, path, "fuse.romount", MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		on_mounted(m, -1, strerror(errno));
	else
		on_mounted(m, TAKE_FD(fd), "");
}

static void mount_by_root(struct mountpoint *m)
{
	struct mountcall_request request = {.source = m->source, .path = m->path,
		.uid = m->request.uid, .gid = m->request.gid};
	struct error err = {0};
	int r = -ENOENT;

	if (m->way->helper)
		r = mountcall_start(m->way->event, m->way->helper, &request, on_errand_mounted,
			m, &m->call, &err);
	if (is_nobody(r))
		mount_by_kernel(m);
	else if (r < 0)
		on_mounted(m, -1, err.text);
}

static void start_mount(struct mountpoint *m)
{
	struct error err = {0};

	m->unwanted = false;
	m->stage = MOUNTING;
	if (make_dir(m, &err) < 0) {
		tell(m, err.code, -1, err.text);
		on_unmounted(m);
	} else if (m->way->fusermount) {
		mount_by_fusermount(m);
	} else {
		mount_by_root(m);
	}
}

/* --- what is asked for --- */

void mountpoint_mount(struct mountpoint *m, const struct mountpoint_request *request)
{
	if (m->stage == MOUNTED || (m->stage == MOUNTING && !m->unwanted) || m->waiting) {
		request->done(request->ctx, -EBUSY, -1, "it is mounted already");
		return;
	}
	m->request = *request;
	snprintf(m->source, sizeof(m->source), "%s", request->source);
	m->request.source = m->source;
	if (m->stage == NOTHING)
		start_mount(m);
	else
		m->waiting = true;
}

void mountpoint_unmount(struct mountpoint *m)
{
	if (m->waiting) {
		m->waiting = false;
		tell(m, -ECANCELED, -1, "it is unmounted");
	}
	if (m->stage == MOUNTING && !m->unwanted) {
		m->unwanted = true;
		tell(m, -ECANCELED, -1, "it is unmounted");
	} else if (m->stage == MOUNTED) {
		start_unmount(m);
	}
}

/* --- what an earlier daemon has left --- */

struct stale {
	struct fusermount *fusermount;
	struct mountcall *call;
	char *path;
	void (*done)(void *ctx, const char *path);
	void *ctx;
};

static void stale_free(struct stale *s)
{
	fusermount_free(s->fusermount);
	mountcall_free(s->call);
	free(s->path);
	free(s);
}

static void on_stale_unmounted(void *ctx, int fd, const char *text)
{
	struct stale *s = ctx;

	(void)fd;
	(void)text;
	s->done(s->ctx, s->path);
	stale_free(s);
}

static int start_stale(struct stale *s, const struct mount_way *way, struct error *err)
{
	struct mountcall_request request = {.path = s->path};

	if (way->fusermount)
		return fusermount_start(way->event, way->fusermount, NULL, s->path,
			on_stale_unmounted, s, &s->fusermount, err);
	return mountcall_start(way->event, way->helper, &request, on_stale_unmounted, s,
		&s->call, err);
}

static int detach_by_kernel(const char *path, struct error *err)
{
	if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
		return 0;
	return error_set(err, -errno, "cannot unmount %s, which an earlier romountd has left: %m",
		path);
}

int mountpoint_detach_stale(const struct mount_way *way, const char *path,
	void (*done)(void *ctx, const char *path), void *ctx, struct error *err)
{
	struct error why = {0};
	struct stale *s;
	int r = -ENOENT;

	s = calloc(1, sizeof(*s));
	if (s)
		s->path = strdup(path);
	if (!s || !s->path) {
		free(s);
		return error_set(err, -ENOMEM, "out of memory");
	}
	s->done = done;
	s->ctx = ctx;
	if (way->fusermount || way->helper)
		r = start_stale(s, way, &why);
	if (r >= 0)
		return 0;
	stale_free(s);
	if (way->fusermount || !is_nobody(r))
		return error_set(err, r, "%s", why.text);
	r = detach_by_kernel(path, err);
	if (r == 0)
		done(ctx, path);
	return r;
}
