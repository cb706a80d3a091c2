/* SPDX-License-Identifier: MIT */
#include "libromfs/view.h"

#include <errno.h>
#include <string.h>

static int compare_homes(const void *a, const void *b, void *ctx)
{
	const uint64_t *home = ctx;
	uint32_t i = *(const uint32_t *)a, j = *(const uint32_t *)b;

	if (home[i] != home[j])
		return home[i] < home[j] ? -1 : 1;
	return i < j ? -1 : i > j;
}

void view_done(struct view *v)
{
	free(v->files);
	spans_done(&v->homes);
}

int view_init(struct view *v, const struct planning *pl, struct error *err)
{
	uint32_t count = romfs_tree_count(pl->wanted);
	int r;

	*v = (struct view){.pl = pl, .files = malloc(count * sizeof(*v->files))};
	r = v->files ? 0 : -ENOMEM;
	for (uint32_t i = 0; r == 0 && i < count; i++) {
		uint64_t size = romfs_tree_node(pl->wanted, i)->size;

		if (pl->home[i] == ROMFS_NO_OFFSET)
			continue;
		v->files[v->n++] = i;
		v->longest = MAX(v->longest, size);
		r = spans_push(&v->homes, pl->home[i], size);
	}
	if (r < 0)
		return error_set(err, r, "out of memory");
	qsort_r(v->files, v->n, sizeof(*v->files), compare_homes, pl->home);
	spans_normalize(&v->homes);
	return 0;
}

/* The first file that may reach behind `off`. */
static uint32_t first_file(const struct view *v, uint64_t off)
{
	uint32_t lo = 0, hi = v->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (v->pl->home[v->files[mid]] + v->longest <= off)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static int read_files(const struct view *v, uint64_t off, size_t len, uint8_t *buf,
	struct error *err)
{
	const struct planning *pl = v->pl;
	int r = 0;

	for (uint32_t k = first_file(v, off);
		r == 0 && k < v->n && pl->home[v->files[k]] < off + len; k++) {
		uint64_t home = pl->home[v->files[k]];
		uint64_t size = romfs_tree_node(pl->wanted, v->files[k])->size;
		uint64_t from = MAX(home, off), to = MIN(home + size, off + len);

		if (from < to)
			r = pl->content(pl->content_ctx, pl->wanted, v->files[k], from - home,
				buf + (from - off), (size_t)(to - from), err);
	}
	return r;
}

/* -ENODATA where some of it is not known. */
static int read_all(const struct view *v, uint64_t off, size_t len, uint8_t *buf,
	struct error *err)
{
	const struct romfs_source *flash = &v->pl->now->source;
	_cleanup_(spans_done) struct spans gaps = {0};
	int r = spans_gaps(&v->homes, off, off + len, &gaps);

	if (r < 0)
		return error_set(err, r, "out of memory");
	for (size_t k = 0; r == 0 && k < gaps.n; k++)
		r = flash->read(flash->ctx, gaps.v[k].off, buf + (gaps.v[k].off - off),
			(size_t)gaps.v[k].len, err);
	return r < 0 ? r : read_files(v, off, len, buf, err);
}

int view_load(const struct view *v, uint64_t off, size_t len, uint8_t *buf, bool *unknown,
	struct error *err)
{
	uint32_t page = space_page(v->pl->geometry);
	int r = read_all(v, off, len, buf, err), some = 0;

	memset(unknown, 0, len / page * sizeof(*unknown));
	if (r != -ENODATA)
		return r;
	for (size_t at = 0; at < len; at += page) {
		r = read_all(v, off + at, page, buf + at, err);
		if (r < 0 && r != -ENODATA)
			return r;
		if (r == 0)
			continue;
		memset(buf + at, 0xFF, page);
		unknown[at / page] = true;
		some = 1;
	}
	return some;
}
