/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fuse/volume_private.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "tests/unit/rig.h"
#include "tests/unit/romfs_bytes.h"
#include "util/io.h"

#define SIZE (256u << 10)
#define BLOCK 4096u

/* A volume on the fakeboard; the rig's helpers work on its folder. */
struct bed {
	struct rig rig;
	struct log_sink log;
	struct volume *v;
	bool ready, done;
	int result;
	struct error err;
	uint64_t bytes;
	struct volume_extent *extents;
	size_t n_extents;
	unsigned ends;
};

static struct bed bed;
static uint8_t one[30000], two[9000];

/* --- a volume ----------------------------------------------------------------------------- */

static int on_worker(sd_event_source *s, int fd, uint32_t events, void *data)
{
	worker_dispatch(bed.rig.worker);
	return 0;
}

static void on_idle(void *ctx)
{
	if (bed.v)
		volume_rest(bed.v);
}

static bool wants_idle(void *ctx)
{
	return bed.v && !volume_is_resting(bed.v);
}

static void on_ready(void *ctx, int result, const char *text)
{
	if (result < 0)
		fail_msg("cannot attach: %s", text);
	bed.ready = true;
}

static void on_ended(void *ctx, int result)
{
	bed.ends++;
}

static void quiet(void *ctx, int level, const char *text)
{
	snprintf(bed.rig.log, sizeof(bed.rig.log), "%s", text);
}

static bool is_ready(struct rig *r)
{
	return bed.ready;
}

static void attach_volume(bool verify_all)
{
	const struct worker_hooks hooks = {
		.idle = on_idle, .wants_idle = wants_idle, .linger_ms = 50};
	struct rig *r = &bed.rig;
	struct volume_options o = {
		.attach = {.flash = {.cancel_fd = -1, .log = &bed.log},
			.state_dir = r->state,
			.pack = &r->pack},
		.mountpoint = "/mnt/board",
		.quiet_ms = 3600000,
		.verify_all = verify_all,
		.ended = on_ended,
	};

	bed.log = (struct log_sink){.write = quiet};
	r->link = rig_link(r, &bed.log);
	assert_true(sd_event_new(&r->event) >= 0);
	assert_int_equal(worker_new(&hooks, &r->worker), 0);
	assert_true(sd_event_add_io(r->event, NULL, worker_event_fd(r->worker), EPOLLIN,
			    on_worker, NULL) >= 0);
	o.event = r->event;
	o.worker = r->worker;
	o.attach.flash.link = r->link;
	bed.ready = false;
	assert_int_equal(volume_new(&o, on_ready, NULL, &bed.v), 0);
	rig_run_until(r, is_ready);
	r->a.folder = bed.v->attached.folder;
	r->a.flash = bed.v->attached.flash;
	r->committer = bed.v->committer;
}

/* As a crash does it. */
static void detach_volume(void)
{
	struct rig *r = &bed.rig;

	worker_free(r->worker);
	volume_free(bed.v);
	bed.v = NULL;
	link_free(r->link);
	r->event = sd_event_unref(r->event);
	r->worker = NULL;
	r->link = NULL;
	r->committer = NULL;
	r->a = (struct attached){0};
}

static void reattach_volume(void)
{
	detach_volume();
	attach_volume(false);
}

static int setup(void **state)
{
	fault_no_flush = true;
	memset(&bed, 0, sizeof(bed));
	rig_fill(one, sizeof(one), 1);
	rig_fill(two, sizeof(two), 2);
	rig_make(&bed.rig, 16);
	fakeboard_make(SIZE, BLOCK);
	bed.rig.board = true;
	attach_volume(false);
	*state = &bed.rig;
	return 0;
}

static int teardown(void **state)
{
	if (bed.v)
		detach_volume();
	free(bed.extents);
	rig_remove(&bed.rig);
	fakeboard_remove();
	return 0;
}

/* --- operations ---------------------------------------------------------------------------- */

static void on_operated(void *ctx, const struct volume_result *result)
{
	size_t bytes = result->n_extents * sizeof(*result->extents);

	bed.done = true;
	bed.result = result->result;
	bed.err = result->err;
	bed.bytes = result->bytes;
	bed.extents = realloc(bed.extents, bytes + 1);
	if (bytes)
		memcpy(bed.extents, result->extents, bytes);
	bed.n_extents = result->n_extents;
}

