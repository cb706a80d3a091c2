/* SPDX-License-Identifier: MIT */
#include "fuse/control.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "bus/names.h"
#include "bus/wire.h"

#define MOUNT_US (30u * 1000000u)

struct control {
	struct control_hooks hooks;
	sd_bus *bus;
	sd_bus_slot *vtable, *gone;
	bool started;
};

/* --- what romountd asks for --------------------------------------------------------------- */

static const struct wire_field option_fields[] = {
	WIRE_TEXT("name", struct control_options, name),
	WIRE_TEXT("port", struct control_options, port),
	WIRE_NAME("identity", struct control_options, identity),
	WIRE_U32("baud", struct control_options, baud),
	WIRE_U32("uid", struct control_options, uid),
	WIRE_U32("gid", struct control_options, gid),
	WIRE_U32("quiet-ms", struct control_options, quiet_ms),
	WIRE_U32("idle-ms", struct control_options, idle_ms),
	WIRE_BOOL("contact", struct control_options, contact),
	WIRE_BOOL("reset", struct control_options, reset),
	WIRE_NAME("verify", struct control_options, verify),
	WIRE_NAMES("aligns", struct control_options, aligns, n_aligns),
	WIRE_BOOL("statements", struct control_options, statements),
	WIRE_TEXT("directory", struct control_options, directory),
};

static int read_start(
	sd_bus_message *m, struct control_options *o, int *dir, struct error *err)
{
	int r = wire_read(m, option_fields, ARRAY_SIZE(option_fields), o, NULL, err);

	if (r >= 0)
		r = sd_bus_message_read(m, "h", dir);
	if (r >= 0)
		*dir = fcntl(*dir, F_DUPFD_CLOEXEC, 3);
	return r < 0 ? r : *dir < 0 ? -errno : 0;
}

static int on_start(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct control *c = data;
	struct control_options o = {
		.quiet_ms = 1000, .idle_ms = 10000, .reset = true, .verify = "written"};
	struct error err = {0};
	int dir = -1, r;

	(void)ret;
	r = c->started ? error_set(&err, -EALREADY, "started already")
		       : read_start(m, &o, &dir, &err);
	if (r >= 0) {
		c->started = true;
		r = c->hooks.start(c->hooks.ctx, &o, dir, &err);
	}
	control_reply(m, r, &err);
	return 1;
}

static const struct method {
	const char *name, *in;
	enum control_order_kind kind;
} methods[] = {
	{"Attach", "", CONTROL_ATTACH},
	{"Sync", "u", CONTROL_SYNC},
	{"Release", "u", CONTROL_RELEASE},
	{"End", "bu", CONTROL_END},
	{"Refresh", "", CONTROL_REFRESH},
	{"Save", "uh", CONTROL_SAVE},
	{"Restore", "uhb", CONTROL_RESTORE},
	{"Verify", "u", CONTROL_VERIFY},
	{"Layout", "u", CONTROL_LAYOUT},
	{"Format", "u", CONTROL_FORMAT},
	{"Compact", "ub", CONTROL_COMPACT},
};

/* The bus has compared the signature with that of the vtable. */
static int read_order(sd_bus_message *m, const struct method *method, struct control_order *o)
{
	int fd = -1, flag = 0, r;

	switch (method->kind) {
	case CONTROL_RELEASE:
		r = sd_bus_message_read(m, "u", &o->seconds);
		break;
	case CONTROL_END:
		r = sd_bus_message_read(m, "bu", &flag, &o->seconds);
		break;
	case CONTROL_SAVE:
		r = sd_bus_message_read(m, "uh", &o->partition, &fd);
		break;
	case CONTROL_RESTORE:
		r = sd_bus_message_read(m, "uhb", &o->partition, &fd, &flag);
		break;
	case CONTROL_COMPACT:
		r = sd_bus_message_read(m, "ub", &o->partition, &flag);
		break;
	default:
		r = method->in[0] ? sd_bus_message_read(m, "u", &o->partition) : 0;
		break;
	}
	if (r < 0)
		return r;
	o->flag = flag;
	o->fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return fd >= 0 && o->fd < 0 ? -errno : 0;
}

static int on_order(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct control *c = data;
	struct control_order order = {.fd = -1};
	const char *member = sd_bus_message_get_member(m);
	int r = -EOPNOTSUPP;

	(void)ret;
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, member) != 0)
			continue;
		order.kind = methods[i].kind;
		r = read_order(m, &methods[i], &order);
		break;
	}
	if (r < 0)
		control_reply(m, r, NULL);
	else
		c->hooks.order(c->hooks.ctx, &order, m);
	return 1;
}

