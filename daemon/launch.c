/* SPDX-License-Identifier: MIT */
#include "daemon/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/child.h"

#define PROGRAM "romount-board"

struct process {
	sd_event *event;
	struct process_hooks hooks;
	struct child *child; /* NULL: systemd's, and has not spoken yet */
	int fd;		     /* -1: the callee of `linked` has it */
	sd_event_source *first_words;
};

/* --- the program --- */

static bool try_program(struct launcher *l, const char *dir)
{
	if (asprintf(&l->program, "%s/%s", dir, PROGRAM) < 0) {
		l->program = NULL;
		return false;
	}
	if (dir[0] == '/' && access(l->program, X_OK) == 0)
		return true;
	free(TAKE_PTR(l->program));
	return false;
}

/* Where a build that is not installed has it. */
static bool try_beside(struct launcher *l)
{
	char dir[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);

	if (n <= 0)
		return false;
	dir[n] = '\0';
	*strrchr(dir, '/') = '\0';
	return try_program(l, dir);
}

int launcher_init(struct launcher *l, struct error *err)
{
	const char *given = secure_getenv("ROMOUNT_LIBEXEC");

	if ((given && try_program(l, given)) || (!given && try_beside(l)) ||
		(!given && try_program(l, LIBEXECDIR)))
		return 0;
	return error_set(err, -ENOENT,
		"there is no %s in %s: install romount completely, or name its directory "
		"in ROMOUNT_LIBEXEC",
		PROGRAM, given ? given : LIBEXECDIR);
}

void launcher_clear(struct launcher *l)
{
	free(TAKE_PTR(l->program));
}

/* --- whose process it is --- */

static bool is_board_unit(pid_t pid)
{
	char path[64], text[512];
	_cleanup_close_ int fd = -1;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	return strstr(text, "/romount-board@") != NULL;
}

static void on_ended(void *ctx, int code, const char *why)
{
	struct process *p = ctx;

	(void)code;
	p->hooks.gone(p->hooks.ctx, why);
}

/* The kernel tells who has written the bytes that wait. */
static pid_t writer_of(int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *c;

	if (recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return 0;
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		struct ucred cred;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_CREDENTIALS)
			continue;
		memcpy(&cred, CMSG_DATA(c), sizeof(cred));
		return cred.pid;
	}
	return 0;
}

/* Without its number the process is watched by its link alone. */
static void learn_pid(struct process *p)
{
	pid_t pid = writer_of(p->fd);
	int pidfd, off = 0;

	(void)setsockopt(p->fd, SOL_SOCKET, SO_PASSCRED, &off, sizeof(off));
	pidfd = pid > 1 ? pidfd_open(pid, 0) : -1;
	if (pidfd < 0)
		return;
	/* Looked at after the descriptor is there: what is read is of the same process. */
	if (!is_board_unit(pid))
		close(pidfd);
	else if (child_adopt(p->event, pid, pidfd, on_ended, p, &p->child) < 0)
		p->child = NULL;
}

static int on_first_words(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct process *p = data;
	char byte;

	(void)s;
	(void)events;
	p->first_words = sd_event_source_disable_unref(p->first_words);
	if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) <= 0) {
		/* Our own child's end is told by itself. */
		if (!p->child)
			p->hooks.gone(p->hooks.ctx,
				"did not start; see 'journalctl -u romount-board@*'");
		return 0;
	}
	if (!p->child)
		learn_pid(p);
	p->hooks.linked(p->hooks.ctx, TAKE_FD(p->fd));
	return 0;
}

/* --- the two ways --- */

/* -ENOENT, -ECONNREFUSED: there is no such unit here. */
static int connect_unit(const char *path)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int on = 1;

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, path, strlen(path) + 1);
	if (setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0 ||
		connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int spawn(struct process *p, const struct launcher *l, struct error *err)
{
	char *argv[] = {l->program, NULL};
	struct child_options o = {
		.argv = argv,
		.stderr_fd = -1,
		.listen = true,
		.become = l->become,
		.uid = l->uid,
		.gid = l->gid,
	};
	int ends[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) < 0)
		return error_set(err, -errno, "cannot make a socket: %m");
	p->fd = ends[0];
	o.fd = ends[1];
	r = child_start(l->event, &o, on_ended, p, &p->child, err);
	close(ends[1]);
	return r;
}

static int open_link(struct process *p, const struct launcher *l, struct error *err)
{
	int fd;

	if (!l->socket_path)
		return spawn(p, l, err);
	fd = connect_unit(l->socket_path);
	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return spawn(p, l, err);
	if (fd < 0)
		return error_set(err, fd, "cannot connect to %s: %s", l->socket_path,
			fd == -EAGAIN ? "too many boards are starting" : strerror(-fd));
	p->fd = fd;
	return 0;
}

int process_start(const struct launcher *l, const struct process_hooks *hooks,
	struct process **out, struct error *err)
{
	_cleanup_(process_freep) struct process *p = calloc(1, sizeof(*p));
	int r;

	if (!p)
		return error_set(err, -ENOMEM, "out of memory");
	p->event = l->event;
	p->hooks = *hooks;
	p->fd = -1;
	r = open_link(p, l, err);
	if (r < 0)
		return r;
	r = sd_event_add_io(
		l->event, &p->first_words, p->fd, EPOLLIN, on_first_words, p);
	if (r < 0)
		return error_set(err, r, "cannot watch a socket: %s", strerror(-r));
	*out = TAKE_PTR(p);
	return 0;
}

void process_free(struct process *p)
{
	if (!p)
		return;
	sd_event_source_disable_unref(p->first_words);
	child_free(p->child);
	closep(&p->fd);
	free(p);
}

pid_t process_pid(const struct process *p)
{
	return p->child ? child_pid(p->child) : 0;
}

int process_kill(struct process *p)
{
	return p->child ? child_kill(p->child) : -ESRCH;
}
