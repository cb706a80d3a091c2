/* SPDX-License-Identifier: MIT */
/* Whose the next mounts are: the user's who sits at this computer, as logind knows. Without
 * logind root's; in user mode one's own. Loop thread only; resolving users asks NSS. */
#pragma once

#include <stdbool.h>
#include <systemd/sd-event.h>
#include <sys/types.h>

#include "util/error.h"

struct seat;

/* `changed` is told when seat_owner may answer otherwise than before; may be NULL. */
must_check int seat_new(sd_event *event, bool user_mode, void (*changed)(void *ctx),
	void *ctx, struct seat **out, struct error *err);
void seat_free(struct seat *s);
DEFINE_CLEANUP(struct seat *, seat_free);

/* The owner of a board: `user` where the policy names one; "": the user of the active session
 * of a seat, else who was that last and is still logged in, else the only one who is logged in,
 * else root. The group is the user's primary one. In user mode always oneself. -ENOENT: there
 * is no such user (then it is best to mount for root). */
must_check int seat_owner(const struct seat *s, const char *user, uid_t *uid, gid_t *gid,
	struct error *err);
