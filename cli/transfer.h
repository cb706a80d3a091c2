/* SPDX-License-Identifier: MIT */
/* What save, restore and deploy have in common: a partition of romountd's, and an image that
 * goes there. */
#pragma once

#include "cli/image.h"
#include "cli/pick.h"

struct transfer {
	const struct cli_command *command;
	struct client_options client;
	const char *path; /* the image, the directory, or the file to be made */
	const char *word; /* BOARD[:N]; NULL: the only one */
	bool exact, yes;
	struct romfs_pack_options pack;
};

/* Puts the image on the partition and waits until it is on flash: the exit code. */
int transfer_put(const struct transfer *t);
