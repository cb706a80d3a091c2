/* SPDX-License-Identifier: MIT */
#include "daemon/intake.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "daemon/filecall.h"

#define HEADER_BYTES 16u
#define CHUNK_BYTES 4096u
#define PAIR_BYTES (32 << 10)

struct intake {
	struct intake_options options;
	int fd, pair;
	sd_event_source *from_client, *to_bus, *again;
	bool is_broken;
	/* Where the stream is: before BEGIN, in a header, or in the rest of a message. */
	bool has_begun;
	unsigned n_auth, matched;
	uint8_t header[HEADER_BYTES];
	unsigned n_header;
	uint64_t rest;
	/* What sd-bus has not taken yet. */
	uint8_t chunk[CHUNK_BYTES];
	size_t at, len;
	bool is_held; /* until the message with these descriptors is whole, and checked */
	int fds[INTAKE_FDS_MAX];
	unsigned n_fds;
	bool has_ended;
};

static void close_fds(struct intake *in)
{
	for (unsigned i = 0; i < in->n_fds; i++)
		close(in->fds[i]);
	in->n_fds = 0;
}

static int enable(sd_event_source *s, bool on)
{
	return sd_event_source_set_enabled(s, on ? SD_EVENT_ON : SD_EVENT_OFF);
}

static void break_off(struct intake *in)
{
	if (in->is_broken)
		return;
	in->is_broken = true;
	(void)enable(in->from_client, false);
	(void)enable(in->to_bus, false);
	(void)enable(in->again, false);
	in->options.broken(in->options.ctx);
}

/* --- to sd-bus --- */

/* The descriptors that the buffer holds go with the first byte. */
static ssize_t send_chunk(struct intake *in)
{
	struct iovec iov = {in->chunk + in->at, in->len - in->at};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(in->fds))];
	} control = {0};
	ssize_t n;

	if (in->n_fds > 0) {
		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(in->n_fds * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		control.align.cmsg_len = CMSG_LEN(in->n_fds * sizeof(int));
		memcpy(CMSG_DATA(&control.align), in->fds, in->n_fds * sizeof(int));
	}
	n = sendmsg(in->pair, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		close_fds(in);
	return n;
}

/* 1: all is on its way; 0: sd-bus is to take some first. */
static int forward(struct intake *in)
{
	ssize_t n;

	if (in->is_held)
		return 1;
	while (in->at < in->len) {
		n = send_chunk(in);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		in->at += (size_t)n;
	}
	if (in->has_ended && shutdown(in->pair, SHUT_WR) < 0)
		return -errno;
	return 1;
}

/* --- from the client --- */

static uint32_t header_word(const struct intake *in, unsigned at)
{
	uint32_t v;

	memcpy(&v, in->header + at, sizeof(v));
	return in->header[0] == 'l' ? le32toh(v) : be32toh(v);
}

static int finish_header(struct intake *in)
{
	uint64_t body = header_word(in, 4), fields = header_word(in, 12);

	if (in->header[0] != 'l' && in->header[0] != 'B')
		return -EBADMSG;
	in->rest = (fields + 7) / 8 * 8 + body;
	if (in->rest + HEADER_BYTES > in->options.message_max)
		return -EMSGSIZE;
	in->n_header = in->rest > 0 ? HEADER_BYTES : 0;
	return 0;
}

/* Bytes of the chunk up to the end of BEGIN's line, which they complete, or all. */
static size_t follow_auth(struct intake *in, const uint8_t *bytes, size_t n)
{
	static const char begin[] = "\nBEGIN\r\n";

	for (size_t i = 0; i < n; i++) {
		if (bytes[i] != (uint8_t)begin[in->matched])
			in->matched = 0;
		if (bytes[i] == (uint8_t)begin[in->matched])
			in->matched++;
		if (in->matched + 1 == sizeof(begin)) {
			in->has_begun = true;
			return i + 1;
		}
	}
	return n;
}

/* What comes after BEGIN may bring descriptors: it stays where it is. */
static ssize_t receive_auth(struct intake *in)
{
	ssize_t n = recv(in->fd, in->chunk, sizeof(in->chunk), MSG_PEEK | MSG_DONTWAIT);

	if (n <= 0)
		return n;
	n = recv(in->fd, in->chunk, follow_auth(in, in->chunk, (size_t)n), MSG_DONTWAIT);
	if (n > 0)
		in->n_auth += (unsigned)n;
	if (in->n_auth > INTAKE_AUTH_MAX) {
		errno = EMSGSIZE;
		return -1;
	}
	return n;
}

static int take_fds(struct intake *in, struct msghdr *msg)
{
	bool may_come = in->n_header == 0 && in->n_fds == 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
			if (in->n_fds < INTAKE_FDS_MAX)
				in->fds[in->n_fds++] = fd;
			else
				close(fd);
		}
		in->is_held = true;
		if (!may_come)
			return -EBADMSG;
	}
	return msg->msg_flags & MSG_CTRUNC ? -EMSGSIZE : 0;
}

