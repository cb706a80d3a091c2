/* SPDX-License-Identifier: MIT */
/* The folder of one partition: what the user sees and changes, made of the node table, the
 * journal, the scratch files and the mirror of the flash. Everything that a request can do
 * is a function here; FUSE's own words stay in requests*.c, the board stays in flash.c.
 *
 * Errors are negative errno as the user's program shall see them. -ENODATA means: these
 * bytes stand on flash and the host does not know them yet; fetch them (fetch.h) and call
 * again. Loop thread only; nothing here waits for the board. */
#pragma once

#include <stdatomic.h>

#include "fuse/journal.h"
#include "fuse/mirror.h"
#include "fuse/node.h"
#include "fuse/scratch.h"
#include "fuse/state.h"
#include "libromfs/pack.h"
#include "libromfs/plan.h"

struct folder {
	struct node_table *nodes;
	struct journal *journal;
	struct journal_header header; /* what the journal's generation rests on */
	struct mirror *mirror;
	/* While false, BASE bytes are those of an earlier time, and count as not known: fetching
	 * them asks the board (flash_proof). NULL: always true. */
	const atomic_bool *proven;
	bool base_away; /* BASE places count in an image that the mirror is not yet */
	struct scratch_pool *pool;
	struct state_dir *state;
	int dirfd; /* of the state directory */
	struct romfs_geometry geometry;
	const struct romfs_pack_options *pack;
	uint64_t charged;      /* bytes of the partition reckoned for the tree */
	uint64_t junk_charged; /* the same for what never goes there */
	uint64_t change;       /* counts changes of what flash shall hold */
	uint64_t on_flash;     /* the change that the last commit has put there */
	void (*changed)(void *ctx); /* told after each of them, and after those of junk */
	void *changed_ctx;
};

/* Which journal and mirror are used is for the opener (attach.c); free releases all that is
 * set. */
void folder_free(struct folder *f);
DEFINE_CLEANUP(struct folder *, folder_free);

/* Reckons the whole tree anew: after loading it. */
void folder_recount(struct folder *f);
uint64_t folder_capacity(const struct folder *f);
/* Bytes that df shows as free. */
uint64_t folder_available(const struct folder *f);
static inline bool folder_is_staged(const struct folder *f)
{
	return f->change != f->on_flash;
}

/* --- names --- */
must_check int folder_create(
	struct folder *f, struct node *dir, const char *name, struct node **out);
must_check int folder_mkdir(
	struct folder *f, struct node *dir, const char *name, struct node **out);
must_check int folder_unlink(struct folder *f, struct node *dir, const char *name);
must_check int folder_rmdir(struct folder *f, struct node *dir, const char *name);
must_check int folder_rename(struct folder *f, struct node *dir, const char *name,
	struct node *to_dir, const char *to_name, unsigned flags);

/* --- bytes --- */
/* Bytes read, 0 at the end. */
must_check ssize_t folder_read(
	struct folder *f, struct node *n, void *buf, size_t len, uint64_t off);
/* Makes the node writable: its bytes stand in a scratch file afterwards. */
must_check int folder_prepare_write(struct folder *f, struct node *n, bool truncate);
must_check ssize_t folder_write(
	struct folder *f, struct node *n, const void *buf, size_t len, uint64_t off);
must_check int folder_truncate(struct folder *f, struct node *n, uint64_t size);
must_check int folder_allocate(struct folder *f, struct node *n, uint64_t off, uint64_t len,
	bool keep_size, bool punch, bool zero);
/* -ENODATA as above if any byte of the node's content is not known; tells which. */
must_check int folder_has_bytes(
	const struct folder *f, const struct node *n, struct romfs_extent *missing);
/* The same for [off, off+len) of the content, as far as there is so much. */
must_check int folder_has_range(const struct folder *f, const struct node *n, uint64_t off,
	uint64_t len, struct romfs_extent *missing);
bool folder_is_known(const struct folder *f, const struct romfs_extent *base);
/* Where on flash these bytes are read from; empty where they are not. */
struct romfs_extent folder_base_range(
	const struct folder *f, const struct node *n, uint64_t off, uint64_t len);

/* --- attributes --- */
must_check int folder_set_mtime(struct folder *f, struct node *n, int64_t mtime_ns);

/* --- safety --- */
/* What was written through the scratch file is appended to the journal; `seq` tells what to
 * wait for (0: nothing new). Identical bytes are not staged again. */
must_check int folder_stage(struct folder *f, struct node *n, uint64_t *seq);
/* After the last close: gives the scratch file back, unless it still holds bytes that could
 * not be staged. */
void folder_close_scratch(struct folder *f, struct node *n);
/* Appends the state of a node (not its bytes, which are safe already). */
must_check int folder_journal_put(struct folder *f, struct node *n);
/* Whether the journal holds anything that flash does not: what its header calls dirty. Junk
 * lives nowhere else. */
bool folder_needs_journal(const struct folder *f);
/* Starts a new generation of the journal with all nodes; BASE places are those of now. */
must_check int folder_rewrite_journal(
	struct folder *f, const struct journal_header *header, struct error *err);
/* Everything in the folder is deleted and staged as that, in a step that a crash does not
 * part: for an opener whom nobody else shares the folder with. */
must_check int folder_empty(struct folder *f, struct error *err);
/* folder_rewrite_journal, if garbage has grown beyond reason. */
must_check int folder_compact_journal(struct folder *f);

/* --- another tree for all of the folder ---------------------------------------------------
 * It is made beside the folder, bytes and all, by a thread that may wait for the disk, while
 * the folder goes on being used. The loop's thread only switches over: with that everything in
 * the folder gives way, what was written meanwhile too, in a step that a crash does not part.
 * Who has a file open keeps what it holds. No commit may be under way from the first of these
 * calls to the last. */
struct folder_replacement;

must_check int folder_replacement_new(
	struct folder *f, struct folder_replacement **out, struct error *err);
/* Any thread, once. The files' bytes stand in `fd`, where the tree's data_off say; NULL: an
 * empty folder. -ENOSPC: flash has no room for it, unless `fits`. */
must_check int folder_replacement_make(struct folder_replacement *p,
	const struct romfs_tree *tree, int fd, bool fits, struct error *err);
/* Loop thread, waits for nothing: the folder is this tree, staged. `gone` is told of each name
 * below the root that was there, or is there now. On failure nothing has changed. */
typedef void (*folder_name_fn)(void *ctx, const char *name);
must_check int folder_replacement_switch(
	struct folder_replacement *p, folder_name_fn gone, void *ctx, struct error *err);
/* Any thread but the loop's, after the switch: waits until a power cut leaves the new tree.
 * Before that flash must not be changed. */
must_check int folder_replacement_wait(struct folder_replacement *p, struct error *err);
void folder_replacement_free(struct folder_replacement *p); /* before the folder */
DEFINE_CLEANUP(struct folder_replacement *, folder_replacement_free);
