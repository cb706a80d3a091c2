/* SPDX-License-Identifier: MIT */
/* `romount info` of a board that romountd has. */
#pragma once

#include "cli/pick.h"

struct infoboard {
	const char *word; /* as it was called */
	int partition;	  /* -1: all */
	bool as_json, summary;
};
/* To stdout. */
must_check int infoboard_print(struct client *c, struct pick *p, const struct infoboard *how,
	struct error *err);
