/* SPDX-License-Identifier: MIT */
/* The bus API with a registry, boards that do what the test says, and clients, all on one
 * loop. Every wait has a deadline of RIG_SECONDS. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bus/names.h"
#include "bus/wire.h"
#include "daemon/api.h"

#define RIG_SECONDS 60
#define RIG_OTHER_UID 65534 /* nobody: dbus-daemon wants one that exists */

struct api_rig {
	char dir[64], socket[96], bus_address[128];
	sd_event *event;
	struct registry *registry;
	struct api *api;
	/* What board_order was told and has not been finished. */
	struct board_order orders[4096];
	char order_boards[4096][BOARD_NAME_MAX + 1];
	unsigned n_orders;
	int refuse; /* board_order's result; 0 */
	/* What the manager was told. */
	struct config_static added;
	unsigned n_added, n_reloads;
	bool add_to_registry; /* as a board that is there */
};

extern struct api_rig rig;

/* with_bus: the system bus is that at rig.bus_address, when it is there. */
void rig_setup(bool with_bus);
void rig_teardown(void);

/* A board with n partitions. */
struct board *rig_add(const char *name, uid_t owner, unsigned n_partitions);
/* Finishes the first order. */
void rig_finish(
	int result, const char *error_name, const char *text, sd_bus_message *reply);

/* A client of the private socket, in this loop. */
sd_bus *rig_connect(void);
/* A message like what a board's process answers: sealed, to be read. */
sd_bus_message *rig_message(sd_bus *any, const char *types, ...);
/* One turn of the loop, which must come. */
void rig_turn(void);
/* Turns until nothing is left to do. */
void rig_settle(void);
#define rig_until(what)                                                                  \
	do {                                                                             \
		while (!(what))                                                          \
			rig_turn();                                                      \
	} while (0)

/* Calls and waits. Returns the reply, an error or not. */
sd_bus_message *rig_call(sd_bus *bus, const char *path, const char *interface,
	const char *member, const char *types, ...);
/* The same; an error fails the test. */
#define rig_call_ok(...) rig_must_be_ok(rig_call(__VA_ARGS__))
sd_bus_message *rig_must_be_ok(sd_bus_message *reply);
/* Fails unless the reply is this error, whose text contains `text`; frees the reply. */
void rig_expect_error(sd_bus_message *reply, const char *name, const char *text);

/* Another user beside the loop, connected to the socket or to the bus: what `what` returns must
 * be 0. Tests that use it are skipped where root does not run them. */
void rig_run_as_other(bool on_bus, int (*what)(sd_bus *bus));
void rig_skip_unless_root(void);

unsigned rig_count_fds(void);
