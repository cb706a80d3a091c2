/* SPDX-License-Identifier: MIT */
/* Safety: from scratch files into the journal. */
#include "fuse/folder.h"

#include <errno.h>
#include <string.h>

#include "fuse/folder_private.h"
#include "fuse/space.h"
#include "util/io.h"

#define COMPARE_BYTES (64u << 10)

/* A journal may hold this much that nothing refers to any more before it is rewritten. */
#define GARBAGE_MIN (64u << 20)

void folder_entry_of(const struct node *n, struct journal_entry *out)
{
	*out = (struct journal_entry){
		.id = n->id,
		.parent = n->parent ? n->parent->id : 0,
		.name = n->name,
		.type = n->type,
		.mtime_ns = n->note_ns,
		.content = n->content,
	};
}

int folder_journal_put(struct folder *f, struct node *n)
{
	struct journal_change change = {.kind = JOURNAL_PUT};

	folder_entry_of(n, &change.entry);
	return journal_append(f->journal, &change, 1, &n->seq, NULL);
}

/* Whether the scratch file holds what is safe already: a tool that writes every file anew
 * must not cost flash operations where nothing changed. What cannot be read counts as
 * different. */
static bool is_same(struct folder *f, const struct node *n)
{
	_cleanup_free_ char *a = NULL, *b = NULL;
	uint64_t off = 0;

	if (n->fresh || n->size != n->content.size)
		return false;
	if (n->size == 0)
		return true;
	a = malloc(COMPARE_BYTES);
	b = malloc(COMPARE_BYTES);
	if (!a || !b)
		return false;
	while (off < n->size) {
		size_t part = (size_t)MIN((uint64_t)COMPARE_BYTES, n->size - off);

		if (folder_read_content(f, &n->content, off, a, part) < 0 ||
			io_pread_full(n->scratch->fd, b, part, (off_t)off) < 0 ||
			memcmp(a, b, part) != 0)
			return false;
		off += part;
	}
	return true;
}

/* The node changes only when the journal has it. `bytes`: what the scratch file holds, too. */
static int append(struct folder *f, struct node *n, bool bytes)
{
	struct journal_change change = {.kind = JOURNAL_PUT};
	int r;

	folder_entry_of(n, &change.entry);
	change.entry.mtime_ns = n->mtime_ns;
	if (bytes)
		change.entry.content = (struct content){.kind = CONTENT_EMPTY};
	if (bytes && n->size)
		r = journal_append_file(f->journal, &change.entry, n->scratch->fd, n->size,
			&n->seq, NULL);
	else
		r = journal_append(f->journal, &change, 1, &n->seq, NULL);
	if (r < 0)
		return r;
	n->content = change.entry.content;
	n->note_ns = n->mtime_ns;
	n->fresh = false;
	folder_note_change(f, n);
	return 0;
}

static void staged(struct folder *f, struct node *n)
{
	n->dirty = false;
	n->mtime_set = false;
	space_settle(f, n);
}

int folder_stage(struct folder *f, struct node *n, uint64_t *seq)
{
	int r = 0;

	if (n->dirty && n->linked) {
		if (!is_same(f, n))
			r = append(f, n, true);
		else if (n->mtime_set && n->mtime_ns != n->note_ns)
			r = append(f, n, false);
		if (r < 0)
			return r;
		staged(f, n);
	}
	*seq = n->seq;
	return 0;
}

int folder_keep_content(struct folder *f, struct node *n)
{
	struct journal_entry entry;
	struct scratch *s;
	int r = scratch_get(f->pool, &s);

	if (r < 0)
		return r;
	folder_entry_of(n, &entry);
	r = folder_copy_content(f, &n->content, s->fd);
	if (r == 0)
		r = journal_append_file(
			f->journal, &entry, s->fd, n->content.size, &n->seq, NULL);
	if (r == 0)
		n->content = entry.content;
	scratch_put(f->pool, s);
	return r;
}

void folder_close_scratch(struct folder *f, struct node *n)
{
	if (n->opens || (n->dirty && n->linked))
		return;
	scratch_put(f->pool, n->scratch);
	n->scratch = NULL;
}

struct rewrite {
	struct folder *f;
	struct node *at;
};

static int next_entry(void *ctx, struct journal_entry *entry)
{
	struct rewrite *w = ctx;
	struct node *root = node_root(w->f->nodes);

	do
		w->at = w->at ? node_next(root, w->at) : root;
	while (w->at && w->at->fresh);
	if (!w->at)
		return 0;
	folder_entry_of(w->at, entry);
	return 1;
}

static void moved(void *ctx, uint64_t id, const struct content *content)
{
	struct rewrite *w = ctx;
	struct node *n = node_by_id(w->f->nodes, id);

	if (n)
		n->content = *content;
}

/* Files that are unlinked and still open have no entry; their bytes go with the generation
 * that holds them. */
static int save_orphans(struct folder *f)
{
	int r = 0;

	for (struct node *n = node_next_orphan(f->nodes, NULL); n && r == 0;
		n = node_next_orphan(f->nodes, n)) {
		if (n->content.kind != CONTENT_LOG)
			continue;
		if (n->opens)
			r = folder_prepare_write(f, n, false);
		if (r == 0)
			n->content = (struct content){.kind = CONTENT_EMPTY};
	}
	return r;
}

int folder_rewrite_journal(
	struct folder *f, const struct journal_header *header, struct error *err)
{
	struct rewrite w = {.f = f};
	int r = save_orphans(f);

	if (r < 0)
		return error_set(err, r, "cannot keep deleted files that are still open: %s",
			strerror(-r));
	r = journal_rewrite(f->journal, header, next_entry, moved, &w, err);
	if (r < 0)
		return r;
	f->header = *header;
	return 0;
}

int folder_empty(struct folder *f, struct error *err)
{
	struct journal_header header = f->header;
	struct node_table *nodes;
	int r = node_table_new(&nodes);

	if (r < 0)
		return error_set(err, r, "out of memory");
	node_table_free(f->nodes);
	f->nodes = nodes;
	folder_recount(f);
	f->change++;
	header.dirty = true;
	return folder_rewrite_journal(f, &header, err);
}

bool folder_needs_journal(const struct folder *f)
{
	struct node *root = node_root(f->nodes);

	if (folder_is_staged(f))
		return true;
	for (struct node *n = root; n; n = node_next(root, n))
		if (n->junk && !n->fresh && n->content.kind != CONTENT_BASE)
			return true;
	return false;
}

int folder_compact_journal(struct folder *f)
{
	struct node *root = node_root(f->nodes);
	struct journal_header header = f->header;
	uint64_t live = 0;

	if (journal_bytes(f->journal) < GARBAGE_MIN)
		return 0;
	for (struct node *n = root; n; n = node_next(root, n))
		live += n->content.kind == CONTENT_LOG ? n->content.size : 0;
	if (journal_bytes(f->journal) < 2 * live + GARBAGE_MIN)
		return 0;
	header.dirty = folder_needs_journal(f);
	return folder_rewrite_journal(f, &header, NULL);
}
