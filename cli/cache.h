/* SPDX-License-Identifier: MIT */
/* A target as a source of bytes, read in chunks of 4 KiB that are kept: the records of a
 * ROMFS are a few bytes each, and every read of a board costs a round trip. Long reads of
 * file data go past the cache. */
#pragma once

#include "libdev/target.h"
#include "libromfs/source.h"

struct cache;

/* `target` must outlive the cache. Memory: one pointer per chunk, and the chunks read. */
must_check int cache_new(
	struct dev_target *target, struct cache **out, struct error *err);
void cache_free(struct cache *cache);
DEFINE_CLEANUP(struct cache *, cache_free);

/* Whether all of these bytes were read before; then `buf` has them. */
bool cache_known(const struct cache *cache, uint64_t off, void *buf, size_t len);

struct romfs_source cache_source(struct cache *cache);
