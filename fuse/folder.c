/* SPDX-License-Identifier: MIT */
/* Names: what is linked where. Bytes are in folder_bytes.c, safety in folder_stage.c. */
#include "fuse/folder.h"

#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <time.h>

#include "fuse/folder_private.h"
#include "fuse/junk.h"
#include "fuse/space.h"

void folder_free(struct folder *f)
{
	if (!f)
		return;
	if (f->nodes) {
		struct node *root = node_root(f->nodes);

		for (struct node *n = root; n; n = node_next(root, n))
			scratch_put(f->pool, n->scratch);
		for (struct node *n = node_next_orphan(f->nodes, NULL); n;
			n = node_next_orphan(f->nodes, n))
			scratch_put(f->pool, n->scratch);
	}
	node_table_free(f->nodes);
	journal_free(f->journal);
	mirror_free(f->mirror);
	scratch_pool_free(f->pool);
	state_close(f->state);
	free(f);
}

int64_t folder_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

void folder_note_change(struct folder *f, const struct node *n)
{
	if (!n->linked)
		return;
	if (!n->junk)
		f->change++;
	if (f->changed)
		f->changed(f->changed_ctx);
}

static void touch_dir(struct node *dir)
{
	dir->mtime_ns = dir->ctime_ns = folder_now();
}

/* Junk is inherited: whatever stands in a .Trash directory is junk too. */
static bool is_junk(const struct node *n)
{
	return n->parent && (n->parent->junk || junk_name(n->name));
}

/* A tree stands somewhere else now. Room was checked before. */
static void settle_tree(struct folder *f, struct node *top)
{
	for (struct node *n = top; n; n = node_next(top, n)) {
		space_release(f, n);
		n->junk = is_junk(n);
		space_settle(f, n);
	}
}

void folder_recount(struct folder *f)
{
	struct node *root = node_root(f->nodes);

	for (struct node *n = root; n; n = node_next(root, n))
		n->junk = is_junk(n);
	space_recount(f);
}

static int add(struct folder *f, struct node *dir, const char *name, enum romfs_type type,
	struct node **out)
{
	struct node *n;
	int r;

	if (!dir->linked)
		return -ENOENT;
	if (strlen(name) > ROMFS_NAME_MAX || node_depth(dir) + 1 > ROMFS_DEPTH_MAX)
		return -ENAMETOOLONG;
	if (node_count(f->nodes) >= ROMFS_ENTRIES_MAX)
		return -ENOSPC;
	r = node_add(f->nodes, dir, name, type, 0, &n);
	if (r < 0)
		return r;
	n->junk = dir->junk || junk_name(name);
	n->mtime_ns = n->ctime_ns = n->note_ns = folder_now();
	r = space_charge(f, n, 0);
	if (r < 0) {
		node_unlink(f->nodes, n);
		return r;
	}
	*out = n;
	return 0;
}

int folder_create(struct folder *f, struct node *dir, const char *name, struct node **out)
{
	int r = add(f, dir, name, ROMFS_FILE, out);

	if (r < 0)
		return r;
	/* It comes into the journal when it is closed: one frame instead of two, and a
	 * crash before that leaves no empty file behind. */
	(*out)->fresh = true;
	(*out)->dirty = true;
	touch_dir(dir);
	return 0;
}

int folder_mkdir(struct folder *f, struct node *dir, const char *name, struct node **out)
{
	struct node *n;
	int r = add(f, dir, name, ROMFS_DIR, &n);

	if (r < 0)
		return r;
	r = folder_journal_put(f, n);
	if (r < 0) {
		space_release(f, n);
		node_unlink(f->nodes, n);
		return r;
	}
	touch_dir(dir);
	folder_note_change(f, n);
	*out = n;
	return 0;
}

static int journal_drop(struct folder *f, const struct node *n)
{
	struct journal_change change = {.kind = JOURNAL_DROP, .entry.id = n->id};
	uint64_t seq;

	if (n->fresh)
		return 0; /* the journal has not heard of it yet */
	return journal_append(f->journal, &change, 1, &seq, NULL);
}

void folder_unlink_node(struct folder *f, struct node *n)
{
	folder_note_change(f, n);
	touch_dir(n->parent);
	space_release(f, n);
	n->ctime_ns = folder_now();
	if (!n->opens) {
		scratch_put(f->pool, n->scratch);
		n->scratch = NULL;
		n->size = n->content.size;
		n->dirty = false;
	}
	node_unlink(f->nodes, n);
}

int folder_unlink(struct folder *f, struct node *dir, const char *name)
{
	struct node *n = node_child(f->nodes, dir, name);
	int r;

	if (!n)
		return -ENOENT;
	if (n->type == ROMFS_DIR)
		return -EISDIR;
	r = journal_drop(f, n);
	if (r < 0)
		return r;
	folder_unlink_node(f, n);
	return 0;
}

int folder_rmdir(struct folder *f, struct node *dir, const char *name)
{
	struct node *n = node_child(f->nodes, dir, name);
	int r;

	if (!n)
		return -ENOENT;
	if (n->type != ROMFS_DIR)
		return -ENOTDIR;
	if (n->first_child)
		return -ENOTEMPTY;
	r = journal_drop(f, n);
	if (r < 0)
		return r;
	folder_unlink_node(f, n);
	return 0;
}

