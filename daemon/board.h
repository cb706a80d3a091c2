/* SPDX-License-Identifier: MIT */
/* The life of one board, as one state machine:
 *
 *	OFF ── wanted ──▶ STARTING ── it speaks ──▶ RUNNING ── not wanted ──▶ ENDING ──▶ OFF
 *	 ▲                    │ it dies               │ it dies, or hangs
 *	 └─── not wanted ── BACK-OFF ◀────────────────┘
 *	                      └── after a while, and still wanted ──▶ STARTING
 *
 * Wanted is a board that is plugged in, and not ejected, while the daemon is not ending. A
 * board that is away stays in the registry while something staged waits for it.
 *
 * Loop thread only; never waits. */
#pragma once

#include "daemon/launch.h"
#include "daemon/mountroot.h"
#include "daemon/registry.h"
#include "daemon/store.h"
#include "util/log.h"

/* What all boards have in common; must outlive them. */
struct board_env {
	sd_event *event;
	struct registry *registry;
	struct store *store;
	struct mount_root *mounts;
	const struct launcher *launcher;
	const struct log_sink *log;
	/* Who owns the folders of a board with this policy. */
	void (*owner)(void *ctx, const struct policy *policy, uid_t *uid, gid_t *gid);
	/* The board has come to rest: OFF. It may be freed here, or changed in any way. */
	void (*at_rest)(void *ctx, struct board *b);
	void *ctx;
};

/* Adds a board that is away; `memo` is copied. */
must_check int board_new(const struct board_env *env, const char *ident,
	const struct store_memo *memo, const char *name, struct board **out, struct error *err);
/* Removes it from the registry. What still runs is killed. */
void board_free(struct board *b);

/* The line of ident.h, of what is about to be plugged in; "": it must be asked who it is. */
void board_identify(struct board *b, const char *line);
/* Whether it has a directory; one that was unplugged a moment ago still has. */
bool board_has_dir(const struct board *b);
/* It is there, or there otherwise (other ttys, another policy). `dir`, given where it has none,
 * is the board's from now on. */
void board_plug(struct board *b, const struct place *place, struct mount_dir *dir);
void board_unplug(struct board *b);
/* The end of the daemon: what is staged is written, for at most so long. */
void board_end(struct board *b, unsigned seconds);
/* Nothing is waited for any more. */
void board_kill(struct board *b);
bool board_is_off(const struct board *b);
/* Somebody else owns it now, if that is so: what is staged is written, and its folders are
 * mounted again. One that is released is left alone until it is taken back. */
void board_check_owner(struct board *b);
