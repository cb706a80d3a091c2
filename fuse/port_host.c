/* SPDX-License-Identifier: MIT */
#include "fuse/port_host.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "bus/names.h"
#include "bus/wire.h"
#include "libdev/socket.h"

#define NAME_SIZE 128u
#define ANSWER_MS 10000u /* romountd's own work: opening a tty may take its driver seconds */
#define LATE_MS 5000u	 /* more than that, for a loop that is busy */
#define WATCH_MS 600000u
/* Between two watches in a row: whatever wakes us may go on doing so. */
#define AGAIN_MS 1000u

enum ask_kind { ASK_OPEN, ASK_HOLDER, ASK_WAIT, ASK_NEXT };

struct ask {
	enum ask_kind kind;
	unsigned baud;
	unsigned timeout_ms;
};

struct answer {
	int result;
	struct error err;
	int fd; /* ASK_OPEN */
	bool alone;
	char text[NAME_SIZE]; /* ASK_HOLDER; of the port: ASK_OPEN, ASK_NEXT */
};

struct port_host {
	struct port base;
	struct port_host_options o;
	sd_event_source *asked_source;
	sd_bus_slot *slot;   /* of what was asked last */
	unsigned slot_count; /* which it was */
	/* Watching for others, loop's thread. */
	sd_bus_slot *watch_slot;
	sd_event_source *again;
	/* Worker's. */
	bool alone; /* since reset */
	char names[2][NAME_SIZE]; /* the other one may still be read by the loop */
	unsigned name;
	/* Between the two. */
	atomic_bool open;
	int asked_fd, answered_fd;
	pthread_mutex_t lock;
	bool gone;
	bool tell_closed, tell_kept, ask_now;
	unsigned count; /* of questions: an answer that comes too late is nobody's */
	bool waiting, answered;
	struct ask ask;
	struct answer answer;
};

static struct port_host *host_of(struct port *p)
{
	return container_of(p, struct port_host, base);
}

static const struct port_host *const_host_of(const struct port *p)
{
	const char *base = (const char *)p;

	return (const void *)(base - offsetof(struct port_host, base));
}

/* --- the loop's side --------------------------------------------------------------------- */

static int new_call(struct port_host *h, const char *method, sd_bus_message **out)
{
	return sd_bus_message_new_method_call(
		h->o.bus, out, NULL, BUS_HOST_PATH, BUS_HOST, method);
}

static void tell(struct port_host *h, const char *method)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = new_call(h, method, &m);

	if (r >= 0)
		r = sd_bus_message_set_expect_reply(m, 0);
	if (r >= 0)
		r = sd_bus_send(h->o.bus, m, NULL);
	(void)r; /* a link that is broken is seen by whoever owns it */
}

/* Hands the answer over, unless nobody waits for it any more. */
static void deliver(struct port_host *h, unsigned count, struct answer *a)
{
	bool wanted;

	pthread_mutex_lock(&h->lock);
	wanted = h->waiting && !h->answered && h->count == count;
	if (wanted) {
		h->answer = *a;
		h->answered = true;
		(void)!eventfd_write(h->answered_fd, 1);
	}
	pthread_mutex_unlock(&h->lock);
	if (!wanted && a->fd >= 0)
		close(a->fd);
}

static int read_open(sd_bus_message *m, struct answer *a)
{
	const char *name;
	int fd, alone, r = sd_bus_message_read(m, "hbs", &fd, &alone, &name);

	if (r < 0)
		return r;
	wire_copy_text(a->text, sizeof(a->text), name);
	a->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	a->alone = alone;
	return a->fd < 0 ? -errno : 0;
}

static int read_text(sd_bus_message *m, struct answer *a)
{
	const char *text;
	int r = sd_bus_message_read(m, "s", &text);

	if (r < 0)
		return r;
	wire_copy_text(a->text, sizeof(a->text), text);
	return 0;
}

