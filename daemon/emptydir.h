/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/* Whether an opened directory (O_PATH will do) has nothing in it, whatever is mounted over it;
 * false also where that cannot be told. */
bool dir_is_empty(int fd);
