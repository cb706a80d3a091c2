/* SPDX-License-Identifier: MIT */
#include "exhaust_states.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <nettle/sha2.h>

struct state {
	uint64_t number, size;
	uint8_t *flash;
	char *trees; /* JSON */
	bool none;
};

struct states {
	struct state *v;
	unsigned share, kinds;
	unsigned *offered; /* by kind */
	struct rng rng;
};

struct states *states_new(unsigned n, unsigned kinds)
{
	struct states *s = calloc(1, sizeof(*s));

	if (!s)
		abort();
	s->share = (n + kinds - 1) / kinds;
	s->kinds = kinds;
	s->rng.s = 0xE1EC7;
	s->v = calloc((size_t)s->share * kinds, sizeof(*s->v));
	s->offered = calloc(kinds, sizeof(*s->offered));
	if (!s->v || !s->offered)
		abort();
	return s;
}

void states_free(struct states *states)
{
	if (!states)
		return;
	for (unsigned i = 0; i < states->share * states->kinds; i++) {
		free(states->v[i].flash);
		free(states->v[i].trees);
	}
	free(states->v);
	free(states->offered);
	free(states);
}

static void print_sha(FILE *f, const struct model_entry *e)
{
	uint8_t *data = malloc(e->size + 1), sum[SHA256_DIGEST_SIZE];
	struct sha256_ctx ctx;

	if (!data)
		abort();
	model_bytes(e, 0, data, e->size);
	sha256_init(&ctx);
	sha256_update(&ctx, e->size, data);
	sha256_digest(&ctx, sizeof(sum), sum);
	for (unsigned i = 0; i < sizeof(sum); i++)
		fprintf(f, "%02x", sum[i]);
	free(data);
}

static void print_tree(FILE *f, const struct model *m)
{
	const char *comma = "";

	fprintf(f, "{\"dirs\": [");
	for (unsigned i = 0; i < m->n; i++)
		if (m->v[i].dir) {
			fprintf(f, "%s\"%s\"", comma, m->v[i].path);
			comma = ", ";
		}
	fprintf(f, "], \"files\": {");
	comma = "";
	for (unsigned i = 0; i < m->n; i++) {
		const struct model_entry *e = &m->v[i];

		if (e->dir)
			continue;
		fprintf(f, "%s\"%s\": {\"size\": %u, \"sha256\": \"", comma, e->path,
			e->size);
		print_sha(f, e);
		fprintf(f, "\"}");
		comma = ", ";
	}
	fprintf(f, "}}");
}

static char *trees_text(const struct model *old, const struct model *m)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		abort();
	if (old) {
		print_tree(f, old);
		fprintf(f, ", ");
	}
	print_tree(f, m);
	if (fclose(f))
		abort();
	return text;
}

void states_offer(struct states *states, unsigned kind, uint64_t number,
	const uint8_t *flash, uint64_t size, const struct model *old,
	const struct model *m, bool none)
{
	unsigned n = states->offered[kind]++;
	struct state *s;

	if (n >= states->share)
		n = rng_below(&states->rng, n + 1);
	if (n >= states->share)
		return;
	s = &states->v[kind * states->share + n];
	free(s->flash);
	free(s->trees);
	*s = (struct state){number, size, malloc(size), trees_text(old, m), none};
	if (!s->flash)
		abort();
	memcpy(s->flash, flash, size);
}

static int write_image(const struct state *s, const char *dir, unsigned i)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[4096];

	snprintf(path, sizeof(path), "%s/%u.img", dir, i);
	f = fopen(path, "we");
	if (!f || fwrite(s->flash, s->size, 1, f) != 1 || fflush(f))
		return errno ? -errno : -EIO;
	return 0;
}

int states_write(const struct states *states, const char *dir)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[4096];

	snprintf(path, sizeof(path), "%s/states.json", dir);
	f = fopen(path, "we");
	if (!f)
		return -errno;
	for (unsigned i = 0; i < states->share * states->kinds; i++) {
		const struct state *s = &states->v[i];
		int r;

		if (!s->flash)
			continue;
		r = write_image(s, dir, i);
		if (r < 0)
			return r;
		fprintf(f,
			"{\"image\": \"%u.img\", \"case\": %" PRIu64 ", \"none\": %s, "
			"\"trees\": [%s]}\n",
			i, s->number, s->none ? "true" : "false", s->trees);
	}
	return fflush(f) ? -errno : 0;
}