static void read_answer(sd_bus_message *m, enum ask_kind kind, struct answer *a)
{
	const sd_bus_error *e = sd_bus_message_get_error(m);

	if (e && sd_bus_error_has_names(e, SD_BUS_ERROR_NO_REPLY, SD_BUS_ERROR_TIMEOUT))
		a->result = error_set(&a->err, -ETIMEDOUT, "romountd does not answer");
	else if (e)
		a->result = wire_take_error(e, &a->err);
	else if (kind == ASK_OPEN)
		a->result = read_open(m, a);
	else if (kind == ASK_HOLDER || kind == ASK_NEXT)
		a->result = read_text(m, a);
	if (a->result < 0 && !a->err.code)
		(void)!error_set(&a->err, a->result, "romountd's answer makes no sense: %s",
			strerror(-a->result));
}

static int on_answer(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct port_host *h = data;
	struct answer a = {.fd = -1};
	enum ask_kind kind;

	(void)ret;
	pthread_mutex_lock(&h->lock);
	kind = h->ask.kind;
	pthread_mutex_unlock(&h->lock);
	read_answer(m, kind, &a);
	h->slot = sd_bus_slot_unref(h->slot);
	deliver(h, h->slot_count, &a);
	return 0;
}

static int call(struct port_host *h, const struct ask *ask)
{
	static const char *const methods[] = {
		[ASK_OPEN] = "OpenPort",
		[ASK_HOLDER] = "PortHolder",
		[ASK_WAIT] = "WaitPort",
		[ASK_NEXT] = "NextPort",
	};
	uint64_t us = (uint64_t)ask->timeout_ms * 1000;
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = new_call(h, methods[ask->kind], &m);

	if (r >= 0 && ask->kind == ASK_OPEN)
		r = sd_bus_message_append(m, "u", ask->baud);
	if (r >= 0 && ask->kind == ASK_WAIT)
		r = sd_bus_message_append(m, "t", us);
	h->slot = sd_bus_slot_unref(h->slot);
	if (r >= 0)
		r = sd_bus_call_async(
			h->o.bus, &h->slot, m, on_answer, h, us + (uint64_t)ANSWER_MS * 1000);
	return MIN(r, 0);
}

/* Whatever the worker has left to be said, in the order in which it came about. */
static int on_asked(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct port_host *h = data;
	struct answer a = {.fd = -1};
	bool closed, kept, now;
	struct ask ask;
	eventfd_t value;

	(void)s;
	(void)events;
	(void)!eventfd_read(fd, &value);
	pthread_mutex_lock(&h->lock);
	closed = h->tell_closed;
	kept = h->tell_kept;
	now = h->ask_now;
	h->tell_closed = h->tell_kept = h->ask_now = false;
	ask = h->ask;
	h->slot_count = now ? h->count : h->slot_count;
	pthread_mutex_unlock(&h->lock);
	if (kept)
		tell(h, "KeepPort");
	if (closed)
		tell(h, "ClosePort");
	h->o.used(h->o.ctx);
	if (!now)
		return 0;
	a.result = call(h, &ask);
	if (a.result < 0) {
		(void)!error_set(&a.err, a.result, "romountd cannot be asked: %s",
			strerror(-a.result));
		deliver(h, h->slot_count, &a);
	}
	return 0;
}

void port_host_hang_up(struct port *p)
{
	struct port_host *h = host_of(p);
	struct answer a = {.fd = -1};
	unsigned count;

	a.result = error_set(&a.err, -ENODEV, "romountd has gone");
	pthread_mutex_lock(&h->lock);
	h->gone = true;
	count = h->count;
	pthread_mutex_unlock(&h->lock);
	h->slot = sd_bus_slot_unref(h->slot);
	p->ops->unwatch(p);
	deliver(h, count, &a);
}

/* --- the worker's side ------------------------------------------------------------------- */

static void notify(struct port_host *h)
{
	(void)!eventfd_write(h->asked_fd, 1);
}

static int give_up(struct port_host *h, int r, struct answer *out)
{
	pthread_mutex_lock(&h->lock);
	/* It may have come just now; then it counts as usual. */
	if (h->answered)
		*out = h->answer;
	else
		out->result = error_set(&out->err, r, "%s",
			r == -ECANCELED ? "interrupted" : "romountd does not answer");
	h->waiting = h->answered = h->ask_now = false;
	pthread_mutex_unlock(&h->lock);
	return out->result;
}

