/* SPDX-License-Identifier: MIT */
/* "Did you mean": the word that is meant by one with a slip of the finger in it. */
#pragma once

#include <stddef.h>

struct nearword {
	const char *word; /* what was typed */
	const char *best; /* NULL: none is near */
	size_t edits;
};

/* One more word that could be meant; it must live as long as the answer is used. */
void nearword_try(struct nearword *n, const char *candidate);
