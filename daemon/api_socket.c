/* SPDX-License-Identifier: MIT */
#include "daemon/api_socket.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "daemon/api_private.h"
#include "daemon/intake.h"

#define SYSTEM_SOCKET "/run/romount/private"
#define USER_SOCKET "romount/private" /* below XDG_RUNTIME_DIR */
#define ACTIVATED_NAME "private"
#define CLIENTS_MAX 256u
#define USER_CLIENTS_MAX 32u
#define ANSWERS_MAX 16u /* that wait for the client, until nothing more is read from it */
#define MESSAGE_MAX (64u << 10) /* bytes */
#define RETRY_USEC 1000000u

struct client {
	struct api_peer peer;
	struct client *next;
	struct api_socket *socket;
	struct intake *intake;
};

struct api_socket {
	struct api *api;
	int fd;
	char path[sizeof(
		((struct sockaddr_un *)NULL)->sun_path)]; /* "": opened by systemd */
	sd_event_source *source, *retry;
	struct client *clients;
};

/* --- clients --- */

static void client_free(struct client *c)
{
	struct client **at = &c->socket->clients;

	while (*at && *at != c)
		at = &(*at)->next;
	if (*at)
		*at = c->next;
	intake_free(c->intake);
	if (c->peer.api)
		api_detach(&c->peer);
	free(c);
}

static void on_lost(struct api_peer *peer)
{
	client_free(container_of(peer, struct client, peer));
}

static bool is_wanted(void *ctx, bool message)
{
	struct client *c = ctx;
	uint64_t queued = 0;

	if (message && sd_bus_is_ready(c->peer.bus) <= 0)
		return false;
	return sd_bus_get_n_queued_write(c->peer.bus, &queued) < 0 ||
	       queued < ANSWERS_MAX;
}

static void on_broken(void *ctx)
{
	struct client *c = ctx;

	api_lose(&c->peer);
}

/* What is read comes through the intake, answers go to the client itself. The kernel has told
 * who it is; what it says about itself does not matter. Takes `fd`. */
static int connect_bus(struct client *c, int fd)
{
	_cleanup_close_ int output = fd, input = -1;
	const struct intake_options intake = {.event = c->peer.api->options.event,
		.fd = fd,
		.message_max = MESSAGE_MAX,
		.wanted = is_wanted,
		.broken = on_broken,
		.ctx = c};
	sd_id128_t id;
	int r = sd_id128_randomize(&id);

	if (r >= 0)
		r = sd_bus_new(&c->peer.bus);
	if (r >= 0)
		r = intake_new(&intake, &input, &c->intake);
	if (r >= 0)
		r = sd_bus_set_fd(c->peer.bus, input, output);
	if (r < 0)
		return r;
	TAKE_FD(input);
	TAKE_FD(output);
	r = sd_bus_set_server(c->peer.bus, true, id);
	if (r >= 0)
		r = sd_bus_set_anonymous(c->peer.bus, true);
	if (r >= 0)
		r = sd_bus_set_trusted(c->peer.bus, false);
	if (r >= 0)
		r = sd_bus_negotiate_fds(c->peer.bus, true);
	if (r >= 0)
		r = api_attach(c->peer.api, &c->peer);
	return r < 0 ? r : sd_bus_start(c->peer.bus);
}

static int client_new(struct api_socket *s, int fd, uid_t uid)
{
	struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->socket = s;
	c->peer.api = s->api;
	c->peer.lost = on_lost;
	c->peer.who = (struct access_caller){.is_known = true, .uid = uid};
	c->next = s->clients;
	s->clients = c;
	r = connect_bus(c, fd);
	if (r < 0)
		client_free(c);
	return r;
}

/* --- the listening socket --- */

static bool has_room(const struct api_socket *s, uid_t uid)
{
	unsigned all = 0, same = 0;

	for (const struct client *c = s->clients; c; c = c->next) {
		all++;
		same += c->peer.who.uid == uid;
	}
	return same < USER_CLIENTS_MAX && (all < CLIENTS_MAX || access_owns(uid, 0));
}

static void pause_listening(struct api_socket *s, int error)
{
	log_to(s->api->options.log, LOG_WARNING, "no more clients for a second: %s",
		strerror(error));
	if (sd_event_source_set_time_relative(s->retry, RETRY_USEC) >= 0 &&
		sd_event_source_set_enabled(s->retry, SD_EVENT_ONESHOT) >= 0)
		(void)sd_event_source_set_enabled(s->source, SD_EVENT_OFF);
}

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
	struct api_socket *s = userdata;

	return sd_event_source_set_enabled(s->source, SD_EVENT_ON);
}

static int on_connection(
	sd_event_source *source, int listening, uint32_t events, void *userdata)
{
	struct api_socket *s = userdata;
	_cleanup_close_ int fd =
		accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred who;
	socklen_t len = sizeof(who);
	int r;

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			errno == ENOBUFS)
			pause_listening(s, errno);
		return 0;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) < 0)
		return 0;
	if (!has_room(s, who.uid)) {
		log_to(s->api->options.log, LOG_WARNING,
			"a client of uid %u is refused: it has too many connections",
			who.uid);
		return 0;
	}
	r = client_new(s, TAKE_FD(fd), who.uid);
	if (r < 0)
		log_to(s->api->options.log, LOG_WARNING, "a client cannot be served: %s",
			strerror(-r));
	return 0;
}

