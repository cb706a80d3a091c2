/* SPDX-License-Identifier: MIT */
/* Between a board's life and its process: Start, what the process tells, what it asks for. */
#include "daemon/board_private.h"

#include <errno.h>
#include <string.h>

#include "bus/names.h"
#include "bus/wire.h"
#include "daemon/ident.h"

#define START_USEC (30u * 1000000u)
#define NUMBER_MAX 99u
#define BUSY_BAUD 115200u

/* --- Start --- */

struct start {
	char name[BOARD_NAME_MAX + 1], port[PLACE_TEXT], identity[PORTIDENT_SIZE];
	char directory[512], verify[16];
	unsigned baud, uid, gid, quiet_ms, idle_ms;
	bool contact, reset;
	char aligns[POLICY_ALIGNS_MAX][POLICY_TEXT_MAX + 1];
	unsigned n_aligns;
};

static const struct wire_field start_fields[] = {
	WIRE_TEXT("name", struct start, name),
	WIRE_TEXT("port", struct start, port),
	WIRE_TEXT("identity", struct start, identity),
	WIRE_TEXT("directory", struct start, directory),
	WIRE_TEXT("verify", struct start, verify),
	WIRE_U32("baud", struct start, baud),
	WIRE_U32("uid", struct start, uid),
	WIRE_U32("gid", struct start, gid),
	WIRE_U32("quiet-ms", struct start, quiet_ms),
	WIRE_U32("idle-ms", struct start, idle_ms),
	WIRE_BOOL("contact", struct start, contact),
	WIRE_BOOL("reset", struct start, reset),
	WIRE_NAMES("aligns", struct start, aligns, n_aligns),
};

static bool may_contact(const struct board_life *l)
{
	switch (l->board->place.policy.contact) {
	case CONTACT_AUTO:
		return true;
	case CONTACT_MANUAL:
		return l->memo.attached;
	case CONTACT_NEVER:
		return false;
	}
	return false;
}

static void fill_start(const struct board_life *l, struct start *s)
{
	const struct board *b = l->board;
	const struct policy *policy = &b->place.policy;

	memcpy(s->name, b->name, sizeof(s->name));
	snprintf(s->port, sizeof(s->port), "%s", grant_node(l->grant));
	snprintf(s->identity, sizeof(s->identity), "%s", l->memo.identity);
	memcpy(s->directory, b->directory, sizeof(s->directory));
	snprintf(s->verify, sizeof(s->verify),
		policy->verify_everything ? "everything" : "written");
	s->baud = policy->baud ? policy->baud : BUSY_BAUD;
	s->uid = b->owner;
	s->gid = b->group;
	s->quiet_ms = policy->quiet_ms;
	s->idle_ms = policy->idle_ms;
	s->contact = may_contact(l);
	s->reset = !policy->no_reset;
	memcpy(s->aligns, policy->aligns, sizeof(s->aligns));
	s->n_aligns = policy->n_aligns;
}

static void on_started(
	void *ctx, int result, const char *error_name, const char *text, sd_bus_message *reply)
{
	struct board_life *l = ctx;
	char why[200];

	(void)error_name;
	(void)reply;
	if (result == 0 || !l->link) /* the second: it has gone, which is told otherwise */
		return;
	snprintf(why, sizeof(why), "cannot start: %s", text);
	board_life_lost(l, why);
}

static int send_start(struct board_life *l, struct error *err)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	_cleanup_free_ struct start *s = calloc(1, sizeof(*s));
	_cleanup_close_ int fd = -1;
	int r;

	if (!s)
		return error_set(err, -ENOMEM, "out of memory");
	fill_start(l, s);
	r = store_open_board(l->env->store, l->board->ident, true, &fd, err);
	if (r < 0)
		return r;
	r = hostlink_prepare(l->link, "Start", &m);
	if (r >= 0)
		r = wire_append(m, start_fields, ARRAY_SIZE(start_fields), s, WIRE_ALL);
	if (r >= 0)
		r = sd_bus_message_append(m, "h", fd);
	if (r >= 0)
		r = hostlink_call(l->link, TAKE_PTR(m), START_USEC, on_started, l);
	return r < 0 ? error_set(err, r, "cannot be told to start: %s", strerror(-r)) : 0;
}

