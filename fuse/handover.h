/* SPDX-License-Identifier: MIT */
/* What follows a commit: journal, mirror and base change over to the image that flash holds
 * now, in an order that a crash can stop anywhere. The journal says which base it rests on,
 * and the intent stands until base and journal agree (attach.c reads them so).
 *
 * For the thread that owns the folder, while no job of the worker's runs. Waits for the
 * disk. */
#pragma once

#include "fuse/commit.h"
#include "fuse/folder.h"

struct handover {
	struct folder *folder;
	struct flash *flash;
	struct base *base; /* replaced */
	/* The image on flash, while the mirror could not take its file over; "": it has. */
	char adopting[INTENT_NAME_MAX];
	struct base next;
};

/* The flash holds the snapshot of the job, whose `next` is taken. Where this fails the
 * folder is as it was, or handover_is_pending. */
must_check int handover_begin(struct handover *h, struct commit *job, struct error *err);
/* The journal rests on the image that flash holds, but the mirror is not that image: nothing
 * can be read from it and nothing committed, and the intent stands. Whoever attaches instead
 * of us ends it as well. */
static inline bool handover_is_pending(const struct handover *h)
{
	return h->adopting[0] != '\0';
}
must_check int handover_finish(struct handover *h, struct error *err);
void handover_done(struct handover *h);
