/* SPDX-License-Identifier: MIT */
/* What a PORT|IMG on the command line is, for the commands that write it, and numbers that
 * may end in k or M. */
#pragma once

#include <stdbool.h>

#include "util/error.h"

/* A port keeps the name that was given: /dev/serial/by-id/... finds the board again when it
 * comes back as another ttyACM. An image gets its real one. Absolute; the caller frees. */
must_check int target_find(const char *path, char **out, bool *is_image, struct error *err);
/* Without looking at links, unlike realpath(3). */
must_check int target_absolute(const char *path, char **out);
/* -EINVAL: no number, or more than `max`. */
must_check int target_parse_number(const char *text, unsigned long max, unsigned long *out);
