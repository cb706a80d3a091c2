/* SPDX-License-Identifier: MIT */
#pragma once

#include <stdbool.h>

/* Whether an opened directory has nothing in it; false also where that cannot be told. */
bool dir_is_empty(int fd);
