/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/unit/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <time.h>

#include <cmocka.h>

#include "util/io.h"

/* --- files ----------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void remove_tree(const char *path)
{
	(void)!nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

void rig_make(struct rig *r, uint64_t size)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ uint8_t *blank = malloc(size);

	*r = (struct rig){.pack = {.notes = true}, .quiet_ms = 3600000};
	snprintf(r->dir, sizeof(r->dir), "rig.XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->image, sizeof(r->image), "%s/image", r->dir);
	snprintf(r->state, sizeof(r->state), "%s/state", r->dir);
	fd = open(r->image, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_non_null(blank);
	memset(blank, 0xFF, size);
	assert_int_equal(io_write_full(fd, blank, size), 0);
}

void rig_remove(struct rig *r)
{
	rig_detach(r);
	remove_tree(r->dir);
}

void rig_forget_state(struct rig *r)
{
	remove_tree(r->state);
}

void rig_forget_bytes(struct rig *r)
{
	struct mirror *m = rig_folder(r)->mirror;

	assert_int_equal(mirror_forget(m, 0, mirror_size(m)), 0);
}

/* --- attaching ------------------------------------------------------------------------- */

static void on_notify(void *ctx)
{
	struct rig *r = ctx;

	r->notified++;
}

static void on_log(void *ctx, int level, const char *text)
{
	struct rig *r = ctx;

	snprintf(r->log, sizeof(r->log), "%s", text);
}

static int on_worker(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct rig *r = data;

	worker_dispatch(r->worker);
	return 0;
}

static void on_idle(void *ctx)
{
	struct rig *r = ctx;

	flash_rest(r->a.flash);
}

static bool wants_idle(void *ctx)
{
	struct rig *r = ctx;

	return !flash_is_resting(r->a.flash);
}

static struct log_sink log_sink;

static void start(struct rig *r)
{
	const struct worker_hooks hooks = {
		.idle = on_idle, .wants_idle = wants_idle, .ctx = r, .linger_ms = 50};
	struct committer_options o = {
		.folder = r->a.folder,
		.flash = r->a.flash,
		.base = &r->a.base,
		.port = r->link ? link_port(r->link) : NULL,
		.quiet_ms = r->quiet_ms,
		.quiet_max_ms = r->quiet_ms,
		.idle_ms = r->idle_ms,
		.notify = on_notify,
		.ctx = r,
		.log = &log_sink,
	};

	assert_true(sd_event_new(&r->event) >= 0);
	assert_int_equal(worker_new(&hooks, &r->worker), 0);
	o.event = r->event;
	o.worker = r->worker;
	assert_int_equal(committer_new(&o, &r->committer), 0);
	r->a.folder->changed = committer_changed;
	r->a.folder->changed_ctx = r->committer;
	assert_true(sd_event_add_io(r->event, NULL, worker_event_fd(r->worker), EPOLLIN,
			    on_worker, r) >= 0);
}

struct link *rig_link(struct rig *r, const struct log_sink *log)
{
	struct link_options o = {.cancel_fd = -1, .log = log};
	struct link *link;

	assert_int_equal(port_path_new(r->image, &o.port), 0);
	assert_int_equal(link_new(&o, &link), 0);
	return link;
}

int rig_try_attach(struct rig *r, struct error *err)
{
	struct attach_options o = {
		.flash = {.cancel_fd = -1, .image_size = r->image_size, .log = &log_sink},
		.state_dir = r->state,
		.pack = &r->pack,
		.id = r->id,
		.ask = r->ask,
	};
	int result;

	assert_null(r->worker);
	log_sink = (struct log_sink){.write = on_log, .data = r};
	error_clear(err);
	if (r->board)
		o.flash.link = r->link = rig_link(r, &log_sink);
	else
		o.flash.path = r->image;
	result = attach(&o, &r->a, err);
	if (result == 0) {
		start(r);
	} else {
		link_free(r->link);
		r->link = NULL;
	}
	return result;
}

void rig_attach(struct rig *r)
{
	struct error err = {0};

	if (rig_try_attach(r, &err) < 0)
		fail_msg("cannot attach: %s", err.text);
}

