/* SPDX-License-Identifier: MIT */
#include "util/text.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Length of the valid UTF-8 sequence at `p`, its value in *cp; 0 where there is none. */
static size_t decode(const unsigned char *p, size_t left, uint32_t *cp)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t n, i;
	uint32_t v;

	if (p[0] < 0x80) {
		*cp = p[0];
		return 1;
	}
	n = p[0] >= 0xF0 && p[0] < 0xF8 ? 4 : p[0] >= 0xE0 ? 3 : p[0] >= 0xC0 ? 2 : 0;
	if (n == 0 || p[0] >= 0xF8 || n > left)
		return 0;
	v = p[0] & (0x7Fu >> n);
	for (i = 1; i < n; i++) {
		if ((p[i] & 0xC0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3Fu);
	}
	if (v < least[n] || v > 0x10FFFF || (v >= 0xD800 && v <= 0xDFFF))
		return 0;
	*cp = v;
	return n;
}

static bool is_harmless(uint32_t cp)
{
	if (cp < 0x20 || (cp >= 0x7F && cp <= 0x9F))
		return false;
	return !(cp >= 0x202A && cp <= 0x202E) && !(cp >= 0x2066 && cp <= 0x2069);
}

void text_make_printable(char *s)
{
	unsigned char *p = (unsigned char *)s;
	size_t left = strlen(s);

	while (left) {
		uint32_t cp;
		size_t n = decode(p, left, &cp);

		if (n == 0 || !is_harmless(cp)) {
			n = n ? n : 1;
			memset(p, '?', n);
		}
		p += n;
		left -= n;
	}
}

size_t text_escape(char *out, size_t cap, const void *in, size_t len)
{
	const unsigned char *p = in;
	size_t need = 0;

	while (len) {
		uint32_t cp;
		size_t n = decode(p, len, &cp);
		char piece[24];
		size_t plen = 0, i;

		if (n == 1 && *p == '\\') {
			plen = (size_t)snprintf(piece, sizeof(piece), "\\\\");
		} else if (n == 0 || !is_harmless(cp)) {
			n = n ? n : 1;
			for (i = 0; i < n; i++)
				plen += (size_t)snprintf(
					piece + plen, sizeof(piece) - plen, "\\x%02x", p[i]);
		} else {
			memcpy(piece, p, n);
			plen = n;
		}
		if (need + plen < cap)
			memcpy(out + need, piece, plen);
		else if (need < cap)
			out[need] = '\0', cap = need + 1;
		need += plen;
		p += n;
		len -= n;
	}
	if (need < cap)
		out[need] = '\0';
	return need;
}

bool text_is_utf8(const void *in, size_t len)
{
	const unsigned char *p = in;
	uint32_t cp;

	while (len) {
		size_t n = decode(p, len, &cp);

		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}
