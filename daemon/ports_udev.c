/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/ports_private.h"

#include <errno.h>
#include <string.h>

#define BURST 64u /* events before others of the loop get their turn */
#define RECEIVE_BYTES (1 << 20)

/* Events are hints only: what counts is what udev says of the device when we look. So what
 * the monitor has queued may be older than what the enumeration saw, and a replug is seen by
 * the time at which udev met the device. */
struct ports_udev {
	struct udev *udev;
	struct udev_monitor *monitor;
	sd_event_source *source;
	struct udev_hooks hooks;
	struct udev_tty *ttys;
	bool is_behind; /* events were lost, or cannot be trusted */
};

const struct udev_tty *ports_udev_first(const struct ports_udev *u)
{
	return u->ttys;
}

static struct udev_tty *find(const struct ports_udev *u, const char *syspath)
{
	struct udev_tty *t;

	for (t = u->ttys; t; t = t->next)
		if (!strcmp(t->syspath, syspath))
			break;
	return t;
}

static bool has_key(const struct ports_udev *u, const char *key)
{
	for (const struct udev_tty *t = u->ttys; t; t = t->next)
		if (!strcmp(t->key, key))
			return true;
	return false;
}

static void drop(struct ports_udev *u, struct udev_tty *old)
{
	struct udev_tty **at = &u->ttys;

	while (*at != old)
		at = &(*at)->next;
	*at = old->next;
	udev_tty_free(old);
}

/* A board is gone with the last of its ttys: they go one by one, and the others are of no
 * use any more. */
static void forget(struct ports_udev *u, const char *syspath)
{
	struct udev_tty *t = find(u, syspath);
	char key[PLACE_TEXT];

	if (!t)
		return;
	snprintf(key, sizeof(key), "%s", t->key);
	drop(u, t);
	if (!has_key(u, key))
		u->hooks.unplugged(u->hooks.ctx, key);
}

/* The device was pulled out unseen: all that is known of it is old. */
static void forget_device(struct ports_udev *u, const char *key)
{
	char copy[PLACE_TEXT];
	struct udev_tty *t, *next;

	snprintf(copy, sizeof(copy), "%s", key);
	for (t = u->ttys; t; t = next) {
		next = t->next;
		if (!strcmp(t->key, copy))
			drop(u, t);
	}
	u->hooks.unplugged(u->hooks.ctx, copy);
	u->is_behind = true;
}

static void take(struct ports_udev *u, struct udev_tty *t)
{
	struct udev_tty *old = find(u, t->syspath);

	if (old && strcmp(old->plugged, t->plugged) != 0)
		forget_device(u, old->key);
	else if (old)
		drop(u, old);
	t->next = u->ttys;
	u->ttys = t;
	u->hooks.changed(u->hooks.ctx, t->key);
}

static void look(struct ports_udev *u, const char *syspath)
{
	struct udev_device *device = udev_device_new_from_syspath(u->udev, syspath);
	struct udev_tty *t = NULL;

	/* What udev has not seen yet it will tell of. */
	if (device && udev_device_get_is_initialized(device))
		t = udev_tty_new(device);
	if (t)
		take(u, t);
	else
		forget(u, syspath);
	udev_device_unref(device);
}

/* --- what is there now ----------------------------------------------------------------- */

static struct udev_enumerate *list_ttys(struct ports_udev *u)
{
	struct udev_enumerate *list = udev_enumerate_new(u->udev);

	if (list && udev_enumerate_add_match_subsystem(list, "tty") < 0) {
		udev_enumerate_unref(list);
		return NULL;
	}
	return list;
}

/* The ttys that we know may vanish while we look at them, and others appear. */
static void look_at_known(struct ports_udev *u)
{
	struct udev_tty *t = u->ttys;
	size_t n = 0, i = 0;
	char **paths;

	for (; t; t = t->next)
		n++;
	paths = calloc(n + 1, sizeof(*paths));
	for (t = u->ttys; paths && t; t = t->next)
		paths[i++] = strdup(t->syspath);
	for (i = 0; paths && i < n; i++) {
		if (paths[i])
			look(u, paths[i]);
		free(paths[i]);
	}
	free(paths);
}

