/* SPDX-License-Identifier: MIT */
/* What the host remembers of the memory itself: how often each erase block was erased, which
 * blocks have failed and are set aside, and whether flash may be programmed twice. Kept in
 * the file `wear` of the state directory (FORMAT.md). Where that is missing or damaged all
 * begins anew: nothing but good places depends on it.
 *
 * For one thread at a time: whoever attaches, then the worker. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "libdev/target.h"
#include "util/macros.h"

struct wear;

/* -ENOMEM alone. `dirfd` is the caller's and must stay open. */
must_check int wear_open(
	int dirfd, uint64_t size, uint32_t erase_block, struct wear **out);
/* Writes what has changed; not flushed, and no harm where it fails. */
void wear_save(struct wear *w);
void wear_free(struct wear *w);
DEFINE_CLEANUP(struct wear *, wear_free);

void wear_erased(struct wear *w, uint64_t off, uint64_t len);
/* The block with this byte, until wear_settle; false where it was set aside before. */
bool wear_set_aside(struct wear *w, uint64_t off);
/* Those stay set aside, or, where avoiding them did not help, are as good as before. */
void wear_settle(struct wear *w, bool keep);
/* Nothing is set aside any more; erases stay counted. */
void wear_forgive(struct wear *w);
/* By erase block, as the planner takes them (struct romfs_flash). */
const uint32_t *wear_erases(const struct wear *w);
const uint8_t *wear_bad(const struct wear *w);

enum dev_twice wear_twice(const struct wear *w);
void wear_set_twice(struct wear *w, enum dev_twice twice);