/* --- where it is --- */

static int choose_path(struct api_socket *s, struct error *err)
{
	const struct api_options *o = &s->api->options;
	const char *given = o->socket ? o->socket : getenv("ROMOUNT_SOCKET");
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	int n;

	if (given && *given)
		n = snprintf(s->path, sizeof(s->path), "%s", given);
	else if (!o->user_mode)
		n = snprintf(s->path, sizeof(s->path), "%s", SYSTEM_SOCKET);
	else if (runtime && *runtime == '/')
		n = snprintf(s->path, sizeof(s->path), "%s/" USER_SOCKET, runtime);
	else
		return error_set(err, -ENOENT,
			"XDG_RUNTIME_DIR is not set: there is no place for the private socket; "
			"set it, or name a socket in ROMOUNT_SOCKET");
	if (n < 0 || (size_t)n >= sizeof(s->path))
		return error_set(
			err, -ENAMETOOLONG, "the path of the private socket is too long");
	return 0;
}

static int make_directory(const struct api_socket *s, struct error *err)
{
	char dir[sizeof(s->path)];
	char *slash;

	memcpy(dir, s->path, sizeof(dir));
	slash = strrchr(dir, '/');
	if (!slash || slash == dir)
		return 0;
	*slash = '\0';
	if (mkdir(dir, s->api->options.user_mode ? 0700 : 0755) < 0 && errno != EEXIST)
		return error_set(
			err, -errno, "%s cannot be made: %s", dir, strerror(errno));
	return 0;
}

/* What is left of a daemon that was killed goes; one that runs stays. */
static int remove_stale(const struct sockaddr_un *at, struct error *err)
{
	_cleanup_close_ int fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return error_set(err, -errno, "no socket: %s", strerror(errno));
	if (connect(fd, (const struct sockaddr *)at, sizeof(*at)) == 0 || errno == EAGAIN)
		return error_set(err, -EADDRINUSE,
			"another romountd runs already: it listens at %s", at->sun_path);
	if (errno == ECONNREFUSED && unlink(at->sun_path) < 0)
		return error_set(err, -errno, "%s cannot be replaced: %s", at->sun_path,
			strerror(errno));
	return 0;
}

static int bind_path(struct api_socket *s, struct error *err)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	mode_t mode = s->api->options.user_mode ? 0600 : 0666, mask;
	int r;

	memcpy(at.sun_path, s->path, sizeof(at.sun_path));
	r = remove_stale(&at, err);
	if (r < 0) {
		s->path[0] = '\0'; /* not ours */
		return r;
	}
	s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd < 0)
		return error_set(err, -errno, "no socket: %s", strerror(errno));
	mask = umask(0177);
	r = bind(s->fd, (const struct sockaddr *)&at, sizeof(at)) < 0 ? -errno : 0;
	umask(mask);
	if (r >= 0 && (chmod(s->path, mode) < 0 || listen(s->fd, SOMAXCONN) < 0))
		r = -errno;
	if (r < 0)
		return error_set(
			err, r, "%s cannot be listened at: %s", s->path, strerror(-r));
	return 0;
}

/* The one that systemd has opened; -1: none. */
static int find_activated(void)
{
	char **names = NULL;
	int n = sd_listen_fds_with_names(false, &names), found = -1;

	for (int i = 0; i < n; i++) {
		if (found < 0 && strcmp(names[i], ACTIVATED_NAME) == 0 &&
			sd_is_socket_unix(
				SD_LISTEN_FDS_START + i, SOCK_STREAM, true, NULL, 0) > 0)
			found = SD_LISTEN_FDS_START + i;
		free(names[i]);
	}
	free(names);
	return found;
}

static int open_socket(struct api_socket *s, struct error *err)
{
	int r;

	s->fd = s->api->options.socket ? -1 : find_activated();
	if (s->fd >= 0)
		return 0;
	r = choose_path(s, err);
	if (r >= 0)
		r = make_directory(s, err);
	return r < 0 ? r : bind_path(s, err);
}

static int add_sources(struct api_socket *s)
{
	sd_event *event = s->api->options.event;
	int r = sd_event_add_io(event, &s->source, s->fd, EPOLLIN, on_connection, s);

	if (r >= 0)
		r = sd_event_add_time_relative(
			event, &s->retry, CLOCK_MONOTONIC, RETRY_USEC, 0, on_retry, s);
	return r < 0 ? r : sd_event_source_set_enabled(s->retry, SD_EVENT_OFF);
}

int api_socket_new(struct api *a, struct api_socket **out, struct error *err)
{
	struct api_socket *s = calloc(1, sizeof(*s));
	int r;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	s->api = a;
	s->fd = -1;
	r = open_socket(s, err);
	if (r >= 0) {
		r = add_sources(s);
		if (r < 0)
			error_set(err, r, "the private socket cannot be served: %s",
				strerror(-r));
	}
	if (r < 0) {
		api_socket_free(s);
		return r;
	}
	*out = s;
	return 0;
}

void api_socket_free(struct api_socket *s)
{
	if (!s)
		return;
	while (s->clients)
		client_free(s->clients);
	sd_event_source_disable_unref(s->source);
	sd_event_source_disable_unref(s->retry);
	if (s->fd >= 0) {
		if (*s->path)
			unlink(s->path);
		close(s->fd);
	}
	free(s);
}