static bool is_done(struct rig *r)
{
	return bed.done;
}

static void begin(struct volume_order order)
{
	order.done = on_operated;
	bed.done = false;
	assert_int_equal(volume_operate(bed.v, &order), 0);
	assert_false(bed.done);
}

static int try_operate(struct volume_order order)
{
	begin(order);
	rig_run_until(&bed.rig, is_done);
	return bed.result;
}

static void operate(struct volume_order order)
{
	if (try_operate(order) < 0)
		fail_msg("operation %d: %s", (int)order.what, bed.err.text);
}

static int memory(const void *bytes, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, bytes, len), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static struct volume_order restore(const void *bytes, size_t len, bool exact)
{
	return (struct volume_order){
		.what = VOLUME_RESTORE, .fd = memory(bytes, len), .exact = exact};
}

static const struct volume_order format = {.what = VOLUME_FORMAT, .fd = -1};
static const struct volume_order verify = {.what = VOLUME_VERIFY, .fd = -1};
static const struct volume_order layout = {.what = VOLUME_LAYOUT, .fd = -1};

/* An image of the tree that `old` wants, as another partition had it: in our layout. */
static uint8_t image[SIZE];
static void take_image(struct rig *r)
{
	rig_mkdir(r, "lib");
	rig_write(r, "lib/one.py", one, sizeof(one));
	rig_write(r, "two.bin", two, sizeof(two));
	rig_write(r, "empty", "", 0);
	rig_sync(r);
	memcpy(image, fakeboard.flash, SIZE);
}

static void expect_image(struct rig *r)
{
	rig_expect(r, "lib/one.py", one, sizeof(one));
	rig_expect(r, "two.bin", two, sizeof(two));
	rig_expect(r, "empty", "", 0);
	rig_expect_none(r, "old");
	rig_expect_none(r, "staged");
	rig_expect_charges(r);
}

/* Flash is what the folder shows, and somebody who knows nothing of it sees the same. */
static void expect_flash(unsigned entries)
{
	_cleanup_(romfs_image_freep) struct romfs_image *parsed = NULL;
	const struct romfs_buffer buffer = {.data = fakeboard.flash, .len = SIZE};
	const struct romfs_source source = romfs_source_buffer(&buffer);
	struct error err = {0};

	assert_int_equal(romfs_parse(&source, &parsed, &err), 0);
	if (parsed->status != ROMFS_VALID)
		fail_msg("flash holds no valid image: %s", parsed->why.text);
	assert_int_equal(romfs_tree_count(parsed->tree), entries + 1);
}

static void other_tree(struct rig *r)
{
	rig_write(r, "old", two, 5000);
	rig_mkdir(r, "lib2");
	rig_write(r, "lib2/one.py", two, 700);
	rig_unlink(r, "two.bin");
	rig_sync(r);
}

/* --- save ---------------------------------------------------------------------------------- */

static void test_save(void **state)
{
	struct rig *r = *state;
	_cleanup_free_ uint8_t *got = malloc(SIZE + 1);
	int fd = memory("", 0);

	rig_write(r, "staged", one, sizeof(one));
	fakeboard.flash[SIZE - 5] = 0x55; /* nobody's, and still part of the image */
	operate((struct volume_order){.what = VOLUME_SAVE, .fd = dup(fd)});
	assert_int_equal(bed.bytes, SIZE);
	assert_int_equal(pread(fd, got, SIZE + 1, 0), SIZE);
	assert_memory_equal(got, fakeboard.flash, SIZE);
	expect_flash(1); /* what was staged came first */
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	/* What is not used may change behind our back, and is told as it is. */
	fakeboard.flash[SIZE - 5] = 0x11;
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	operate((struct volume_order){.what = VOLUME_SAVE, .fd = dup(fd)});
	assert_int_equal(pread(fd, got, SIZE + 1, 0), SIZE);
	assert_memory_equal(got, fakeboard.flash, SIZE);
	close(fd);
}

