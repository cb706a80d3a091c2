/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/names.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#define TAIL 4u		 /* digits of a serial number that people compare */
#define SUFFIX_MAX 34u	 /* '-' and a serial number as far as it is used */
#define NUMBER_MAX 9999u /* more boards than a computer can have */

static bool is_safe(char c, const char *more)
{
	return isascii((unsigned char)c) && (isalnum((unsigned char)c) || (c && strchr(more, c)));
}

/* What is not safe becomes one '-'; neither hidden, nor an option, nor "..". */
static void sanitize(const char *in, const char *safe, char *out, size_t cap)
{
	size_t n = 0;

	for (; *in && n < cap - 1; in++) {
		bool fine = is_safe(*in, safe);

		if (n == 0 ? fine && isalnum((unsigned char)*in) : fine)
			out[n++] = *in;
		else if (n > 0 && out[n - 1] != '-')
			out[n++] = '-';
	}
	out[n] = '\0';
}

/* A bridge's serial number may have anything in it; digits and letters will do. */
static void squeeze(const char *in, char out[SUFFIX_MAX])
{
	size_t n = 0, skip = 0;

	for (const char *p = in; *p; p++)
		skip += is_safe(*p, "");
	skip = skip > SUFFIX_MAX - 2 ? skip - (SUFFIX_MAX - 2) : 0;
	for (; *in; in++) {
		if (!is_safe(*in, ""))
			continue;
		if (skip)
			skip--;
		else
			out[n++] = *in;
	}
	out[n] = '\0';
}

/* "BASE-SUFFIX", the base cut where it must be, and nothing ragged at its end. */
static void join(const char *base, const char *suffix, char out[NAMES_MAX + 1])
{
	size_t room = NAMES_MAX - strlen(suffix) - (suffix[0] ? 1 : 0);
	int n = (int)MIN(strlen(base), room);

	while (n > 1 && !isalnum((unsigned char)base[n - 1]))
		n--;
	snprintf(out, NAMES_MAX + 1, "%.*s%s%s", n, base, suffix[0] ? "-" : "", suffix);
}

int names_make(const char *alias, const char *product, const char *serial,
	names_taken_fn taken, void *ctx, char out[NAMES_MAX + 1])
{
	char base[NAMES_MAX + 1], first[NAMES_MAX + 1], name[NAMES_MAX + 1];
	char tail[SUFFIX_MAX], number[8];
	size_t length, used;

	sanitize(alias[0] ? alias : product, "._-", base, sizeof(base));
	if (!base[0])
		snprintf(base, sizeof(base), "board");
	squeeze(serial, tail);
	length = strlen(tail);
	used = alias[0] ? 0 : MIN(length, TAIL);
	join(base, tail + length - used, first);
	memcpy(name, first, sizeof(name));
	while (taken(ctx, name) && used < length) {
		used = MIN(length, used + TAIL);
		join(base, tail + length - used, name);
	}
	for (unsigned i = 2; taken(ctx, name); i++) {
		if (i > NUMBER_MAX)
			return -EEXIST;
		snprintf(number, sizeof(number), "%u", i);
		join(first, number, name);
	}
	memcpy(out, name, sizeof(name));
	return 0;
}
