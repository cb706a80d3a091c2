/* SPDX-License-Identifier: MIT */
/* SHA-256, from nettle. */
#pragma once

#include <nettle/sha2.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32

static inline void sha256_of(const void *buf, size_t len, uint8_t out[SHA256_SIZE])
{
	struct sha256_ctx ctx;

	sha256_init(&ctx);
	sha256_update(&ctx, len, buf);
	sha256_digest(&ctx, SHA256_SIZE, out);
}
