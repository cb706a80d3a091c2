/* SPDX-License-Identifier: MIT */
#include "fuse/verify.h"

#include <errno.h>
#include <string.h>

/* Bytes that are compared by one job: about a second of hashing for a slow board. */
#define PIECE (512u << 10)

struct verify {
	struct verify_options o;
	struct worker_job job;
	struct romfs_extent *v; /* what is used, sorted and merged */
	size_t n, at;
	uint64_t within, bytes;
	struct romfs_extent bad; /* the first that differs */
	int result;
	struct error err;
};

/* --- what is used ---------------------------------------------------------------------- */

static int by_offset(const void *a, const void *b)
{
	const struct romfs_extent *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

static void merge(struct verify *v)
{
	size_t n = 0;

	qsort(v->v, v->n, sizeof(*v->v), by_offset);
	for (size_t i = 0; i < v->n; i++) {
		struct romfs_extent *last = n ? &v->v[n - 1] : NULL, e = v->v[i];

		if (last && e.off <= last->off + last->len)
			last->len = MAX(last->len, e.off + e.len - last->off);
		else
			v->v[n++] = e;
	}
	v->n = n;
}

static int list_used(struct verify *v)
{
	const struct romfs_image *image = v->o.base->image;
	uint32_t count = romfs_tree_count(image->tree);

	v->v = calloc(image->n_meta + count + 1, sizeof(*v->v));
	if (!v->v)
		return -ENOMEM;
	for (size_t i = 0; i < image->n_meta; i++)
		v->v[v->n++] = image->meta[i];
	for (uint32_t i = 0; i < count; i++) {
		const struct romfs_node *n = romfs_tree_node(image->tree, i);

		if (n->type == ROMFS_FILE && n->size)
			v->v[v->n++] = (struct romfs_extent){n->data_off, n->size};
	}
	merge(v);
	return 0;
}

/* --- comparing ------------------------------------------------------------------------- */

static void on_difference(void *ctx, uint64_t off, uint64_t len)
{
	struct verify *v = ctx;

	if (!v->bad.len)
		v->bad = (struct romfs_extent){off, len};
}

static int compare_known(struct verify *v, uint64_t off, uint64_t len)
{
	const struct romfs_extent e = {off, len};

	v->bytes += len;
	return len ? flash_compare(v->o.flash, &e, 1, on_difference, v, &v->err) : 0;
}

/* What the host never read cannot be compared with anything. */
static int compare(struct verify *v, uint64_t off, uint64_t len)
{
	uint64_t end = off + len;
	int r = 0;

	while (off < end && r == 0) {
		uint64_t gap = end, gap_len = 0;

		if (!mirror_missing(flash_mirror(v->o.flash), off, end - off, &gap, &gap_len))
			gap = end;
		if (gap > off)
			r = compare_known(v, off, gap - off);
		off = gap + gap_len;
	}
	return r;
}

/* The file that it is in, or what else. */
static void name_place(const struct verify *v, char *out, size_t cap)
{
	const struct romfs_tree *tree = v->o.base->image->tree;
	uint64_t end = v->bad.off + v->bad.len;

	for (uint32_t i = 0; i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		if (n->type != ROMFS_FILE || n->size == 0 || n->data_off >= end ||
			n->data_off + n->size <= v->bad.off)
			continue;
		romfs_tree_path(tree, i, out, cap);
		return;
	}
	snprintf(out, cap, "the records of the file system");
}

static int differs(struct verify *v)
{
	char place[200];

	name_place(v, place, sizeof(place));
	flash_doubt(v->o.flash);
	return error_set(&v->err, -ESTALE,
		"rom%u: flash does not hold what was written there: %llu bytes at 0x%llx (%s) "
		"differ; another program has changed them, or flash has lost them",
		flash_geometry(v->o.flash)->number, (unsigned long long)v->bad.len,
		(unsigned long long)v->bad.off, place);
}

static void run(struct worker_job *job)
{
	struct verify *v = container_of(job, struct verify, job);
	uint64_t left = PIECE;
	int r = flash_connect(v->o.flash, &v->err);

	while (r == 0 && left && v->at < v->n) {
		const struct romfs_extent *e = &v->v[v->at];
		uint64_t part = MIN(left, e->len - v->within);

		r = compare(v, e->off + v->within, part);
		v->within += part;
		left -= part;
		if (v->within == e->len) {
			v->at++;
			v->within = 0;
		}
		atomic_fetch_add(&v->o.progress->done, part);
	}
	if (r == 0 && v->bad.len)
		r = differs(v);
	/* Without an image nothing was compared that others may have changed. */
	if (r == 0 && v->at == v->n && v->bytes && v->o.base->image->status == ROMFS_VALID)
		flash_doubt_no_more(v->o.flash);
	if (r < 0)
		(void)!flash_disconnect(v->o.flash, NULL); /* the session is over (target.h) */
	v->result = r;
}

static bool goes_on(const struct verify *v)
{
	return v->result == 0 && v->at < v->n;
}

static void on_done(struct worker_job *job)
{
	struct verify *v = container_of(job, struct verify, job);
	bool cancelled = job->dropped || (v->o.cancel && atomic_load(v->o.cancel));

	if (goes_on(v) && !cancelled) {
		worker_submit(v->o.worker, job, false);
		return;
	}
	if (goes_on(v) || job->dropped)
		v->result = -ECANCELED;
	v->o.done(v->o.ctx, v->result, v->bytes, &v->err);
	free(v->v);
	free(v);
}

int verify_start(const struct verify_options *options)
{
	struct verify *v = calloc(1, sizeof(*v));
	uint64_t total = 0;
	int r;

	if (!v)
		return -ENOMEM;
	v->o = *options;
	v->job = (struct worker_job){.run = run, .done = on_done};
	r = list_used(v);
	if (r < 0) {
		free(v);
		return r;
	}
	for (size_t i = 0; i < v->n; i++)
		total += v->v[i].len;
	atomic_store(&v->o.progress->done, 0);
	atomic_store(&v->o.progress->total, total);
	worker_submit(v->o.worker, &v->job, false);
	return 0;
}