/* What of the stream has come. */
static int follow_messages(struct intake *in, const uint8_t *bytes, size_t n)
{
	int r = 0;

	if (in->n_header < HEADER_BYTES) {
		memcpy(in->header + in->n_header, bytes, n);
		in->n_header += (unsigned)n;
		if (in->n_header == HEADER_BYTES)
			r = finish_header(in);
	} else {
		in->rest -= n;
		if (in->rest == 0)
			in->n_header = 0;
	}
	if (r < 0 || !in->is_held || in->n_header > 0)
		return r;
	in->is_held = false;
	return filecall_check(in->chunk, in->len + n);
}

/* Never beyond the end of a header or of a message: descriptors stay with their message. */
static ssize_t receive_part(struct intake *in)
{
	size_t room = sizeof(in->chunk) - in->len;
	size_t want =
		in->n_header < HEADER_BYTES ? HEADER_BYTES - in->n_header : in->rest;
	struct iovec iov = {in->chunk + in->len, MIN(want, room)};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(in->fds))];
	} control;
	struct msghdr msg = {.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.bytes,
		.msg_controllen = sizeof(control.bytes)};
	ssize_t n =
		room > 0 ? recvmsg(in->fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) : -1;
	int r;

	if (room == 0)
		errno = EMSGSIZE; /* a held one that is too long */
	if (n < 0)
		return n;
	r = take_fds(in, &msg);
	if (r >= 0 && n > 0)
		r = follow_messages(in, in->chunk + in->len, (size_t)n);
	if (r < 0) {
		errno = -r;
		return -1;
	}
	return n;
}

/* 1: something came; 0: nothing there. */
static int receive(struct intake *in)
{
	ssize_t n;

	if (!in->is_held)
		in->at = in->len = 0;
	n = in->has_begun ? receive_part(in) : receive_auth(in);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	in->len += (size_t)n;
	in->has_ended = n == 0;
	return 1;
}

/* --- the loop --- */

/* Which events matter now: the client's, when there is room; sd-bus's, when there is none. */
static int update(struct intake *in)
{
	bool is_full = in->at < in->len && !in->is_held;
	bool may_read = !is_full && !in->has_ended &&
			in->options.wanted(in->options.ctx, in->has_begun);
	int r = enable(in->to_bus, is_full);

	/* Without EPOLLIN it is still told when the client has gone. */
	if (r >= 0)
		r = sd_event_source_set_io_events(
			in->from_client, may_read ? EPOLLIN : 0);
	if (r >= 0)
		r = enable(in->from_client, !in->has_ended);
	if (r >= 0)
		r = enable(in->again, !may_read && !is_full && !in->has_ended);
	return r;
}

static void go_on(struct intake *in, int r)
{
	if (r >= 0)
		r = update(in);
	if (r < 0)
		break_off(in);
}

static int on_client(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct intake *in = userdata;
	int r;

	if (!(events & EPOLLIN)) {
		break_off(in);
		return 0;
	}
	r = receive(in);
	if (r > 0)
		r = forward(in);
	go_on(in, r);
	return 0;
}

int intake_step(struct intake *in)
{
	int r;

	if (in->is_broken || in->has_ended ||
		!in->options.wanted(in->options.ctx, in->has_begun))
		return 0;
	r = forward(in);
	if (r > 0)
		r = receive(in);
	if (r <= 0) {
		go_on(in, r);
		return 0;
	}
	go_on(in, forward(in));
	return 1;
}

static int on_room(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
	struct intake *in = userdata;

	go_on(in, forward(in));
	return 0;
}

static int on_again(sd_event_source *s, void *userdata)
{
	go_on(userdata, 0);
	return 0;
}

static int add_sources(struct intake *in)
{
	sd_event *event = in->options.event;
	int r = sd_event_add_io(event, &in->from_client, in->fd, EPOLLIN, on_client, in);

	if (r >= 0)
		r = sd_event_add_io(event, &in->to_bus, in->pair, EPOLLOUT, on_room, in);
	if (r >= 0)
		r = sd_event_add_post(event, &in->again, on_again, in);
	return r < 0 ? r : update(in);
}

int intake_new(const struct intake_options *options, int *inner, struct intake **out)
{
	_cleanup_(intake_freep) struct intake *in = calloc(1, sizeof(*in));
	_cleanup_close_ int theirs = -1;
	const int size = PAIR_BYTES;
	int pair[2], r;

	if (!in)
		return -ENOMEM;
	in->options = *options;
	in->pair = -1;
	in->fd = fcntl(options->fd, F_DUPFD_CLOEXEC, 3);
	if (in->fd < 0)
		return -errno;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return -errno;
	in->pair = pair[0];
	theirs = pair[1];
	if (setsockopt(in->pair, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)) < 0)
		return -errno;
	r = add_sources(in);
	if (r < 0)
		return r;
	*inner = TAKE_FD(theirs);
	*out = TAKE_PTR(in);
	return 0;
}

void intake_free(struct intake *in)
{
	if (!in)
		return;
	sd_event_source_disable_unref(in->from_client);
	sd_event_source_disable_unref(in->to_bus);
	sd_event_source_disable_unref(in->again);
	close_fds(in);
	if (in->fd >= 0)
		close(in->fd);
	if (in->pair >= 0)
		close(in->pair);
	free(in);
}
