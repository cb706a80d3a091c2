/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/* Whether an opened directory (O_PATH will do) has nothing in it, whatever is mounted over it;
 * false also where that cannot be told. */
bool dir_is_empty(int fd);
/* The same, but for entries that `may` be there in a directory of that name. */
bool dir_holds_only(
	int fd, bool (*may)(const char *name, const char *entry), const char *name);
