/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/unit/journal_model.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <zlib.h>

#include <cmocka.h>

#include "libromfs/tree.h"
#include "util/io.h"

const struct journal_header model_header = {
	.board = "rp2040-e6614c",
	.partition = 1,
	.size = 1 << 20,
	.base = {1, 2, 3, 0xff},
	.dirty = true,
};

static uint32_t checksum(int fd, const struct content *c)
{
	_cleanup_free_ uint8_t *buf = malloc(c->size + 1);

	assert_non_null(buf);
	assert_int_equal(io_pread_full(fd, buf, c->size, (off_t)c->off), 0);
	return (uint32_t)crc32_z(0, buf, c->size);
}

int model_apply(void *ctx, const struct journal_change *change)
{
	const struct journal_entry *e = &change->entry;
	struct model *m = ctx;
	struct model_node *n;

	if (e->id >= MODEL_NODES)
		return -ERANGE;
	n = &m->nodes[e->id];
	memset(n, 0, sizeof(*n));
	if (change->kind == JOURNAL_DROP)
		return 0;
	n->there = true;
	n->type = e->type;
	snprintf(n->name, sizeof(n->name), "%s", e->name);
	n->parent = e->parent;
	n->size = e->content.size;
	n->mtime_ns = e->mtime_ns;
	n->content = e->content;
	if (e->content.kind == CONTENT_LOG)
		n->crc = checksum(m->log_fd, &e->content);
	else if (e->content.kind == CONTENT_BASE)
		n->crc = (uint32_t)e->content.off;
	return 0;
}

uint32_t model_digest(const struct model *m)
{
	uint32_t crc = (uint32_t)crc32_z(0, NULL, 0);
	size_t i;

	for (i = 0; i < MODEL_NODES; i++) {
		struct model_node n = m->nodes[i];
		struct model_node plain;

		memset(&plain, 0, sizeof(plain));
		plain.there = n.there;
		plain.type = n.type;
		memcpy(plain.name, n.name, sizeof(n.name));
		plain.parent = n.parent;
		plain.size = n.size;
		plain.mtime_ns = n.mtime_ns;
		plain.crc = n.crc;
		crc = (uint32_t)crc32_z(crc, (const void *)&plain, sizeof(plain));
	}
	return crc;
}

int model_open(int dirfd, struct model *m, bool *changed, struct journal **out,
	struct error *err)
{
	struct journal_header header;
	int r;

	memset(m, 0, sizeof(*m));
	m->log_fd = openat(dirfd, "journal", O_RDONLY | O_CLOEXEC);
	r = journal_open(dirfd, &header, model_apply, m, changed, out, err);
	if (m->log_fd >= 0)
		close(m->log_fd);
	if (r < 0)
		return r;
	m->log_fd = journal_fd(*out);
	assert_memory_equal(&header.base, &model_header.base, SHA256_SIZE);
	assert_string_equal(header.board, model_header.board);
	assert_int_equal(header.size, model_header.size);
	assert_int_equal(header.partition, model_header.partition);
	assert_int_equal(header.dirty, model_header.dirty);
	return 0;
}

static void random_name(char *out, uint64_t *rng)
{
	size_t len = 1 + scratch_random(rng) % 20, i;

	if (scratch_random(rng) % 16 == 0)
		len = ROMFS_NAME_MAX;
	for (i = 0; i < len; i++)
		out[i] = (char)('a' + scratch_random(rng) % 26);
	out[len] = '\0';
}

static size_t random_size(uint64_t *rng)
{
	switch (scratch_random(rng) % 8) {
	case 0:
		return 0;
	case 1:
		return 100000 + scratch_random(rng) % 300000;
	default:
		return scratch_random(rng) % 3000;
	}
}

static int append_content(struct model *m, struct journal *j, int data_fd, uint64_t *rng,
	struct journal_entry *e, void (*planned)(void *, uint32_t), void *ctx)
{
	size_t size = random_size(rng), i;
	_cleanup_free_ uint8_t *data = malloc(size + 8);
	struct model *after = malloc(sizeof(*after));
	uint64_t seq;
	int r;

