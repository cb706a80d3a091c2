/* SPDX-License-Identifier: MIT */
/* The host beside a simulated chip: which plans it asks for, one after the other, until a
 * tree is on flash, and what it may find there. */
#pragma once

#include "romfs_sim.h"
#include "romfs_view.h"

extern const struct romfs_pack_options host_options;

struct host {
	struct sim *sim;
	int next_fd;
	const char *rewritten; /* this file was written anew, with the bytes it had */
	bool forgetful;	 /* what was staged is not known to stand on flash already */
	unsigned tidies; /* so many rounds this save has taken */
	enum romfs_goal goal;
	bool done;
	bool tidied; /* the last plan leaves files where others have put them */
	struct romfs_tree *wanted; /* of the last plan: where it puts everything */
};

void host_init(struct host *h, struct sim *sim, int next_fd);
void host_done(struct host *h);

/* The next plan towards `m`. `there` is the tree on flash, or NULL where none is known.
 * 1: a step, to be carried out before the next call; 0: `m` is on flash; -ENOSPC. */
int host_next(struct host *h, const struct model *there, const struct model *m,
	struct step *out);
/* What an idle host does: one step that gains blank blocks, as above. */
int host_tidy(struct host *h, const struct model *there, struct step *out);

/* Exactly this tree is on flash, for a board and for the parser, where the last plan has
 * put it; with its times where `notes`. */
void host_expect(const struct host *h, const struct model *m, bool notes);

/* What df says that the model takes. */
uint64_t host_reckon(const struct sim *s, const struct model *m);

/* What a board shall see. */
struct sight {
	uint64_t digest;
	unsigned n;
};
struct sight sight_of(const struct model *m);
bool sight_is(const struct view *v, struct sight s);

/* From the environment, at least 1; `fallback` where there is none. */
uint64_t host_number(const char *name, uint64_t fallback);
