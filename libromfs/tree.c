/* SPDX-License-Identifier: MIT */
#include "config.h" /* qsort_r is of GNU */

#include "libromfs/tree.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

struct romfs_tree {
	struct romfs_node *nodes;
	uint32_t count, cap;
	char *names;
	uint32_t names_len, names_cap;
	/* Open addressing by (parent, name): indexes of nodes, ROMFS_NO_NODE where empty.
	 * Names come from hostile images, so the hash has a seed that they cannot know. */
	uint32_t *slots;
	uint32_t n_slots; /* a power of two, at least twice `count` */
	uint64_t seed;
};

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0x9E3779B97F4A7C15u;
	h ^= h >> 29;
	h *= 0xBF58476D1CE4E5B9u;
	return h ^ h >> 32;
}

static uint64_t hash_name(uint64_t seed, uint32_t parent, const char *name, size_t len)
{
	uint64_t h = mix(seed ^ ((uint64_t)parent << 16 | len));

	while (len) {
		uint64_t word = 0;
		size_t n = MIN(len, sizeof(word));

		memcpy(&word, name, n);
		h = mix(h ^ word) + seed;
		name += n;
		len -= n;
	}
	return h;
}

static void slots_put(struct romfs_tree *t, uint32_t index)
{
	const struct romfs_node *n = &t->nodes[index];
	uint64_t h = hash_name(t->seed, n->parent, t->names + n->name, n->name_len);

	while (t->slots[h & (t->n_slots - 1)] != ROMFS_NO_NODE)
		h++;
	t->slots[h & (t->n_slots - 1)] = index;
}

