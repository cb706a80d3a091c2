/* SPDX-License-Identifier: MIT */
/* A session with a board: from opening the port to giving the board back to its program.
 *
 * dev_session_open enters the raw REPL (interrupting the program that runs) and learns
 * what the board is; dev_session_close soft-resets it (unless told otherwise), so that its
 * program runs again and sees the new flash, and closes the port. Between the two, targets
 * of its partitions do the work. Blocking, one thread; see transport.h for how every wait
 * ends. */
#pragma once

#include "libdev/target.h"
#include "libdev/transport.h"
#include "libdev/tty.h"

#define DEV_PARTITIONS_MAX 8u
#define DEV_SEGMENT_MAX (256u << 20) /* bytes; a larger claim by a board is refused */

struct dev_board_info {
	char firmware[128]; /* os.uname().release and version, printable */
	char implementation[32];
	char machine[96];
	char platform[32];  /* sys.platform */
	char unique_id[65]; /* machine.unique_id() in hex, "" where there is none */
	uint32_t mpy;	    /* sys.implementation._mpy, 0 where unknown */
	uint64_t heap_free; /* bytes */
	bool has_deflate, has_hashlib, has_binascii, has_stdin_buffer, has_raw_paste;
	bool has_rom_ioctl;
	int segments; /* what rom_ioctl(1) said; may be negative */
	unsigned n_partitions; /* usable ones in `partitions` */
	struct dev_geometry partitions[DEV_PARTITIONS_MAX];
};

struct dev_session;
struct dev_known; /* see known.h */

struct dev_session_options {
	unsigned baud;
	int cancel_fd; /* -1: none */
	const struct log_sink *log;
	bool no_agent; /* statements only: for tests, and boards that want it */
	/* Of an earlier session with the board that is expected here; NULL: none. Only read
	 * while the session is opened. Where another board, another firmware or another
	 * partition answers, the session learns as if there were none. */
	const struct dev_known *known;
	/* A host that says nothing for so long is taken for dead by the board's agent, which
	 * then resets the board. 0: a minute. */
	unsigned silence_ms;
	/* dev_session_close does not reset the board: its program stays stopped, at the prompt
	 * of the friendly REPL. An open that fails gives the board back in any case. */
	bool keep_stopped;
};

/* Errors, each with a text that says what to do:
 *   -EBUSY   the port is held by another program (named)
 *   -EPROTO  no MicroPython answers there (garbage, another REPL, endless output)
 *   -ETIMEDOUT  nothing answers within 5 s
 *   others   from opening the tty
 * A board without rom_ioctl, or with no or negative segments, is NOT an error here: the
 * info tells (dev_session_target says it in words). On failure the board is given back as
 * it was: raw mode left, program running again. */
must_check int dev_session_open(const char *port, const struct dev_session_options *options,
	struct dev_session **out, struct error *err);

/* The same over a transport that is open already; takes it over, also on failure. */
must_check int dev_session_open_on(struct dev_transport *transport,
	const struct dev_session_options *options, struct dev_session **out,
	struct error *err);

/* Of this board, now. A later dev_session_target for another partition than the one that
 * `known` was of asks the board anew, and what this points at changes. */
const struct dev_board_info *dev_session_info(const struct dev_session *s);

/* What was learnt of a partition, for dev_session_options of a later session. -ENODATA where
 * there is nothing to prove it by: it was not used yet, or by statements alone. */
must_check int dev_session_known(
	const struct dev_session *s, unsigned number, struct dev_known *out);

/* Something went wrong: no target of this session works any more. */
bool dev_session_is_lost(const struct dev_session *s);

/* -ENODEV with the sentence that says why a board like this has no such partition. */
int dev_board_lacks(const struct dev_board_info *i, unsigned number, struct error *err);

/* -ENODEV with a sentence that says why this board has no usable partition `number`. Targets
 * of several partitions may be used in turns: the agent is started anew at each change. A
 * target that outlives dev_session_close fails with -EIO, and is still to be freed. */
must_check int dev_session_target(struct dev_session *s, unsigned number,
	struct dev_target **out, struct error *err);

/* Gives the board back: agent ended, raw mode left, soft reset (the program runs again),
 * port closed. `s` is gone then in any case. 0, or -errno when the board could not be told. */
int dev_session_close(struct dev_session *s, struct error *err);
void dev_session_closep(struct dev_session **s);

/* Bytes over the line so far. */
void dev_session_traffic(const struct dev_session *s, uint64_t *in, uint64_t *out);
