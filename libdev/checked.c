/* SPDX-License-Identifier: MIT */
#include "libdev/checked.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TRIES 4u

static const char definition[] =
	"def X(s,n):\n"
	" t=0\n"
	" for c in s:t=(t*31+ord(c))%16777213\n"
	" if t!=n:raise ValueError('line')\n"
	" exec(s,globals())\n";

/* It runs what is right, and refuses what is not. 8 and 9 are printed. */
static const char trial[] =
	"X('print(8)',8585338)\n"
	"try:X('0',1)\n"
	"except ValueError:print(9)\n";

uint32_t checked_sum(uint32_t s, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		s = (s * 31 + (unsigned char)text[i]) % 16777213;
	return s;
}

/* What becomes of a statement that lost bytes; it has done nothing then. */
static bool is_line_error(const char *exception)
{
	static const char *const starts[] = {
		"SyntaxError", "IndentationError", "NameError"};

	for (size_t i = 0; i < ARRAY_SIZE(starts); i++)
		if (strncmp(exception, starts[i], strlen(starts[i])) == 0)
			return true;
	/* "ValueError: line", which may have suffered itself. */
	return strstr(exception, "line") != NULL;
}

int checked_setup(
	struct repl *r, bool *available, deadline_t deadline, struct error *err)
{
	char out[128];
	struct repl_reply reply = {.out = out, .cap = sizeof(out)};

	*available = false;
	for (unsigned i = 0; i < TRIES; i++) {
		int e = repl_exec(r, definition, sizeof(definition) - 1, deadline, &reply, err);

		if (e == 0)
			e = repl_exec(r, trial, sizeof(trial) - 1, deadline, &reply, err);
		if (e < 0)
			return e;
		if (e == 0 && strncmp(out, "8\r\n9\r\n", 6) == 0) {
			*available = true;
			return 0;
		}
	}
	return 0;
}

/* X('CODE',SUM), NULL where memory is out. */
static char *wrap(const char *code)
{
	size_t len = strlen(code);
	char *text = malloc(2 * len + 32), *p = text;

	if (!text)
		return NULL;
	*p++ = 'X';
	*p++ = '(';
	*p++ = '\'';
	for (size_t i = 0; i < len; i++) {
		char c = code[i];

		if (c == '\n' || c == '\'' || c == '\\')
			*p++ = '\\';
		*p++ = c == '\n' ? 'n' : c;
	}
	snprintf(p, 32 - 3, "',%u)", checked_sum(0, code, len));
	return text;
}

int checked_exec(struct repl *r, bool available, const char *code, uint64_t reply_ms,
	struct repl_reply *reply, struct error *err)
{
	_cleanup_free_ char *text = available ? wrap(code) : strdup(code);
	size_t len = text ? strlen(text) : 0;
	int e = 1;

	if (!text)
		return error_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; e > 0 && i < TRIES; i++) {
		uint64_t ms = reply_ms + 2 * repl_line_ms(r, len + reply->cap);

		e = repl_exec(r, text, len, deadline_in(ms), reply, err);
		if (e > 0 && !is_line_error(reply->exception))
			break;
	}
	return e;
}
