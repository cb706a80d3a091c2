/* SPDX-License-Identifier: MIT */
#include "romfs_model.h"

#include <string.h>

uint32_t rng_next(struct rng *r)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return (uint32_t)(r->s >> 16);
}

uint32_t rng_below(struct rng *r, uint32_t n)
{
	return n ? rng_next(r) % n : 0;
}

void model_init(struct model *m)
{
	*m = (struct model){.root_mtime_ns = ROMFS_NO_MTIME};
	m->v = calloc(MODEL_MAX, sizeof(*m->v));
	if (!m->v)
		abort();
}

void model_done(struct model *m)
{
	free(m->v);
	*m = (struct model){0};
}

void model_copy(struct model *to, const struct model *from)
{
	memcpy(to->v, from->v, from->n * sizeof(*from->v));
	to->n = from->n;
	to->root_mtime_ns = from->root_mtime_ns;
}

struct model_entry *model_add(struct model *m, const char *path, bool dir)
{
	struct model_entry *e;

	if (m->n == MODEL_MAX || strlen(path) >= sizeof(e->path))
		abort();
	e = &m->v[m->n++];
	*e = (struct model_entry){.dir = dir, .mtime_ns = ROMFS_NO_MTIME};
	memcpy(e->path, path, strlen(path) + 1);
	return e;
}

struct model_entry *model_find(const struct model *m, const char *path)
{
	for (unsigned i = 0; i < m->n; i++)
		if (strcmp(m->v[i].path, path) == 0)
			return &m->v[i];
	return NULL;
}

void model_remove(struct model *m, const char *path)
{
	char gone[sizeof(m->v->path)];
	size_t len = strlen(path);
	unsigned n = 0;

	memcpy(gone, path, len + 1);
	for (unsigned i = 0; i < m->n; i++) {
		const char *p = m->v[i].path;

		if (strncmp(p, gone, len) == 0 && (p[len] == '\0' || p[len] == '/'))
			continue;
		if (n != i)
			m->v[n] = m->v[i];
		n++;
	}
	m->n = n;
}

/* Every eighth seed makes erased flash: data may look like that. */
void model_bytes(const struct model_entry *e, uint64_t off, void *buf, size_t len)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++) {
		uint64_t x = (off + i) / 8 + ((uint64_t)e->seed << 32);

		x *= 0x9E3779B97F4A7C15u;
		x ^= x >> 29;
		x *= 0xBF58476D1CE4E5B9u;
		p[i] = e->seed % 8 == 0 ? 0xFF : (uint8_t)(x >> (8 * ((off + i) % 8)));
	}
}

struct romfs_tree *model_tree(const struct model *m)
{
	struct romfs_tree *tree;

	if (romfs_tree_new(&tree) < 0)
		abort();
	romfs_tree_node(tree, ROMFS_ROOT)->mtime_ns = m->root_mtime_ns;
	for (unsigned k = 0; k < m->n; k++) {
		const struct model_entry *e = &m->v[k];
		const char *slash = strrchr(e->path, '/'),
			   *name = slash ? slash + 1 : e->path;
		char parent[sizeof(e->path)] = "";
		struct romfs_node *n;
		uint32_t dir, i;

		if (slash)
			memcpy(parent, e->path, (size_t)(slash - e->path));
		dir = romfs_tree_lookup(tree, parent);
		if (dir == ROMFS_NO_NODE ||
			romfs_tree_add(tree, dir, e->dir ? ROMFS_DIR : ROMFS_FILE, name,
				strlen(name), &i) < 0)
			abort();
		n = romfs_tree_node(tree, i);
		n->size = e->dir ? 0 : e->size;
		n->mtime_ns = e->mtime_ns;
		n->user = k;
	}
	return tree;
}

int model_content(void *ctx, const struct romfs_tree *tree, uint32_t index, uint64_t off,
	void *buf, size_t len, struct error *err)
{
	const struct model *m = ctx;
	const struct romfs_node *n = romfs_tree_node(tree, index);

	if (n->type != ROMFS_FILE || n->user >= m->n || off + len > n->size)
		abort(); /* asked for what there is not */
	model_bytes(&m->v[n->user], off, buf, len);
	return 0;
}

static void random_path(const struct model *m, struct rng *r, char *out, size_t cap)
{
	const char *dir = "";

	for (unsigned tries = 0; tries < 4 && m->n; tries++) {
		const struct model_entry *e = &m->v[rng_below(r, m->n)];

		if (e->dir && strlen(e->path) < 150)
			dir = e->path;
	}
	snprintf(out, cap, "%s%s%c%.*s%u", dir, *dir ? "/" : "",
		(int)('a' + rng_below(r, 26)), (int)rng_below(r, 24),
		"_a_name_that_goes_on_and_on", rng_below(r, 50));
}

void model_random(struct model *m, struct rng *r, unsigned files, uint32_t size_max)
{
	while (files--) {
		char path[200];
		struct model_entry *e;

		random_path(m, r, path, sizeof(path));
		if (model_find(m, path))
			continue;
		e = model_add(m, path, rng_below(r, 5) == 0);
		e->seed = rng_next(r);
		e->size = rng_below(r, 4) ? rng_below(r, size_max + 1) : rng_below(r, 20);
		e->mtime_ns = rng_below(r, 4)
				      ? (int64_t)rng_next(r) * 1000000007 - 1000000
				      : ROMFS_NO_MTIME;
	}
}
