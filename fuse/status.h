/* SPDX-License-Identifier: MIT */
/* What the folder tells about itself: extended attributes `user.romount.*`, and the status
 * file that `romount info` reads when the port is another's. */
#pragma once

#include "fuse/view.h"

#define STATUS_VALUE_MAX 600u

/* Value of an attribute of the node (not terminated), or -ENODATA. Attributes of the folder
 * can be asked of any file in it:
 *   user.romount.state      "on flash", "staged", "writing 43 %", "failed"
 *   user.romount.error      why the last attempt failed; empty if it did not
 *   user.romount.image      "valid", "blank", ..., what flash held when it was last read
 *   user.romount.partition  "rom0"
 *   user.romount.port       port or image file
 *   user.romount.board      machine, "" for an image file
 *   user.romount.firmware   "
 * and of a file:
 *   user.romount.offset     where in the partition its bytes stand, "0x1234", if they do
 *   user.romount.address    where the board sees them, if it told */
int status_attribute(
	struct view *v, const struct node *n, const char *name, char *value, size_t cap);
/* NUL-separated names; their length. */
size_t status_attribute_names(char *out, size_t cap);

/* One line for people: "writing 43 %". */
void status_state(const struct view *v, char *out, size_t cap);

struct status_summary {
	const char *state; /* "on flash", "staged", "writing", "failed" */
	const char *image; /* "valid", "blank", "no ROMFS", "corrupt" */
	char error[480];   /* why it failed, or why the folder is no more what flash holds */
	uint64_t size, used, free; /* bytes, as df tells them */
	uint64_t pending; /* bytes of files that flash does not have as they are */
	unsigned pending_files; /* at least 1 where anything waits to be written */
};

void status_summarise(const struct view *v, struct status_summary *out);

/* Writes the status file: the summary, port, mount point and process. Nobody waits for it and
 * nothing rests on it. */
void status_save(struct view *v);