	assert_true(data && after);
	for (i = 0; i < size; i += 8) {
		uint64_t v = scratch_random(rng);

		memcpy(data + i, &v, 8);
	}
	assert_int_equal(lseek(data_fd, 0, SEEK_SET), 0);
	assert_int_equal(io_write_full(data_fd, data, size), 0);
	*after = *m;
	model_apply(after, &(struct journal_change){.entry = *e});
	after->nodes[e->id].size = size;
	after->nodes[e->id].crc = size ? (uint32_t)crc32_z(0, data, size) : 0;
	if (planned)
		planned(ctx, model_digest(after));
	r = journal_append_file(j, e, data_fd, size, &seq, NULL);
	if (r == 0) {
		after->nodes[e->id].content = e->content;
		*m = *after;
	}
	free(after);
	return r;
}

int model_random_append(struct model *m, struct journal *j, int data_fd, uint64_t *rng,
	void (*planned)(void *ctx, uint32_t digest), void *ctx)
{
	struct journal_change changes[4] = {0};
	char names[4][ROMFS_NAME_MAX + 1];
	size_t n = 1 + scratch_random(rng) % ARRAY_SIZE(changes), i;
	struct model *after;
	uint64_t seq;
	int r;

	for (i = 0; i < n; i++) {
		uint64_t id = 2 + scratch_random(rng) % (MODEL_NODES - 2);
		const struct model_node *old = &m->nodes[id];
		struct journal_entry *e = &changes[i].entry;

		random_name(names[i], rng);
		*e = (struct journal_entry){.id = id,
			.parent = JOURNAL_ROOT_ID,
			.name = names[i],
			.type = ROMFS_FILE,
			.mtime_ns = (int64_t)scratch_random(rng)};
		switch (scratch_random(rng) % 8) {
		case 0:
			changes[i].kind = JOURNAL_DROP;
			break;
		case 2:
			e->type = ROMFS_DIR;
			break;
		case 3:
			e->content = (struct content){CONTENT_BASE, 7, 100};
			break;
		default:
			if (old->there && old->type == ROMFS_FILE)
				e->content = old->content; /* renamed */
		}
	}
	if (scratch_random(rng) % 2) {
		struct journal_entry e = {.id = 2 + scratch_random(rng) % (MODEL_NODES - 2),
			.parent = JOURNAL_ROOT_ID,
			.name = names[0],
			.type = ROMFS_FILE};

		return append_content(m, j, data_fd, rng, &e, planned, ctx);
	}
	after = malloc(sizeof(*after));
	assert_non_null(after);
	*after = *m;
	after->log_fd = journal_fd(j);
	for (i = 0; i < n; i++)
		assert_int_equal(model_apply(after, &changes[i]), 0);
	if (planned)
		planned(ctx, model_digest(after));
	r = journal_append(j, changes, n, &seq, NULL);
	if (r == 0)
		*m = *after;
	free(after);
	return r;
}

struct walk {
	struct model *m;
	uint64_t id, moved;
};

static int walk_next(void *ctx, struct journal_entry *entry)
{
	struct walk *w = ctx;

	while (++w->id < MODEL_NODES) {
		const struct model_node *n = &w->m->nodes[w->id];

		if (!n->there)
			continue;
		*entry = (struct journal_entry){.id = w->id,
			.parent = n->parent,
			.name = n->name,
			.type = n->type,
			.mtime_ns = n->mtime_ns,
			.content = n->content};
		return 1;
	}
	return 0;
}

static void walk_moved(void *ctx, uint64_t id, const struct content *content)
{
	struct walk *w = ctx;

	assert_true(id > w->moved);
	w->moved = id;
	assert_true(w->m->nodes[id].there);
	assert_int_equal(w->m->nodes[id].size, content->size);
	w->m->nodes[id].content = *content;
}

int model_rewrite(struct model *m, struct journal *j)
{
	struct walk w = {.m = m};
	int r = journal_rewrite(j, &model_header, walk_next, walk_moved, &w, NULL);

	if (r < 0)
		assert_int_equal(w.moved, 0);
	m->log_fd = journal_fd(j);
	return r;
}

int model_sync(struct journal *j, uint64_t *seq)
{
	uint64_t want = journal_seq(j);
	int r = journal_request_sync(j, want);

	while (r == 0) {
		struct pollfd p = {.fd = journal_event_fd(j), .events = POLLIN};

		assert_int_equal(poll(&p, 1, 20000), 1);
		r = journal_synced(j, seq);
		if (r == 0 && *seq >= want)
			return 0;
	}
	return r;
}