static int await(struct port_host *h, int cancel_fd, deadline_t deadline)
{
	for (;;) {
		struct pollfd p[2] = {
			{.fd = h->answered_fd, .events = POLLIN},
			{.fd = cancel_fd, .events = POLLIN},
		};
		int n = poll(p, 2, deadline_left(deadline));

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n < 0)
			continue;
		if (p[0].revents)
			return 0;
		if (p[1].revents)
			return -ECANCELED;
		if (deadline_left(deadline) == 0)
			return -ETIMEDOUT;
	}
}

static int ask(struct port_host *h, const struct ask *question, int cancel_fd,
	struct answer *out)
{
	deadline_t deadline = deadline_in(
		(uint64_t)question->timeout_ms + ANSWER_MS + LATE_MS);
	eventfd_t value;
	int r;

	*out = (struct answer){.fd = -1};
	(void)!eventfd_read(h->answered_fd, &value);
	pthread_mutex_lock(&h->lock);
	r = h->gone ? -ENODEV : 0;
	h->ask = *question;
	h->count++;
	h->answered = false;
	h->waiting = h->ask_now = r == 0;
	pthread_mutex_unlock(&h->lock);
	if (r < 0)
		return out->result = error_set(&out->err, r, "romountd has gone");
	notify(h);
	r = await(h, cancel_fd, deadline);
	return give_up(h, r, out);
}

/* The lock was refused: only romountd can tell by whom it is held. */
static int name_holder(struct port_host *h, int cancel_fd, struct error *err)
{
	const struct ask question = {.kind = ASK_HOLDER};
	struct answer a;

	if (ask(h, &question, cancel_fd, &a) < 0 || !a.text[0])
		return -EBUSY;
	error_clear(err);
	return error_set(err, -EBUSY, "%s is in use by %s; close that program and try again",
		h->base.name, a.text);
}

static void take_name(struct port_host *h, const char *name)
{
	if (strcmp(h->base.name, name) == 0)
		return;
	h->name = !h->name;
	snprintf(h->names[h->name], NAME_SIZE, "%s", name);
	h->base.name = h->names[h->name];
}

static int host_open(struct port *p, unsigned baud, int cancel_fd,
	struct dev_transport **out, struct error *err)
{
	struct port_host *h = host_of(p);
	const struct ask question = {.kind = ASK_OPEN, .baud = baud};
	const struct dev_tty_options options = {.baud = baud, .cancel_fd = cancel_fd};
	struct answer a;
	int r = ask(h, &question, cancel_fd, &a);

	if (r < 0)
		return error_set(err, r, "%s", a.err.text);
	take_name(h, a.text);
	if (!a.alone)
		h->alone = false;
	r = dev_transport_adopt(a.fd, p->name, &options, out, err);
	atomic_store(&h->open, r == 0);
	notify(h);
	return r == -EBUSY ? name_holder(h, cancel_fd, err) : r;
}

static void host_closed(struct port *p)
{
	struct port_host *h = host_of(p);

	atomic_store(&h->open, false);
	pthread_mutex_lock(&h->lock);
	h->tell_closed = true;
	pthread_mutex_unlock(&h->lock);
	notify(h);
}

bool port_host_is_open(const struct port *p)
{
	return atomic_load(&const_host_of(p)->open);
}

static bool host_alone(const struct port *p)
{
	return const_host_of(p)->alone;
}

static void host_reset(struct port *p)
{
	host_of(p)->alone = true;
}

static int host_wait(struct port *p, int cancel_fd, deadline_t deadline)
{
	struct ask question = {.kind = ASK_WAIT};
	struct answer a;
	int left = deadline_left(deadline);

	if (left == 0)
		return -ETIMEDOUT;
	question.timeout_ms = left < 0 ? WATCH_MS : (unsigned)left;
	return ask(host_of(p), &question, cancel_fd, &a);
}