static void test_save_fails(void **state)
{
	struct rig *r = *state;
	int ends[2], full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	rig_write(r, "a", one, sizeof(one));
	assert_true(full >= 0);
	assert_int_equal(
		try_operate((struct volume_order){.what = VOLUME_SAVE, .fd = full}), -ENOSPC);
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	close(ends[0]);
	assert_int_equal(
		try_operate((struct volume_order){.what = VOLUME_SAVE, .fd = ends[1]}), -EPIPE);
	/* Nobody reads, and then nobody wants it any more. */
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	begin((struct volume_order){.what = VOLUME_SAVE, .fd = ends[1]});
	assert_int_equal(volume_operate(bed.v, &verify), -EBUSY);
	assert_true(sd_event_run(r->event, 1000000) > 0);
	volume_operate_cancel(bed.v);
	rig_run_until(r, is_done);
	assert_int_equal(bed.result, -ECANCELED);
	close(ends[0]);
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	rig_expect(r, "a", one, sizeof(one));
	operate(verify);
}

/* Where in flash a file stands. */
static uint64_t place_of(struct rig *r, const char *path)
{
	struct node *n = rig_find(r, path);

	assert_non_null(n);
	assert_int_equal(n->content.kind, CONTENT_BASE);
	return n->content.off;
}

static void test_strangers(void **state)
{
	struct rig *r = *state;
	int fd = memory("", 0);

	take_image(r);
	operate(verify);
	assert_true(bed.bytes >= sizeof(one) + sizeof(two));
	fakeboard.flash[place_of(r, "lib/one.py") + 20000] ^= 1;
	assert_int_equal(
		try_operate((struct volume_order){.what = VOLUME_SAVE, .fd = fd}), -ESTALE);
	assert_int_equal(try_operate(verify), -ESTALE);
	assert_true(strstr(bed.err.text, "lib/one.py") || strstr(bed.err.text, "another"));
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	fakeboard.flash[place_of(r, "lib/one.py") + 20000] ^= 1;
	operate(verify);
}

/* --- layout -------------------------------------------------------------------------------- */

static void test_layout(void **state)
{
	struct rig *r = *state;
	uint64_t end = 0, file = 0;
	unsigned opens;
	bool blank = false, head = false;

	take_image(r);
	opens = fakeboard.opens;
	operate(layout);
	assert_int_equal(fakeboard.opens, opens); /* the board is not asked */
	for (size_t i = 0; i < bed.n_extents; i++) {
		const struct volume_extent *e = &bed.extents[i];

		if (e->off < end || e->off > end + 16)
			fail_msg("%s at %llu behind what ends at %llu", e->kind,
				(unsigned long long)e->off, (unsigned long long)end);
		end = e->off + e->len;
		if (strcmp(e->name, "lib/one.py") == 0) {
			assert_string_equal(e->kind, "file");
			assert_int_equal(e->len, sizeof(one));
			file = e->off;
		}
		head |= strcmp(e->kind, "head") == 0 && e->off == 0;
		blank |= strcmp(e->kind, "blank") == 0;
	}
	assert_int_equal(end, SIZE);
	assert_int_equal(file, place_of(r, "lib/one.py"));
	assert_true(head && blank);
}

/* --- format -------------------------------------------------------------------------------- */

static void test_format(void **state)
{
	struct rig *r = *state;
	struct node *open;

	take_image(r);
	rig_write(r, "staged", two, 100);
	open = rig_find(r, "two.bin");
	rig_open(open);
	operate(format);
	assert_null(node_root(r->a.folder->nodes)->first_child);
	expect_flash(0);
	rig_expect_bytes(r, open, two, sizeof(two)); /* who had it open still reads it */
	open->opens--;
	folder_close_scratch(r->a.folder, open);
	node_release(r->a.folder->nodes, open);
	rig_expect_charges(r);
	reattach_volume();
	assert_null(node_root(bed.rig.a.folder->nodes)->first_child);
	assert_false(folder_is_staged(bed.rig.a.folder));
	rig_write(&bed.rig, "new", one, 100);
	rig_sync(&bed.rig);
	expect_flash(1);
}

/* Another program was there: the user says that it shall go. */
static void test_format_strangers(void **state)
{
	struct rig *r = *state;

	take_image(r);
	rig_fill(fakeboard.flash, SIZE, 77);
	rig_write(r, "staged", two, 100);
	assert_int_equal(rig_try_sync(r), -ESTALE);
	operate(format);
	expect_flash(0);
	operate(verify);
	rig_write(r, "new", one, sizeof(one));
	rig_sync(r);
	rig_expect(r, "new", one, sizeof(one));
	reattach_volume();
	rig_expect(&bed.rig, "new", one, sizeof(one));
}

