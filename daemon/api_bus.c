/* SPDX-License-Identifier: MIT */
#include "daemon/api_bus.h"

#include <errno.h>
#include <string.h>

#include "daemon/api_private.h"

#define SYSTEM_ADDRESS "unix:path=/run/dbus/system_bus_socket"
#define RETRY_FIRST_USEC 1000000ull
#define RETRY_LAST_USEC (60 * 1000000ull)

struct api_bus {
	struct api_peer peer; /* bus NULL: not connected */
	struct api *api;
	sd_event_source *retry;
	uint64_t delay;
};

static int start_retry(struct api_bus *b)
{
	int r = sd_event_source_set_time_relative(b->retry, b->delay);

	b->delay = MIN(b->delay * 2, RETRY_LAST_USEC);
	return r < 0 ? r : sd_event_source_set_enabled(b->retry, SD_EVENT_ONESHOT);
}

/* --- its name --- */

static int on_name(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct api_bus *b = userdata;
	const sd_bus_error *refused = sd_bus_message_get_error(reply);
	uint32_t answer = 0;

	if (!refused && sd_bus_message_read_basic(reply, 'u', &answer) > 0 &&
		answer == 1) {
		b->delay = RETRY_FIRST_USEC;
		return 1;
	}
	log_to(b->api->options.log, LOG_NOTICE,
		"not on the bus as " BUS_NAME ": %s; the private socket is not concerned",
		refused && refused->message ? refused->message
					    : "another program has this name");
	api_lose(&b->peer);
	return 1;
}

static int on_connected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct api_bus *b = userdata;

	if (sd_bus_request_name_async(b->peer.bus, NULL, BUS_NAME, 0, on_name, b) < 0)
		api_lose(&b->peer);
	return 1;
}

/* --- its connection --- */

static int set_address(sd_bus *bus, bool user_mode)
{
	const char *given = getenv(
		user_mode ? "DBUS_SESSION_BUS_ADDRESS" : "DBUS_SYSTEM_BUS_ADDRESS");
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	_cleanup_free_ char *address = NULL;

	if (given && *given)
		return sd_bus_set_address(bus, given);
	if (!user_mode)
		return sd_bus_set_address(bus, SYSTEM_ADDRESS);
	if (!runtime || *runtime != '/' || strpbrk(runtime, ",;%"))
		return -ENOENT;
	if (asprintf(&address, "unix:path=%s/bus", runtime) < 0)
		return -ENOMEM;
	return sd_bus_set_address(bus, address);
}

/* A socket that is not there yet is waited for by sd-bus. */
static int connect_bus(struct api_bus *b)
{
	sd_bus *bus;
	int r = sd_bus_new(&b->peer.bus);

	if (r < 0)
		return r;
	bus = b->peer.bus;
	r = set_address(bus, b->api->options.user_mode);
	if (r >= 0)
		r = sd_bus_set_bus_client(bus, true);
	if (r >= 0)
		r = sd_bus_set_trusted(bus, false);
	if (r >= 0)
		r = sd_bus_negotiate_fds(bus, true);
	if (r >= 0)
		r = sd_bus_set_watch_bind(bus, true);
	if (r >= 0)
		r = sd_bus_set_connected_signal(bus, true);
	if (r >= 0)
		r = sd_bus_match_signal(bus, NULL, NULL, "/org/freedesktop/DBus/Local",
			"org.freedesktop.DBus.Local", "Connected", on_connected, b);
	if (r >= 0)
		r = api_attach(b->api, &b->peer);
	return r < 0 ? r : sd_bus_start(bus);
}

static void disconnect(struct api_bus *b)
{
	if (b->peer.api)
		api_detach(&b->peer);
	b->peer.is_lost = false;
}

static void on_lost(struct api_peer *peer)
{
	struct api_bus *b = container_of(peer, struct api_bus, peer);

	disconnect(b);
	if (start_retry(b) < 0)
		log_to(b->api->options.log, LOG_ERR,
			"the bus is not waited for any more");
}

static int try_to_connect(struct api_bus *b)
{
	int r = connect_bus(b);

	if (r >= 0)
		return 0;
	log_to(b->api->options.log, LOG_DEBUG, "no bus: %s", strerror(-r));
	disconnect(b);
	return start_retry(b);
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
	return try_to_connect(userdata);
}

int api_bus_new(struct api *a, struct api_bus **out, struct error *err)
{
	struct api_bus *b = calloc(1, sizeof(*b));
	int r;

	if (!b)
		return error_set(err, -ENOMEM, "out of memory");
	b->api = a;
	b->delay = RETRY_FIRST_USEC;
	b->peer.api = a;
	b->peer.who.has_polkit = !a->options.user_mode;
	b->peer.lost = on_lost;
	r = sd_event_add_time_relative(a->options.event, &b->retry, CLOCK_MONOTONIC,
		RETRY_FIRST_USEC, 0, on_retry, b);
	if (r >= 0)
		r = sd_event_source_set_enabled(b->retry, SD_EVENT_OFF);
	if (r >= 0)
		r = try_to_connect(b);
	if (r < 0) {
		api_bus_free(b);
		return error_set(
			err, r, "the bus cannot be waited for: %s", strerror(-r));
	}
	*out = b;
	return 0;
}

void api_bus_free(struct api_bus *b)
{
	if (!b)
		return;
	disconnect(b);
	sd_event_source_disable_unref(b->retry);
	free(b);
}
