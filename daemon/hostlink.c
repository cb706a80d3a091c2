/* SPDX-License-Identifier: MIT */
#include "daemon/hostlink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-id128.h>

#include "bus/names.h"
#include "bus/wire.h"
#include "daemon/intake.h"

#define PING_USEC (15u * 1000000u)
#define PING_SLACK_USEC 1000000u /* timers of all boards may go off together */
#define PINGS_UNANSWERED 3u
#define CALLS_MAX 64u
/* Between two pings; ten signals a second and partition are promised. */
#define MESSAGES_MAX 20000u
#define UNREAD_MAX 256u /* pings, orders and answers that it does not fetch */
/* Bytes; the answer to Layout is the longest, with an extent and a path for each file. */
#define MESSAGE_MAX (8u << 20)
#define LAST_WORDS_MAX 4000u /* steps, four for a message */

struct call {
	struct call *next;
	struct hostlink *link;
	sd_bus_slot *slot;
	board_done_fn done;
	void *ctx;
};

struct hostlink {
	sd_bus *bus;
	struct intake *intake;
	struct hostlink_hooks hooks;
	struct call *calls;
	unsigned n_calls;
	sd_event_source *pinger;
	unsigned unanswered, messages;
	bool speaks, is_hung;
};

/* --- what it tells --- */

static const struct wire_field board_fields[] = {
	WIRE_TEXT("machine", struct told_board, machine),
	WIRE_TEXT("firmware", struct told_board, firmware),
	WIRE_TEXT("unique-id", struct told_board, unique_id),
	WIRE_TEXT("platform", struct told_board, platform),
	WIRE_TEXT("state", struct told_board, state),
	WIRE_TEXT("error", struct told_board, error),
	WIRE_BOOL("port-open", struct told_board, port_open),
	WIRE_U32("partitions", struct told_board, partitions),
};

/* Behind all that are in front of it in the table, which the compiler checks. */
#define ADDRESS_FIELD 13
static const struct wire_field partition_fields[] = {
	WIRE_U64("size", struct board_partition, size),
	WIRE_U64("used", struct board_partition, used),
	WIRE_U64("free", struct board_partition, free),
	WIRE_U64("pending", struct board_partition, pending),
	WIRE_U32("pending-files", struct board_partition, pending_files),
	WIRE_TEXT("state", struct board_partition, told_state),
	WIRE_TEXT("error", struct board_partition, error),
	WIRE_TEXT("job", struct board_partition, job),
	WIRE_U64("done", struct board_partition, done),
	WIRE_U64("total", struct board_partition, total),
	WIRE_TEXT("kind", struct board_partition, kind),
	WIRE_U64("erase-block", struct board_partition, erase_block),
	WIRE_U64("write-unit", struct board_partition, write_unit),
	[ADDRESS_FIELD] = WIRE_U64("address", struct board_partition, address),
	WIRE_TEXT("image", struct board_partition, image),
};

static void hung(struct hostlink *l, const char *why)
{
	if (l->is_hung)
		return;
	l->is_hung = true;
	l->pinger = sd_event_source_disable_unref(l->pinger);
	l->hooks.hung(l->hooks.ctx, why);
}

static int on_board(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct hostlink *l = data;
	struct told_board told = {0};

	(void)error;
	if (wire_read(m, board_fields, ARRAY_SIZE(board_fields), &told, NULL, NULL) == 0)
		l->hooks.told_board(l->hooks.ctx, &told);
	else
		hung(l, "sends what is no message of its kind");
	return 0;
}

static int on_partition(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct hostlink *l = data;
	struct board_partition *p, told;
	uint64_t seen = 0;
	uint32_t number;

	(void)error;
	if (sd_bus_message_read(m, "u", &number) < 0) {
		hung(l, "sends what is no message of its kind");
		return 0;
	}
	p = l->hooks.partition(l->hooks.ctx, number);
	if (!p)
		return 0;
	told = *p;
	if (wire_read(m, partition_fields, ARRAY_SIZE(partition_fields), &told, &seen, NULL) <
		0) {
		hung(l, "sends what is no message of its kind");
		return 0;
	}
	told.has_address |= (seen >> ADDRESS_FIELD) & 1;
	*p = told;
	l->hooks.told_partition(l->hooks.ctx, p);
	return 0;
}

static int on_disconnected(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct hostlink *l = data;

	(void)m;
	(void)error;
	l->hooks.closed(l->hooks.ctx, "closed its link");
	return 1;
}

