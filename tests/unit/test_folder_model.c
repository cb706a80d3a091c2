/* SPDX-License-Identifier: MIT */
/* Random operations on a folder, beside a model of plain arrays: what the folder shows, what
 * a crash leaves, what flash holds after a commit, and what space is reckoned, must all be
 * what the model says. SEED and STEPS come from the environment. */
#include "config.h"

#include <errno.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/junk.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"

#define OBJECTS 40u
#define BYTES 9000u
#define PARTITION (96u << 10)

struct bytes {
	uint8_t data[BYTES];
	size_t size;
};

struct object {
	bool used, is_dir, linked;
	unsigned parent; /* of objects; 0 is the root */
	char name[64];
	struct node *node;
	unsigned opens;
	struct bytes seen;  /* what a reader sees */
	struct bytes safe;  /* what a crash leaves */
	bool is_safe;	    /* the journal knows it */
	bool mtime_known;
	int64_t mtime_ns;
};

struct model {
	struct rig rig;
	uint64_t rng;
	struct object o[OBJECTS];
	bool committing;
};

static const char *const names[] = {"a", "b", "main.py", "lib", "x.tflite", "save~",
	".goutputstream-1", "a-name-that-is-a-good-deal-longer", ".DS_Store", "c"};

static unsigned pick(struct model *m, unsigned below)
{
	return (unsigned)(rig_random(&m->rng) % below);
}

static const char *any_name(struct model *m)
{
	return names[pick(m, ARRAY_SIZE(names))];
}

/* --- the model ------------------------------------------------------------------------- */

static struct object *find(struct model *m, unsigned parent, const char *name)
{
	for (unsigned i = 1; i < OBJECTS; i++)
		if (m->o[i].used && m->o[i].linked && m->o[i].parent == parent &&
			strcmp(m->o[i].name, name) == 0)
			return &m->o[i];
	return NULL;
}

static unsigned index_of(struct model *m, const struct object *o)
{
	return (unsigned)(o - m->o);
}

static bool has_children(struct model *m, const struct object *dir)
{
	for (unsigned i = 1; i < OBJECTS; i++)
		if (m->o[i].used && m->o[i].linked && m->o[i].parent == index_of(m, dir))
			return true;
	return false;
}

static struct object *any(struct model *m, bool (*is_wanted)(const struct object *o))
{
	unsigned start = pick(m, OBJECTS);

	for (unsigned i = 0; i < OBJECTS; i++) {
		struct object *o = &m->o[(start + i) % OBJECTS];

		if (o->used && is_wanted(o))
			return o;
	}
	return NULL;
}

static bool is_linked_dir(const struct object *o)
{
	return o->is_dir && o->linked;
}

static bool is_linked_file(const struct object *o)
{
	return !o->is_dir && o->linked;
}

static bool is_open(const struct object *o)
{
	return o->opens > 0;
}

static bool is_entry(const struct object *o)
{
	return o->linked && o->name[0];
}

static struct object *any_dir(struct model *m)
{
	struct object *o = any(m, is_linked_dir);

	return o ? o : &m->o[0]; /* the root is always there */
}

static struct object *add(struct model *m, unsigned parent, const char *name, bool is_dir)
{
	for (unsigned i = 1; i < OBJECTS; i++) {
		struct object *o = &m->o[i];

		if (o->used)
			continue;
		*o = (struct object){.used = true,
			.linked = true,
			.is_dir = is_dir,
			.parent = parent};
		snprintf(o->name, sizeof(o->name), "%s", name);
		return o;
	}
	return NULL;
}

static void drop(struct object *o)
{
	o->linked = false;
	if (!o->opens)
		o->used = false;
}

/* Staging makes what is seen safe. */
static void made_safe(struct object *o)
{
	o->safe = o->seen;
	o->is_safe = true;
}

static bool is_junk(struct model *m, const struct object *o)
{
	for (; o != m->o; o = &m->o[o->parent])
		if (junk_name(o->name))
			return true;
	return false;
}

/* --- comparing ------------------------------------------------------------------------- */

static void path_of(struct model *m, const struct object *o, char *out, size_t cap)
{
	char up[600];

	if (o->parent == 0) {
		snprintf(out, cap, "%s", o->name);
		return;
	}
	path_of(m, &m->o[o->parent], up, sizeof(up));
	snprintf(out, cap, "%s/%s", up, o->name);
}

