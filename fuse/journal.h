/* SPDX-License-Identifier: MIT */
/* The journal of one partition's folder: everything that the user wrote and that is not
 * yet on flash, safe on the host's disk.
 *
 * One append-only file, `journal` in the partition's state directory, made of frames with
 * length, sequence number and CRC-32 (FORMAT.md). A frame is a change that happens whole or
 * not at all: nodes put (created, renamed, rewritten) and dropped. File contents stand in
 * the journal itself, so that one fdatasync makes a closed file durable, and so that what
 * was once written there never changes: a commit can read it from another thread while the
 * user goes on writing. A generation of the file starts with a header and a checkpoint of
 * all nodes; journal_rewrite starts the next one by writing it beside the old one and
 * renaming it over.
 *
 * Crash guarantee: after a SIGKILL at any point, every frame whose append returned is
 * there; after a power cut, every frame up to the last successful sync. A torn or corrupt
 * tail is cut off at the last whole frame, and reported; corruption before it (a whole
 * frame follows the broken one) is an error: nothing is dropped silently.
 *
 * All functions are for the loop's thread, except where told; none waits for a disk flush,
 * except journal_open, journal_create and journal_rewrite. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"
#include "util/macros.h"
#include "util/sha256.h"

#define JOURNAL_ROOT_ID 1u /* the root directory: always there, its parent is 0 */

enum content_kind {
	CONTENT_EMPTY, /* no bytes; directories too */
	CONTENT_BASE,  /* `off` in the base image: on flash at that offset */
	CONTENT_LOG,   /* `off` in this generation of the journal file */
};

/* Bytes that never change. Which file `off` counts in is told by the kind. */
struct content {
	enum content_kind kind;
	uint64_t off, size;
};

struct journal_entry {
	uint64_t id, parent; /* node ids; never used again for another node */
	const char *name;    /* NUL-terminated, at most 255 bytes; "" for the root */
	uint8_t type;	     /* enum romfs_type */
	int64_t mtime_ns;
	struct content content;
};

enum journal_change_kind {
	JOURNAL_PUT,  /* the node is now this entry */
	JOURNAL_DROP, /* the node `entry.id` is gone */
	JOURNAL_INTENT, /* a commit to the image with the SHA-256 `intent` has begun */
};

struct journal_change {
	enum journal_change_kind kind;
	struct journal_entry entry;
	uint8_t intent[SHA256_SIZE];
};

/* What the staged changes rest on; written at the start of each generation. */
struct journal_header {
	char board[128];	   /* identity of the board, printable; "" for an image file */
	uint32_t partition;
	uint64_t size;		   /* bytes of the partition */
	uint8_t base[SHA256_SIZE]; /* fingerprint of the base image */
	bool dirty; /* the checkpoint holds changes that are not on flash */
};

struct journal;

/* Starts an empty journal (a checkpoint of nothing but the root) in the directory. */
must_check int journal_create(int dirfd, const struct journal_header *header,
	struct journal **out, struct error *err);

typedef int (*journal_replay_fn)(void *ctx, const struct journal_change *change);

/* Opens the journal that is there and replays it: the checkpoint's nodes first, then every
 * later change, in order; contents of kind LOG lie inside the file (checked). -ENOENT: there
 * is none. -EUCLEAN: corrupt before its tail, file left untouched. A callback's error ends
 * the replay and is returned. `changed` tells whether frames follow the checkpoint. */
must_check int journal_open(int dirfd, struct journal_header *header, journal_replay_fn replay,
	void *ctx, bool *changed, struct journal **out, struct error *err);

void journal_free(struct journal *j);
DEFINE_CLEANUP(struct journal *, journal_free);

/* Appends one frame. The sequence number says what to wait for with journal_request_sync.
 * -ENOSPC and other errors of the disk: nothing was appended (the file is cut back). */
must_check int journal_append(struct journal *j, const struct journal_change *changes,
	size_t n, uint64_t *seq, struct error *err);

/* Appends one frame that puts `entry` with the bytes [0, size) of `data_fd` as its content;
 * entry->content is set to where they stand. Streams: memory does not grow with `size`. */
must_check int journal_append_file(struct journal *j, struct journal_entry *entry,
	int data_fd, uint64_t size, uint64_t *seq, struct error *err);

/* The open file, for pread of CONTENT_LOG bytes. Another thread that wants to read must
 * dup(2) it while it still is this generation. */
int journal_fd(const struct journal *j);
uint64_t journal_seq(const struct journal *j); /* of the last appended frame */
uint64_t journal_bytes(const struct journal *j); /* length of the file */

/* A flush of everything up to `seq` is asked for; a thread of the journal's does it and
 * joins requests that come meanwhile. */
must_check int journal_request_sync(struct journal *j, uint64_t seq);
/* Readable when a flush has ended; journal_synced reads it, and tells up to where
 * everything is durable. A failed flush is -errno for good (what the kernel holds is no
 * longer known): rewrite the journal, or tell the user. */
int journal_event_fd(const struct journal *j);
must_check int journal_synced(struct journal *j, uint64_t *seq);

/* Starts a new generation with this header and the entries that `next` yields (1: an entry
 * was given, 0: no more, -errno). Bytes of kind LOG are copied from the old generation;
 * `moved` tells each entry's new place. When this returns 0 everything is durable, also what
 * was asked for before; on failure the old generation goes on unchanged and `moved` must be
 * undone by the caller (call it only after success: places are told in the order of
 * `next`, after the rename). */
typedef int (*journal_next_fn)(void *ctx, struct journal_entry *entry);
typedef void (*journal_moved_fn)(void *ctx, uint64_t id, const struct content *content);
must_check int journal_rewrite(struct journal *j, const struct journal_header *header,
	journal_next_fn next, journal_moved_fn moved, void *ctx, struct error *err);