/* Before anything else is done with a message. 1: nothing else shall be. */
static int on_message(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct hostlink *l = data;
	uint64_t unread = 0;

	(void)m;
	(void)error;
	if (++l->messages > MESSAGES_MAX)
		hung(l, "floods romountd with messages");
	else if (sd_bus_get_n_queued_write(l->bus, &unread) < 0 || unread > UNREAD_MAX)
		hung(l, "does not read what it asked for");
	if (l->is_hung)
		return 1;
	/* What is sent while it still says who it is arrives together with the end of that,
	 * which sd-bus does not notice, and where it takes no descriptors. */
	if (!l->speaks) {
		l->speaks = true;
		l->hooks.speaks(l->hooks.ctx);
	}
	return 0;
}

/* --- what it asks for --- */

static int answer(sd_bus_message *m, int r, const struct error *err)
{
	return r < 0 ? wire_reply_error(m, r, err) : 1;
}

#define PLAIN(method)                                                                      \
	static int host_##method(sd_bus_message *m, void *data, sd_bus_error *error)     \
	{                                                                                \
		struct hostlink *l = data;                                               \
		struct error err = {0};                                                  \
                                                                                         \
		(void)error;                                                             \
		return answer(m, l->hooks.method(l->hooks.ctx, m, &err), &err);          \
	}

#define WITH_NUMBER(method, type, code)                                                  \
	static int host_##method(sd_bus_message *m, void *data, sd_bus_error *error)     \
	{                                                                                \
		struct hostlink *l = data;                                               \
		struct error err = {0};                                                  \
		type n;                                                                  \
		int r = sd_bus_message_read(m, code, &n);                                \
                                                                                         \
		(void)error;                                                             \
		if (r >= 0)                                                              \
			r = l->hooks.method(l->hooks.ctx, m, n, &err);                   \
		return answer(m, r, &err);                                               \
	}

WITH_NUMBER(open_port, uint32_t, "u")
PLAIN(port_holder)
PLAIN(close_port)
WITH_NUMBER(wait_port, uint64_t, "t")
PLAIN(next_port)
PLAIN(keep_port)
WITH_NUMBER(mount, uint32_t, "u")
WITH_NUMBER(unmount, uint32_t, "u")
WITH_NUMBER(ready, uint32_t, "u")