static void check_object(struct model *m, struct object *o)
{
	char path[700];

	path_of(m, o, path, sizeof(path));
	o->node = rig_find(&m->rig, path);
	if (!o->node)
		fail_msg("%s is missing", path);
	assert_int_equal(o->node->type, o->is_dir ? ROMFS_DIR : ROMFS_FILE);
	if (!o->is_dir)
		rig_expect_bytes(&m->rig, o->node, o->seen.data, o->seen.size);
	if (o->mtime_known && o->node->mtime_ns != o->mtime_ns)
		fail_msg("%s has time %lld instead of %lld", path,
			(long long)o->node->mtime_ns, (long long)o->mtime_ns);
}

/* Everything that is linked is there, and nothing else. */
static void check_all(struct model *m)
{
	struct node *root = node_root(rig_folder(&m->rig)->nodes);
	unsigned count = 0, have = 0;

	for (unsigned i = 1; i < OBJECTS; i++) {
		if (!m->o[i].used || !m->o[i].linked)
			continue;
		check_object(m, &m->o[i]);
		count++;
	}
	for (struct node *n = node_next(root, root); n; n = node_next(root, n))
		have++;
	assert_int_equal(have, count);
	rig_expect_charges(&m->rig);
}

/* --- operations: each does the same to both --------------------------------------------- */

static void op_create(struct model *m)
{
	struct object *dir = any_dir(m), *o;
	const char *name = any_name(m);
	struct node *n;
	int r = folder_create(rig_folder(&m->rig), dir->node, name, &n);

	if (find(m, index_of(m, dir), name)) {
		assert_int_equal(r, -EEXIST);
		return;
	}
	if (r < 0) {
		assert_int_equal(r, -ENOSPC);
		return;
	}
	o = add(m, index_of(m, dir), name, false);
	if (!o) {
		assert_int_equal(folder_unlink(rig_folder(&m->rig), dir->node, name), 0);
		return;
	}
	o->node = n;
	o->opens = 1;
	rig_open(n);
}

static void op_mkdir(struct model *m)
{
	struct object *dir = any_dir(m), *o;
	const char *name = any_name(m);
	struct node *n;
	int r = folder_mkdir(rig_folder(&m->rig), dir->node, name, &n);

	if (find(m, index_of(m, dir), name)) {
		assert_int_equal(r, -EEXIST);
		return;
	}
	if (r < 0) {
		assert_int_equal(r, -ENOSPC);
		return;
	}
	o = add(m, index_of(m, dir), name, true);
	if (!o) {
		assert_int_equal(folder_rmdir(rig_folder(&m->rig), dir->node, name), 0);
		return;
	}
	o->node = n;
	o->is_safe = true;
}

static void changed(struct object *o)
{
	o->mtime_known = false;
}

static void op_write(struct model *m)
{
	struct object *o = any(m, is_open);
	uint8_t buf[3000];
	size_t len = 1 + pick(m, sizeof(buf)), off;
	ssize_t r;

	if (!o)
		return;
	off = pick(m, (unsigned)(pick(m, 2) ? o->seen.size + 1 : BYTES));
	len = MIN(len, BYTES - off);
	if (!len)
		return;
	rig_fill(buf, len, pick(m, 3));
	rig_fetch(&m->rig, o->node);
	r = folder_write(rig_folder(&m->rig), o->node, buf, len, off);
	if (r < 0) {
		assert_int_equal(r, -ENOSPC);
		return;
	}
	assert_int_equal(r, len);
	if (off > o->seen.size)
		memset(o->seen.data + o->seen.size, 0, off - o->seen.size);
	memcpy(o->seen.data + off, buf, len);
	o->seen.size = MAX(o->seen.size, off + len);
	changed(o);
}

static void resize(struct object *o, size_t size)
{
	if (size > o->seen.size)
		memset(o->seen.data + o->seen.size, 0, size - o->seen.size);
	o->seen.size = size;
	changed(o);
}

/* ftruncate(2), and truncate(2) of a file that nobody has open. */
static void op_truncate(struct model *m)
{
	struct object *o = any(m, pick(m, 2) ? is_open : is_linked_file);
	size_t size = pick(m, 3) ? pick(m, BYTES) : 0;
	int r;

	if (!o)
		return;
	rig_fetch(&m->rig, o->node);
	rig_open(o->node);
	r = folder_truncate(rig_folder(&m->rig), o->node, size);
	o->node->opens--;
	if (r < 0) {
		assert_int_equal(r, -ENOSPC);
		folder_close_scratch(rig_folder(&m->rig), o->node);
		return;
	}
	resize(o, size);
	if (o->opens)
		return;
	rig_open(o->node);
	rig_close(&m->rig, o->node);
	made_safe(o);
}

