/* SPDX-License-Identifier: MIT */
#include "daemon/mountcall.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/mountorder.h"
#include "util/text.h"

#define DEADLINE_USEC (10u * 1000000u)

struct mountcall {
	sd_event_source *answer, *deadline;
	int fd;
	bool mounts;
	mountcall_done_fn done;
	void *ctx;
};

static int receive(int socket, struct mount_answer *a, int *fuse)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = a, .iov_len = sizeof(*a)};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control,
		.msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c;

	if (n < 0)
		return -errno;
	c = CMSG_FIRSTHDR(&msg);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(fuse, CMSG_DATA(c), sizeof(*fuse));
	return (size_t)n == sizeof(*a) ? 0 : -EBADMSG;
}

static void finish(struct mountcall *c, int fuse, const char *text)
{
	c->answer = sd_event_source_disable_unref(c->answer);
	c->deadline = sd_event_source_disable_unref(c->deadline);
	c->done(c->ctx, fuse, text);
}

static int on_answer(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct mountcall *c = data;
	struct mount_answer a = {0};
	_cleanup_close_ int fuse = -1;
	int r = receive(fd, &a, &fuse);

	(void)s;
	(void)events;
	if (r == -EAGAIN)
		return 0;
	a.text[sizeof(a.text) - 1] = '\0';
	text_make_printable(a.text);
	if (r < 0)
		finish(c, -1, "romount-mount gave no answer; see 'journalctl -t romount-mount'");
	else if (a.result != 0)
		finish(c, -1, a.text[0] ? a.text : "romount-mount failed");
	else if (c->mounts && fuse < 0)
		finish(c, -1, "romount-mount gave no descriptor");
	else
		finish(c, c->mounts ? TAKE_FD(fuse) : -1, "");
	return 0;
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *data)
{
	(void)s;
	(void)usec;
	finish(data, -1, "romount-mount did not answer in ten seconds");
	return 0;
}

static int make_order(const struct mountcall_request *request, struct mount_order *o)
{
	*o = (struct mount_order){.magic = MOUNT_ORDER_MAGIC, .mounts = request->source != NULL,
		.uid = request->uid, .gid = request->gid};
	snprintf(o->source, sizeof(o->source), "%s", request->source ? request->source : "-");
	if (strlen(request->path) >= sizeof(o->path))
		return -ENAMETOOLONG;
	memcpy(o->path, request->path, strlen(request->path) + 1);
	return 0;
}

static int ask(int fd, const char *socket_path, const struct mountcall_request *request)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct mount_order order;
	int r = make_order(request, &order);

	if (r < 0)
		return r;
	if (strlen(socket_path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	memcpy(a.sun_path, socket_path, strlen(socket_path) + 1);
	if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) < 0 ||
		send(fd, &order, sizeof(order), MSG_NOSIGNAL) < 0)
		return -errno;
	return 0;
}

int mountcall_start(sd_event *event, const char *socket_path,
	const struct mountcall_request *request, mountcall_done_fn done, void *ctx,
	struct mountcall **out, struct error *err)
{
	_cleanup_(mountcall_freep) struct mountcall *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	*c = (struct mountcall){.mounts = request->source != NULL, .done = done, .ctx = ctx};
	c->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		return error_set(err, -errno, "cannot make a socket: %m");
	r = ask(c->fd, socket_path, request);
	if (r < 0)
		return error_set(err, r, "cannot ask for a mount at %s: %s", socket_path,
			r == -EAGAIN ? "too many boards are starting" : strerror(-r));
	r = sd_event_add_io(event, &c->answer, c->fd, EPOLLIN, on_answer, c);
	if (r >= 0)
		r = sd_event_add_time_relative(
			event, &c->deadline, CLOCK_MONOTONIC, DEADLINE_USEC, 0, on_deadline, c);
	if (r < 0)
		return error_set(err, r, "cannot wait for a mount: %s", strerror(-r));
	*out = TAKE_PTR(c);
	return 0;
}

void mountcall_free(struct mountcall *c)
{
	if (!c)
		return;
	sd_event_source_disable_unref(c->answer);
	sd_event_source_disable_unref(c->deadline);
	closep(&c->fd);
	free(c);
}
