/* SPDX-License-Identifier: MIT */
#include "cli/nearword.h"

#include <stdint.h>
#include <string.h>

#include "util/macros.h"

#define WORD_MAX 72u  /* longer words are never near */
#define EDITS_MAX 2u

/* Edits (a letter more, less, other, or two swapped) from one word to the other. */
static size_t distance(const char *a, const char *b)
{
	size_t row[3][WORD_MAX], la = strlen(a), lb = strlen(b), i, j;

	if (la >= WORD_MAX || lb >= WORD_MAX)
		return SIZE_MAX;
	for (j = 0; j <= lb; j++)
		row[0][j] = j;
	for (i = 1; i <= la; i++) {
		size_t *now = row[i % 3], *last = row[(i - 1) % 3];

		now[0] = i;
		for (j = 1; j <= lb; j++) {
			now[j] = MIN(last[j - 1] + (a[i - 1] != b[j - 1]),
				MIN(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
				a[i - 2] == b[j - 1])
				now[j] = MIN(now[j], row[(i - 2) % 3][j - 2] + 1);
		}
	}
	return row[la % 3][lb];
}

void nearword_try(struct nearword *n, const char *candidate)
{
	size_t d = distance(n->word, candidate);

	/* A word of a letter or two is near to everything. */
	if (d > EDITS_MAX || d >= strlen(candidate) || (n->best && d >= n->edits))
		return;
	n->best = candidate;
	n->edits = d;
}