/* --- restore ------------------------------------------------------------------------------- */

static void test_restore(void **state)
{
	struct rig *r = *state;
	int64_t mtime;

	take_image(r);
	mtime = rig_find(r, "lib/one.py")->note_ns;
	other_tree(r);
	rig_write(r, "staged", two, 100);
	operate(restore(image, SIZE, false));
	expect_image(r);
	assert_int_equal(rig_find(r, "lib/one.py")->note_ns, mtime);
	assert_false(folder_is_staged(r->a.folder));
	expect_flash(4);
	reattach_volume();
	expect_image(&bed.rig);
	assert_false(folder_is_staged(bed.rig.a.folder));
}

static void test_exact(void **state)
{
	struct rig *r = *state;
	uint8_t rest[SIZE];
	size_t len = 11 * BLOCK, end;

	take_image(r);
	operate((struct volume_order){.what = VOLUME_COMPACT, .fd = -1, .packed = true});
	memcpy(image, fakeboard.flash, SIZE);
	while (image[len - 1] == 0xFF)
		len--;
	assert_true(len % BLOCK > 12); /* it ends inside of a block */
	other_tree(r);
	rig_write(r, "staged", two, 100);
	memcpy(rest, fakeboard.flash, SIZE);
	operate(restore(image, len, true));
	assert_true(bed.bytes > sizeof(one) + sizeof(two));
	assert_memory_equal(fakeboard.flash, image, len);
	end = (len / BLOCK + 1) * BLOCK;
	assert_memory_equal(fakeboard.flash + end, rest + end, SIZE - end);
	expect_image(r);
	assert_false(folder_is_staged(r->a.folder));
	/* Once more is no work at all. */
	fakeboard.changes = 0;
	operate(restore(image, len, true));
	assert_int_equal(fakeboard.changes, 0);
	operate(restore(image, SIZE, true));
	assert_memory_equal(fakeboard.flash, image, SIZE);
	rig_write(r, "old", two, 100);
	rig_sync(r);
	expect_flash(5);
	operate(restore(image, SIZE, true));
	reattach_volume();
	expect_image(&bed.rig);
	assert_false(folder_is_staged(bed.rig.a.folder));
	assert_memory_equal(fakeboard.flash, image, SIZE);
}

static void test_restore_over_strangers(void **state)
{
	struct rig *r = *state;

	for (unsigned exact = 0; exact < 2; exact++) {
		if (exact)
			operate(format);
		take_image(r);
		rig_fill(fakeboard.flash, SIZE, 78);
		operate(restore(image, SIZE, exact));
		if (exact)
			assert_memory_equal(fakeboard.flash, image, SIZE);
		expect_image(r);
		expect_flash(4);
		reattach_volume();
		r = &bed.rig;
		expect_image(r);
	}
}

static void ignore_name(void *ctx, const char *name)
{
}

/* The journal has all of it before flash changes: a host that dies right then goes on. */
static void test_replaced_and_killed(void **state)
{
	const struct romfs_buffer buffer = {.data = image, .len = SIZE};
	const struct romfs_source source = romfs_source_buffer(&buffer);
	_cleanup_(romfs_image_freep) struct romfs_image *parsed = NULL;
	struct rig *r = *state;
	struct error err = {0};
	int fd;

	take_image(r);
	other_tree(r);
	fd = memory(image, SIZE);
	assert_int_equal(romfs_parse(&source, &parsed, &err), 0);
	assert_int_equal(folder_replace(r->a.folder, parsed->tree, fd, false, ignore_name, NULL,
				 &err),
		0);
	close(fd);
	expect_image(r);
	reattach_volume();
	expect_image(&bed.rig);
	assert_true(folder_is_staged(bed.rig.a.folder));
	rig_sync(&bed.rig);
	expect_flash(4);
}

/* Nothing of it is done. */
static void expect_refused(struct rig *r, const void *bytes, size_t len, bool exact, int code)
{
	uint8_t before[SIZE];

	memcpy(before, fakeboard.flash, SIZE);
	assert_int_equal(try_operate(restore(bytes, len, exact)), code);
	assert_true(bed.err.text[0]);
	assert_memory_equal(fakeboard.flash, before, SIZE);
	rig_expect(r, "old", two, 5000);
	rig_expect(r, "staged", two, 100);
	assert_true(folder_is_staged(r->a.folder));
}

