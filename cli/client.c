/* SPDX-License-Identifier: MIT */
#include "cli/client.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "bus/names.h"
#include "bus/wire.h"

#define LINKS_MAX 2u
#define ANSWER_USEC (25 * UINT64_C(1000000)) /* for what a daemon answers at once */
#define ALIVE_USEC (30 * UINT64_C(1000000))  /* between two looks whether it is alive */

struct link {
	struct client *client;
	unsigned index;
	sd_bus *bus;
	const char *destination; /* NULL: nobody but the daemon is at the other end */
	const char *name;	 /* "user", "system" */
	bool lost;
};

struct client {
	sd_event *event;
	sd_event_source *alive;
	struct link links[LINKS_MAX];
	unsigned n_links;
	struct boards boards;
	struct client_hooks hooks;
	struct error err; /* why nothing is waited for any more */
	bool stopped, is_remote;
};

bool client_take_option(struct client_options *o, int c, const char *value)
{
	if (c == 'j')
		o->json = true;
	else if (c == 'H')
		o->host = value;
	else if (c == CLIENT_OPTION_USER)
		o->scope = CLIENT_USER;
	else if (c == CLIENT_OPTION_SYSTEM)
		o->scope = CLIENT_SYSTEM;
	else
		return false;
	return true;
}

/* --- messages ----------------------------------------------------------------------- */

static int failed(struct error *err, int r, const char *what)
{
	return error_set(err, r, "%s: %s", what, strerror(-r));
}

