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
 * there; after a power cut, every frame up to the last successful sync. A torn tail is cut
 * off at the last whole frame, and reported (journal_cut). A frame that is known to have
 * been on disk and is broken now is an error: nothing is dropped silently. What is known is
 * told by every frame, and by a mark behind the last one: without that, a power cut that
 * kept a later frame and lost an earlier one, neither flushed, would look like damage.
 *
 * All functions are for the loop's thread, except where told; none waits for a disk flush,
 * except journal_open, journal_create, journal_rewrite, journal_free, and those for another
 * thread. A journal has a
 * thread: make it after the last fork. */
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
	uint64_t id, parent; /* node ids, not 0; never used again for another node */
	const char *name;    /* NUL-terminated, at most 255 bytes; "" for the root. While
			      * replaying, valid until the callback returns */
	uint8_t type;	     /* enum romfs_type */
	int64_t mtime_ns;
	struct content content;
	int from_fd; /* journal_rewrite: a LOG content counts in this file; 0: in the journal */
};

enum journal_change_kind {
	JOURNAL_PUT,  /* the node is now this entry */
	JOURNAL_DROP, /* the node `entry.id` is gone */
};

struct journal_change {
	enum journal_change_kind kind;
	struct journal_entry entry;
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

/* Bytes of a torn tail that journal_open cut off; 0: the journal ended as it should. */
uint64_t journal_cut(const struct journal *j);

/* Starts an empty journal (a checkpoint of nothing but the root) in the directory, in place
 * of one that is there. */
must_check int journal_create(int dirfd, const struct journal_header *header,
	struct journal **out, struct error *err);

typedef int (*journal_replay_fn)(void *ctx, const struct journal_change *change);

/* Opens the journal that is there and replays it: the checkpoint's nodes first, then every
 * later change, in order. Each entry by itself is checked: ids not 0, a name that is one, a
 * known type, contents inside the journal or the base; how entries fit together (a parent
 * that exists, names that differ) is for the callback. Every change replayed is on disk
 * when this returns 0. -ENOENT: there is no journal. -EUCLEAN: damaged, file left untouched;
 * -EPROTONOSUPPORT: of another version. A callback's error ends the replay and is returned.
 * `changed` tells whether frames follow the checkpoint. */
must_check int journal_open(int dirfd, struct journal_header *header, journal_replay_fn replay,
	void *ctx, bool *changed, struct journal **out, struct error *err);

void journal_free(struct journal *j);
DEFINE_CLEANUP(struct journal *, journal_free);

/* Appends one frame. The sequence number says what to wait for with journal_request_sync.
 * -ENOSPC and other errors of the disk: nothing was appended (the file is cut back).
 * -E2BIG: over 1 MiB of changes (3,000 with the longest names). */
must_check int journal_append(struct journal *j, const struct journal_change *changes,
	size_t n, uint64_t *seq, struct error *err);

/* Appends one frame that puts `entry` with the bytes [0, size) of `data_fd` as its content;
 * entry->content is set to where they stand. Where the file is shorter, the rest is zeros.
 * Streams: memory does not grow with `size`. */
must_check int journal_append_file(struct journal *j, struct journal_entry *entry,
	int data_fd, uint64_t size, uint64_t *seq, struct error *err);

/* The open file, for pread of CONTENT_LOG bytes. Another thread that wants to read must
 * dup(2) it while it still is this generation. */
int journal_fd(const struct journal *j);
uint64_t journal_seq(const struct journal *j); /* of the last appended frame */
uint64_t journal_bytes(const struct journal *j); /* in use; the file may be longer */

/* A flush of everything up to `seq` is asked for; a thread of the journal's does it and
 * joins requests that come meanwhile. */
must_check int journal_request_sync(struct journal *j, uint64_t seq);
/* Readable when a flush has ended; journal_synced reads it, and tells up to where
 * everything is durable. A failed flush is -errno for good (what the kernel holds is no
 * longer known): rewrite the journal, or tell the user. */
int journal_event_fd(const struct journal *j);
must_check int journal_synced(struct journal *j, uint64_t *seq);

/* Starts a new generation with this header and the entries that `next` yields (1: an entry
 * was given, its name valid until the next call; 0: no more; -errno). Bytes of kind LOG are
 * copied from the old generation, or from the file that the entry tells; `moved` tells each
 * entry's new place, in the order of `next`, only once all has succeeded. When this returns 0
 * everything is durable, also what was asked for before, a failed flush is forgotten, and the
 * sequence goes on. On failure the old generation goes on unchanged and `moved` was not
 * called; but when the directory's own flush failed, after the rename, no append and no sync
 * succeeds until a rewrite does: which of the two files a power cut would leave is not known. */
typedef int (*journal_next_fn)(void *ctx, struct journal_entry *entry);
typedef void (*journal_moved_fn)(void *ctx, uint64_t id, const struct content *content);
must_check int journal_rewrite(struct journal *j, const struct journal_header *header,
	journal_next_fn next, journal_moved_fn moved, void *ctx, struct error *err);

/* --- the same, made by another thread while this generation goes on ----------------------
 * For a tree that has nothing to do with what is there: no content counts in the journal of
 * now, and what is appended until the draft is adopted goes with it. */
struct journal_draft;

/* One at a time for each journal. */
must_check int journal_draft_new(struct journal *j, const struct journal_header *header,
	struct journal_draft **out, struct error *err);
/* Any thread, once: writes and flushes it, as journal_rewrite does. Nothing has changed for
 * whoever crashes then. */
must_check int journal_draft_write(struct journal_draft *d, journal_next_fn next,
	journal_moved_fn moved, void *ctx, struct error *err);
/* It is the generation of now, which waits for no disk: whether a power cut leaves the old one
 * or this is known when `seq` is durable, and nothing that is asked for is before; a flush is
 * under way. On failure the old generation goes on unchanged. */
must_check int journal_draft_adopt(
	struct journal *j, struct journal_draft *d, uint64_t *seq, struct error *err);
/* Before the journal is freed; takes away what was not adopted. */
void journal_draft_free(struct journal_draft *d);
DEFINE_CLEANUP(struct journal_draft *, journal_draft_free);

/* Any thread but the loop's, which must not free the journal meanwhile: waits until `seq`, for
 * which a flush was asked for, is durable. */
must_check int journal_wait(struct journal *j, uint64_t seq, struct error *err);