static void test_hostile_images(void **state)
{
	struct rig *r = *state;
	_cleanup_free_ uint8_t *large = calloc(1, 2 * SIZE);
	uint64_t seed = rig_seed("hostile images");
	struct bytes payload = {0}, padding = {0}, whole = {0};

	take_image(r);
	other_tree(r);
	rig_write(r, "staged", two, 100);
	expect_refused(r, image, 0, false, -EINVAL);
	expect_refused(r, image, 100, true, -EINVAL);
	expect_refused(r, large, SIZE, false, -EINVAL);
	expect_refused(r, large, 2 * SIZE, true, -EFBIG);
	memset(large, 0xFF, SIZE);
	expect_refused(r, large, SIZE, true, -EINVAL);
	rig_fill(large, SIZE, rig_random(&seed));
	expect_refused(r, large, SIZE, false, -EINVAL);
	/* Files that share bytes, and would need more than there is. */
	for (unsigned i = 0; i < 40; i++) {
		char name[8];

		snprintf(name, sizeof(name), "f%u", i);
		bytes_pointer_file(&payload, name, 60000, 4000, 1);
	}
	bytes_fill(&padding, 0, 65000);
	bytes_record(&payload, 1, &padding);
	bytes_image(&whole, &payload);
	expect_refused(r, whole.p, whole.n, false, -ENOSPC);
	bytes_done(&whole);
	bytes_done(&payload);
	bytes_done(&padding);
}

/* --- cuts ---------------------------------------------------------------------------------- */

enum cut_what { CUT_FORMAT, CUT_TREE, CUT_EXACT };

static struct volume_order cut_order(enum cut_what what)
{
	return what == CUT_FORMAT ? format : restore(image, SIZE, what == CUT_EXACT);
}

/* The board goes away at the n-th change of flash, and the host forgets what it was about:
 * true where there was one. */
static bool cut(enum cut_what what, unsigned n, bool crash)
{
	struct rig *r = &bed.rig;
	unsigned before;

	operate(format);
	take_image(r);
	other_tree(r);
	rig_write(r, "staged", two, 100);
	before = fakeboard.changes;
	fakeboard.fault_at = (int)(before + n);
	fakeboard.fault_count = 1000000;
	fakeboard.fault_code = -ENODEV;
	fakeboard.fault = FAKEBOARD_HALF;
	bed.result = try_operate(cut_order(what));
	fakeboard.fault_at = -1;
	if (bed.result == 0)
		return false;
	assert_int_equal(bed.result, -ENODEV);
	if (crash)
		reattach_volume();
	if (rig_try_sync(r) < 0)
		fail_msg("%d cut at %u, crash %d: %s", (int)what, n, crash, r->log);
	if (what == CUT_FORMAT) {
		assert_null(node_root(r->a.folder->nodes)->first_child);
		expect_flash(0);
	} else {
		expect_image(r);
		expect_flash(4);
	}
	operate(verify);
	return true;
}

static void test_cuts(void **state)
{
	for (enum cut_what what = CUT_FORMAT; what <= CUT_EXACT; what++)
		for (unsigned crash = 0; crash < 2; crash++) {
			unsigned n = 0;

			while (cut(what, n, crash))
				n++;
			print_message("%d, crash %u: %u cuts\n", (int)what, crash, n);
			assert_true(n > 1);
		}
}

/* A board that cannot be had at all: all is as it was. */
static void test_busy(void **state)
{
	struct rig *r = *state;

	take_image(r);
	other_tree(r);
	rig_write(r, "staged", two, 100);
	fakeboard.open_result = -EBUSY;
	assert_int_equal(try_operate(format), -EBUSY);
	rig_expect(r, "staged", two, 100);
	expect_refused(r, image, SIZE, false, -EBUSY);
	expect_refused(r, image, SIZE, true, -EBUSY);
	fakeboard.open_result = 0;
	rig_sync(r);
	rig_expect(r, "staged", two, 100);
}

/* --- compact ------------------------------------------------------------------------------- */

