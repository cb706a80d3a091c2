/* SPDX-License-Identifier: MIT */
#include "fuse/moves.h"

#include <errno.h>

void moves_done(struct moves *m)
{
	free(m->v);
	*m = (struct moves){0};
}

int moves_add(struct moves *m, uint64_t from, uint64_t to, uint64_t size)
{
	if (from == to || size == 0)
		return 0;
	if (m->n == m->cap) {
		size_t cap = m->cap ? m->cap * 2 : 16;
		struct move *v = reallocarray(m->v, cap, sizeof(*v));

		if (!v)
			return -ENOMEM;
		m->v = v;
		m->cap = cap;
	}
	m->v[m->n++] = (struct move){from, to, size};
	return 0;
}

static void move(const struct moves *m, struct node *n, bool back)
{
	struct content *c = &n->content;

	for (size_t i = 0; c->kind == CONTENT_BASE && i < m->n; i++) {
		const struct move *mv = &m->v[i];

		if (c->size == mv->size && c->off == (back ? mv->to : mv->from)) {
			c->off = back ? mv->from : mv->to;
			return;
		}
	}
}

static void move_all(const struct moves *m, struct folder *f, bool back)
{
	struct node *root = node_root(f->nodes);

	if (m->n == 0)
		return;
	for (struct node *n = root; n; n = node_next(root, n))
		move(m, n, back);
	for (struct node *n = node_next_orphan(f->nodes, NULL); n;
		n = node_next_orphan(f->nodes, n))
		move(m, n, back);
}

void moves_apply(const struct moves *m, struct folder *f)
{
	move_all(m, f, false);
}

void moves_undo(const struct moves *m, struct folder *f)
{
	move_all(m, f, true);
}
