/* SPDX-License-Identifier: MIT */
/* The state directory: where a partition's journal, its mirror and its status live.
 *
 *   ROOT/KEY/romN/    0700, one process at a time (`lock`)
 *   ROOT/ports/       0700, small files that are replaced whole (portmemo.h)
 *
 * Nothing below the root is reached through a symbolic link, and nothing there that belongs
 * to somebody else is used. Blocks on the disk only. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "util/error.h"
#include "util/macros.h"

/* `dir` where given (--state DIR); else /var/lib/romount for root, and for others
 * $XDG_STATE_HOME/romount or ~/.local/state/romount. Absolute, but for ".", which is for a
 * process that stays where it is, and perhaps could not come there by the path; the caller
 * frees. */
must_check int state_root(const char *dir, char **out, struct error *err);

/* Names of directories: [A-Za-z0-9._-] only, readable as far as that allows, with a hash of
 * everything, so that different things have different names. */
#define STATE_KEY_SIZE 65u
/* Made of `parts`, the last followed by NULL; `readable` is for people alone. */
void state_key_of(
	const char *readable, const char *const parts[], char out[STATE_KEY_SIZE]);
/* A board by its machine.unique_id() and its machine text; `fallback` (its port, or its USB
 * serial number) takes part only where it has no unique id. */
void state_key_board(const char *unique_id, const char *machine, const char *fallback,
	char out[STATE_KEY_SIZE]);
/* An image file by its path, as realpath(3) gives it. */
void state_key_image(const char *path, char out[STATE_KEY_SIZE]);

struct state_dir;

/* Makes the directory where it is missing, and takes its lock. -EBUSY: another process has
 * it, the text names its pid. -EPERM, -ELOOP, -ENOTDIR: it is not ours alone. */
must_check int state_open(const char *root, const char *key, unsigned partition,
	struct state_dir **out, struct error *err);
/* Releases the lock. */
void state_close(struct state_dir *dir);
DEFINE_CLEANUP(struct state_dir *, state_close);

int state_fd(const struct state_dir *dir);
const char *state_path(const struct state_dir *dir); /* for messages */
/* Writes this process's pid into the lock, which a child keeps over fork(2). */
must_check int state_claim(struct state_dir *dir);

/* The directory without its lock, for a look at the status; -ENOENT: there is none. The
 * caller closes. `holder` is the pid that has the lock, 0 where nobody has. */
must_check int state_peek(const char *root, const char *key, unsigned partition, int *fd,
	pid_t *holder, struct error *err);

/* A folder right below the root; the caller closes. -ENOENT: there is none, and `make` is not
 * set. */
must_check int state_open_folder(
	const char *root, const char *name, bool make, int *fd, struct error *err);

/* --- status: what `romount info` shows while nobody runs ------------------------------ */

struct state_line {
	char key[32];	 /* [a-z0-9-] */
	char value[480]; /* printable */
};

#define STATE_LINES_MAX 64u

/* Replaces the file `status`, one line "key value" each. Readers see the old or the new one
 * whole. Not flushed: it is information, and a power cut may take it. What does not fit
 * into a line is cut, what cannot be printed is replaced. */
must_check int state_write_status(int dirfd, const struct state_line *lines, size_t n);
/* Up to `cap` lines; lines that are none are left out. -ENOENT: no status was written. */
must_check int state_read_status(
	int dirfd, struct state_line *lines, size_t cap, size_t *n);
/* NULL where there is no such key. */
const char *state_status_get(const struct state_line *lines, size_t n, const char *key);
