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
#define USEC 1000000u
#define OPEN_USEC (8u * USEC) /* the process waits for ten seconds */
#define RETRY_MIN_USEC USEC   /* of a connection */
#define RETRY_MAX_USEC (60u * USEC)

struct asking;

struct grant {
	sd_event *event;
	struct place place;
	unsigned tty;	/* index of the one that is used; those before it have been tried */
	bool exhausted; /* all of them have, and none has a REPL */
	bool has_news;	/* a tty has come since one was opened, and no wait has told of it */
	bool gone;	/* the place has not the tty any more that is in use */
	int wanted;	/* interface with the REPL, as far as is known; -1 */
	/* Of a connection: a session after which nobody waits was a good one. */
	bool tried, waited;
	uint64_t retry_usec;
	pid_t pid;
	void (*kept)(void *ctx, int interface);
	void *ctx;
	struct portguard *guard; /* NULL: a socket, or there is no watch */
	bool changed;		 /* it watches another tty than before */
	bool inside;		 /* between its enter and leave */
	struct asking *asking;	 /* what threads do */
	struct waiter *waiters;
	unsigned n_waiters;
};

/* Something that a thread does for a call. */
struct asking {
	struct asking *next;
	struct grant *grant; /* NULL: gone meanwhile */
	sd_bus_message *call; /* NULL: it has been answered that this takes too long */
	sd_event_source *timer;
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
	int at_end; /* the answer at the deadline */
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

/* Of those that have not been tried, the one where the REPL should be comes first, the others
 * after it in their order. */
static bool prefer(struct grant *g)
{
	struct place *place = &g->place;
	struct place_tty wanted;
	unsigned i = g->tty;

	while (i < place->n_ttys && place->ttys[i].interface != g->wanted)
		i++;
	if (g->wanted < 0 || i == g->tty || i == place->n_ttys)
		return false;
	wanted = place->ttys[i];
	for (; i > g->tty; i--)
		place->ttys[i] = place->ttys[i - 1];
	place->ttys[g->tty] = wanted;
	return true;
}

static void use(struct grant *g, unsigned tty)
{
	g->tty = tty;
	(void)prefer(g);
	watch_node(g);
	g->changed = true;
}

static bool has_node(const struct place *place, const char *node)
{
	for (unsigned i = 0; i < place->n_ttys; i++)
		if (strcmp(place->ttys[i].node, node) == 0)
			return true;
	return false;
}

static void append(struct place *place, const struct place_tty *tty)
{
	if (place->n_ttys < PLACE_TTYS_MAX)
		place->ttys[place->n_ttys++] = *tty;
}

/* Those of `now` that were not there before; whether there are any. */
static bool append_new(struct place *to, const struct place *now, const struct place *before)
{
	bool any = false;

	for (unsigned i = 0; i < now->n_ttys; i++) {
		if (has_node(before, now->ttys[i].node))
			continue;
		append(to, &now->ttys[i]);
		any = true;
	}
	return any;
}

/* Nothing opens a node that is away: its successor is next. */
static void drop_gone(struct grant *g)
{
	struct place *place = &g->place;

	if (!g->gone || g->inside || g->asking || place->n_ttys < 2)
		return;
	g->gone = false;
	place->n_ttys--;
	memmove(&place->ttys[g->tty], &place->ttys[g->tty + 1],
		(place->n_ttys - g->tty) * sizeof(place->ttys[0]));
	use(g, g->tty < place->n_ttys ? g->tty : 0);
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
	g->wanted = interface >= 0 ? interface : options->interface;
	use(g, 0);
	g->changed = false;
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

void grant_update(struct grant *g, const struct place *place)
{
	const struct place before = g->place;
	const char *node = before.ttys[g->tty].node;
	struct place *list = &g->place;
	unsigned tty = 0;
	bool news = false;

	list->n_ttys = 0;
	/* Where all have been tried, what is new comes first. */
	if (g->exhausted)
		news = append_new(list, place, &before);
	for (unsigned i = 0; i < before.n_ttys; i++) {
		if (i == g->tty && !g->exhausted)
			tty = list->n_ttys;
		else if (!has_node(place, before.ttys[i].node))
			continue;
		append(list, &before.ttys[i]);
	}
	if (!g->exhausted)
		news = append_new(list, place, &before);
	g->tty = tty;
	if (strcmp(grant_node(g), node) != 0)
		use(g, tty);
	g->gone = !has_node(place, grant_node(g));
	drop_gone(g);
	if (!news)
		return;
	g->has_news = true;
	end_waits(g, 0);
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

static void asking_free(struct asking *a)
{
	sd_event_source_disable_unref(a->timer);
	sd_bus_message_unref(a->call);
	closep(&a->port.fd);
	free(a);
}

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
	drop_gone(g);
}

static void answer_open(struct grant *g, struct asking *a)
{
	/* Who had another tty before it was watched is not known. */
	bool alone = g->guard && !g->changed && portguard_alone(g->guard);

	if (a->port.fd < 0) {
		leave(g);
		(void)!wire_reply_error(a->call, a->port.err.code, &a->port.err);
		return;
	}
	/* Told once: what the others may have done, the process looks at now. */
	if (g->guard)
		portguard_reset(g->guard);
	g->changed = false;
	if (sd_bus_reply_method_return(a->call, "hbs", a->port.fd, (int)alone, a->port.node) < 0)
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

	if (a->grant)
		forget(a);
	if (a->grant && a->call && a->opens)
		answer_open(a->grant, a);
	else if (a->grant && a->call)
		(void)!sd_bus_reply_method_return(a->call, "s", a->holder);
	if (a->grant)
		drop_gone(a->grant);
	asking_free(a);
}

static int late(const struct asking *a, struct error *err)
{
	if (a->port.is_socket)
		return error_set(err, -ENODEV,
			"%s: no name server and no computer answers; is this computer online? "
			"It is tried again now and then",
			a->port.node);
	return error_set(err, -ENODEV,
		"%s: its driver does not answer; unplug the board, and plug it in again",
		a->port.node);
}

/* The thread cannot be stopped; but nobody waits for it any more. */
static int on_late(sd_event_source *s, uint64_t usec, void *data)
{
	struct asking *a = data;
	struct error err = {0};
	int r = late(a, &err);

	(void)s;
	(void)usec;
	if (!a->grant || !a->call)
		return 0;
	if (a->opens)
		leave(a->grant);
	(void)!wire_reply_error(a->call, r, &err);
	a->call = sd_bus_message_unref(a->call);
	return 0;
}

static int ask(struct grant *g, sd_bus_message *call, bool opens, struct error *err)
{
	struct asking *a;
	int r;

	if (g->asking && !g->asking->call)
		return late(g->asking, err);
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
	r = sd_event_add_time_relative(
		g->event, &a->timer, CLOCK_MONOTONIC, OPEN_USEC, 0, on_late, a);
	if (r >= 0)
		r = chore_start(g->event, work, on_worked, a);
	if (r < 0) {
		asking_free(a);
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
	if (prefer(g))
		use(g, g->tty);
	g->exhausted = g->has_news = false;
	if (!g->waited)
		g->retry_usec = 0;
	g->waited = false;
	g->tried = true;
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
	end_wait(w, w->at_end);
	return 0;
}

/* Once for each attempt, however many wait for the next one; a wait beside one that is under
 * way, or beside a session, tells nothing of it. */
static void back_off(struct grant *g)
{
	if (!g->tried || g->inside || (g->asking && g->asking->call))
		return;
	g->tried = false;
	g->waited = true;
	g->retry_usec = g->retry_usec ? MIN(g->retry_usec * 2, RETRY_MAX_USEC) : RETRY_MIN_USEC;
}

static int start_wait(struct waiter *w, uint64_t usec)
{
	struct grant *g = w->grant;
	uint64_t retry;
	int r = 0;

	if (g->place.is_socket)
		back_off(g);
	retry = MAX(g->retry_usec, RETRY_MIN_USEC);
	w->at_end = g->place.is_socket && retry <= usec ? 0 : -ETIMEDOUT;
	if (w->at_end == 0)
		usec = retry;
	/* What others do at a tty without a REPL does not give it one. */
	if (!g->place.is_socket && !g->exhausted) {
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

/* Nobody has use for so many: its caller has given up. */
static struct waiter *oldest(struct grant *g)
{
	struct waiter *w = g->waiters;

	while (w->next)
		w = w->next;
	return w;
}

int grant_wait(struct grant *g, sd_bus_message *call, uint64_t usec, struct error *err)
{
	struct waiter *w;
	int r;

	if (g->has_news) {
		g->has_news = false;
		return sd_bus_reply_method_return(call, "");
	}
	if (g->n_waiters == WAITERS_MAX)
		end_wait(oldest(g), -ETIMEDOUT);
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
	if (g->tty + 1 >= g->place.n_ttys) {
		if (g->tty > 0)
			use(g, 0);
		g->exhausted = true;
		return error_set(err, -ENODEV, "this board has no other port");
	}
	use(g, g->tty + 1);
	end_waits(g, 0);
	return sd_bus_reply_method_return(call, "s", grant_node(g));
}

int grant_keep(struct grant *g, sd_bus_message *call, struct error *err)
{
	(void)err;
	if (g->place.ttys[g->tty].interface >= 0)
		g->wanted = g->place.ttys[g->tty].interface;
	g->kept(g->ctx, g->place.ttys[g->tty].interface);
	return sd_bus_reply_method_return(call, "");
}
