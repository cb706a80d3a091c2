/* SPDX-License-Identifier: MIT */
/* What a PORT|IMG|DIR on the command line is, and its partitions as sources of bytes.
 *
 * A character device is a port: a session with the board is opened, its program stops
 * and goes on when the subject is closed (SIGINT and SIGTERM end every wait meanwhile, so that
 * the board is always given back). A regular file is an image. A folder that romount shows
 * is asked for its status, nothing is opened. */
#pragma once

#include "libdev/session.h"
#include "libromfs/parse.h"

enum subject_kind { SUBJECT_PORT, SUBJECT_IMAGE, SUBJECT_FOLDER };

struct subject;
struct cache;

/* -ENOENT, -EACCES, and what the kinds tell; with a sentence. */
must_check int subject_open(const char *path, struct subject **out, struct error *err);
/* Gives a board back. 0, or -errno where that failed. Always frees. */
int subject_close(struct subject *s, struct error *err);
void subject_closep(struct subject **s);

enum subject_kind subject_kind(const struct subject *s);
const char *subject_path(const struct subject *s);
/* NULL unless the subject is a port. */
const struct dev_board_info *subject_board(const struct subject *s);

/* Partition `number` (an image has only 0). Owned by the subject; one at a time: the next
 * call ends the one before. */
must_check int subject_partition(struct subject *s, unsigned number,
	const struct dev_geometry **geometry, struct romfs_source *source,
	struct error *err);

/* Of the current partition; the subject's. */
struct dev_target *subject_target(struct subject *s);
struct cache *subject_cache(struct subject *s);

/* The file system in a partition, parsed and sorted: -ENODATA where it is blank, -EBADMSG
 * where it is none or broken; with a sentence. */
must_check int subject_image(struct subject *s, unsigned number,
	struct romfs_source *source, struct romfs_image **out, struct error *err);

/* The N of -p N. -EINVAL where it is no number of a partition. */
must_check int subject_parse_number(const char *text, unsigned *out);
