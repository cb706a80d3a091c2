/* SPDX-License-Identifier: MIT */
#include "bus/words.h"

#include <string.h>

#include "util/macros.h"

const char *bus_job_verb(const char *job)
{
	static const struct {
		const char *job, *verb;
	} verbs[] = {
		{"commit", "writing"},
		{"save", "reading"},
		{"restore", "writing"},
		{"verify", "verifying"},
		{"format", "formatting"},
		{"compact", "tidying up"},
		{"layout", "looking"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(verbs[i].job, job))
			return verbs[i].verb;
	return job;
}
