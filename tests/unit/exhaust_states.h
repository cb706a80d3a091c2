/* SPDX-License-Identifier: MIT */
/* A sample of what cuts leave, as files, for readers that are not ours: images, and a line
 * of JSON for each that tells which trees may be seen in it. */
#pragma once

#include "romfs_model.h"

struct states;

/* About `n` states, `kinds` kinds of memory with equal shares. */
struct states *states_new(unsigned n, unsigned kinds);
void states_free(struct states *states);

/* Offers a state; `old` is NULL where no tree may be there. */
void states_offer(struct states *states, unsigned kind, uint64_t number,
	const uint8_t *flash, uint64_t size, const struct model *old,
	const struct model *m, bool none);
/* Files NUMBER.img and `states.json` in `dir`. */
must_check int states_write(const struct states *states, const char *dir);
