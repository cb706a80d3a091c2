/* SPDX-License-Identifier: MIT */
#include "daemon/fusermount.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#include "daemon/child.h"
#include "util/text.h"

#define DEADLINE_USEC (10u * 1000000u)

struct fusermount {
	struct child *child;
	sd_event_source *deadline;
	int socket, complaints; /* our ends */
	fusermount_done_fn done;
	void *ctx;
	bool mounts;
};

static int receive_fd(int socket)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	int fd;

	if (recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0)
		return -1;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS ||
		c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -1;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

/* Its last line, if it said anything. */
static void read_complaint(const struct fusermount *f, const char *why, char *out, size_t cap)
{
	char text[1024], *line;
	ssize_t n = read(f->complaints, text, sizeof(text) - 1);

	while (n > 0 && text[n - 1] == '\n')
		n--;
	if (n <= 0) {
		snprintf(out, cap, "fusermount3 %s", why);
		return;
	}
	text[n] = '\0';
	line = strrchr(text, '\n');
	snprintf(out, cap, "%s", line ? line + 1 : text);
	text_make_printable(out);
}

static void on_ended(void *ctx, int code, const char *why)
{
	struct fusermount *f = ctx;
	char text[300] = "";
	int fd = -1;

	if (code != 0)
		read_complaint(f, why, text, sizeof(text));
	else if (f->mounts && (fd = receive_fd(f->socket)) < 0)
		snprintf(text, sizeof(text), "fusermount3 gave no descriptor");
	f->deadline = sd_event_source_disable_unref(f->deadline);
	f->done(f->ctx, fd, text);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *data)
{
	struct fusermount *f = data;

	(void)s;
	(void)usec;
	(void)child_kill(f->child);
	return 0;
}

static int start(struct fusermount *f, sd_event *event, const char *program,
	const char *options, const char *path, int ends[2], int complaints, struct error *err)
{
	const char *mount_argv[] = {program, "-o", options, "--", path, NULL};
	const char *unmount_argv[] = {program, "-u", "-z", "-q", "--", path, NULL};
	static const char *const env[] = {"_FUSE_COMMFD=3", "LC_ALL=C.UTF-8", NULL};
	struct child_options o = {
		.argv = (char *const *)(uintptr_t)(options ? mount_argv : unmount_argv),
		.env = env,
		.fd = ends[1],
		.stderr_fd = complaints,
	};

	f->socket = ends[0];
	f->mounts = options != NULL;
	return child_start(event, &o, on_ended, f, &f->child, err);
}

int fusermount_start(sd_event *event, const char *program, const char *options,
	const char *path, fusermount_done_fn done, void *ctx, struct fusermount **out,
	struct error *err)
{
	_cleanup_(fusermount_freep) struct fusermount *f = calloc(1, sizeof(*f));
	int ends[2], pipes[2], r;

	if (!f)
		return error_set(err, -ENOMEM, "out of memory");
	*f = (struct fusermount){.socket = -1, .complaints = -1, .done = done, .ctx = ctx};
	if (pipe2(pipes, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_set(err, -errno, "cannot make a pipe: %m");
	f->complaints = pipes[0];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		r = error_set(err, -errno, "cannot make a socket: %m");
	} else {
		r = start(f, event, program, options, path, ends, pipes[1], err);
		close(ends[1]);
	}
	close(pipes[1]);
	if (r < 0)
		return r;
	r = sd_event_add_time_relative(
		event, &f->deadline, CLOCK_MONOTONIC, DEADLINE_USEC, 0, on_deadline, f);
	if (r < 0)
		return error_set(err, r, "cannot set a timer: %s", strerror(-r));
	*out = TAKE_PTR(f);
	return 0;
}

void fusermount_free(struct fusermount *f)
{
	if (!f)
		return;
	child_free(f->child);
	sd_event_source_disable_unref(f->deadline);
	closep(&f->socket);
	closep(&f->complaints);
	free(f);
}