void rig_detach(struct rig *r)
{
	if (!r->worker)
		return;
	worker_free(r->worker);
	committer_free(r->committer);
	sd_event_unref(r->event);
	attached_clear(&r->a);
	link_free(r->link);
	r->link = NULL;
	r->worker = NULL;
	r->committer = NULL;
	r->event = NULL;
}

void rig_reattach(struct rig *r)
{
	rig_detach(r);
	rig_attach(r);
}

/* --- the loop -------------------------------------------------------------------------- */

void rig_run_until(struct rig *r, bool (*is_done)(struct rig *r))
{
	while (!is_done(r))
		if (sd_event_run(r->event, 20000000) <= 0)
			fail_msg("nothing happens");
}

static void on_synced(void *ctx, int result)
{
	struct rig *r = ctx;

	r->waiting = false;
	r->result = result;
}

void rig_start_sync(struct rig *r)
{
	assert_false(r->waiting);
	r->waiter.done = on_synced;
	r->waiter.ctx = r;
	r->waiting = true;
	committer_sync(r->committer, &r->waiter);
}

static bool is_synced(struct rig *r)
{
	return !r->waiting;
}

int rig_finish_sync(struct rig *r)
{
	rig_run_until(r, is_synced);
	return r->result;
}

int rig_try_sync(struct rig *r)
{
	rig_start_sync(r);
	return rig_finish_sync(r);
}

void rig_sync(struct rig *r)
{
	if (rig_try_sync(r) < 0)
		fail_msg("sync: %s: %s", strerror(-r->result), r->log);
}

struct fetching {
	struct worker_job job;
	struct rig *r;
	struct romfs_extent what;
	int result;
};

static void fetch_run(struct worker_job *job)
{
	struct fetching *f = container_of(job, struct fetching, job);
	struct error err = {0};

	f->result = flash_fetch(f->r->a.flash, f->what.off, f->what.len, &err);
}

static void fetch_done(struct worker_job *job)
{
	container_of(job, struct fetching, job)->r->fetching = false;
}

static bool is_fetched(struct rig *r)
{
	return !r->fetching;
}

/* A sync may be waited for, and end, meanwhile. */
void rig_fetch(struct rig *r, struct node *n)
{
	struct fetching f = {.job = {.run = fetch_run, .done = fetch_done}, .r = r};

	/* A commit that ended meanwhile has other bytes of it on flash. */
	while (folder_has_bytes(r->a.folder, n, &f.what) != 0) {
		r->fetching = true;
		worker_submit(r->worker, &f.job, true);
		rig_run_until(r, is_fetched);
		assert_int_equal(f.result, 0);
	}
}

/* --- the folder ------------------------------------------------------------------------ */

static struct node *find_dir(struct rig *r, const char *path, const char **last)
{
	struct node *n = node_root(r->a.folder->nodes);
	const char *slash;

	while (n && (slash = strchr(path, '/'))) {
		char name[256];

		snprintf(name, sizeof(name), "%.*s", (int)(slash - path), path);
		n = node_child(r->a.folder->nodes, n, name);
		path = slash + 1;
	}
	*last = path;
	return n;
}

struct node *rig_find(struct rig *r, const char *path)
{
	const char *last;
	struct node *dir = find_dir(r, path, &last);

	return dir && last[0] ? node_child(r->a.folder->nodes, dir, last) : dir;
}

static struct node *find(struct rig *r, const char *path)
{
	struct node *n = rig_find(r, path);

	if (!n)
		fail_msg("there is no %s", path);
	return n;
}

static struct node *dir_of(struct rig *r, const char *path, const char **last)
{
	struct node *dir = find_dir(r, path, last);

	if (!dir)
		fail_msg("no directory for %s", path);
	return dir;
}

void rig_open(struct node *n)
{
	n->opens++;
}

int rig_try_close(struct rig *r, struct node *n)
{
	struct folder *f = r->a.folder;
	uint64_t seq;
	int result = folder_stage(f, n, &seq);

	n->opens--;
	folder_close_scratch(f, n);
	node_release(f->nodes, n);
	return result;
}

void rig_close(struct rig *r, struct node *n)
{
	assert_int_equal(rig_try_close(r, n), 0);
}

