/* SPDX-License-Identifier: MIT */
/* Files that were written again with the bytes that flash has already, where the host has not
 * read these: hashing them on the board is cheaper than to read or to write them. What the
 * host has read the planner compares by itself. */
#include <errno.h>
#include <string.h>

#include "fuse/commit_private.h"

#define BATCH 32u
#define PIECE (16u << 10)

struct twins {
	struct commit *c;
	uint64_t *places;
	uint32_t index[BATCH];
	struct dev_extent at[BATCH];
	size_t n;
};

static int hash_staged(struct commit *c, uint32_t i, uint8_t out[SHA256_SIZE])
{
	const struct snapshot *s = c->snapshot;
	const struct romfs_node *n = romfs_tree_node(s->tree, i);
	struct snapshot_reader reader = {.snapshot = s};
	_cleanup_free_ uint8_t *buf = malloc(PIECE);
	struct sha256_ctx hash;
	int r = buf ? 0 : -ENOMEM;

	sha256_init(&hash);
	for (uint64_t done = 0; done < n->size && r == 0; done += PIECE) {
		size_t part = (size_t)MIN((uint64_t)PIECE, n->size - done);

		r = snapshot_content(&reader, s->tree, i, done, buf, part, NULL);
		if (r == 0)
			sha256_update(&hash, part, buf);
	}
	sha256_digest(&hash, SHA256_SIZE, out);
	return r;
}

static int ask(struct twins *t, struct error *err)
{
	uint8_t board[BATCH][SHA256_SIZE], host[SHA256_SIZE];
	int r = flash_hash(t->c->flash, t->at, t->n, board, err);

	for (size_t i = 0; i < t->n && r == 0; i++)
		if (hash_staged(t->c, t->index[i], host) == 0 &&
			memcmp(host, board[i], SHA256_SIZE) == 0)
			t->places[t->index[i]] = t->at[i].off;
	t->n = 0;
	return r;
}

/* A file of this path and size on flash, whose bytes are not known. */
static bool has_twin(struct twins *t, uint32_t i, uint32_t twin)
{
	const struct romfs_node *n = romfs_tree_node(t->c->snapshot->tree, i), *old;

	if (twin == ROMFS_NO_NODE || n->type != ROMFS_FILE || n->size == 0 ||
		t->c->snapshot->items[n->user].content.kind != CONTENT_LOG)
		return false;
	old = romfs_tree_node(t->c->image->tree, twin);
	if (old->type != ROMFS_FILE || old->size != n->size ||
		mirror_has(flash_mirror(t->c->flash), old->data_off, old->size))
		return false;
	t->index[t->n] = i;
	t->at[t->n++] = (struct dev_extent){old->data_off, old->size};
	return true;
}

int commit_find_twins(struct commit *c, uint64_t *places, struct error *err)
{
	const struct romfs_tree *tree = c->snapshot->tree;
	uint32_t i, count = romfs_tree_count(tree);
	_cleanup_free_ uint32_t *twin = malloc(count * sizeof(*twin));
	struct twins t = {.c = c, .places = places};
	int r = 0;

	if (!twin)
		return error_set(err, -ENOMEM, "out of memory");
	if (!c->image || flash_is_mixed(c->flash))
		return 0;
	twin[ROMFS_ROOT] = ROMFS_ROOT;
	/* Parents were added first. */
	for (i = 1; i < count && r == 0; i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		twin[i] = twin[n->parent] == ROMFS_NO_NODE
				  ? ROMFS_NO_NODE
				  : romfs_tree_find(c->image->tree, twin[n->parent],
					    romfs_tree_name(tree, i), n->name_len);
		if (has_twin(&t, i, twin[i]) && t.n == BATCH)
			r = ask(&t, err);
	}
	return r < 0 ? r : ask(&t, err);
}
