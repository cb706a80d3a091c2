/* SPDX-License-Identifier: MIT */
/* From a port or an image file to a folder that can be mounted: asks the board, opens the
 * state directory, compares what the host knows with what flash holds, takes up staged
 * changes again, and heals what a cut has left behind.
 *
 * The rule: staged changes belong to one board, one partition and one image on its flash.
 * If they no longer fit, they are laid out as plain files (held.h) and reported; flash is
 * shown as it is, and nothing is written to it before the user writes.
 *
 * Blocking; by any thread, as long as no other one uses what comes of it: the loop's and the
 * worker's do afterwards. */
#pragma once

#include "fuse/base.h"
#include "fuse/flash.h"
#include "fuse/folder.h"

struct attach_options {
	struct flash_options flash;
	const char *state_dir; /* NULL: as the environment says */
	const struct romfs_pack_options *pack; /* must outlive the folder */
	const char *id; /* the user's name for what is at the port; NULL: as USB tells */
	/* What is at the port, as portident_of makes it, where somebody else has found that out
	 * ("": nobody could); it names the state directory of a board without a unique id, too.
	 * NULL: found out here, by the port's name, which is a path then. */
	const char *identity;
	bool ask; /* the board, also where memory would do */
	bool only_memory; /* -ENODATA where the board would have to be asked */
};

struct attached {
	struct folder *folder;
	struct flash *flash;
	struct base base;
	/* Sentences for the user, each with its newline; empty when all is as usual. */
	char notes[1500];
};

/* Where the port's memo (portmemo.h) tells which board this is, everything that the folder
 * shows is known, and nothing is staged, the port is not opened: what is read first asks the
 * board whether it still is so (flash_proof).
 *
 * The port is closed again when this returns. `out` must stay where it is: the flash refers
 * to its base. */
must_check int attach(
	const struct attach_options *options, struct attached *out, struct error *err);
void attached_clear(struct attached *a); /* folder, flash and base */
