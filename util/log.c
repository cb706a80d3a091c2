/* SPDX-License-Identifier: MIT */
#include "util/log.h"

#include <stdarg.h>

#include "util/text.h"

void log_to(const struct log_sink *sink, int level, const char *fmt, ...)
{
	char text[600];
	va_list ap;

	if (!sink || !sink->write)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	text_make_printable(text);
	sink->write(sink->data, level, text);
}