#define PARTITION_SIGNATURE "ua{sv}"
#define METHOD(name, in, out, handler)                                                   \
	SD_BUS_METHOD(name, in, out, handler, SD_BUS_VTABLE_UNPRIVILEGED)

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	METHOD("Start", "a{sv}h", "", on_start),
	METHOD("Attach", "", "", on_order),
	METHOD("Sync", "u", "", on_order),
	METHOD("Release", "u", "", on_order),
	METHOD("End", "bu", "", on_order),
	METHOD("Refresh", "", "", on_order),
	METHOD("Save", "uh", "", on_order),
	METHOD("Restore", "uhb", "", on_order),
	METHOD("Verify", "u", "t", on_order),
	METHOD("Layout", "u", "tta(ttss)", on_order),
	METHOD("Format", "u", "", on_order),
	METHOD("Compact", "ub", "", on_order),
	SD_BUS_SIGNAL("Board", "a{sv}", 0),
	SD_BUS_SIGNAL("Partition", PARTITION_SIGNATURE, 0),
	SD_BUS_VTABLE_END,
};

/* --- answers ------------------------------------------------------------------------------ */

/* A link that is broken is seen by `gone`. */
void control_reply(sd_bus_message *call, int result, const struct error *err)
{
	int r = result < 0 ? wire_reply_error(call, result, err)
			   : sd_bus_reply_method_return(call, NULL);

	(void)r;
}

void control_reply_bytes(sd_bus_message *call, uint64_t bytes)
{
	(void)!sd_bus_reply_method_return(call, "t", bytes);
}

static int append_extents(sd_bus_message *m, const struct volume_extent *v, size_t n)
{
	int r = sd_bus_message_open_container(m, 'a', "(ttss)");

	for (size_t i = 0; i < n && r >= 0; i++)
		r = sd_bus_message_append(
			m, "(ttss)", v[i].off, v[i].len, v[i].kind, v[i].name);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

void control_reply_layout(sd_bus_message *call, const struct dev_geometry *geometry,
	const struct volume_extent *extents, size_t n)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_return(call, &m);

	if (r >= 0)
		r = sd_bus_message_append(
			m, "tt", geometry->size, (uint64_t)geometry->erase_block);
	if (r >= 0)
		r = append_extents(m, extents, n);
	if (r >= 0)
		r = sd_bus_message_send(m);
	if (r < 0)
		control_reply(call, r, NULL);
}

/* --- signals ------------------------------------------------------------------------------ */

static const struct wire_field board_fields[] = {
	WIRE_TEXT("machine", struct control_board, machine),
	WIRE_TEXT("firmware", struct control_board, firmware),
	WIRE_TEXT("unique-id", struct control_board, unique_id),
	WIRE_TEXT("platform", struct control_board, platform),
	WIRE_TEXT("state", struct control_board, state),
	WIRE_TEXT("error", struct control_board, error),
	WIRE_BOOL("port-open", struct control_board, port_open),
	WIRE_U32("partitions", struct control_board, partitions),
};

/* Only of one that is attached: those in front of this one in the table, which the compiler
 * checks. */
#define SIZE_FIELD 4
#define ATTACHED_FIELDS ((1ull << SIZE_FIELD) - 1)

/* The last one, the address, may be absent. */
static const struct wire_field partition_fields[] = {
	WIRE_U64("used", struct control_partition, used),
	WIRE_U64("free", struct control_partition, free),
	WIRE_U64("pending", struct control_partition, pending),
	WIRE_U32("pending-files", struct control_partition, pending_files),
	[SIZE_FIELD] = WIRE_U64("size", struct control_partition, size),
	WIRE_TEXT("state", struct control_partition, state),
	WIRE_TEXT("error", struct control_partition, error),
	WIRE_TEXT("note", struct control_partition, note),
	WIRE_TEXT("job", struct control_partition, job),
	WIRE_U64("done", struct control_partition, done),
	WIRE_U64("total", struct control_partition, total),
	WIRE_TEXT("kind", struct control_partition, kind),
	WIRE_U64("erase-block", struct control_partition, erase_block),
	WIRE_U64("write-unit", struct control_partition, write_unit),
	WIRE_TEXT("image", struct control_partition, image),
	WIRE_U64("address", struct control_partition, address),
};

static int new_signal(struct control *c, const char *name, sd_bus_message **out)
{
	return sd_bus_message_new_signal(c->bus, out, BUS_CONTROL_PATH, BUS_CONTROL, name);
}

void control_tell_board(struct control *c, const struct control_board *b)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = new_signal(c, "Board", &m);

	if (r >= 0)
		r = wire_append(m, board_fields, ARRAY_SIZE(board_fields), b, WIRE_ALL);
	if (r >= 0)
		(void)!sd_bus_send(c->bus, m, NULL);
}

