/* SPDX-License-Identifier: MIT */
#include "daemon/grant.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "bus/wire.h"
#include "daemon/chore.h"
#include "daemon/portopen.h"
#include "fuse/portguard.h"
#include "fuse/portwait.h"

#define WAITERS_MAX 8u

struct asking;

struct grant {
	sd_event *event;
	struct place place;
	unsigned tty; /* index of the one that is used */
	pid_t pid;
	void (*kept)(void *ctx, int interface);
	void *ctx;
	struct portguard *guard; /* NULL: a socket, or there is no watch */
	bool inside;		 /* between its enter and leave */
	struct asking *asking;	 /* what threads do */
	struct waiter *waiters;
	unsigned n_waiters;
};

/* Something that a thread does for a call. */
struct asking {
	struct asking *next;
	struct grant *grant; /* NULL: gone meanwhile */
	sd_bus_message *call;
	bool opens;
	pid_t except;
	struct portopen port;
	char holder[256];
};

struct waiter {
	struct waiter *next;
	struct grant *grant;
	sd_bus_message *call;
	sd_event_source *events, *deadline;
	int fd;
};

/* --- the board's ttys --- */

static void watch_node(struct grant *g)
{
	portguard_free(TAKE_PTR(g->guard));
	g->inside = false;
	if (!g->place.is_socket &&
		portguard_new(g->place.ttys[g->tty].node, &g->guard) < 0)
		g->guard = NULL; /* never alone */
}

/* The one that was the REPL the last time comes first, the others after it in their order. */
static void prefer(struct place *place, int interface)
{
	struct place_tty wanted;
	unsigned i = 0;

	while (i < place->n_ttys && place->ttys[i].interface != interface)
		i++;
	if (interface < 0 || i == place->n_ttys)
		return;
	wanted = place->ttys[i];
	for (; i > 0; i--)
		place->ttys[i] = place->ttys[i - 1];
	place->ttys[0] = wanted;
}

int grant_new(const struct grant_options *options, struct grant **out)
{
	struct grant *g = calloc(1, sizeof(*g));
	int interface = options->place->policy.interface;

	if (!g)
		return -ENOMEM;
	g->event = options->event;
	g->place = *options->place;
	g->kept = options->kept;
	g->ctx = options->ctx;
	prefer(&g->place, interface >= 0 ? interface : options->interface);
	watch_node(g);
	*out = g;
	return 0;
}

const char *grant_node(const struct grant *g)
{
	return g->place.ttys[g->tty].node;
}

void grant_set_pid(struct grant *g, pid_t pid)
{
	g->pid = pid;
}

static void waiter_free(struct waiter *w)
{
	struct waiter **at = &w->grant->waiters;

	while (*at != w)
		at = &(*at)->next;
	*at = w->next;
	w->grant->n_waiters--;
	sd_event_source_disable_unref(w->events);
	sd_event_source_disable_unref(w->deadline);
	sd_bus_message_unref(w->call);
	closep(&w->fd);
	free(w);
}

static void end_wait(struct waiter *w, int result)
{
	/* Where the link is gone nobody waits for the answer. */
	if (result < 0)
		(void)!wire_reply_error(w->call, result, NULL);
	else
		(void)!sd_bus_reply_method_return(w->call, "");
	waiter_free(w);
}

static void end_waits(struct grant *g, int result)
{
	while (g->waiters)
		end_wait(g->waiters, result);
}

void grant_free(struct grant *g)
{
	struct asking *a;

	if (!g)
		return;
	for (a = g->asking; a; a = a->next)
		a->grant = NULL;
	end_waits(g, -ENODEV);
	portguard_free(g->guard);
	free(g);
}

/* --- threads --- */

static void work(void *ctx)
{
	struct asking *a = ctx;

	if (a->opens)
		portopen_run(&a->port);
	else
		portopen_holder(a->port.node, a->except, a->holder, sizeof(a->holder));
}

static void leave(struct grant *g)
{
	if (g->guard && g->inside)
		portguard_leave(g->guard);
	g->inside = false;
}

static void answer_open(struct grant *g, struct asking *a)
{
	bool alone = g->guard && portguard_alone(g->guard);

	if (a->port.fd < 0) {
		leave(g);
		(void)!wire_reply_error(a->call, a->port.err.code, &a->port.err);
		return;
	}
	/* Told once: what the others may have done, the process looks at now. */
	if (g->guard)
		portguard_reset(g->guard);
	if (sd_bus_reply_method_return(a->call, "hb", a->port.fd, (int)alone) < 0)
		leave(g);
}

static void forget(struct asking *a)
{
	struct asking **at = &a->grant->asking;

	while (*at != a)
		at = &(*at)->next;
	*at = a->next;
}

