/* SPDX-License-Identifier: MIT */
/* romount-mount: makes one FUSE mount for romountd, or takes one away, and ends.
 *
 * Started by systemd with the connection as descriptor 3. It has the right to mount, so that
 * romountd needs not have it; and it does nothing else with it: what it mounts is a folder of
 * romount, without set-user-ID, devices and programs, on an empty directory of its own user;
 * what it takes away is such a mount. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "daemon/emptydir.h"
#include "daemon/mountorder.h"
#include "util/mounttable.h"
#include "util/text.h"

#define LINK_FD 3
#define DEADLINE_SEC 5
#define FS_TYPE "fuse.romount"

static format_like(3, 4) int fail(struct mount_answer *a, int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(a->text, sizeof(a->text), fmt, ap);
	va_end(ap);
	text_make_printable(a->text);
	return a->result = code;
}

static bool is_text(const char *s, size_t cap)
{
	return s[0] != '\0' && memchr(s, '\0', cap) != NULL;
}

static int receive(struct mount_order *order)
{
	struct timeval deadline = {.tv_sec = DEADLINE_SEC};
	struct ucred peer;
	socklen_t len = sizeof(peer);
	ssize_t n;

	if (setsockopt(LINK_FD, SOL_SOCKET, SO_RCVTIMEO, &deadline, sizeof(deadline)) < 0 ||
		getsockopt(LINK_FD, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return -errno;
	if (peer.uid != geteuid())
		return -EACCES;
	n = recv(LINK_FD, order, sizeof(*order), MSG_TRUNC);
	if (n < 0)
		return -errno;
	if ((size_t)n != sizeof(*order) || order->magic != MOUNT_ORDER_MAGIC ||
		!is_text(order->source, sizeof(order->source)) ||
		!is_text(order->path, sizeof(order->path)) || order->path[0] != '/')
		return -EBADMSG;
	return 0;
}

/* Step by step, so that no symbolic link leads elsewhere. */
static int open_path(const char *path)
{
	_cleanup_free_ char *copy = strdup(path);
	_cleanup_close_ int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char *save = NULL, *name;

	if (!copy)
		return -ENOMEM;
	for (name = strtok_r(copy, "/", &save); dir >= 0 && name;
		name = strtok_r(NULL, "/", &save)) {
		int next = strcmp(name, "..") == 0 ? (errno = EINVAL, -1) :
			openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		int saved = errno;

		close(dir);
		dir = next;
		errno = saved;
	}
	return dir < 0 ? -errno : TAKE_FD(dir);
}

static int do_mount(const struct mount_order *order, struct mount_answer *a, int *out)
{
	_cleanup_close_ int dir = open_path(order->path), fuse = -1;
	char options[128], target[64];
	struct stat st;

	if (dir < 0)
		return fail(a, dir, "cannot use %s: %s", order->path, strerror(-dir));
	if (mounttable_has("/proc", order->path))
		return fail(a, -EBUSY, "%s is mounted already", order->path);
	if (fstat(dir, &st) < 0 || st.st_uid != geteuid())
		return fail(a, -EPERM, "%s belongs to somebody else; take it away", order->path);
	if (!dir_is_empty(dir))
		return fail(a, -ENOTEMPTY, "%s is not empty; take away what is in it", order->path);
	fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse < 0)
		return fail(a, -errno, "cannot open /dev/fuse: %m; 'modprobe fuse'");
	snprintf(options, sizeof(options),
		"fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions", fuse,
		order->uid, order->gid);
	snprintf(target, sizeof(target), "/proc/self/fd/%d", dir);
	if (mount(order->source, target, FS_TYPE, MS_NOSUID | MS_NODEV | MS_NOEXEC, options) < 0)
		return fail(a, -errno, "cannot mount %s: %m", order->path);
	*out = TAKE_FD(fuse);
	return 0;
}

struct wanted {
	const char *path;
	bool found; /* what is on top there is ours */
	bool seen;
};

static void look(void *ctx, const char *path, const char *type)
{
	struct wanted *w = ctx;

	if (w->seen || strcmp(path, w->path) != 0)
		return;
	w->seen = true;
	w->found = strcmp(type, FS_TYPE) == 0;
}

static int do_unmount(const struct mount_order *order, struct mount_answer *a)
{
	struct wanted w = {.path = order->path};
	int r = mounttable_each("/proc", look, &w);

	if (r < 0)
		return fail(a, r, "cannot read what is mounted: %s", strerror(-r));
	if (!w.found)
		return fail(a, -EINVAL, "%s is no folder of romount", order->path);
	if (umount2(order->path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
		return fail(a, -errno, "cannot unmount %s: %m", order->path);
	return 0;
}

static int answer(const struct mount_answer *a, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)a, .iov_len = sizeof(*a)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = sizeof(control.bytes);
		CMSG_FIRSTHDR(&msg)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&msg)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&msg)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&msg)), &fd, sizeof(fd));
	}
	return sendmsg(LINK_FD, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int main(void)
{
	struct mount_order order;
	struct mount_answer a = {0};
	_cleanup_close_ int fuse = -1;
	int r = receive(&order);

	if (r < 0) {
		fprintf(stderr, "romount-mount: an order that makes no sense: %s\n", strerror(-r));
		return EXIT_FAILURE;
	}
	if (order.mounts)
		r = do_mount(&order, &a, &fuse);
	else
		r = do_unmount(&order, &a);
	if (r < 0)
		fprintf(stderr, "romount-mount: %s\n", a.text);
	r = answer(&a, fuse);
	/* Nobody would ever serve it. */
	if (r < 0 && order.mounts && a.result == 0)
		(void)umount2(order.path, MNT_DETACH | UMOUNT_NOFOLLOW);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
