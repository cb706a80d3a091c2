/* SPDX-License-Identifier: MIT */
/* What a mount has left in the state directory about a partition: whether somebody shows it
 * as a folder just now, what is staged, and why the last attempt to write it failed. */
#pragma once

#include <sys/types.h>

#include "cli/report.h"

/* The state directory of a partition, and the pid that has its lock, or 0. -ENOENT: there is
 * none. The caller closes. */
must_check int mountstate_open(const struct dev_board_info *board, const char *path,
	unsigned partition, const char *state_dir, pid_t *holder, int *fd);

/* `board` NULL: the image file `path`. `state_dir` NULL: as the environment says. No facts
 * where nobody has mounted this partition here, or all is as it should be. The caller frees
 * with folder_facts_free. -errno only for a lack of memory. */
must_check int mountstate_facts(const struct dev_board_info *board, const char *path,
	unsigned partition, const char *state_dir, struct report_fact **out, size_t *n);
