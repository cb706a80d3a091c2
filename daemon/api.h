/* SPDX-License-Identifier: MIT */
/* romountd's public bus API, org.romount1(5): one tree of objects (manager, boards,
 * partitions), shown on the private socket and on the system's or the user's bus.
 *
 * What the registry tells is published once per turn of the loop, as signals of the
 * properties that differ then. Clients' calls become board orders, and are answered when
 * these are done; a client that goes away before does not stop what it has ordered.
 *
 * Loop thread only; never waits. */
#pragma once

#include <systemd/sd-event.h>

#include "daemon/config.h"
#include "daemon/registry.h"
#include "util/error.h"
#include "util/log.h"

struct api;

struct api_options {
	sd_event *event;
	struct registry *registry; /* outlives the api; it takes its hooks */
	bool user_mode;
	const char *mount_root, *state_root;
	/* The private socket; NULL: the one that systemd has opened, $ROMOUNT_SOCKET, or as the
	 * mode says. */
	const char *socket;
	bool no_bus; /* the private socket alone */
	int (*add_board)(void *ctx, const struct config_static *board, struct error *err);
	int (*reload)(void *ctx, struct error *err);
	void *ctx;
	const struct log_sink *log;
};

/* Listens when it returns. That there is no bus is no error. */
must_check int api_new(
	const struct api_options *options, struct api **out, struct error *err);
/* Clients are disconnected; orders that run go on, and are answered to nobody. */
void api_free(struct api *a);
DEFINE_CLEANUP(struct api *, api_free);