static void on_worked(void *ctx)
{
	struct asking *a = ctx;

	if (a->grant) {
		forget(a);
		if (a->opens)
			answer_open(a->grant, a);
		else
			(void)!sd_bus_reply_method_return(a->call, "s", a->holder);
	}
	closep(&a->port.fd);
	sd_bus_message_unref(a->call);
	free(a);
}

static int ask(struct grant *g, sd_bus_message *call, bool opens, struct error *err)
{
	struct asking *a;
	int r;

	if (g->asking)
		return error_set(err, -EBUSY, "one thing at a time");
	a = calloc(1, sizeof(*a));
	if (!a)
		return error_set(err, -ENOMEM, "out of memory");
	a->opens = opens;
	a->except = g->pid;
	a->port.fd = -1;
	a->port.is_socket = g->place.is_socket;
	snprintf(a->port.key, sizeof(a->port.key), "%s", g->place.key);
	snprintf(a->port.node, sizeof(a->port.node), "%s", grant_node(g));
	a->call = sd_bus_message_ref(call);
	a->grant = g;
	r = chore_start(g->event, work, on_worked, a);
	if (r < 0) {
		sd_bus_message_unref(a->call);
		free(a);
		return error_set(err, r, "cannot start a thread: %s", strerror(-r));
	}
	g->asking = a;
	return 1;
}

int grant_open(struct grant *g, sd_bus_message *call, unsigned baud, struct error *err)
{
	int r;

	(void)baud; /* the process sets it: it has the descriptor */
	if (g->inside)
		return error_set(err, -EBUSY, "%s is open already", grant_node(g));
	if (g->guard)
		portguard_enter(g->guard);
	g->inside = true;
	r = ask(g, call, true, err);
	if (r < 0)
		leave(g);
	return r;
}

int grant_tell_holder(struct grant *g, sd_bus_message *call, struct error *err)
{
	if (g->place.is_socket)
		return sd_bus_reply_method_return(call, "s", "");
	return ask(g, call, false, err);
}

int grant_close(struct grant *g, sd_bus_message *call, struct error *err)
{
	(void)err;
	leave(g);
	return sd_bus_reply_method_return(call, "");
}

/* --- waiting --- */

static int on_port_event(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct waiter *w = data;

	(void)s;
	(void)events;
	if (!portwait_seen(fd, grant_node(w->grant)))
		return 0;
	end_wait(w, 0);
	return 0;
}

static int on_wait_deadline(sd_event_source *s, uint64_t usec, void *data)
{
	struct waiter *w = data;

	(void)s;
	(void)usec;
	end_wait(w, -ETIMEDOUT);
	return 0;
}

static int start_wait(struct waiter *w, uint64_t usec)
{
	struct grant *g = w->grant;
	int r = 0;

	if (!g->place.is_socket) {
		w->fd = portwait_watch(grant_node(g));
		if (w->fd < 0)
			return w->fd;
		r = sd_event_add_io(
			g->event, &w->events, w->fd, EPOLLIN, on_port_event, w);
	}
	if (r >= 0 && usec != UINT64_MAX)
		r = sd_event_add_time_relative(g->event, &w->deadline, CLOCK_MONOTONIC, usec,
			0, on_wait_deadline, w);
	return r;
}

int grant_wait(struct grant *g, sd_bus_message *call, uint64_t usec, struct error *err)
{
	struct waiter *w;
	int r;

	if (g->n_waiters == WAITERS_MAX)
		return error_set(err, -EBUSY, "too many wait for %s", grant_node(g));
	w = calloc(1, sizeof(*w));
	if (!w)
		return error_set(err, -ENOMEM, "out of memory");
	*w = (struct waiter){.grant = g, .fd = -1, .call = sd_bus_message_ref(call),
		.next = g->waiters};
	g->waiters = w;
	g->n_waiters++;
	r = start_wait(w, usec);
	if (r < 0) {
		waiter_free(w);
		return error_set(
			err, r, "cannot watch %s: %s", grant_node(g), strerror(-r));
	}
	return 1;
}

/* --- which interface --- */

int grant_next(struct grant *g, sd_bus_message *call, struct error *err)
{
	if (g->asking || g->inside)
		return error_set(err, -EBUSY, "%s is open", grant_node(g));
	if (g->tty + 1 >= g->place.n_ttys)
		return error_set(err, -ENODEV, "this board has no other port");
	g->tty++;
	watch_node(g);
	end_waits(g, 0);
	return sd_bus_reply_method_return(call, "s", grant_node(g));
}

int grant_keep(struct grant *g, sd_bus_message *call, struct error *err)
{
	(void)err;
	g->kept(g->ctx, g->place.ttys[g->tty].interface);
	return sd_bus_reply_method_return(call, "");
}
