/* SPDX-License-Identifier: MIT */
#include "util/error.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "util/text.h"

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	assert(code < 0);
	if (!err || err->code)
		return code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	text_make_printable(err->text);
	return code;
}

int error_prefix(struct error *err, int code, const char *fmt, ...)
{
	char prefix[sizeof(err->text)], old[sizeof(err->text)];
	va_list ap;
	int n;

	assert(code < 0);
	if (!err)
		return code;
	if (!err->code) {
		err->code = code;
		snprintf(err->text, sizeof(err->text), "%s", strerror(-code));
	}
	va_start(ap, fmt);
	vsnprintf(prefix, sizeof(prefix), fmt, ap);
	va_end(ap);
	memcpy(old, err->text, sizeof(old));
	n = snprintf(err->text, sizeof(err->text), "%s: ", prefix);
	if (n > 0 && (size_t)n < sizeof(err->text))
		snprintf(err->text + n, sizeof(err->text) - (size_t)n, "%s", old);
	text_make_printable(err->text);
	return err->code;
}

void error_clear(struct error *err)
{
	if (!err)
		return;
	err->code = 0;
	err->text[0] = '\0';
}