void control_tell_partition(
	struct control *c, unsigned number, const struct control_partition *p)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	unsigned n = ARRAY_SIZE(partition_fields) - !p->has_address;
	int r = new_signal(c, "Partition", &m);

	if (r >= 0)
		r = sd_bus_message_append(m, "u", number);
	if (r >= 0)
		r = wire_append(m, partition_fields, n, p,
			p->is_attached ? WIRE_ALL : ~ATTACHED_FIELDS);
	if (r >= 0)
		(void)!sd_bus_send(c->bus, m, NULL);
}

/* --- calls --------------------------------------------------------------------------------- */

struct mounting {
	control_mounted_fn done;
	void *ctx;
};

static int on_mounted(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	const struct mounting *w = data;
	const sd_bus_error *e = sd_bus_message_get_error(m);
	struct error err = {0};
	int fd = -1, r;

	(void)ret;
	r = e ? wire_take_error(e, &err) : sd_bus_message_read(m, "h", &fd);
	if (r >= 0) {
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		r = fd < 0 ? -errno : fd;
	}
	w->done(w->ctx, r, r < 0 && err.text[0] ? err.text : r < 0 ? strerror(-r) : "");
	return 0;
}

int control_mount(struct control *c, unsigned number, control_mounted_fn done, void *ctx,
	sd_bus_slot **slot)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	_cleanup_free_ struct mounting *w = malloc(sizeof(*w));
	int r;

	if (!w)
		return -ENOMEM;
	*w = (struct mounting){.done = done, .ctx = ctx};
	r = sd_bus_message_new_method_call(
		c->bus, &m, NULL, BUS_HOST_PATH, BUS_HOST, "Mount");
	if (r >= 0)
		r = sd_bus_message_append(m, "u", number);
	if (r >= 0)
		r = sd_bus_call_async(c->bus, slot, m, on_mounted, w, MOUNT_US);
	if (r >= 0)
		r = sd_bus_slot_set_destroy_callback(*slot, free);
	if (r < 0) {
		*slot = sd_bus_slot_unref(*slot);
		return r;
	}
	w = NULL;
	return 0;
}

static void tell_host(struct control *c, const char *method, unsigned number)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_call(
		c->bus, &m, NULL, BUS_HOST_PATH, BUS_HOST, method);

	if (r >= 0)
		r = sd_bus_message_append(m, "u", number);
	if (r >= 0)
		r = sd_bus_message_set_expect_reply(m, 0);
	if (r >= 0)
		(void)!sd_bus_send(c->bus, m, NULL);
}

void control_ready(struct control *c, unsigned number)
{
	tell_host(c, "Ready", number);
}

void control_unmount(struct control *c, unsigned number)
{
	tell_host(c, "Unmount", number);
}

/* --- its life ------------------------------------------------------------------------------- */

static int on_gone(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct control *c = data;

	(void)m;
	(void)ret;
	c->hooks.gone(c->hooks.ctx);
	return 0;
}

static int connect_bus(struct control *c, sd_event *event, int fd)
{
	int r = sd_bus_new(&c->bus);

	if (r < 0) {
		close(fd);
		return r;
	}
	r = sd_bus_set_fd(c->bus, fd, fd);
	if (r >= 0)
		r = sd_bus_negotiate_fds(c->bus, 1);
	/* Whoever gave us the socket. */
	if (r >= 0)
		r = sd_bus_set_trusted(c->bus, 1);
	if (r >= 0)
		r = sd_bus_start(c->bus);
	if (r >= 0)
		r = sd_bus_attach_event(c->bus, event, SD_EVENT_PRIORITY_NORMAL);
	/* By this romountd knows that we have heard the end of the authentication: sd-bus would
	 * not notice a call that came together with it, and refuse descriptors. */
	return r < 0 ? r : sd_bus_call_method_async(c->bus, NULL, NULL, BUS_HOST_PATH,
				   "org.freedesktop.DBus.Peer", "Ping", NULL, NULL, "");
}

int control_new(sd_event *event, int fd, const struct control_hooks *hooks, struct control **out)
{
	_cleanup_(control_freep) struct control *c = calloc(1, sizeof(*c));
	int r;

	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->hooks = *hooks;
	r = connect_bus(c, event, fd);
	if (r >= 0)
		r = sd_bus_add_object_vtable(
			c->bus, &c->vtable, BUS_CONTROL_PATH, BUS_CONTROL, vtable, c);
	if (r >= 0)
		r = sd_bus_match_signal(c->bus, &c->gone, NULL,
			"/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
			"Disconnected", on_gone, c);
	if (r < 0)
		return r;
	*out = TAKE_PTR(c);
	return 0;
}

void control_free(struct control *c)
{
	if (!c)
		return;
	sd_bus_slot_unref(c->vtable);
	sd_bus_slot_unref(c->gone);
	if (c->bus)
		(void)!sd_bus_detach_event(c->bus);
	/* An answer has been written by now, unless nobody reads: who would be waited for. */
	sd_bus_close_unref(c->bus);
	free(c);
}

sd_bus *control_bus(struct control *c)
{
	return c->bus;
}
