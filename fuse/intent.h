/* SPDX-License-Identifier: MIT */
/* The note on the host that a commit is under way: which image flash held, and which it
 * shall hold. It stands before the first flash operation and is removed when everything is
 * settled, so that whoever attaches after a cut knows the mixture for our own and heals it.
 * (FORMAT.md) */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "util/error.h"
#include "util/sha256.h"

#define INTENT_NAME_MAX 32u

struct intent {
	uint8_t base[SHA256_SIZE], next[SHA256_SIZE]; /* fingerprints (attach.h) */
	/* The file that holds the image, in the same folder; "" for a commit by appending: the
	 * mirror then knows nothing of what it touches, and all else is as it was. */
	char next_name[INTENT_NAME_MAX];
	uint64_t strangers; /* erase blocks that may hold neither of the two */
};

/* Durable when it returns: one flush where the last one was removed, else two. */
must_check int intent_write(int dirfd, const struct intent *intent);
/* -ENOENT: no commit is under way. -EUCLEAN: the file is damaged. */
must_check int intent_read(int dirfd, struct intent *out);
/* Removes the note, and every image file that is not `keep` (or NULL). */
void intent_remove(int dirfd);
void intent_sweep(int dirfd, const char *keep);

static inline bool intent_is_light(const struct intent *i)
{
	return i->next_name[0] == '\0';
}