static void op_allocate(struct model *m)
{
	struct object *o = any(m, is_open);
	bool keep = pick(m, 2), punch = pick(m, 2), zero = !punch && pick(m, 2);
	size_t off = pick(m, BYTES / 2), len = 1 + pick(m, BYTES / 2);
	size_t end = off + len;
	int r;

	if (!o)
		return;
	keep |= punch;
	rig_fetch(&m->rig, o->node);
	r = folder_allocate(rig_folder(&m->rig), o->node, off, len, keep, punch, zero);
	if (r < 0) {
		assert_int_equal(r, -ENOSPC);
		return;
	}
	if (keep && !punch && !zero)
		return;
	if ((punch || zero) && off < o->seen.size)
		memset(o->seen.data + off, 0, MIN(end, o->seen.size) - off);
	resize(o, keep ? o->seen.size : MAX(o->seen.size, end));
}

static void op_open(struct model *m)
{
	struct object *o = any(m, is_linked_file);

	if (!o || o->opens > 2)
		return;
	rig_open(o->node);
	o->opens++;
}

static void op_close(struct model *m)
{
	struct object *o = any(m, is_open);

	if (!o)
		return;
	rig_close(&m->rig, o->node);
	o->opens--;
	if (o->linked)
		made_safe(o);
	else if (!o->opens)
		o->used = false;
}

static void op_read(struct model *m)
{
	struct object *o = any(m, pick(m, 2) ? is_open : is_linked_file);

	if (o)
		rig_expect_bytes(&m->rig, o->node, o->seen.data, o->seen.size);
}

static void op_unlink(struct model *m)
{
	struct object *o = any(m, is_entry);
	struct folder *f = rig_folder(&m->rig);
	struct node *dir;
	int r;

	if (!o)
		return;
	dir = m->o[o->parent].node;
	r = o->is_dir ? folder_rmdir(f, dir, o->name) : folder_unlink(f, dir, o->name);
	if (has_children(m, o)) {
		assert_int_equal(r, -ENOTEMPTY);
		return;
	}
	assert_int_equal(r, 0);
	drop(o);
}

static bool is_below(struct model *m, const struct object *o, const struct object *top)
{
	while (o != m->o && o != top)
		o = &m->o[o->parent];
	return o == top;
}

/* What rename(2) says of these two. */
static int rename_rule(struct model *m, const struct object *o, const struct object *to_dir,
	const struct object *over, unsigned flags)
{
	if (is_below(m, to_dir, o))
		return -EINVAL;
	if (!over)
		return flags == RENAME_EXCHANGE ? -ENOENT : 0;
	if (flags == RENAME_NOREPLACE)
		return -EEXIST;
	if (over == o)
		return 0;
	if (flags == RENAME_EXCHANGE)
		return is_below(m, o, over) ? -EINVAL : 0;
	if (over->is_dir != o->is_dir)
		return over->is_dir ? -EISDIR : -ENOTDIR;
	return has_children(m, over) ? -ENOTEMPTY : 0;
}

static void renamed(struct model *m, struct object *o, struct object *over,
	struct object *to_dir, const char *to_name, unsigned flags)
{
	if (!o->is_dir)
		made_safe(o);
	if (over && flags == RENAME_EXCHANGE) {
		if (!over->is_dir)
			made_safe(over);
		over->parent = o->parent;
		memcpy(over->name, o->name, sizeof(over->name));
	} else if (over) {
		drop(over);
	}
	o->parent = index_of(m, to_dir);
	snprintf(o->name, sizeof(o->name), "%s", to_name);
}

