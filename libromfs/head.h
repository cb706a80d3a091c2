/* SPDX-License-Identifier: MIT */
/* The head of the append layout (FORMAT.md): what stands at the start of the partition and
 * leads a reader to the newest ROOT. Header, our mark, slots, end link. Private to libromfs.
 *
 * A slot that was not used lets the reader pass on to the next one; a used one makes it jump
 * to a ROOT. Slots are used from the last to the first, so the newest is met first. Using
 * one is a few programs of write units, of which only the last has an effect on a reader,
 * and that one happens whole or not at all. */
#pragma once

#include "libromfs/plan.h"

enum head_form {
	HEAD_NONE,  /* no append layout */
	HEAD_ONCE,  /* a slot is one write unit (or a few small ones), programmed once */
	HEAD_TWICE, /* a slot is 10 bytes, in groups behind gates; its use clears one bit */
	HEAD_FREE,  /* one slot, which is overwritten */
};

#define HEAD_SIZE_MAX 65536u
#define HEAD_UNIT_MAX 4096u
#define HEAD_WALK_MAX 64u /* records that a reader walks before a ROOT, at any time */

struct head {
	enum head_form form;
	uint32_t unit;	   /* bytes of a write unit, as the head was made for */
	uint32_t size;	   /* bytes of all of it: whole write units */
	uint32_t first;	   /* offset of the first slot, or of its group's gate */
	uint32_t slots, group; /* how many; slots per group (TWICE) */
};

/* The best head for this memory; false where it bears none (form is HEAD_NONE then): too
 * small, write units of one byte that are programmed once, units over HEAD_UNIT_MAX. At most
 * 1/16 of the partition. Where an erase block is smaller than the head, it takes several. */
bool head_choose(const struct romfs_geometry *geometry, struct head *out);

/* All its bytes, no slot used: `buf` takes head->size bytes. `root` is where the ROOT stands,
 * which the end link leads to: head->size or behind it. Write units that are all FF must be
 * left erased, and not be programmed with FF: with ECC that would use them up. The first
 * write unit is programmed last. */
void head_write(const struct head *h, const struct romfs_geometry *geometry, uint64_t root,
	uint8_t *buf);

/* What a head on flash says. */
struct head_state {
	uint64_t root;	/* where a reader comes to, from the start of the partition */
	uint32_t next;	/* the slot to use next; == slots: none is left */
	uint32_t left;	/* how many can still be used */
	unsigned walk;	/* records that a reader walks before it is there */
};
/* 1: one of ours, whole and for this geometry (its unit is a multiple of the write unit; a
 * TWICE head only where units may be programmed twice); 0: not, or bytes of it are not
 * known; -errno with err. Slots that a cut has spoiled are passed over; so many of them that
 * a reader would walk too far leave none. `buf` takes HEAD_SIZE_MAX bytes: the head's. Its
 * bytes alone are judged: that a ROOT stands at `root` is for romfs_parse to say. */
must_check int head_read(const struct romfs_geometry *geometry,
	const struct romfs_source *source, struct head *out, struct head_state *state,
	uint8_t *buf, struct error *err);

#define HEAD_STEPS_MAX 4u
struct head_step {
	uint32_t off, len; /* whole write units, inside the head */
	uint32_t at; /* where in the bytes of head_use its bytes stand */
};
#define HEAD_STEP_MAX (2 * HEAD_UNIT_MAX)
/* The programs that use slot state->next (< head->slots) for the ROOT at `root` (>= head->size),
 * in their order; `buf` holds the head's bytes as they are, and afterwards as they will be.
 * `bytes` takes what each step programs (HEAD_STEPS_MAX * HEAD_STEP_MAX bytes): what flash
 * holds there when it is done, so that the same bytes serve to check it. A TWICE step
 * programs units again, with the bytes that stand in them already and some bits cleared;
 * any subset of these bits may come through before the last step, which clears one. */
void head_use(const struct head *h, const struct head_state *state, uint64_t root,
	uint8_t *buf, struct head_step steps[HEAD_STEPS_MAX], unsigned *n, uint8_t *bytes);
