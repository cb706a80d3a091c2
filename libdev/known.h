/* SPDX-License-Identifier: MIT */
/* What an earlier session has learnt of a board, so that the next one only has to prove that
 * it is the same: dev_session_known gives it, dev_session_options takes it. A plain value,
 * which may be copied; its members are libdev's own.
 *
 * What it claims is believed of a board that gives the very identity of then: unique id,
 * firmware, machine, number of partitions, and this partition's size and kind. It holds what
 * the board said, not what was made of it: limits and quirks are applied anew each time. */
#pragma once

#include <stdio.h>

#include "libdev/agent.h"
#include "libdev/learn.h"
#include "libdev/session.h"

struct dev_known {
	unsigned number; /* of the partition */
	char identity[AGENT_IDENTITY_MAX];
	struct dev_board_info info; /* without partitions */
	struct board_caps caps;	    /* without what learn_partitions makes */
};

/* As lines of text. 0, or -errno. */
must_check int dev_known_write(FILE *f, const struct dev_known *k);

/* Reads what dev_known_write wrote, to the end of the file. -EINVAL: it is anything else, with
 * all that could not come from a session: then the board is simply asked again. */
must_check int dev_known_read(FILE *f, struct dev_known *out);