int port_host_next(struct port *p, int cancel_fd, struct error *err)
{
	struct port_host *h = host_of(p);
	const struct ask question = {.kind = ASK_NEXT};
	struct answer a;
	int r = ask(h, &question, cancel_fd, &a);

	if (r < 0)
		return error_set(err, r, "%s", a.err.text);
	take_name(h, a.text);
	h->alone = false;
	return 0;
}

void port_host_keep(struct port *p)
{
	struct port_host *h = host_of(p);

	pthread_mutex_lock(&h->lock);
	h->tell_kept = true;
	pthread_mutex_unlock(&h->lock);
	notify(h);
}

/* --- others at the port ------------------------------------------------------------------ */

static int start_watch(struct port_host *h);

static int on_again(sd_event_source *s, uint64_t us, void *data)
{
	struct port_host *h = data;

	(void)s;
	(void)us;
	h->again = sd_event_source_disable_unref(h->again);
	(void)!start_watch(h); /* the committer's own timer goes on */
	return 0;
}

static int on_other(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct port_host *h = data;
	int r;

	(void)ret;
	h->watch_slot = sd_bus_slot_unref(h->watch_slot);
	r = sd_event_add_time_relative(h->o.event, &h->again, CLOCK_MONOTONIC,
		(uint64_t)AGAIN_MS * 1000, 100000, on_again, h);
	if (r < 0)
		h->again = NULL;
	if (!sd_bus_message_is_method_error(m, NULL))
		port_wake(&h->base);
	return 0;
}

static int start_watch(struct port_host *h)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	uint64_t us = (uint64_t)WATCH_MS * 1000;
	int r = new_call(h, "WaitPort", &m);

	if (r >= 0)
		r = sd_bus_message_append(m, "t", us);
	if (r >= 0)
		r = sd_bus_call_async(h->o.bus, &h->watch_slot, m, on_other, h,
			us + (uint64_t)ANSWER_MS * 1000);
	return MIN(r, 0);
}

static int host_watch(struct port *p, sd_event *event)
{
	struct port_host *h = host_of(p);

	(void)event;
	return h->gone ? -ENODEV : start_watch(h);
}

static void host_unwatch(struct port *p)
{
	struct port_host *h = host_of(p);

	h->watch_slot = sd_bus_slot_unref(h->watch_slot);
	h->again = sd_event_source_disable_unref(h->again);
}

/* --- its life ----------------------------------------------------------------------------- */

static void host_free(struct port *p)
{
	struct port_host *h = host_of(p);

	host_unwatch(p);
	sd_bus_slot_unref(h->slot);
	sd_event_source_disable_unref(h->asked_source);
	if (h->answered && h->answer.fd >= 0)
		close(h->answer.fd);
	closep(&h->asked_fd);
	closep(&h->answered_fd);
	pthread_mutex_destroy(&h->lock);
	sd_bus_unref(h->o.bus);
	free(h);
}

static const struct port_ops host_ops = {
	.open = host_open,
	.closed = host_closed,
	.alone = host_alone,
	.reset = host_reset,
	.wait = host_wait,
	.watch = host_watch,
	.unwatch = host_unwatch,
	.free = host_free,
};

int port_host_new(const struct port_host_options *options, struct port **out)
{
	_cleanup_(port_freep) struct port *port = NULL;
	struct port_host *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return -ENOMEM;
	port = &h->base;
	h->base.ops = &host_ops;
	h->o = *options;
	h->o.name = NULL;
	sd_bus_ref(h->o.bus);
	h->alone = true;
	atomic_init(&h->open, false);
	h->asked_fd = h->answered_fd = -1;
	wire_copy_text(h->names[0], NAME_SIZE, options->name);
	h->base.name = h->names[0];
	pthread_mutex_init(&h->lock, NULL);
	h->asked_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	h->answered_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (h->asked_fd < 0 || h->answered_fd < 0)
		return -errno;
	r = sd_event_add_io(
		h->o.event, &h->asked_source, h->asked_fd, EPOLLIN, on_asked, h);
	if (r < 0)
		return r;
	*out = TAKE_PTR(port);
	return 0;
}