static int check_replace(const struct node *n, const struct node *over, unsigned flags)
{
	if (!over)
		return flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (flags & RENAME_EXCHANGE)
		return 0;
	if (over->type == ROMFS_DIR && n->type != ROMFS_DIR)
		return -EISDIR;
	if (over->type != ROMFS_DIR && n->type == ROMFS_DIR)
		return -ENOTDIR;
	return over->first_child ? -ENOTEMPTY : 0;
}

static bool is_below(const struct node *n, const struct node *top)
{
	while (n && n != top)
		n = n->parent;
	return n == top;
}

/* The journal's frame says where the node will be; the table follows only when the frame
 * stands. */
static int journal_rename(struct folder *f, struct node *n, const struct node *to_dir,
	const char *to_name, const struct node *over)
{
	struct journal_change changes[2];
	size_t count = 0;
	uint64_t seq;

	/* The name is given up before it is taken: replaying needs that order. */
	if (over && !over->fresh)
		changes[count++] = (struct journal_change){
			.kind = JOURNAL_DROP, .entry.id = over->id};
	changes[count].kind = JOURNAL_PUT;
	folder_entry_of(n, &changes[count].entry);
	changes[count].entry.parent = to_dir->id;
	changes[count].entry.name = to_name;
	return journal_append(f->journal, changes, count + 1, &seq, NULL);
}

static int journal_exchange(struct folder *f, const struct node *a, const struct node *b)
{
	struct journal_change changes[2] = {{.kind = JOURNAL_PUT}, {.kind = JOURNAL_PUT}};
	uint64_t seq;

	folder_entry_of(a, &changes[0].entry);
	folder_entry_of(b, &changes[1].entry);
	changes[0].entry.parent = b->parent->id;
	changes[0].entry.name = b->name;
	changes[1].entry.parent = a->parent->id;
	changes[1].entry.name = a->name;
	return journal_append(f->journal, changes, 2, &seq, NULL);
}

static int stage_before_rename(struct folder *f, struct node *n)
{
	uint64_t seq;

	/* Whoever replaces a file by one that is still open would find neither after a
	 * crash; and a node that the journal does not know cannot be renamed in it. */
	return n->type == ROMFS_FILE && n->dirty ? folder_stage(f, n, &seq) : 0;
}

static bool fits_below(const struct node *dir, const struct node *n)
{
	return node_depth(dir) + 1 + node_height(n) <= ROMFS_DEPTH_MAX;
}

static void renamed(struct folder *f, struct node *n)
{
	touch_dir(n->parent);
	n->ctime_ns = folder_now();
	settle_tree(f, n);
	folder_note_change(f, n);
}

static int exchange(struct folder *f, struct node *a, struct node *b)
{
	int r;

	if (is_below(a, b))
		return -EINVAL;
	if (!fits_below(a->parent, b) || !fits_below(b->parent, a))
		return -ENAMETOOLONG;
	r = space_check_exchange(f, a, b);
	if (r == 0)
		r = stage_before_rename(f, a);
	if (r == 0)
		r = stage_before_rename(f, b);
	if (r == 0)
		r = journal_exchange(f, a, b);
	if (r < 0)
		return r;
	node_exchange(f->nodes, a, b);
	renamed(f, a);
	renamed(f, b);
	return 0;
}

static int move(struct folder *f, struct node *n, struct node *over, struct node *to_dir,
	const char *to_name)
{
	_cleanup_free_ char *name = NULL;
	int r;

	if (strlen(to_name) > ROMFS_NAME_MAX || !fits_below(to_dir, n))
		return -ENAMETOOLONG;
	name = strdup(to_name);
	if (!name)
		return -ENOMEM;
	r = space_check_move(f, n, over, to_dir, to_name);
	if (r == 0)
		r = stage_before_rename(f, n);
	if (r == 0)
		r = journal_rename(f, n, to_dir, to_name, over);
	if (r < 0)
		return r;
	folder_note_change(f, n); /* where it was */
	touch_dir(n->parent);
	if (over)
		folder_unlink_node(f, over);
	node_move(f->nodes, n, to_dir, TAKE_PTR(name));
	renamed(f, n);
	return 0;
}

int folder_rename(struct folder *f, struct node *dir, const char *name, struct node *to_dir,
	const char *to_name, unsigned flags)
{
	struct node *n = node_child(f->nodes, dir, name);
	struct node *over = node_child(f->nodes, to_dir, to_name);
	int r;

	if (!n || !to_dir->linked)
		return -ENOENT;
	if (flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE) || is_below(to_dir, n))
		return -EINVAL;
	if (n == over)
		return flags & RENAME_NOREPLACE ? -EEXIST : 0;
	r = check_replace(n, over, flags);
	if (r < 0)
		return r;
	return flags & RENAME_EXCHANGE ? exchange(f, n, over)
				       : move(f, n, over, to_dir, to_name);
}

int folder_set_mtime(struct folder *f, struct node *n, int64_t mtime_ns)
{
	int64_t old = n->note_ns;
	int r;

	n->ctime_ns = folder_now();
	/* The time belongs to what is being written: both come into the journal together. */
	if (n->dirty || !n->linked) {
		n->mtime_ns = mtime_ns;
		n->mtime_set = true;
		return 0;
	}
	if (n->note_ns != mtime_ns) {
		n->note_ns = mtime_ns;
		r = folder_journal_put(f, n);
		if (r < 0) {
			n->note_ns = old;
			return r;
		}
		folder_note_change(f, n);
	}
	n->mtime_ns = mtime_ns;
	return 0;
}