/* What the daemon, or the way to it, has answered. */
static int take_error(const struct link *l, const sd_bus_error *e, struct error *err)
{
	int code = wire_error_code(e->name);

	if (sd_bus_error_has_name(e, BUS_ERROR_NO_BOARD) ||
		sd_bus_error_has_name(e, BUS_ERROR_GONE))
		code = CLIENT_NO_BOARD;
	else if (sd_bus_error_has_name(e, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
		 sd_bus_error_has_name(e, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
		 sd_bus_error_has_name(e, SD_BUS_ERROR_DISCONNECTED))
		code = CLIENT_NO_DAEMON;
	if (l->lost || sd_bus_is_open(l->bus) <= 0)
		return error_set(err, CLIENT_NO_DAEMON,
			"romountd has ended before it had an answer; what is staged is kept");
	if (e->message && *e->message) {
		struct error told = {0};

		wire_take_error(e, &told);
		return error_set(err, code, "%s", told.text);
	}
	return error_set(err, code, "romountd has refused it, and does not say why");
}

int client_call_new(struct client *c, unsigned link, const char *path, const char *interface,
	const char *method, sd_bus_message **out, struct error *err)
{
	struct link *l = &c->links[link];
	int r;

	if (l->lost)
		return error_set(err, CLIENT_NO_DAEMON, "romountd has ended");
	r = sd_bus_message_new_method_call(
		l->bus, out, l->destination, path, interface, method);
	if (r < 0)
		return failed(err, r, "cannot ask romountd");
	/* A daemon is started by systemd, not by somebody who wants to know about it. */
	r = sd_bus_message_set_auto_start(*out, false);
	if (r >= 0)
		r = sd_bus_message_set_allow_interactive_authorization(*out, true);
	return r < 0 ? failed(err, r, "cannot ask romountd") : 0;
}

struct client_call {
	struct link *link;
	sd_bus_slot *slot;
	client_answer_fn answer;
	void *ctx;
};

static int on_answer(sd_bus_message *reply, void *data, sd_bus_error *unused)
{
	struct client_call *call = data;
	struct error err = {0};
	int r = 0;

	if (sd_bus_message_is_method_error(reply, NULL))
		r = take_error(call->link, sd_bus_message_get_error(reply), &err);
	call->answer(call->ctx, r, &err, reply);
	return 0;
}

int client_send(struct client *c, unsigned link, sd_bus_message *message,
	client_answer_fn answer, void *ctx, struct client_call **out, struct error *err)
{
	struct client_call *call = calloc(1, sizeof(*call));
	int r;

	if (!call)
		return error_set(err, -ENOMEM, "out of memory");
	*call = (struct client_call){.link = &c->links[link], .answer = answer, .ctx = ctx};
	r = sd_bus_call_async(
		call->link->bus, &call->slot, message, on_answer, call, UINT64_MAX);
	if (r < 0) {
		free(call);
		return failed(err, r, "cannot ask romountd");
	}
	*out = call;
	return 0;
}

void client_call_drop(struct client_call *call)
{
	if (!call)
		return;
	sd_bus_slot_unref(call->slot);
	free(call);
}

/* --- what comes by itself ----------------------------------------------------------- */

static void lose(struct link *l, const char *why)
{
	struct client *c = l->client;
	unsigned left = 0;

	l->lost = true;
	for (unsigned i = 0; i < c->n_links; i++)
		left += !c->links[i].lost;
	if (left)
		return;
	error_set(&c->err, CLIENT_NO_DAEMON, "%s", why);
}

static int on_signal_message(sd_bus_message *m, void *data, sd_bus_error *unused)
{
	struct link *l = data;
	struct client *c = l->client;
	struct boards_board *board;
	struct boards_partition *partition;
	struct error err = {0};
	int r = boards_take_signal(&c->boards, l->index, m, &board, &partition, &err);

	if (r > 0 && c->hooks.changed)
		c->hooks.changed(c->hooks.ctx, board, partition);
	if (r < 0)
		lose(l, err.text);
	return 0;
}

static int on_disconnected(sd_bus_message *m, void *data, sd_bus_error *unused)
{
	lose(data, "romountd has ended");
	return 0;
}

static int on_owner(sd_bus_message *m, void *data, sd_bus_error *unused)
{
	const char *name, *old, *new;

	if (sd_bus_message_read(m, "sss", &name, &old, &new) >= 0 && !*new)
		lose(data, "romountd has ended");
	return 0;
}

/* --- the end of one daemon's connection, and its beginning ----------------------------- */

static int add_matches(struct link *l)
{
	int r = sd_bus_add_match(l->bus, NULL,
		l->destination ? "type='signal',sender='" BUS_NAME
				 "',path_namespace='" BUS_ROOT "'"
			       : "type='signal',path_namespace='" BUS_ROOT "'",
		on_signal_message, l);

	if (r >= 0)
		r = sd_bus_match_signal(l->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
			"org.freedesktop.DBus.Local", "Disconnected", on_disconnected, l);
	if (r >= 0 && l->destination)
		r = sd_bus_add_match(l->bus, NULL,
			"type='signal',sender='org.freedesktop.DBus',"
			"member='NameOwnerChanged',arg0='" BUS_NAME "'",
			on_owner, l);
	return r;
}

static int read_boards(struct link *l, struct error *err)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL, *reply = NULL;
	_cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
	int r = client_call_new(l->client, l->index, BUS_ROOT,
		"org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &m, err);

	if (r < 0)
		return r;
	r = sd_bus_call(l->bus, m, ANSWER_USEC, &e, &reply);
	if (r < 0)
		return take_error(l, &e, err);
	return boards_take_all(&l->client->boards, l->index, reply, err);
}

/* Takes the bus over. Listens before it asks: nothing is missed in between. */
static int add_link(struct client *c, sd_bus *bus, const char *destination, const char *name,
	struct error *err)
{
	struct link *l = &c->links[c->n_links];
	int r;

	*l = (struct link){.client = c, .index = c->n_links, .bus = bus, .name = name};
	l->destination = destination;
	r = add_matches(l);
	if (r < 0)
		failed(err, r, "cannot listen to romountd");
	else
		r = read_boards(l, err);
	if (r == 0 && (r = sd_bus_attach_event(bus, c->event, 0)) < 0)
		failed(err, r, "cannot listen to romountd");
	if (r < 0) {
		sd_bus_close_unref(bus);
		return r;
	}
	c->n_links++;
	return 0;
}

static int open_socket(const char *path, sd_bus **out)
{
	_cleanup_(sd_bus_close_unrefp) sd_bus *bus = NULL;
	char address[300] = "unix:path=", *to = address + strlen(address);
	int r;

	/* What D-Bus wants escaped; a path is seldom like this. */
	for (const char *at = path; *at; at++) {
		size_t room = (size_t)(address + sizeof(address) - to);
		bool plain = (*at >= '0' && *at <= '9') || (*at >= 'a' && *at <= 'z') ||
			     (*at >= 'A' && *at <= 'Z') || strchr("-_/.", *at);

		if (room < 4)
			return -ENAMETOOLONG;
		to += plain ? snprintf(to, room, "%c", *at)
			    : snprintf(to, room, "%%%02x", (unsigned char)*at);
	}
	r = sd_bus_new(&bus);
	if (r >= 0)
		r = sd_bus_set_address(bus, address);
	if (r >= 0)
		r = sd_bus_negotiate_fds(bus, true);
	if (r >= 0)
		r = sd_bus_start(bus);
	if (r < 0)
		return r;
	*out = TAKE_PTR(bus);
	return 0;
}

/* Nobody there is no mistake: then another way is tried, or another daemon. */
static bool is_nobody(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED || r == -EACCES || r == -ENOMEDIUM ||
	       r == -ENXIO || r == CLIENT_NO_DAEMON;
}

static int try_socket(struct client *c, const char *path, const char *name, struct error *err)
{
	sd_bus *bus;
	int r = open_socket(path, &bus);

	if (r < 0)
		return error_set(err, r, "cannot connect to %s: %s", path, strerror(-r));
	return add_link(c, bus, NULL, name, err);
}

static int try_bus(struct client *c, int (*open)(sd_bus **), const char *name, struct error *err)
{
	sd_bus *bus;
	int r = open(&bus);

	if (r < 0)
		return error_set(err, r, "cannot connect to the %s bus: %s", name, strerror(-r));
	return add_link(c, bus, BUS_NAME, name, err);
}

static int try_user(struct client *c, struct error *err)
{
	const char *dir = getenv("XDG_RUNTIME_DIR");
	char path[256];
	int r;

	if (!dir || *dir != '/')
		return error_set(err, CLIENT_NO_DAEMON, "XDG_RUNTIME_DIR is not set");
	snprintf(path, sizeof(path), "%s/romount/private", dir);
	r = try_socket(c, path, "user", err);
	if (r < 0 && is_nobody(r)) {
		error_clear(err);
		r = try_bus(c, sd_bus_open_user, "user", err);
	}
	return r;
}

static int try_system(struct client *c, struct error *err)
{
	static const char path[] = "/run/romount/private";
	bool by_bus = geteuid() != 0;
	int r = by_bus ? try_bus(c, sd_bus_open_system, "system", err)
		       : try_socket(c, path, "system", err);

	if (r >= 0 || !is_nobody(r))
		return r;
	error_clear(err);
	return by_bus ? try_socket(c, path, "system", err)
		      : try_bus(c, sd_bus_open_system, "system", err);
}

static int open_remote(struct client *c, const struct client_options *o, struct error *err)
{
	sd_bus *bus;
	int r;

	if (o->scope == CLIENT_USER)
		return error_set(err, -EOPNOTSUPP,
			"-H reaches the system's daemon of %s only: leave --user out", o->host);
	c->is_remote = true;
	r = sd_bus_open_system_remote(&bus, o->host);
	if (r < 0)
		return error_set(err, r, "cannot connect to %s: %s", o->host, strerror(-r));
	r = add_link(c, bus, BUS_NAME, "system", err);
	if (r < 0 && is_nobody(r)) {
		error_clear(err);
		return error_set(err, CLIENT_NO_DAEMON,
			"no romountd answers on %s: 'ssh %s systemctl status romountd' tells more",
			o->host, o->host);
	}
	return r;
}

static int say_nobody(const struct client_options *o, struct error *err)
{
	return error_set(err, CLIENT_NO_DAEMON, "romountd does not run: %s",
		o->scope == CLIENT_USER	    ? "start it with 'systemctl --user start romountd' or "
					      "'romountd --user &'"
		: o->scope == CLIENT_SYSTEM ? "start it with 'systemctl start romountd'"
					    : "start it with 'systemctl start romountd', or as "
					      "your own with 'romountd --user &'");
}

static int open_here(struct client *c, const struct client_options *o, struct error *err)
{
	const char *socket = getenv("ROMOUNT_SOCKET");
	int r = CLIENT_NO_DAEMON;

	if (socket && *socket) {
		r = try_socket(c, socket, o->scope == CLIENT_SYSTEM ? "system" : "user", err);
		if (r >= 0 || !is_nobody(r))
			return r;
		error_clear(err);
		return error_set(err, CLIENT_NO_DAEMON,
			"no romountd listens at %s (ROMOUNT_SOCKET)", socket);
	}
	if (o->scope != CLIENT_SYSTEM)
		r = try_user(c, err);
	if (r < 0 && !is_nobody(r))
		return r;
	error_clear(err);
	if (o->scope != CLIENT_USER)
		r = try_system(c, err);
	if (r < 0 && !is_nobody(r))
		return r;
	error_clear(err);
	return c->n_links ? 0 : say_nobody(o, err);
}

int client_open(const struct client_options *o, struct client **out, struct error *err)
{
	_cleanup_(client_freep) struct client *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return error_set(err, -ENOMEM, "out of memory");
	r = sd_event_new(&c->event);
	if (r < 0)
		return failed(err, r, "cannot wait for anything");
	r = o->host ? open_remote(c, o, err) : open_here(c, o, err);
	if (r < 0)
		return r;
	*out = TAKE_PTR(c);
	return 0;
}

void client_free(struct client *c)
{
	if (!c)
		return;
	for (unsigned i = 0; i < c->n_links; i++) {
		sd_bus_detach_event(c->links[i].bus);
		sd_bus_flush_close_unref(c->links[i].bus);
	}
	boards_clear(&c->boards);
	sd_event_source_unref(c->alive);
	sd_event_unref(c->event);
	free(c);
}

const struct boards *client_boards(const struct client *c)
{
	return &c->boards;
}

sd_event *client_event(const struct client *c)
{
	return c->event;
}

bool client_is_remote(const struct client *c)
{
	return c->is_remote;
}

const char *client_scope_name(const struct client *c, unsigned link)
{
	return c->links[link].name;
}

bool client_has_two(const struct client *c)
{
	return c->n_links > 1;
}

/* --- the loop ----------------------------------------------------------------------- */

void client_listen(struct client *c, const struct client_hooks *hooks)
{
	c->hooks = *hooks;
}

void client_stop(struct client *c)
{
	c->stopped = true;
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *came, void *data)
{
	struct client *c = data;

	error_set(&c->err, -ECANCELED, "interrupted");
	return 0;
}

static int on_pong(sd_bus_message *reply, void *data, sd_bus_error *unused)
{
	if (sd_bus_message_is_method_error(reply, SD_BUS_ERROR_NO_REPLY) ||
		sd_bus_message_is_method_error(reply, SD_BUS_ERROR_TIMEOUT))
		lose(data, "romountd does not answer any more: 'systemctl status romountd' "
			   "tells more");
	return 0;
}

/* A daemon that hangs closes nothing; so it is asked now and then whether it is alive. */
static int on_alive_time(sd_event_source *s, uint64_t usec, void *data)
{
	struct client *c = data;
	int r;

	for (unsigned i = 0; i < c->n_links; i++) {
		struct link *l = &c->links[i];

		if (l->lost)
			continue;
		r = sd_bus_call_method_async(l->bus, NULL, l->destination, BUS_ROOT,
			"org.freedesktop.DBus.Peer", "Ping", on_pong, l, "");
		if (r < 0)
			lose(l, "romountd has ended");
	}
	r = sd_event_source_set_time_relative(s, ALIVE_USEC);
	return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int watch_signals(struct client *c)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	sigset_t mask;
	int r = 0;

	sigemptyset(&mask);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(&mask, signals[i]);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
		return -errno;
	for (size_t i = 0; i < ARRAY_SIZE(signals) && r >= 0; i++)
		r = sd_event_add_signal(c->event, NULL, signals[i], on_signal, c);
	return r;
}

int client_run(struct client *c, struct error *err)
{
	int r = 0;

	if (!c->alive) {
		r = watch_signals(c);
		if (r >= 0)
			r = sd_event_add_time_relative(c->event, &c->alive, CLOCK_MONOTONIC,
				ALIVE_USEC, 0, on_alive_time, c);
	}
	c->stopped = false;
	while (r >= 0 && !c->stopped && !c->err.code)
		r = sd_event_run(c->event, UINT64_MAX);
	if (c->err.code)
		return error_set(err, c->err.code, "%s", c->err.text);
	return r < 0 ? failed(err, r, "cannot wait for romountd") : 0;
}

int client_fail(const struct cli_command *command, const struct error *err)
{
	cli_fail(command, err);
	switch (err->code) {
	case CLIENT_NO_DAEMON:
		return CLI_NO_DAEMON;
	case CLIENT_NO_BOARD:
		return CLI_NO_BOARD;
	case -EBUSY:
	case -ETIMEDOUT:
		return CLI_BUSY;
	default:
		return CLI_FAILED;
	}
}
