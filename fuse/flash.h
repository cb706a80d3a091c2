/* SPDX-License-Identifier: MIT */
/* The flash of one partition as the worker sees it: the way to the board (link.h: a session
 * that is opened when something is to be done and closed when nothing is), the mirror that is
 * filled through it, and what each erase block holds while a commit is under way.
 *
 * For one thread at a time: whoever attaches, then the worker. Blocking; every wait ends by a
 * deadline of libdev's or by the cancel descriptor. */
#pragma once

#include <stdatomic.h>

#include "fuse/base.h"
#include "fuse/link.h"
#include "fuse/mirror.h"
#include "fuse/wear.h"
#include "libdev/session.h"
#include "libdev/target.h"
#include "libromfs/parse.h"
#include "libromfs/plan.h"
#include "util/log.h"

struct flash_options {
	struct link *link; /* to the board; the caller's, must outlive the flash. NULL: a file */
	const char *path;  /* of an image file; NULL for a board */
	uint64_t image_size; /* of an image file to grow; 0: as it is */
	unsigned partition;
	int cancel_fd;
	/* How long to wait for an image file that somebody holds, or for the state directory;
	 * a link has its own. */
	unsigned busy_wait_ms;
	const struct log_sink *log;
};

struct flash_progress { /* written by the worker, read by anyone */
	atomic_uint_fast64_t done, total; /* bytes of flash to erase and program */
};

struct flash;

must_check int flash_new(const struct flash_options *options, struct flash **out);
void flash_free(struct flash *f); /* disconnects */
DEFINE_CLEANUP(struct flash *, flash_free);

/* Opens the port and the partition, unless that is so. The first time it learns what the
 * board and the partition are; later it must be the same board with the same partition,
 * else -ENODEV. */
must_check int flash_connect(struct flash *f, struct error *err);
/* The same, but -EBUSY at once where somebody holds the port. */
must_check int flash_try_connect(struct flash *f, struct error *err);
/* Gives the board back to its program and closes the port. An image file stays open (and
 * locked) until flash_free. */
int flash_disconnect(struct flash *f, struct error *err);
bool flash_is_connected(const struct flash *f);
/* The same, when there is time: and keeps what was learnt for the next time. */
void flash_rest(struct flash *f);
bool flash_is_resting(const struct flash *f); /* flash_rest has nothing to do */
/* Somebody wanted bytes from the board: 1 if so since the last flash_was_read. */
void flash_note_read(struct flash *f);
bool flash_was_read(struct flash *f);
/* The mirror was given bytes that are worth keeping. */
void flash_has_news(struct flash *f);

const struct log_sink *flash_log(const struct flash *f);
const char *flash_name(const struct flash *f); /* of the port, or of the image file */

/* Known since the first connect, or flash_recall; constant then. */
const struct dev_geometry *flash_geometry(const struct flash *f);
struct romfs_geometry flash_romfs_geometry(const struct flash *f);
const struct dev_board_info *flash_board(const struct flash *f); /* NULL for a file */

/* Board and geometry are taken from memory: the first connect must find the same. The base is
 * not proven until flash_trust has compared all that is known of it; until then nothing is
 * taken from the mirror by flash_fetch, and by whoever else looks at flash_proof. */
struct portmemo;
void flash_recall(struct flash *f, const struct portmemo *memo,
	const struct dev_geometry *geometry);
/* What the sessions up to now have learnt; NULL: nothing that the next could use. */
const struct dev_known *flash_known(struct flash *f);
const atomic_bool *flash_proof(const struct flash *f);
/* The memo of the port (portmemo.h), dropped when it proves wrong. */
must_check int flash_set_memo(struct flash *f, const char *root, const char *identity);

/* The mirror is the caller's; it is set once, before anything below is used. */
void flash_set_mirror(struct flash *f, struct mirror *m);
struct mirror *flash_mirror(const struct flash *f);
/* What is known of the memory; the flash's from now on, saved by flash_rest. */
void flash_set_wear(struct flash *f, struct wear *w);
const struct wear *flash_wear(const struct flash *f);
/* Blocks that were set aside get another chance. */
void flash_forgive(struct flash *f);

/* Makes [off, off+len) known to the mirror, connecting if something is missing, or not
 * proven. */
must_check int flash_fetch(struct flash *f, uint64_t off, uint64_t len, struct error *err);
/* Readable when the mirror has got something; eventfd_read empties it. */
int flash_event_fd(const struct flash *f);
/* The base image: the mirror, filled on demand. */
struct romfs_source flash_base_source(struct flash *f);
/* The base image as far as the mirror knows it, without asking anybody: -ENODATA. */
struct romfs_source flash_known_source(struct flash *f);
/* Makes last what the mirror knows, also over a power cut of the host: flash is about to lose
 * it. */
must_check int flash_keep_base(struct flash *f, struct error *err);
/* What flash holds now, for the planner: -ENODATA for what the mirror does not know, and for
 * what a cut left unknown. Nothing is asked of the board. */
struct romfs_source flash_now_source(struct flash *f);
/* Asks which chunks are blank, of those that the mirror does not know and `image` (or NULL)
 * does not use; the mirror knows them then. Each is asked once: 1 if any was, else 0. */
