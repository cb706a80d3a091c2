/* SPDX-License-Identifier: MIT */
/* A partition that a command rewrites with no folder shown: attached as a mount does it, then
 * brought from image to image by commits. Whatever ends the command, the next mount finds a
 * state that it knows, and goes on from there. */
#pragma once

#include "cli/task.h"
#include "fuse/attach.h"
#include "fuse/handover.h"

#define REWORK_ALIGNS_MAX 32u

struct rework_options {
	const struct cli_command *command; /* who speaks */
	struct flash_options flash;
	bool is_image; /* `path` */
	unsigned baud;
	struct romfs_pack_options pack;
	struct romfs_align aligns[REWORK_ALIGNS_MAX];
	char *path, *state_dir; /* owned */
};

/* What getopt_long found; -p, --state and --baud mean the same everywhere. -EINVAL: it makes
 * no sense, with a text where there is more to say. */
enum { REWORK_STATE = 256, REWORK_BAUD, REWORK_SIZE, REWORK_ALIGN };
must_check int rework_take_option(
	struct rework_options *o, int c, char *value, struct error *err);
void rework_options_done(struct rework_options *o);

struct rework {
	struct task *task;
	struct link *link; /* NULL: an image file */
	struct attached attached;
	struct handover handover;
	struct flash_progress progress;
	atomic_uint_fast64_t erased_blocks, programmed_bytes; /* by all commits so far */
	bool begun; /* something is written, or staged */
	const char *path;
	const struct cli_command *command;
	struct log_sink log;
};

/* The options must outlive it. Asks the board, takes the state directory's lock. */
must_check int rework_open(
	const struct rework_options *o, struct rework *w, struct error *err);
/* Tells how it ended (`r`), with what is left to do, and closes: the exit code. */
must_check int rework_end(struct rework *w, int r, const struct error *err);

/* "rom0 of MACHINE", or the image's name; printable. */
void rework_name(const struct rework *w, char *out, size_t cap);

struct rework_load {
	unsigned files;	 /* on flash */
	uint64_t bytes;	 /* of them */
	unsigned staged; /* files that wait on this computer to be written */
	bool waiting;	 /* they, or other changes, or an update that was interrupted */
};
void rework_what(const struct rework *w, struct rework_load *out);

/* What one commit shall do; see fuse/commit.h. */
struct rework_step {
	enum commit_aim aim;
	const struct romfs_pack_options *pack;
};
/* On the task's thread. 1: flash holds something else now; 0: it was right already. The
 * session stays open until rework_rest. */
must_check int rework_commit(
	struct rework *w, const struct rework_step *step, struct error *err);
/* Gives the board back. */
must_check int rework_rest(struct rework *w, struct error *err);

/* How the room is used, and knowledge about it: which chunks of free space are blank is asked
 * by hashes the first time. On the task's thread. */
must_check int rework_usage(struct rework *w, struct romfs_usage *out, struct error *err);