int rig_try_write(struct rig *r, const char *path, const void *buf, size_t len)
{
	struct folder *f = r->a.folder;
	const char *last;
	struct node *dir = dir_of(r, path, &last), *n = rig_find(r, path);
	ssize_t done = 0;
	int result = n ? folder_truncate(f, n, 0) : folder_create(f, dir, last, &n);

	if (result < 0)
		return result;
	rig_open(n);
	if (len)
		done = folder_write(f, n, buf, len, 0);
	result = rig_try_close(r, n);
	return done < 0 ? (int)done : result;
}

void rig_write(struct rig *r, const char *path, const void *buf, size_t len)
{
	assert_int_equal(rig_try_write(r, path, buf, len), 0);
}

void rig_mkdir(struct rig *r, const char *path)
{
	const char *last;
	struct node *dir = dir_of(r, path, &last), *n;

	assert_int_equal(folder_mkdir(r->a.folder, dir, last, &n), 0);
}

void rig_unlink(struct rig *r, const char *path)
{
	const char *last;
	struct node *dir = dir_of(r, path, &last);

	assert_int_equal(folder_unlink(r->a.folder, dir, last), 0);
}

int rig_try_rename(struct rig *r, const char *from, const char *to, unsigned flags)
{
	const char *name, *to_name;
	struct node *dir = dir_of(r, from, &name), *to_dir = dir_of(r, to, &to_name);

	return folder_rename(r->a.folder, dir, name, to_dir, to_name, flags);
}

void rig_rename(struct rig *r, const char *from, const char *to)
{
	assert_int_equal(rig_try_rename(r, from, to, 0), 0);
}

/* --- expectations ---------------------------------------------------------------------- */

void rig_expect_bytes(struct rig *r, struct node *n, const void *buf, size_t len)
{
	_cleanup_free_ uint8_t *have = malloc(n->size + 1);
	char path[600];

	node_path(n, path, sizeof(path));
	assert_non_null(have);
	rig_fetch(r, n);
	if (n->size != len)
		fail_msg("%s has %llu bytes instead of %zu", path, (unsigned long long)n->size,
			len);
	assert_int_equal(folder_read(r->a.folder, n, have, len + 1, 0), len);
	if (len && memcmp(have, buf, len) != 0)
		fail_msg("%s has other bytes than were written", path);
}

void rig_expect(struct rig *r, const char *path, const void *buf, size_t len)
{
	rig_expect_bytes(r, find(r, path), buf, len);
}

void rig_expect_none(struct rig *r, const char *path)
{
	if (rig_find(r, path))
		fail_msg("%s is there", path);
}

void rig_expect_charges(struct rig *r)
{
	struct folder *f = r->a.folder;
	uint64_t charged = f->charged, junk = f->junk_charged;

	folder_recount(f);
	if (charged != f->charged || junk != f->junk_charged)
		fail_msg("reckoned %llu and %llu of junk, counted %llu and %llu",
			(unsigned long long)charged, (unsigned long long)junk,
			(unsigned long long)f->charged, (unsigned long long)f->junk_charged);
}

void rig_expect_image(struct rig *r, unsigned entries)
{
	_cleanup_close_ int fd = open(r->image, O_RDONLY | O_CLOEXEC);
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	struct error err = {0};
	struct romfs_source source;
	struct stat st;

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	source = romfs_source_fd(&fd, (uint64_t)st.st_size);
	assert_int_equal(romfs_parse(&source, &image, &err), 0);
	if (image->status != ROMFS_VALID)
		fail_msg("flash holds no valid image: %s", image->why.text);
	assert_int_equal(romfs_tree_count(image->tree), entries + 1);
}

/* --- random ---------------------------------------------------------------------------- */

uint64_t rig_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

void rig_fill(void *buf, size_t len, uint64_t seed)
{
	uint8_t *p = buf;

	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)rig_random(&seed);
}

uint64_t rig_seed(const char *test)
{
	const char *given = getenv("SEED");
	uint64_t seed = given ? strtoull(given, NULL, 0) : (uint64_t)time(NULL) * 2654435761u;

	print_message("%s: SEED=%llu\n", test, (unsigned long long)seed);
	return seed;
}
