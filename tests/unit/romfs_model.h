/* SPDX-License-Identifier: MIT */
/* Trees for tests: entries by path, whose contents follow from a seed. */
#pragma once

#include "libromfs/pack.h"

#define MODEL_MAX 4096u

struct model_entry {
	char path[200];
	bool dir;
	uint32_t seed; /* of the content */
	uint32_t size;
	int64_t mtime_ns; /* or ROMFS_NO_MTIME */
};

struct model {
	struct model_entry *v; /* a directory stands in front of what it holds */
	unsigned n;
	int64_t root_mtime_ns;
};

/* xorshift: the same numbers everywhere. */
struct rng {
	uint64_t s;
};
uint32_t rng_next(struct rng *r);
uint32_t rng_below(struct rng *r, uint32_t n);

void model_init(struct model *m);
void model_done(struct model *m);
void model_copy(struct model *to, const struct model *from);
struct model_entry *model_add(struct model *m, const char *path, bool dir);
struct model_entry *model_find(const struct model *m, const char *path);
/* With everything below. */
void model_remove(struct model *m, const char *path);

void model_bytes(const struct model_entry *e, uint64_t off, void *buf, size_t len);
/* The tree; `user` of a node is the index of its entry. */
struct romfs_tree *model_tree(const struct model *m);
/* romfs_content_fn; ctx is the model. */
int model_content(void *ctx, const struct romfs_tree *tree, uint32_t index, uint64_t off,
	void *buf, size_t len, struct error *err);

/* Some tree of about `files` files, each of up to `size_max` bytes. */
void model_random(struct model *m, struct rng *r, unsigned files, uint32_t size_max);
