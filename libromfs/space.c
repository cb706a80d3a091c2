/* SPDX-License-Identifier: MIT */
#include "libromfs/space.h"

#include <errno.h>
#include <string.h>

#define CHUNK (32u * 1024)

static uint64_t round_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) / to * to;
}

/* --- sets -------------------------------------------------------------------- */

void spans_done(struct spans *s)
{
	free(s->v);
	*s = (struct spans){0};
}

int spans_push(struct spans *s, uint64_t off, uint64_t len)
{
	if (len == 0)
		return 0;
	if (s->n && s->v[s->n - 1].off + s->v[s->n - 1].len == off) {
		s->v[s->n - 1].len += len;
		return 0;
	}
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 32;
		struct romfs_extent *v = realloc(s->v, cap * sizeof(*v));

		if (!v)
			return -ENOMEM;
		s->v = v;
		s->cap = cap;
	}
	s->v[s->n++] = (struct romfs_extent){off, len};
	return 0;
}

static int compare_extents(const void *a, const void *b)
{
	const struct romfs_extent *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

void spans_normalize(struct spans *s)
{
	size_t n = 0;

	if (s->n)
		qsort(s->v, s->n, sizeof(*s->v), compare_extents);
	for (size_t i = 0; i < s->n; i++) {
		struct romfs_extent e = s->v[i], *last = n ? &s->v[n - 1] : NULL;

		if (last && e.off <= last->off + last->len)
			last->len = MAX(last->off + last->len, e.off + e.len) - last->off;
		else
			s->v[n++] = e;
	}
	s->n = n;
}

size_t spans_after(const struct spans *s, uint64_t off)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (s->v[mid].off + s->v[mid].len <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool spans_overlap(const struct spans *s, uint64_t off, uint64_t len)
{
	size_t i = spans_after(s, off);

	return len && i < s->n && s->v[i].off < off + len;
}

int spans_cut(struct spans *s, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	size_t i = spans_after(s, off), j = i;
	struct romfs_extent head = {0}, tail = {0};
	size_t keep;
	int r;

	while (j < s->n && s->v[j].off < end)
		j++;
	if (i == j)
		return 0;
	if (s->v[i].off < off)
		head = (struct romfs_extent){s->v[i].off, off - s->v[i].off};
	if (s->v[j - 1].off + s->v[j - 1].len > end)
		tail = (struct romfs_extent){
			end, s->v[j - 1].off + s->v[j - 1].len - end};
	keep = (head.len ? 1u : 0u) + (tail.len ? 1u : 0u);
	if (keep > j - i) { /* a hole in one range: room for one more */
		r = spans_push(s, 0, 1);
		if (r < 0)
			return r;
		s->n--;
	}
	memmove(&s->v[i + keep], &s->v[j], (s->n - j) * sizeof(*s->v));
	s->n = s->n - (j - i) + keep;
	if (head.len)
		s->v[i++] = head;
	if (tail.len)
		s->v[i] = tail;
	return 0;
}

int spans_gaps(const struct spans *s, uint64_t from, uint64_t to, struct spans *out)
{
	int r = 0;

	for (size_t i = spans_after(s, from); r == 0 && i < s->n && s->v[i].off < to;
		i++) {
		if (s->v[i].off > from)
			r = spans_push(out, from, s->v[i].off - from);
		from = s->v[i].off + s->v[i].len;
	}
	if (r == 0 && from < to)
		r = spans_push(out, from, to - from);
	return r;
}

/* --- what is blank, what is dead --------------------------------------------- */

uint32_t space_page(const struct romfs_geometry *geometry)
{
	uint32_t page = geometry->write_unit;

	if (page < 256 && 256 % page == 0 && geometry->erase_block % 256 == 0 &&
		!geometry->no_erase)
		page = 256;
	return page;
}

bool space_is_blank(const void *buf, size_t len)
{
	const uint8_t *p = buf;

	return len == 0 || (p[0] == 0xFF && memcmp(p, p + 1, len - 1) == 0);
}

/* The blank pages of [off, off+len), which starts and ends on a page. */
static int find_blank(struct space *s, const struct romfs_source *flash, uint64_t off,
	uint64_t len, uint8_t *buf, struct error *err)
{
	const size_t step = MAX(MIN(CHUNK, s->geometry->erase_block) / s->page, 1u) * s->page;

	while (len) {
		size_t n = (size_t)MIN(len, step - off % step);
		int r;

		r = flash->read(flash->ctx, off, buf, n, err);
		if (r < 0 && r != -ENODATA)
			return r;
		for (size_t at = 0; r == 0 && at < n; at += s->page)
			if (space_is_blank(buf + at, s->page))
				r = spans_push(&s->blank, off + at, s->page);
		if (r == -ENOMEM)
			return error_set(err, r, "out of memory");
		off += n;
		len -= n;
	}
	return 0;
}

static int classify(struct space *s, const struct romfs_source *flash,
	const struct spans *unread, struct error *err)
{
	_cleanup_free_ uint8_t *buf = malloc(MAX(CHUNK, s->page));
	uint32_t block = s->geometry->erase_block;
	int r = buf ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < unread->n; i++) {
		uint64_t off = unread->v[i].off, end = off + unread->v[i].len;
		uint64_t first = round_up(off, s->page), last = end / s->page * s->page;

		if (first < last)
			r = find_blank(s, flash, first, last - first, buf, err);
		first = round_up(off, block);
		last = end / block * block;
		if (r == 0 && first < last)
			r = spans_push(&s->dead, first, last - first);
	}
	spans_normalize(&s->blank);
	return r;
}

void space_done(struct space *s)
{
	spans_done(&s->free);
	spans_done(&s->blank);
	spans_done(&s->dead);
}

int space_init(struct space *s, const struct romfs_geometry *geometry,
	const struct romfs_source *flash, const struct spans *live,
	const struct spans *old, enum comfort comfort, struct error *err)
{
	_cleanup_(spans_done) struct spans unread = {0};
	int r;

	*s = (struct space){.geometry = geometry, .page = space_page(geometry)};
	r = spans_gaps(live, 0, geometry->size, &s->free);
	if (comfort == ROOMY && !geometry->no_erase) {
		for (size_t i = 0; r == 0 && i < s->free.n; i++)
			r = spans_gaps(old, s->free.v[i].off,
				s->free.v[i].off + s->free.v[i].len, &unread);
		if (r == 0)
			r = classify(s, flash, &unread, err);
	}
	return r < 0 ? error_set(err, r, "out of memory") : 0;
}

/* --- giving out -------------------------------------------------------------- */

/* The first offset in the range at which `size` bytes fit; ROMFS_NO_OFFSET where none. A
 * roomy one begins a new block rather than touch one block more than it must. */
static uint64_t fit(const struct space *s, const struct romfs_extent *range,
	uint64_t size, uint32_t align, enum comfort comfort)
{
	uint64_t block = s->geometry->erase_block, end = range->off + range->len, at;

	at = round_up(range->off, align);
	if (comfort == ROOMY && !s->geometry->no_erase &&
		(at + size - 1) / block - at / block > (size - 1) / block)
		at = round_up(round_up(at, block), align);
	return at < end && size <= end - at ? at : ROMFS_NO_OFFSET;
}

/* Best fit: the range that has the least left over. */
static uint64_t best_fit(const struct space *s, const struct spans *from, uint64_t size,
	uint32_t align, enum comfort comfort)
{
	uint64_t best = ROMFS_NO_OFFSET, best_left = UINT64_MAX;

	for (size_t i = 0; i < from->n; i++) {
		uint64_t at, left;

		if (from->v[i].len < size)
			continue;
		left = from->v[i].len - size;
		if (left >= best_left)
			continue;
		at = fit(s, &from->v[i], size, align, comfort);
		if (at == ROMFS_NO_OFFSET)
			continue;
		best = at;
		best_left = left;
		/* A prefix erase takes everything below: the lowest place is the best. */
		if (left == 0 || s->geometry->prefix_erase)
			break;
	}
	return best;
}

static bool fits_at(const struct space *s, uint64_t off, uint64_t size, uint32_t align)
{
	size_t i = spans_after(&s->free, off);

	return off != ROMFS_NO_OFFSET && off % align == 0 && i < s->free.n &&
	       s->free.v[i].off <= off &&
	       size <= s->free.v[i].off + s->free.v[i].len - off;
}

static int take(struct space *s, uint64_t off, uint64_t size, bool from_dead)
{
	uint64_t block = s->geometry->erase_block;
	uint64_t end = round_up(off + size, s->page),
		 block_end = round_up(off + size, block);
	uint64_t first = off / s->page * s->page;
	int r;

	r = spans_cut(&s->free, off, size);
	if (r == 0)
		r = spans_cut(&s->blank, first, end - first);
	if (r == 0)
		r = spans_cut(
			&s->dead, off / block * block, block_end - off / block * block);
	/* The rest of a block that is erased for this is blank for the next. */
	if (r == 0 && from_dead && end < block_end) {
		r = spans_push(&s->blank, end, block_end - end);
		spans_normalize(&s->blank);
	}
	return r;
}

int space_take(struct space *s, uint64_t size, uint32_t align, uint64_t old_off,
	enum comfort comfort, uint64_t *off)
{
	uint32_t own_page =
		MAX(align, s->page); /* both powers of two, or align divides */
	uint64_t at = ROMFS_NO_OFFSET;
	bool from_dead = false;

	if (comfort == ROOMY)
		align = MAX(align, 8u);
	if (comfort == ROOMY && own_page % align == 0 && own_page % s->page == 0) {
		at = best_fit(s, &s->blank, size, own_page, ROOMY);
		if (at == ROMFS_NO_OFFSET && !s->geometry->prefix_erase) {
			at = best_fit(s, &s->dead, size, own_page, ROOMY);
			from_dead = at != ROMFS_NO_OFFSET;
		}
	}
	if (at == ROMFS_NO_OFFSET && fits_at(s, old_off, size, align) &&
		!s->geometry->prefix_erase)
		at = old_off;
	if (at == ROMFS_NO_OFFSET)
		at = best_fit(s, &s->free, size, align, comfort);
	if (at == ROMFS_NO_OFFSET)
		at = best_fit(s, &s->free, size, align, TIGHT);
	if (at == ROMFS_NO_OFFSET)
		return -ENOSPC;
	*off = at;
	return take(s, at, size, from_dead);
}