static void on_speaks(void *ctx)
{
	struct board_life *l = ctx;
	struct error err = {0};

	if (send_start(l, &err) < 0)
		board_life_lost(l, err.text);
}

/* --- what it tells --- */

static bool is_board_state(const char *s)
{
	static const char *const states[] = {
		"asking", "waiting", "ready", "none", "failed", "released"};

	for (size_t i = 0; i < ARRAY_SIZE(states); i++)
		if (strcmp(s, states[i]) == 0)
			return true;
	return false;
}

static void remove_partitions_from(struct board_life *l, unsigned count)
{
	struct board *b = l->board;

	while (b->n_partitions && b->partitions[b->n_partitions - 1].number >= count)
		registry_remove_partition(l->env->registry, b,
			b->partitions[b->n_partitions - 1].number);
}

static void on_told_board(void *ctx, const struct told_board *told)
{
	struct board_life *l = ctx;
	struct board *b = l->board;
	bool is_new = strcmp(b->machine, told->machine) != 0 ||
		strcmp(b->firmware, told->firmware) != 0 ||
		strcmp(b->unique_id, told->unique_id) != 0;
	bool was_released = board_life_is_released(l);

	if (told->machine[0]) {
		memcpy(b->machine, told->machine, sizeof(b->machine));
		memcpy(b->firmware, told->firmware, sizeof(b->firmware));
		memcpy(b->unique_id, told->unique_id, sizeof(b->unique_id));
	}
	if (strcmp(told->state, "ready") == 0 || strcmp(told->state, "none") == 0)
		remove_partitions_from(l, told->partitions);
	if (l->phase == PHASE_ENDING || !is_board_state(told->state))
		board_life_changed(l);
	else
		board_life_set_state(l, told->state, told->error);
	if (is_new && told->machine[0])
		board_life_remember(l);
	if (was_released && !board_life_is_released(l))
		board_check_owner(b);
}

static struct board_partition *on_partition(void *ctx, unsigned number)
{
	struct board_life *l = ctx;
	struct board_partition *p = registry_partition(l->board, number);
	struct board_partition fresh = {.number = number};

	if (!p && number <= NUMBER_MAX &&
		registry_add_partition(l->env->registry, l->board, &fresh) == 0)
		p = registry_partition(l->board, number);
	return p;
}

static void on_told_partition(void *ctx, struct board_partition *p)
{
	struct board_life *l = ctx;
	bool failed = strcmp(p->told_state, "failed") == 0;

	/* Who is told that it is there goes and copies something. */
	snprintf(p->state, sizeof(p->state), "%s",
		p->was_ready || failed ? p->told_state : "mounting");
	registry_partition_changed(l->env->registry, l->board, p);
	if (l->notes)
		notes_changed(l->notes);
}

/* --- what it asks for: the port --- */

#define PORT_CALL(name)                                                                  \
	static int on_##name(void *ctx, sd_bus_message *call, struct error *err)         \
	{                                                                                \
		struct board_life *l = ctx;                                              \
                                                                                         \
		return grant_##name(l->grant, call, err);                                \
	}

PORT_CALL(tell_holder)
PORT_CALL(close)
PORT_CALL(next)
PORT_CALL(keep)

static int on_open(void *ctx, sd_bus_message *call, unsigned baud, struct error *err)
{
	struct board_life *l = ctx;

	if (!l->board->present)
		return error_set(err, -ENODEV, "the board has been unplugged");
	return grant_open(l->grant, call, baud, err);
}

static int on_wait(void *ctx, sd_bus_message *call, uint64_t usec, struct error *err)
{
	struct board_life *l = ctx;

	return grant_wait(l->grant, call, usec, err);
}

static void on_kept(void *ctx, int interface)
{
	struct board_life *l = ctx;

	if (l->memo.interface == interface)
		return;
	l->memo.interface = interface;
	board_life_remember(l);
}

/* --- what it asks for: mounts --- */