static int slots_grow(struct romfs_tree *t)
{
	uint32_t n_slots = t->n_slots ? t->n_slots * 2 : 64;
	uint32_t *slots;

	if (t->n_slots >= 2 * (t->count + 1))
		return 0;
	slots = malloc(n_slots * sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	memset(slots, 0xFF, n_slots * sizeof(*slots));
	free(t->slots);
	t->slots = slots;
	t->n_slots = n_slots;
	for (uint32_t i = 1; i < t->count; i++)
		slots_put(t, i);
	return 0;
}

static int nodes_grow(struct romfs_tree *t)
{
	uint32_t cap = t->cap ? t->cap * 2 : 16;
	struct romfs_node *nodes;

	if (t->count < t->cap)
		return 0;
	nodes = realloc(t->nodes, cap * sizeof(*nodes));
	if (!nodes)
		return -ENOMEM;
	t->nodes = nodes;
	t->cap = cap;
	return 0;
}

static int names_grow(struct romfs_tree *t, size_t more)
{
	uint32_t cap = MAX(t->names_cap, 256u);
	char *names;

	/* ENTRIES_MAX names of NAME_MAX bytes are 16 MiB: no overflow. */
	while (cap - t->names_len < more)
		cap *= 2;
	if (cap == t->names_cap)
		return 0;
	names = realloc(t->names, cap);
	if (!names)
		return -ENOMEM;
	t->names = names;
	t->names_cap = cap;
	return 0;
}

static int append(struct romfs_tree *t, uint32_t parent, enum romfs_type type,
	const char *name, size_t len, uint32_t *index)
{
	int r;

	r = nodes_grow(t);
	if (r == 0)
		r = names_grow(t, len + 1);
	if (r == 0)
		r = slots_grow(t);
	if (r < 0)
		return r;
	t->nodes[t->count] = (struct romfs_node){
		.parent = parent,
		.first_child = ROMFS_NO_NODE,
		.last_child = ROMFS_NO_NODE,
		.next_sibling = ROMFS_NO_NODE,
		.name = t->names_len,
		.name_len = (uint16_t)len,
		.type = (uint8_t)type,
		.mtime_ns = ROMFS_NO_MTIME,
		.data_off = ROMFS_NO_OFFSET,
	};
	memcpy(t->names + t->names_len, name, len);
	t->names[t->names_len + len] = '\0';
	t->names_len += (uint32_t)len + 1;
	*index = t->count++;
	return 0;
}

int romfs_tree_new(struct romfs_tree **out)
{
	_cleanup_(romfs_tree_freep) struct romfs_tree *t = calloc(1, sizeof(*t));
	uint32_t root;
	int r;

	if (!t)
		return -ENOMEM;
	if (getrandom(&t->seed, sizeof(t->seed), GRND_NONBLOCK) != sizeof(t->seed))
		t->seed = (uintptr_t)t;
	r = append(t, ROMFS_NO_NODE, ROMFS_DIR, "", 0, &root);
	if (r < 0)
		return r;
	*out = TAKE_PTR(t);
	return 0;
}

void romfs_tree_free(struct romfs_tree *tree)
{
	if (!tree)
		return;
	free(tree->nodes);
	free(tree->names);
	free(tree->slots);
	free(tree);
}

static bool is_name(const char *name, size_t len)
{
	if (len == 0 || memchr(name, '/', len) || memchr(name, '\0', len))
		return false;
	return !(len == 1 && name[0] == '.') && !(len == 2 && memcmp(name, "..", 2) == 0);
}

static unsigned depth_of(const struct romfs_tree *t, uint32_t index)
{
	unsigned depth = 0;

	while (index != ROMFS_ROOT) {
		index = t->nodes[index].parent;
		depth++;
	}
	return depth;
}

int romfs_tree_add(struct romfs_tree *tree, uint32_t parent, enum romfs_type type,
	const char *name, size_t name_len, uint32_t *index)
{
	struct romfs_node *dir;
	uint32_t i;
	int r;

	assert(parent < tree->count && tree->nodes[parent].type == ROMFS_DIR);
	if (!is_name(name, name_len))
		return -EINVAL;
	if (name_len > ROMFS_NAME_MAX)
		return -ENAMETOOLONG;
	if (type == ROMFS_DIR && depth_of(tree, parent) >= ROMFS_DEPTH_MAX)
		return -ELOOP;
	if (tree->count > ROMFS_ENTRIES_MAX) /* the root is no entry */
		return -EOVERFLOW;
	r = append(tree, parent, type, name, name_len, &i);
	if (r < 0)
		return r;
	dir = &tree->nodes[parent];
	if (dir->last_child == ROMFS_NO_NODE)
		dir->first_child = i;
	else
		tree->nodes[dir->last_child].next_sibling = i;
	dir->last_child = i;
	slots_put(tree, i);
	*index = i;
	return 0;
}

uint32_t romfs_tree_count(const struct romfs_tree *tree)
{
	return tree->count;
}

struct romfs_node *romfs_tree_node(const struct romfs_tree *tree, uint32_t index)
{
	assert(index < tree->count);
	return &tree->nodes[index];
}

const char *romfs_tree_name(const struct romfs_tree *tree, uint32_t index)
{
	return tree->names + romfs_tree_node(tree, index)->name;
}

uint32_t romfs_tree_find(
	const struct romfs_tree *tree, uint32_t parent, const char *name, size_t len)
{
	uint64_t h = hash_name(tree->seed, parent, name, len);

	for (;; h++) {
		uint32_t i = tree->slots[h & (tree->n_slots - 1)];
		const struct romfs_node *n;

		if (i == ROMFS_NO_NODE)
			return ROMFS_NO_NODE;
		n = &tree->nodes[i];
		if (n->parent == parent && n->name_len == len &&
			memcmp(tree->names + n->name, name, len) == 0)
			return i;
	}
}

uint32_t romfs_tree_lookup(const struct romfs_tree *tree, const char *path)
{
	uint32_t i = ROMFS_ROOT;

	for (;;) {
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0 || i == ROMFS_NO_NODE)
			return i;
		i = romfs_tree_find(tree, i, path, len);
		path += len;
	}
}

