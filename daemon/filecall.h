/* SPDX-License-Identifier: MIT */
/* Calls that bring a descriptor, checked to the last byte before sd-bus has them: it drops a
 * message that it finds damaged, and leaves that one's descriptors open (as of version 252). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "util/macros.h"

/* 0: the whole of a well-formed method call below BUS_ROOT with exactly one descriptor and the
 * arguments h or hb. -EBADMSG: anything else. */
must_check int filecall_check(const uint8_t *message, size_t len);