int ports_udev_enumerate(struct ports_udev *u, struct error *err)
{
	struct udev_enumerate *list = list_ttys(u);
	struct udev_list_entry *entry;

	u->is_behind = true;
	if (!list || udev_enumerate_scan_devices(list) < 0) {
		udev_enumerate_unref(list);
		return error_set(err, -ENOMEM, "udev does not tell which ports there are");
	}
	look_at_known(u);
	u->is_behind = false;
	udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(list))
		look(u, udev_list_entry_get_name(entry));
	udev_enumerate_unref(list);
	return 0;
}

bool ports_udev_is_settled(struct ports_udev *u, const struct udev_tty *t)
{
	struct udev_device *device = udev_device_new_from_syspath(u->udev, t->device);
	struct udev_enumerate *list = list_ttys(u);
	struct udev_list_entry *entry;
	bool settled = true;

	if (device && list && udev_enumerate_add_match_parent(list, device) >= 0 &&
		udev_enumerate_scan_devices(list) >= 0)
		udev_list_entry_foreach(entry, udev_enumerate_get_list_entry(list))
			settled &= find(u, udev_list_entry_get_name(entry)) != NULL;
	udev_enumerate_unref(list);
	udev_device_unref(device);
	return settled;
}

/* --- what happens ---------------------------------------------------------------------- */

static int on_monitor(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct ports_udev *u = userdata;
	struct error err = {0};

	for (unsigned i = 0; i < BURST; i++) {
		struct udev_device *device = udev_monitor_receive_device(u->monitor);

		if (device) {
			look(u, udev_device_get_syspath(device));
			udev_device_unref(device);
		} else if (errno == ENOBUFS) {
			u->is_behind = true;
		} else {
			break;
		}
	}
	if (u->is_behind && ports_udev_enumerate(u, &err) < 0)
		u->hooks.trouble(u->hooks.ctx, err.text);
	return 0;
}

static int listen_to(struct ports_udev *u, sd_event *event)
{
	int r;

	u->udev = udev_new();
	u->monitor = u->udev ? udev_monitor_new_from_netlink(u->udev, "udev") : NULL;
	if (!u->monitor)
		return errno ? -errno : -ENOMEM;
	r = udev_monitor_filter_add_match_subsystem_devtype(u->monitor, "tty", NULL);
	if (r < 0)
		return r;
	/* A container may forbid this: then bursts are caught by enumerating. */
	(void)udev_monitor_set_receive_buffer_size(u->monitor, RECEIVE_BYTES);
	r = udev_monitor_enable_receiving(u->monitor);
	if (r < 0)
		return r;
	r = sd_event_add_io(event, &u->source, udev_monitor_get_fd(u->monitor), EPOLLIN,
		on_monitor, u);
	if (r < 0)
		return r;
	return sd_event_source_set_description(u->source, "udev");
}

int ports_udev_new(sd_event *event, const struct udev_hooks *hooks,
	struct ports_udev **out, struct error *err)
{
	_cleanup_(ports_udev_freep) struct ports_udev *u = calloc(1, sizeof(*u));
	int r = -ENOMEM;

	if (u) {
		u->hooks = *hooks;
		errno = 0;
		r = listen_to(u, event);
	}
	if (r < 0)
		return error_set(err, r, "cannot listen to udev: %s", strerror(-r));
	*out = TAKE_PTR(u);
	return 0;
}

void ports_udev_free(struct ports_udev *u)
{
	if (!u)
		return;
	while (u->ttys)
		drop(u, u->ttys);
	sd_event_source_disable_unref(u->source);
	udev_monitor_unref(u->monitor);
	udev_unref(u->udev);
	free(u);
}
