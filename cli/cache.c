/* SPDX-License-Identifier: MIT */
#include "cli/cache.h"

#include <errno.h>
#include <string.h>

#define CHUNK 4096u

struct cache {
	struct dev_target *target;
	uint8_t **chunks;
	size_t n;
};

int cache_new(struct dev_target *target, struct cache **out, struct error *err)
{
	_cleanup_(cache_freep) struct cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return error_set(err, -ENOMEM, "out of memory");
	cache->target = target;
	cache->n = (size_t)((target->geometry.size + CHUNK - 1) / CHUNK);
	cache->chunks = calloc(cache->n + 1, sizeof(*cache->chunks));
	if (!cache->chunks)
		return error_set(err, -ENOMEM, "out of memory");
	*out = TAKE_PTR(cache);
	return 0;
}

void cache_free(struct cache *cache)
{
	size_t i;

	if (!cache)
		return;
	for (i = 0; cache->chunks && i < cache->n; i++)
		free(cache->chunks[i]);
	free(cache->chunks);
	free(cache);
}

/* Chunk `i`, read when it was not yet. Its bytes past the end of the target are 0. */
static int get_chunk(
	struct cache *cache, size_t i, const uint8_t **out, struct error *err)
{
	uint64_t off = (uint64_t)i * CHUNK;
	size_t len = (size_t)MIN(CHUNK, cache->target->geometry.size - off);
	_cleanup_free_ uint8_t *chunk = NULL;
	int r;

	if (!cache->chunks[i]) {
		chunk = calloc(1, CHUNK);
		if (!chunk)
			return error_set(err, -ENOMEM, "out of memory");
		r = dev_target_read(cache->target, off, chunk, len, err);
		if (r < 0)
			return r;
		cache->chunks[i] = TAKE_PTR(chunk);
	}
	*out = cache->chunks[i];
	return 0;
}

static int cache_read(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct cache *cache = ctx;
	uint8_t *out = buf;

	if (len > CHUNK)
		return dev_target_read(cache->target, off, buf, len, err);
	while (len) {
		size_t skip = (size_t)(off % CHUNK), n = MIN(len, CHUNK - skip);
		const uint8_t *chunk;
		int r = get_chunk(cache, (size_t)(off / CHUNK), &chunk, err);

		if (r < 0)
			return r;
		memcpy(out, chunk + skip, n);
		out += n;
		off += n;
		len -= n;
	}
	return 0;
}

bool cache_known(const struct cache *cache, uint64_t off, void *buf, size_t len)
{
	uint8_t *out = buf;

	for (size_t n; len; out += n, off += n, len -= n) {
		size_t skip = (size_t)(off % CHUNK);
		const uint8_t *chunk = cache->chunks[off / CHUNK];

		n = MIN(len, CHUNK - skip);
		if (!chunk)
			return false;
		memcpy(out, chunk + skip, n);
	}
	return true;
}

struct romfs_source cache_source(struct cache *cache)
{
	return (struct romfs_source){
		.read = cache_read, .ctx = cache, .size = cache->target->geometry.size};
}
