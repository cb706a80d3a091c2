/* SPDX-License-Identifier: MIT */
/* The change over to a new base: journal, mirror, and the base that everybody looks at, when
 * a commit has ended. In an order that a crash can stop anywhere: the journal says which base
 * it rests on, and the intent stands until base and journal agree (attach.c reads them so).
 *
 * Loop thread, while the worker waits for a job to be taken in; waits for the disk. */
#pragma once

#include "fuse/commit.h"

struct handover {
	struct folder *folder;
	struct flash *flash;
	struct base *base; /* replaced */
	/* The image on flash, while the mirror could not take its file over; "": it has. */
	char adopting[INTENT_NAME_MAX];
	struct base next; /* its base */
};

/* Takes a commit's results. On failure nothing has changed over: the folder is as it was
 * before, flash is known to be further, and the next commit finds out; or handover_is_open. */
must_check int handover_take(struct handover *h, struct commit *job, struct error *err);
/* The journal has changed over and the mirror has not: nothing can be read from it, and
 * nothing committed, until handover_resume says 0. */
bool handover_is_open(const struct handover *h);
must_check int handover_resume(struct handover *h, struct error *err);
void handover_done(struct handover *h);
