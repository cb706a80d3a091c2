/* SPDX-License-Identifier: MIT */
/* Little-endian integers in byte buffers: the byte order of our files and frames. */
#pragma once

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define BYTES_DEFINE(bits)                                                               \
	static inline void bytes_put_le##bits(void *p, uint##bits##_t v)                 \
	{                                                                                \
		v = htole##bits(v);                                                      \
		memcpy(p, &v, sizeof(v));                                                \
	}                                                                                \
	static inline uint##bits##_t bytes_get_le##bits(const void *p)                   \
	{                                                                                \
		uint##bits##_t v;                                                        \
                                                                                         \
		memcpy(&v, p, sizeof(v));                                                \
		return le##bits##toh(v);                                                 \
	}

BYTES_DEFINE(16)
BYTES_DEFINE(32)
BYTES_DEFINE(64)

#undef BYTES_DEFINE