size_t romfs_tree_path(
	const struct romfs_tree *tree, uint32_t index, char *out, size_t cap)
{
	size_t need = 0, end;
	uint32_t i;

	for (i = index; i != ROMFS_ROOT; i = tree->nodes[i].parent)
		need += tree->nodes[i].name_len + (need ? 1u : 0u);
	if (cap)
		out[MIN(need, cap - 1)] = '\0';
	/* From the last byte to the first; what lies behind `cap` is cut off. */
	for (i = index, end = need; i != ROMFS_ROOT; i = tree->nodes[i].parent) {
		const struct romfs_node *n = &tree->nodes[i];
		size_t start = end - n->name_len;

		if (start + 1 < cap)
			memcpy(out + start, tree->names + n->name,
				MIN((size_t)n->name_len, cap - 1 - start));
		if (start && start < cap)
			out[start - 1] = '/';
		end = start ? start - 1 : 0;
	}
	return need;
}

static int compare_siblings(const void *a, const void *b, void *ctx)
{
	const struct romfs_tree *t = ctx;
	uint32_t ia = *(const uint32_t *)a, ib = *(const uint32_t *)b;
	const struct romfs_node *na = &t->nodes[ia], *nb = &t->nodes[ib];
	int c;

	if (na->parent != nb->parent)
		return na->parent < nb->parent ? -1 : 1;
	c = memcmp(t->names + na->name, t->names + nb->name,
		MIN(na->name_len, nb->name_len));
	if (c == 0)
		c = (int)na->name_len - (int)nb->name_len;
	return c ? c : ia < ib ? -1 : 1; /* equal names: the first one stays the first */
}

/* All nodes but the root, by parent, then by name. */
static int sorted_nodes(const struct romfs_tree *t, uint32_t **out)
{
	uint32_t *list = malloc(t->count * sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (uint32_t i = 1; i < t->count; i++)
		list[i - 1] = i;
	qsort_r(list, t->count - 1, sizeof(*list), compare_siblings,
		(void *)(uintptr_t)t);
	*out = list;
	return 0;
}

int romfs_tree_sort(struct romfs_tree *tree)
{
	_cleanup_free_ uint32_t *list = NULL;
	int r;

	r = sorted_nodes(tree, &list);
	if (r < 0)
		return r;
	for (uint32_t k = 0; k + 1 < tree->count; k++) {
		struct romfs_node *n = &tree->nodes[list[k]],
				  *dir = &tree->nodes[n->parent];

		if (k == 0 || tree->nodes[list[k - 1]].parent != n->parent)
			dir->first_child = list[k];
		else
			tree->nodes[dir->last_child].next_sibling = list[k];
		dir->last_child = list[k];
		n->next_sibling = ROMFS_NO_NODE;
	}
	return 0;
}

int romfs_tree_preorder(const struct romfs_tree *tree, uint32_t **out)
{
	_cleanup_free_ uint32_t *list = NULL, *first = NULL, *order = NULL;
	uint32_t stack[ROMFS_DEPTH_MAX + 1], n = 0; /* cursors into `list` */
	unsigned depth = 0;
	int r;

	r = sorted_nodes(tree, &list);
	if (r < 0)
		return r;
	first = malloc(tree->count * sizeof(*first));
	order = malloc(tree->count * sizeof(*order));
	if (!first || !order)
		return -ENOMEM;
	memset(first, 0xFF, tree->count * sizeof(*first));
	for (uint32_t k = tree->count - 1; k-- > 0;)
		first[tree->nodes[list[k]].parent] = k;

	order[n++] = ROMFS_ROOT;
	stack[0] = first[ROMFS_ROOT];
	for (;;) {
		uint32_t k = stack[depth], i;

		if (k == ROMFS_NO_NODE) {
			if (depth-- == 0)
				break;
			continue;
		}
		i = list[k];
		order[n++] = i;
		stack[depth] = k + 2 < tree->count && tree->nodes[list[k + 1]].parent ==
							      tree->nodes[i].parent
				       ? k + 1
				       : ROMFS_NO_NODE;
		if (first[i] != ROMFS_NO_NODE)
			stack[++depth] = first[i];
	}
	assert(n == tree->count);
	*out = TAKE_PTR(order);
	return 0;
}
