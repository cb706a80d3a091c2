/* SPDX-License-Identifier: MIT */
/* Files of this computer for a daemon of another one. The bus over ssh passes messages, but no
 * descriptors: where an image goes along, romount itself is run there, and the image is its
 * standard input or output. */
#pragma once

#include "util/error.h"

#define REMOTE_WORDS_MAX 12u

/* Runs "romount WORDS..." (NULL at the end) on `host` with these descriptors (-1: ours), and
 * waits for it; ssh's own deadlines hold. The exit code of what ran there. */
must_check int remote_run(const char *host, const char *const *words, int in, int out,
	struct error *err);
