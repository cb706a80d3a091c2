/* SPDX-License-Identifier: MIT */
/* The directory below which boards appear, and the boards' directories in it: BOARD/ with
 * BOARD.txt, STATUS.txt and the mount points. The root, and everything on the way to it, must
 * belong to us or to root, and nobody else may write there; below it no link is followed, and
 * nothing is removed that we have not made (markdir.h). One daemon at a time.
 *
 * Loop thread only; waits for the local file system that holds it only. */
#pragma once

#include "bus/names.h"
#include "daemon/mountpoint.h"
#include "util/log.h"

struct mount_root;

/* Makes it where it is missing. -EPERM, -ELOOP: not safe; -EBUSY: another romountd has it. */
must_check int mount_root_open(sd_event *event, const char *path, bool user_mode,
	const struct log_sink *log, struct mount_root **out, struct error *err);
/* Nothing is unmounted any more: boards' directories that are left stay. */
void mount_root_free(struct mount_root *r);
DEFINE_CLEANUP(struct mount_root *, mount_root_free);

const char *mount_root_path(const struct mount_root *r);

/* What an earlier daemon has left: mounts of ours below the root are detached, our files and
 * directories removed. `done` is told once, maybe before this returns. */
void mount_root_clean(struct mount_root *r, void (*done)(void *ctx), void *ctx);

struct mount_dir;

/* Takes the directory `name`, which must be missing, or empty and this user's, and then stays
 * when it is released. -EEXIST: something else is there, the text says what. One that was
 * released a moment ago comes back. */
must_check int mount_dir_claim(struct mount_root *r, const char *name,
	struct mount_dir **out, struct error *err);
/* Unmounts everything at once, and removes the directory when that is done; one that was there
 * before stays. */
void mount_dir_release(struct mount_dir *d);

int mount_dir_fd(const struct mount_dir *d);
const char *mount_dir_name(const struct mount_dir *d);
const char *mount_dir_path(const struct mount_dir *d);
/* -ENOSPC: too many; -EINVAL: no number for a partition. */
must_check int mount_dir_point(struct mount_dir *d, unsigned number, struct mountpoint **out);
void mount_dir_unmount_all(struct mount_dir *d);

/* `idle` is told once when no released directory is left, maybe before this returns. */
void mount_root_drain(struct mount_root *r, void (*idle)(void *ctx), void *ctx);

/* Written by the boards' notes. */
#define MOUNT_BOARD_FILE BUS_BOARD_FILE
#define MOUNT_STATUS_FILE "STATUS.txt"
