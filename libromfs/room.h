/* SPDX-License-Identifier: MIT */
/* The room on a partition: what is alive, what can be programmed, what an erase would give,
 * by whole pages. Private to libromfs. */
#pragma once

#include "libromfs/space.h"

struct room {
	const struct romfs_geometry *geometry;
	const struct romfs_flash *now;
	uint32_t page;
	struct spans live;  /* pages that something alive stands in */
	struct spans blank; /* the others that can be programmed at once */
	struct spans dead;  /* whole erase blocks with nothing alive, worth an erase */
	struct spans late;  /* can be programmed when the front of the partition is blank */
};

/* Something that wants a place. */
struct room_item {
	uint64_t size, at;
	uint32_t align;
	uint32_t index; /* the taker's own */
};

void room_done(struct room *room);
/* `live` in bytes. Reads what is not alive, to know what is blank. */
must_check int room_init(struct room *room, const struct romfs_geometry *geometry,
	const struct romfs_flash *now, const struct spans *live, struct error *err);
bool room_is_bad(const struct room *room, uint64_t off, uint64_t len);

/* Gives all items their places: in one run in their order where one fits, from `cursor` on,
 * else each where it fits best. Dead blocks are used where the blank ones do not do, the
 * least worn first; those to erase are added to `erases`, the pages taken to `taken`.
 * -ENOSPC (nothing said), -ENOMEM. */
must_check int room_place(const struct room *room, uint64_t cursor, struct room_item *items,
	size_t n, struct spans *taken, struct spans *erases);
/* Dead blocks, the least worn first, at most `max` of them. */
must_check int room_least_worn(const struct room *room, size_t max, struct spans *out);
/* Bytes that can be programmed when all that is dead then has been erased, where `live` is
 * what is alive then, in pages, and `taken` are pages programmed meanwhile. The largest run
 * of them counts twice, up to an eighth of the partition: files are in one piece. */
must_check int room_potential(const struct room *room, const struct spans *live,
	const struct spans *taken, uint64_t *bytes);

/* The pages that these bytes stand in. */
must_check int room_pages(const struct room *room, const struct spans *bytes,
	struct spans *pages);
uint64_t spans_sum(const struct spans *s);
