/* SPDX-License-Identifier: MIT */
/* Small files of romountd's own state that shall survive a power cut: replaced whole, with
 * file and directory flushed, by a thread of its own, since a flush may take seconds on a
 * slow or busy disk, and the loop has other boards to serve. What is put while the same file
 * is being written replaces what waits.
 *
 * Loop thread only, but for what the header says; only keeper_free waits. A crash leaves the
 * old or the new text. */
#pragma once

#include <sys/types.h>
#include <systemd/sd-event.h>

#include "util/log.h"
#include "util/macros.h"

struct keeper;

/* `log` (may be NULL) is told of what cannot be written, on the loop's thread. */
must_check int keeper_new(sd_event *event, const struct log_sink *log, struct keeper **out);
/* When all is written. */
void keeper_free(struct keeper *k);
DEFINE_CLEANUP(struct keeper *, keeper_free);

/* Replaces `name` in `dirfd`, which is the keeper's from here on, on failure as well. `key` is
 * what the file is known by here, and in messages. */
must_check int keeper_put(struct keeper *k, const char *key, int dirfd, const char *name,
	mode_t mode, const char *text);
/* What was put last and is perhaps not there yet, good until the loop goes on; NULL: the file
 * has it. */
const char *keeper_get(const struct keeper *k, const char *key);
