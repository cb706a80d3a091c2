/* SPDX-License-Identifier: MIT */
/* What a mounted folder says about itself: its extended attributes user.romount.*,
 * as facts without that prefix. */
#pragma once

#include "cli/report.h"

/* -ENOENT with a sentence where `path` is no folder of romount's. */
must_check int folder_facts(
	const char *path, struct report_fact **out, size_t *n, struct error *err);
void folder_facts_free(struct report_fact *facts, size_t n);