static void on_mounted(void *ctx, int result, int fuse_fd, const char *text)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *call = ctx;
	_cleanup_close_ int fd = fuse_fd;
	struct error err = {0};

	/* Where the link is gone nobody waits for the answer. */
	if (result < 0) {
		error_set(&err, result, "%s", text);
		(void)!wire_reply_error(call, result, &err);
	} else {
		(void)!sd_bus_reply_method_return(call, "h", fd);
	}
}

static int point_of(
	struct board_life *l, unsigned number, struct mountpoint **out, struct error *err)
{
	int r = l->dir && l->phase == PHASE_RUNNING ? mount_dir_point(l->dir, number, out)
						    : -ENODEV;

	return r < 0 ? error_set(err, r, "there is no folder for rom%u", number) : 0;
}

static int on_mount(void *ctx, sd_bus_message *call, unsigned number, struct error *err)
{
	struct board_life *l = ctx;
	struct mountpoint *m;
	int r = point_of(l, number, &m, err);
	struct mountpoint_request request = {
		.uid = l->board->owner,
		.gid = l->board->group,
		.source = l->board->name,
		.done = on_mounted,
	};

	if (r < 0)
		return r;
	request.ctx = sd_bus_message_ref(call);
	mountpoint_mount(m, &request);
	return 1;
}

static void set_mount(struct board_life *l, unsigned number, const char *path)
{
	struct board_partition *p = on_partition(l, number);

	if (!p)
		return;
	p->mounted = path[0] != '\0';
	p->was_ready |= p->mounted;
	snprintf(p->mount, sizeof(p->mount), "%s", path);
	on_told_partition(l, p);
}

static int on_unmount(void *ctx, sd_bus_message *call, unsigned number, struct error *err)
{
	struct board_life *l = ctx;
	struct mountpoint *m;
	int r = point_of(l, number, &m, err);

	if (r < 0)
		return r;
	mountpoint_unmount(m);
	set_mount(l, number, "");
	return sd_bus_reply_method_return(call, "");
}

static int on_ready(void *ctx, sd_bus_message *call, unsigned number, struct error *err)
{
	struct board_life *l = ctx;
	struct mountpoint *m;
	int r = point_of(l, number, &m, err);

	if (r < 0)
		return r;
	if (!mountpoint_is_mounted(m))
		return error_set(err, -EINVAL, "rom%u is not mounted", number);
	set_mount(l, number, mountpoint_path(m));
	log_to(l->env->log, LOG_INFO, "%s: rom%u is at %s", l->board->name, number,
		mountpoint_path(m));
	return sd_bus_reply_method_return(call, "");
}

/* --- its life --- */

static void on_closed(void *ctx, const char *why)
{
	board_life_closed(ctx, why);
}

static void on_hung(void *ctx, const char *why)
{
	board_life_lost(ctx, why);
}

static int open_grant(struct board_life *l, struct error *err)
{
	const struct grant_options options = {
		.event = l->env->event,
		.place = &l->board->place,
		.interface = l->memo.interface,
		.kept = on_kept,
		.ctx = l,
	};
	int r = grant_new(&options, &l->grant);

	if (r < 0)
		return error_set(err, r, "cannot watch its port: %s", strerror(-r));
	grant_set_pid(l->grant, process_pid(l->process));
	return 0;
}

int board_link_open(struct board_life *l, int fd, struct error *err)
{
	const struct hostlink_hooks hooks = {
		.speaks = on_speaks,
		.told_board = on_told_board,
		.partition = on_partition,
		.told_partition = on_told_partition,
		.open_port = on_open,
		.port_holder = on_tell_holder,
		.close_port = on_close,
		.wait_port = on_wait,
		.next_port = on_next,
		.keep_port = on_keep,
		.mount = on_mount,
		.unmount = on_unmount,
		.ready = on_ready,
		.closed = on_closed,
		.hung = on_hung,
		.ctx = l,
	};
	int r = hostlink_new(l->env->event, fd, &hooks, &l->link, err);

	if (r == 0)
		r = open_grant(l, err);
	return r;
}
