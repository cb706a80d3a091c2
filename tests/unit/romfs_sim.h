/* SPDX-License-Identifier: MIT */
/* Flash for the tests of the planner, and how plans are carried out on it.
 *
 * The chip knows its physics: what was erased, which write units were programmed since, what
 * a cut leaves of an erase or of a write unit. The host's knowledge is kept apart: blocks
 * whose content it does not know, and those which it has set aside. A plan that breaks a
 * rule of the chip, or of plan.h, ends the case (case_fail). */
#pragma once

#include "libromfs/plan.h"
#include "romfs_model.h"

struct sim {
	struct romfs_geometry g;
	uint32_t units, blocks;
	uint8_t *b;
	bool *programmed; /* by write unit, since its erase */
	bool *unknown;	  /* by erase block: the host does not know what stands there */
	uint8_t *bad; /* by erase block: set aside; what is done there has no effect */
	uint32_t *erases; /* by erase block */
};

void sim_init(struct sim *s, const struct romfs_geometry *g);
void sim_done(struct sim *s);
void sim_copy(struct sim *to, const struct sim *from);
/* The host has read everything: what is not blank has been programmed. */
void sim_settle(struct sim *s);
/* Bytes that something else left there. */
void sim_dirty(struct sim *s, struct rng *r);

/* One write unit, whole, or torn where the chip allows that. */
void sim_program(struct sim *s, uint64_t off, const uint8_t *bytes);
void sim_tear(struct sim *s, uint64_t off, const uint8_t *bytes, struct rng *r);

enum sim_erase {
	SIM_ERASE_ALL,
	SIM_ERASE_FRONT, /* the first half, and a mix behind it */
	SIM_ERASE_BACK,	 /* the second half */
	SIM_ERASE_MIX,	 /* any bits of it */
	SIM_ERASE_N,
};
void sim_erase(struct sim *s, uint32_t block, enum sim_erase how, struct rng *r);

/* What the host knows of it, as a source: -ENODATA where it knows nothing. */
struct romfs_source sim_source(struct sim *s);

/* A plan with all that is needed to carry it out. */
struct step {
	struct romfs_plan *plan;
	enum romfs_goal goal;
	uint8_t *next, *before; /* the caller's file; flash as it was planned for */
	size_t next_len;
	bool *touched; /* by write unit */
};

extern bool step_told; /* every plan is printed */
/* Takes the plan, and proves what can be proven before it is carried out. */
void step_init(struct step *t, struct sim *s, struct romfs_plan *plan,
	enum romfs_goal goal, int next_fd);
void step_done(struct step *t);
/* Operation `k`, whole; a CHECK that would fail ends the case. */
void step_run_op(const struct step *t, struct sim *s, size_t k);
void step_run(const struct step *t, struct sim *s);
/* All is done: flash is what the plan promised. */
void step_expect_done(const struct step *t, const struct sim *s);
/* The host forgets what the plan changes. */
void step_forget(const struct step *t, struct sim *s);

/* The bytes that a PROGRAM has for the unit at `off`. */
const uint8_t *step_bytes(const struct step *t, const struct romfs_op *op, uint64_t off);
bool step_is_dense(const struct step *t); /* `next` holds the whole partition */

/* Ends the running case, with a text that says why: the program's own. */
_Noreturn void case_fail(const char *format, ...) format_like(1, 2);
