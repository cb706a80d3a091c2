/* SPDX-License-Identifier: MIT */
/* Who may do what. A board's owner, root and the user that the daemon runs as may do everything
 * with it. Others: on the system bus, what polkit allows (org.romount1.manage-others; nothing
 * where there is no polkit); elsewhere nothing.
 *
 * On the private socket the kernel has told who the client is. On a bus the bus is asked, which
 * takes a while: the loop goes on. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "util/error.h"

/* Who is at the other end of a connection. */
struct access_caller {
	bool is_known; /* uid is the client's; else there is a bus between, which is asked */
	uid_t uid;
	bool has_polkit; /* it may be asked: the system bus */
};

struct access;
/* 0, or -errno with a sentence. */
typedef void (*access_fn)(void *ctx, int result, const struct error *err);

/* Whether the user owns everything, or this. */
bool access_owns(uid_t caller, uid_t owner);

/* 1: allowed; 0: `answer` will be told, unless *out is freed before; -EACCES and others: no. */
must_check int access_ask(sd_bus_message *call, const struct access_caller *who,
	uid_t owner, access_fn answer, void *ctx, struct access **out, struct error *err);
/* Also from within `answer`. */
void access_free(struct access *a);
DEFINE_CLEANUP(struct access *, access_free);
