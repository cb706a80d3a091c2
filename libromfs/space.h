/* SPDX-License-Identifier: MIT */
/* Sets of byte ranges of a partition, and the free space that the planner gives out.
 * Private to libromfs. */
#pragma once

#include "libromfs/plan.h"

/* Ranges, sorted, disjoint, not touching, none empty. */
struct spans {
	struct romfs_extent *v;
	size_t n, cap;
};

void spans_done(struct spans *s);
/* Appends one range in any order; spans_normalize makes it a set again. */
must_check int spans_push(struct spans *s, uint64_t off, uint64_t len);
void spans_normalize(struct spans *s);
must_check int spans_cut(struct spans *s, uint64_t off, uint64_t len);
/* Appends to `out` what of [from, to) is not in `s`. */
must_check int spans_gaps(
	const struct spans *s, uint64_t from, uint64_t to, struct spans *out);
/* The range that ends behind `off`, by index; s->n where none does. */
size_t spans_after(const struct spans *s, uint64_t off);
bool spans_overlap(const struct spans *s, uint64_t off, uint64_t len);

/* How new content finds its place.
 *
 * The cheapest place is blank flash: it needs no erase, and the old tree lives until the
 * new one is complete. Then come blocks that hold nothing alive, which can be erased before
 * the old tree goes. Then the file's old place. Then whatever fits. */
struct space {
	const struct romfs_geometry *geometry;
	uint32_t page;	    /* what is programmed at once, and never twice */
	struct spans free;  /* not needed by the new image */
	struct spans blank; /* of these: erased, whole pages, not read by the old image */
	struct spans dead;  /* of `free`: whole erase blocks, not read by the old image */
};

/* The tighter, the less room is given away for speed. */
enum comfort {
	ROOMY, /* pages of its own; no more blocks than needed; 8 bytes aligned */
	TIGHT, /* back to back */
};

void space_done(struct space *s);
/* `live` is what the new image keeps, metadata included, and `old` what the image on flash
 * reads. Reads the free part of the flash, to know what is blank, where `comfort` asks. */
must_check int space_init(struct space *s, const struct romfs_geometry *geometry,
	const struct romfs_source *flash, const struct spans *live, const struct spans *old,
	enum comfort comfort, struct error *err);
/* Takes `size` bytes, at `old_off` if that is as good as anything. -ENOSPC. */
must_check int space_take(struct space *s, uint64_t size, uint32_t align, uint64_t old_off,
	enum comfort comfort, uint64_t *off);

/* What is programmed at once: boards want multiples of 256 bytes where blocks have them. */
uint32_t space_page(const struct romfs_geometry *geometry);
bool space_is_blank(const void *buf, size_t len);
