/* SPDX-License-Identifier: MIT */
/* What macros.h has for files, for directories that are read. */
#pragma once

#include <dirent.h>

#include "util/macros.h"

static inline void closedirp(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define _cleanup_closedir_ _cleanup_(closedirp)
