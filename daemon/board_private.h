/* SPDX-License-Identifier: MIT */
/* What the files of a board's life share: board.c moves it, board_link.c serves its process,
 * board_order.c passes on what clients want. */
#pragma once

#include "daemon/board.h"
#include "daemon/grant.h"
#include "daemon/hostlink.h"
#include "daemon/notes.h"

enum board_phase { PHASE_OFF, PHASE_STARTING, PHASE_RUNNING, PHASE_ENDING, PHASE_BACKOFF };

#define EJECTS_MAX 8u

/* Somebody who waits until the board may be unplugged. */
struct eject_waiter {
	board_done_fn done;
	void *ctx;
};

struct board_life {
	const struct board_env *env;
	struct board *board;
	struct store_memo memo;
	enum board_phase phase;
	bool ejected, ending; /* why it is not wanted, though it is plugged in */
	bool killed;
	struct process *process;
	struct hostlink *link;
	struct grant *grant;
	struct mount_dir *dir; /* NULL: away, or ejected */
	struct notes *notes;
	/* By phase: the process must have spoken; is killed; is started again. */
	sd_event_source *timer;
	sd_event_source *gone; /* deferred: the link is at its end, and no process to wait for */
	uint64_t backoff_usec, running_since;
	char gone_why[200];
	struct eject_waiter ejects[EJECTS_MAX];
	unsigned n_ejects;
};

/* --- board.c --- */

/* Does what is next; the board may be gone then. */
void board_life_step(struct board_life *l);
/* Whatever it was that kept it away: it is wanted, and may be asked what it is. */
must_check int board_life_attach(struct board_life *l, struct error *err);
/* Unmounts, and asks the process to end; kills it when it has had its time. `done` (may be NULL)
 * is told what it answered. */
void board_life_begin_end(struct board_life *l, bool finish, unsigned seconds,
	board_done_fn done, void *ctx);
void board_life_changed(struct board_life *l);
void board_life_set_state(struct board_life *l, const char *state, const char *error);
/* Somebody has asked for its port, and has not given it back. */
bool board_life_is_released(const struct board_life *l);
/* Writes the memo. */
void board_life_remember(struct board_life *l);
/* The process is of no use any more: it is killed, and what follows follows later. */
void board_life_lost(struct board_life *l, const char *why);

/* The link is closed: the process has its time to end. */
void board_life_closed(struct board_life *l, const char *why);

/* --- board_order.c --- */

/* Tells those who have ejected it; nobody waits then. */
void board_life_answer_ejects(
	struct board_life *l, int result, const char *error_name, const char *text);

/* --- board_link.c --- */

/* Takes the socket; when the process answers, it is told to start. */
must_check int board_link_open(struct board_life *l, int fd, struct error *err);