static void op_rename(struct model *m)
{
	static const unsigned kinds[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	struct object *o = any(m, is_entry), *to_dir = any_dir(m), *over;
	unsigned flags = kinds[pick(m, ARRAY_SIZE(kinds))];
	const char *to_name = any_name(m);
	int want, r;

	if (!o)
		return;
	over = find(m, index_of(m, to_dir), to_name);
	want = rename_rule(m, o, to_dir, over, flags);
	r = folder_rename(rig_folder(&m->rig), m->o[o->parent].node, o->name, to_dir->node,
		to_name, flags);
	if (r == -ENOSPC && want == 0)
		return;
	if (r != want)
		fail_msg("rename %s to %s, flags %u: %d instead of %d", o->name, to_name,
			flags, r, want);
	if (r == 0 && over != o)
		renamed(m, o, over, to_dir, to_name, flags);
}

static void op_mtime(struct model *m)
{
	struct object *o = any(m, is_entry);
	int64_t ns = (int64_t)pick(m, 1u << 30) * 1000000000 + pick(m, 1000000000);

	if (!o)
		return;
	assert_int_equal(folder_set_mtime(rig_folder(&m->rig), o->node, ns), 0);
	o->mtime_ns = ns;
	o->mtime_known = !o->is_dir;
}

static void finish_commit(struct model *m)
{
	if (!m->committing)
		return;
	m->committing = false;
	if (rig_finish_sync(&m->rig) < 0)
		fail_msg("commit: %s", m->rig.log);
}

static void op_commit(struct model *m)
{
	finish_commit(m);
	rig_start_sync(&m->rig);
	m->committing = true;
	if (pick(m, 3) == 0)
		finish_commit(m);
}

static void reattach(struct model *m)
{
	rig_reattach(&m->rig);
	m->o[0].node = node_root(rig_folder(&m->rig)->nodes);
	check_all(m);
}

static void op_remount(struct model *m)
{
	finish_commit(m);
	for (unsigned i = 1; i < OBJECTS; i++)
		while (m->o[i].used && m->o[i].opens) {
			rig_close(&m->rig, m->o[i].node);
			m->o[i].opens--;
			if (m->o[i].linked)
				made_safe(&m->o[i]);
			else if (!m->o[i].opens)
				m->o[i].used = false;
		}
	check_all(m);
	reattach(m);
}

/* Nothing is closed, and a commit may be under way. */
static void op_crash(struct model *m)
{
	for (unsigned i = 1; i < OBJECTS; i++) {
		struct object *o = &m->o[i];

		if (!o->used)
			continue;
		o->opens = 0;
		o->used = o->linked && o->is_safe;
		o->seen = o->safe;
		o->mtime_known = false;
	}
	m->committing = false;
	m->rig.waiting = false;
	reattach(m);
}

/* --- runs ------------------------------------------------------------------------------ */

typedef void (*op_fn)(struct model *m);
static const struct {
	op_fn fn;
	unsigned weight;
} ops[] = {
	{op_create, 12}, {op_mkdir, 5}, {op_write, 18}, {op_truncate, 6}, {op_allocate, 4},
	{op_open, 8}, {op_close, 14}, {op_read, 8}, {op_unlink, 7}, {op_rename, 14},
	{op_mtime, 5}, {op_commit, 2}, {op_remount, 1}, {op_crash, 1},
};

static void step(struct model *m)
{
	unsigned total = 0, at;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ops); i++)
		total += ops[i].weight;
	at = pick(m, total);
	for (i = 0; at >= ops[i].weight; i++)
		at -= ops[i].weight;
	ops[i].fn(m);
}

/* What flash alone tells another host. */
static void check_flash(struct model *m)
{
	op_remount(m);
	if (rig_try_sync(&m->rig) < 0)
		fail_msg("commit: %s", m->rig.log);
	rig_detach(&m->rig);
	rig_forget_state(&m->rig);
	for (unsigned i = 1; i < OBJECTS; i++)
		if (m->o[i].used && is_junk(m, &m->o[i]))
			m->o[i].used = false;
	rig_attach(&m->rig);
	check_all(m);
}

static void run(uint64_t seed, unsigned steps)
{
	static const struct romfs_align aligns[] = {{"*.tflite", 32}, {"lib/*", 64}};
	struct model *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	m->rng = seed;
	rig_make(&m->rig, PARTITION);
	m->rig.pack.aligns = aligns;
	m->rig.pack.n_aligns = ARRAY_SIZE(aligns);
	rig_attach(&m->rig);
	m->o[0] = (struct object){.used = true, .linked = true, .is_dir = true};
	m->o[0].node = node_root(rig_folder(&m->rig)->nodes);
	for (unsigned i = 0; i < steps; i++) {
		step(m);
		rig_expect_charges(&m->rig);
	}
	finish_commit(m);
	check_all(m);
	check_flash(m);
	rig_remove(&m->rig);
	free(m);
}

static void test_model(void **state)
{
	const char *steps = getenv("STEPS");
	uint64_t seed = rig_seed("folder model");
	unsigned runs = getenv("SEED") ? 1 : 4;

	fault_no_flush = true;
	for (unsigned i = 0; i < runs; i++) {
		print_message("SEED=%llu\n", (unsigned long long)(seed + i));
		run(seed + i, steps ? (unsigned)strtoul(steps, NULL, 0) : 5000);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_model)};

	return cmocka_run_group_tests_name("folder model", tests, NULL, NULL);
}
