/* SPDX-License-Identifier: MIT */
/* A pluggable log sink. Libraries never print: whoever creates an object hands it a sink
 * (or none). `level` is a syslog priority; the text has no newline and is printable. A
 * sink may be called from the thread that uses the object, and must not block. */
#pragma once

#include <syslog.h>

#include "util/macros.h"

struct log_sink {
	void (*write)(void *data, int level, const char *text);
	void *data;
};

void log_to(const struct log_sink *sink, int level, const char *fmt, ...) format_like(3, 4);
