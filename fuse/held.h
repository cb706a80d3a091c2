/* SPDX-License-Identifier: MIT */
/* Staged files that fit the flash no more (another program wrote it, or it is another
 * board's): they are laid out as plain files, where their owner can find them. */
#pragma once

#include "fuse/folder.h"

/* Writes every staged file of the folder below a new directory `held-DATE-TIME` of the state
 * directory, durably, and tells its name. *count is the number of files. */
must_check int held_save(
	struct folder *f, char *name, size_t cap, unsigned *count, struct error *err);