static uint64_t bytes_of(const char *kind)
{
	uint64_t sum = 0;

	operate(layout);
	for (size_t i = 0; i < bed.n_extents; i++)
		sum += strcmp(bed.extents[i].kind, kind) == 0 ? bed.extents[i].len : 0;
	return sum;
}

static void test_compact(void **state)
{
	struct rig *r = *state;
	uint64_t dead;

	take_image(r);
	for (unsigned i = 0; i < 6; i++) {
		rig_write(r, "old", one, 3000 + i);
		rig_sync(r);
	}
	rig_unlink(r, "old");
	rig_write(r, "staged", two, 100);
	dead = bytes_of("dead");
	assert_true(dead >= 2 * BLOCK);
	operate((struct volume_order){.what = VOLUME_COMPACT, .fd = -1});
	assert_true(bytes_of("dead") < dead / 2);
	rig_expect(r, "staged", two, 100);
	expect_flash(5);
	operate((struct volume_order){.what = VOLUME_COMPACT, .fd = -1, .packed = true});
	expect_flash(5);
	rig_expect(r, "lib/one.py", one, sizeof(one));
	assert_true(bytes_of("dead") < BLOCK);
	reattach_volume();
	rig_expect(&bed.rig, "lib/one.py", one, sizeof(one));
}

/* --- the rest ------------------------------------------------------------------------------- */

/* Whoever syncs during an operation is answered behind it; what he wrote is on flash then. */
static void test_sync_waits(void **state)
{
	struct rig *r = *state;

	take_image(r);
	begin(format);
	assert_true(sd_event_run(r->event, 1000000) > 0); /* it has begun */
	rig_start_sync(r);
	assert_int_equal(rig_finish_sync(r), 0);
	assert_true(bed.done);
	rig_write(r, "new", two, 10);
	rig_sync(r);
	expect_flash(1);
}

/* Everything is compared after each commit where the user wants that. */
static void test_verify_all(void **state)
{
	struct rig *r = *state;

	take_image(r);
	detach_volume();
	attach_volume(true);
	r = &bed.rig;
	rig_write(r, "a", two, 10);
	rig_sync(r);
	rig_fetch(r, rig_find(r, "lib/one.py"));
	rig_fetch(r, rig_find(r, "two.bin"));
	fakeboard.hashed_bytes = 0;
	rig_write(r, "a", two, 20);
	rig_sync(r);
	assert_true(fakeboard.hashed_bytes > sizeof(one) + sizeof(two));
	assert_int_equal(fakeboard.opens, fakeboard.closes);
	fakeboard.flash[place_of(r, "lib/one.py") + 20000] ^= 1;
	rig_write(r, "a", two, 30);
	assert_int_equal(rig_try_sync(r), -ESTALE);
	assert_non_null(strstr(r->log, "lib/one.py"));
}

/* The end comes in the middle. */
static void test_ends(void **state)
{
	static const enum volume_operation all[] = {VOLUME_SAVE, VOLUME_RESTORE, VOLUME_VERIFY,
		VOLUME_LAYOUT, VOLUME_FORMAT, VOLUME_COMPACT};
	struct rig *r = *state;

	take_image(r);
	for (unsigned i = 0; i < ARRAY_SIZE(all); i++)
		for (unsigned turns = 0; turns < 4; turns++) {
			struct volume_order o = {.what = all[i], .fd = -1};

			if (o.what == VOLUME_SAVE || o.what == VOLUME_RESTORE)
				o.fd = memory(image, SIZE);
			begin(o);
			for (unsigned k = 0; k < turns && !bed.done; k++)
				assert_true(sd_event_run(bed.rig.event, 1000000) > 0);
			reattach_volume();
			assert_true(bed.done);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_save, setup, teardown),
		cmocka_unit_test_setup_teardown(test_save_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(test_strangers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_layout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_format, setup, teardown),
		cmocka_unit_test_setup_teardown(test_format_strangers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restore, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exact, setup, teardown),
		cmocka_unit_test_setup_teardown(test_restore_over_strangers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_replaced_and_killed, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_images, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cuts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_compact, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sync_waits, setup, teardown),
		cmocka_unit_test_setup_teardown(test_verify_all, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
	};

	return cmocka_run_group_tests_name("operate", tests, NULL, NULL);
}
