/* SPDX-License-Identifier: MIT */
/* One generation of the journal as a file: appending frames to it, and reading it back.
 * Everything but journal_file_ref and journal_file_unref is for the loop's thread. */
#pragma once

#include <sys/types.h>

#include "fuse/journal_frame.h"

/* An open generation. The flush thread keeps a reference while it flushes, so that a
 * rewrite meanwhile needs not wait for it. */
struct journal_file;
must_check int journal_file_new(int fd, struct journal_file **out); /* takes fd */
struct journal_file *journal_file_ref(struct journal_file *file);
void journal_file_unref(struct journal_file *file);
int journal_file_fd(const struct journal_file *file);
DEFINE_CLEANUP(struct journal_file *, journal_file_unref);

/* Contents pass through one buffer of this size; the rest is for padding. */
#define JOURNAL_PIECE (128u << 10)
#define JOURNAL_BUFFER_SIZE (JOURNAL_PIECE + JOURNAL_ALIGN)

struct journal_log {
	struct journal_file *file;
	uint8_t *buffer; /* JOURNAL_BUFFER_SIZE, the journal's */
	struct journal_generation generation;
	uint64_t base_size;
	uint64_t tail;	    /* where the next frame goes */
	uint64_t allocated; /* the file's size, at least */
	uint64_t seq;	    /* of the last frame */
	bool marked;	    /* a mark stands at the tail */
	int broken;	    /* -errno: nothing can be appended any more */
};

/* Where content comes from. */
struct journal_bytes {
	int fd;
	uint64_t off, size;
	bool sparse_tail; /* what the file does not have reads as zeros; else it must have */
};

/* Makes `name` with a header whose checkpoint ends with the header. */
must_check int journal_log_create(int dirfd, const char *name,
	const struct journal_header *header, uint64_t first_seq, uint8_t *buffer,
	struct journal_log *out);
/* Writes the header again, with a checkpoint that ends at the tail. */
must_check int journal_log_seal(
	struct journal_log *log, const struct journal_header *header);

/* Reads a generation from its header to its last whole frame. `cut` is the number of bytes
 * after it that are no frame and not zero; nothing is written here. */
must_check int journal_log_replay(struct journal_log *log, struct journal_header *header,
	journal_replay_fn replay, void *ctx, uint64_t *cut, struct error *err);

/* Appends one frame; `durable` is the last sequence number known to be on disk. On failure
 * the file is as if nothing had been tried, or the log is broken. */
must_check int journal_log_append(struct journal_log *log,
	const struct journal_change *changes, size_t n, uint64_t durable);
must_check int journal_log_append_bytes(struct journal_log *log,
	struct journal_entry *entry, const struct journal_bytes *bytes, uint64_t durable);

/* Notes behind the last frame that all is on disk. Best effort: it only serves to tell
 * later damage from a torn tail. */
void journal_log_mark(struct journal_log *log);
/* Gives back the room that was taken ahead. */
void journal_log_trim(struct journal_log *log);