static const sd_bus_vtable host_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("OpenPort", "u", "hbs", host_open_port, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("PortHolder", "", "s", host_port_holder, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("ClosePort", "", "", host_close_port, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("WaitPort", "t", "", host_wait_port, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("NextPort", "", "s", host_next_port, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("KeepPort", "", "", host_keep_port, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Mount", "u", "h", host_mount, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Unmount", "u", "", host_unmount, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Ready", "u", "", host_ready, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

/* --- is it there? --- */

static int on_pong(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct hostlink *l = data;

	(void)error;
	if (!sd_bus_message_is_method_error(m, SD_BUS_ERROR_NO_REPLY))
		l->unanswered = 0;
	return 1;
}

static int on_ping_time(sd_event_source *s, uint64_t usec, void *data)
{
	struct hostlink *l = data;
	int r;

	(void)usec;
	if (l->unanswered >= PINGS_UNANSWERED || !l->speaks) {
		hung(l, l->speaks ? "does not answer" : "does not say a word");
		return 0;
	}
	l->unanswered++;
	l->messages = 0;
	r = sd_bus_call_method_async(l->bus, NULL, NULL, BUS_CONTROL_PATH,
		"org.freedesktop.DBus.Peer", "Ping", on_pong, l, "");
	if (r >= 0)
		r = sd_event_source_set_time_relative(s, PING_USEC);
	if (r >= 0)
		r = sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	if (r < 0)
		hung(l, "cannot be asked any more");
	return 0;
}

/* --- its life --- */

static int attach(struct hostlink *l, sd_event *event)
{
	int r = sd_bus_add_filter(l->bus, NULL, on_message, l);

	if (r >= 0)
		r = sd_bus_add_object_vtable(
			l->bus, NULL, BUS_HOST_PATH, BUS_HOST, host_vtable, l);
	if (r >= 0)
		r = sd_bus_match_signal(l->bus, NULL, NULL, BUS_CONTROL_PATH, BUS_CONTROL,
			"Board", on_board, l);
	if (r >= 0)
		r = sd_bus_match_signal(l->bus, NULL, NULL, BUS_CONTROL_PATH, BUS_CONTROL,
			"Partition", on_partition, l);
	if (r >= 0)
		r = sd_bus_match_signal(l->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
			"org.freedesktop.DBus.Local", "Disconnected", on_disconnected, l);
	if (r >= 0)
		r = sd_bus_attach_event(l->bus, event, SD_EVENT_PRIORITY_NORMAL);
	if (r >= 0)
		r = sd_event_add_time_relative(event, &l->pinger, CLOCK_MONOTONIC, PING_USEC,
			PING_SLACK_USEC, on_ping_time, l);
	return r;
}

/* Messages only when who they come from is settled, see intake.h. */
static bool is_wanted(void *ctx, bool message)
{
	const struct hostlink *l = ctx;

	return !l->is_hung && (!message || sd_bus_is_ready(l->bus) > 0);
}

static void on_broken(void *ctx)
{
	hung(ctx, "breaks off, or sends more than a message can have");
}

static int start(struct hostlink *l, sd_event *event, int fd)
{
	_cleanup_close_ int output = fd, input = -1;
	const struct intake_options intake = {.event = event,
		.fd = fd,
		.message_max = MESSAGE_MAX,
		.wanted = is_wanted,
		.broken = on_broken,
		.ctx = l};
	sd_id128_t id;
	int r = sd_id128_randomize(&id);

	if (r >= 0)
		r = sd_bus_new(&l->bus);
	if (r >= 0)
		r = intake_new(&intake, &input, &l->intake);
	if (r >= 0)
		r = sd_bus_set_fd(l->bus, input, output);
	if (r < 0)
		return r;
	TAKE_FD(input);
	TAKE_FD(output);
	r = sd_bus_set_server(l->bus, true, id);
	if (r >= 0)
		r = sd_bus_set_trusted(l->bus, true);
	if (r >= 0)
		r = sd_bus_negotiate_fds(l->bus, true);
	if (r >= 0)
		r = sd_bus_start(l->bus);
	return r < 0 ? r : attach(l, event);
}

int hostlink_new(sd_event *event, int fd, const struct hostlink_hooks *hooks,
	struct hostlink **out, struct error *err)
{
	_cleanup_(hostlink_freep) struct hostlink *l = calloc(1, sizeof(*l));
	int r;

	if (!l) {
		close(fd);
		return error_set(err, -ENOMEM, "out of memory");
	}
	l->hooks = *hooks;
	r = start(l, event, fd);
	if (r < 0)
		return error_set(
			err, r, "cannot talk to the board's process: %s", strerror(-r));
	*out = TAKE_PTR(l);
	return 0;
}

void hostlink_drain(struct hostlink *l)
{
	unsigned n = 0;

	while (n++ < LAST_WORDS_MAX &&
		(sd_bus_process(l->bus, NULL) > 0 || intake_step(l->intake) > 0))
		;
}

static void call_free(struct call *c)
{
	struct call **at = &c->link->calls;

	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	c->link->n_calls--;
	sd_bus_slot_unref(c->slot);
	free(c);
}

void hostlink_free(struct hostlink *l)
{
	if (!l)
		return;
	while (l->calls) {
		board_done_fn done = l->calls->done;
		void *ctx = l->calls->ctx;

		call_free(l->calls);
		done(ctx, -ENODEV, BUS_ERROR_GONE, "the board has gone meanwhile", NULL);
	}
	sd_event_source_disable_unref(l->pinger);
	intake_free(l->intake);
	sd_bus_close_unref(l->bus);
	free(l);
}

/* --- what is asked of it --- */

int hostlink_prepare(struct hostlink *l, const char *method, sd_bus_message **out)
{
	return sd_bus_message_new_method_call(
		l->bus, out, NULL, BUS_CONTROL_PATH, BUS_CONTROL, method);
}

static int on_reply(sd_bus_message *m, void *data, sd_bus_error *error)
{
	struct call *c = data;
	board_done_fn done = c->done;
	void *ctx = c->ctx;
	const sd_bus_error *e = sd_bus_message_get_error(m);
	struct error err = {0};
	int r = 0;

	(void)error;
	if (e)
		r = wire_take_error(e, &err);
	call_free(c);
	/* Its names are those of the table, whatever it sent. */
	done(ctx, r, e ? wire_error_name(r) : NULL, err.text, e ? NULL : m);
	return 1;
}

int hostlink_call(struct hostlink *l, sd_bus_message *message, uint64_t usec,
	board_done_fn done, void *ctx)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = message;
	struct call *c;
	int r;

	if (l->n_calls == CALLS_MAX)
		return -EBUSY;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	*c = (struct call){.next = l->calls, .link = l, .done = done, .ctx = ctx};
	l->calls = c;
	l->n_calls++;
	r = sd_bus_call_async(l->bus, &c->slot, m, on_reply, c, usec);
	if (r < 0)
		call_free(c);
	return MIN(r, 0);
}
