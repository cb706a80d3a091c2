/* SPDX-License-Identifier: MIT */
/* Names that desktops and editors drop beside what the user writes. Such files live in the
 * folder and in the journal, but never go to flash. */
#pragma once

#include <stdbool.h>

bool junk_name(const char *name);
