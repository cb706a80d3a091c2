/* SPDX-License-Identifier: MIT */
/* Text that came from a board, an image or a file name, on its way to a terminal or a
 * log: control bytes and broken UTF-8 must never get there raw. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Replaces every control byte, and every byte that is not part of valid UTF-8 (overlong
 * forms, surrogates and values over U+10FFFF included), by '?', in place. C1 controls
 * (U+0080 to U+009F) and bidirectional overrides are replaced as well. */
void text_make_printable(char *s);

/* Writes `len` bytes of `in` as printable text: what text_make_printable would replace
 * appears as \xNN, and a backslash as two. Always terminates `out` where cap > 0; returns
 * the length that the whole text needs, like snprintf. */
size_t text_escape(char *out, size_t cap, const void *in, size_t len);

bool text_is_utf8(const void *in, size_t len);