must_check int flash_find_blank(
	struct flash *f, const struct romfs_image *image, struct error *err);
/* SHA-256 of up to 64 ranges, as the board holds them. */
must_check int flash_hash(struct flash *f, const struct dev_extent *v, size_t n,
	uint8_t (*out)[SHA256_SIZE], struct error *err);
/* Whether flash may be programmed twice, where neither the kind of memory tells nor was it
 * found out before: a blank page at the end is spent on it. 1: it may, and
 * flash_romfs_geometry says so from now on; 0: it may not, or cannot be told now. */
must_check int flash_probe_twice(
	struct flash *f, const struct romfs_flash *now, struct error *err);

/* Compares the board's hashes of what the mirror claims to know. Differing chunks are told
 * by `differs` (worker's or attacher's thread). */
typedef void (*flash_differs_fn)(void *ctx, uint64_t off, uint64_t len);
must_check int flash_compare(struct flash *f, const struct romfs_extent *extents, size_t n,
	flash_differs_fn differs, void *ctx, struct error *err);

/* The same for all that the mirror knows of [0, end). */
must_check int flash_compare_known(struct flash *f, uint64_t end, flash_differs_fn differs,
	void *ctx, struct error *err);

/* Where the bytes end that tell whether flash holds this base: those that it uses, or, where
 * it is no image, those that say so. */
uint64_t flash_used_end(const struct flash *f, const struct base *base);

/* Between two sessions another program may have written the flash. Before anything is read
 * from it beside what the mirror knows, or written to it, this is looked at by hashes, once a
 * session: all that the mirror knows of what the base uses, if anybody may have had the port
 * since that was done last (portguard.h); else the base's metadata alone, where a program that
 * came in another way shows. -ESTALE where it differs. Nothing to do while the flash is mixed:
 * a survey looks at everything. */
must_check int flash_trust(struct flash *f, struct error *err);
/* The last look found what another program wrote; any thread. */
bool flash_is_stale(const struct flash *f);
int flash_stale_error(const struct flash *f, struct error *err); /* says so: -ESTALE */
/* What flash holds is to be replaced, whoever wrote it: the next commit looks at all of it, and
 * keeps nothing that is not the base's. */
void flash_give_up(struct flash *f);
/* Something was found that differs: flash is stale until the next look, which compares
 * everything, or until flash_doubt_no_more. Worker's thread. */
void flash_doubt(struct flash *f);
/* All that the mirror knows of what the base uses was compared, and found as it is. */
void flash_doubt_no_more(struct flash *f);
/* In this session, all that the mirror knows of what the base uses was found as it is. */
void flash_vouch(struct flash *f);
/* The base that the mirror holds; the caller's, replaced in place after commits. Until it is
 * set, nothing is compared. */
void flash_set_base(struct flash *f, const struct base *base);

struct flash_census {
	/* Erase blocks that hold what; unseen: neither, but the mirror never knew them. */
	uint64_t base, next, blank, unknown, unseen;
};
/* After a cut: finds out by hashes what every part of flash holds: the base, the image in
 * `next_fd` (-1: none; taken in any case), nothing, or something else. flash_now_source goes
 * by it until flash_settled. `unseen_holds`: what the mirror never knew was not written. */
must_check int flash_survey(struct flash *f, int next_fd, bool unseen_holds,
	struct flash_census *census, struct error *err);
bool flash_is_mixed(const struct flash *f); /* a survey is needed, or was made */
/* Whether [off, off+len) stands on flash as the base has it. */
bool flash_holds_base(const struct flash *f, uint64_t off, uint64_t len);
/* Flash may hold something between two images: an intent was found. */
void flash_set_mixed(struct flash *f);
/* An append was under way: what flash shows must be read again before anything is planned.
 * What the mirror knows is right. */
void flash_set_doubtful(struct flash *f);
bool flash_is_doubtful(const struct flash *f);
/* The flash holds one image again, which the mirror knows. */
void flash_settled(struct flash *f);

/* What was cut off turns out to have happened: makes that last (romfs_confirm). */
must_check int flash_confirm(
	struct flash *f, const struct romfs_source *now, struct error *err);

/* Something went wrong: what was asked about free space is not to be relied on. */
void flash_ask_again(struct flash *f);

/* Carries out a plan, its checks by hashes that the board computes, against `want`; parts
 * that this does not know (-ENODATA) are not checked. Until somebody settles it, flash is
 * doubtful (WAY_APPEND) or mixed (WAY_RENEW, WAY_REPLACE, and any way when something is
 * damaged that the plan did not touch). Blocks that the board refuses to erase or program,
 * or that do not hold what was written, are set aside, and the user is told. */
must_check int flash_execute(struct flash *f, const struct romfs_plan *plan, int next_fd,
	const struct romfs_source *want, struct flash_progress *progress, struct error *err);
/* How many blocks were set aside since flash_new. */
unsigned flash_set_aside(const struct flash *f);
/* The commit has ended: where it came about, the blocks that it had set aside stay so. */
void flash_settle_blocks(struct flash *f, bool keep);
