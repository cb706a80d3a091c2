/* SPDX-License-Identifier: MIT */
/* The note on the host that a commit is under way: which image flash held, and which it
 * shall hold. It stands before the first flash operation and is removed when everything is
 * settled, so that whoever attaches after a cut knows the mixture for our own and heals it.
 * (FORMAT.md) */
#pragma once

#include <stdint.h>

#include "util/error.h"
#include "util/sha256.h"

#define INTENT_NAME_MAX 32u

struct intent {
	uint8_t base[SHA256_SIZE], next[SHA256_SIZE]; /* fingerprints (attach.h) */
	char next_name[INTENT_NAME_MAX]; /* file that holds the image, in the same folder */
	uint64_t strangers; /* erase blocks that may hold neither of the two */
};

/* Durable when it returns. */
must_check int intent_write(int dirfd, const struct intent *intent);
/* -ENOENT: no commit is under way. -EUCLEAN: the file is damaged. */
must_check int intent_read(int dirfd, struct intent *out);
/* Removes the note, and every image file that is not `keep` (or NULL). */
void intent_remove(int dirfd);
void intent_sweep(int dirfd, const char *keep);
