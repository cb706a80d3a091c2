/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/unit/operate_rig.h"

#include "fuse/volume_private.h"
#include "tests/unit/fakeboard.h"
#include "tests/unit/fault.h"
#include "util/io.h"

struct bed bed;
uint8_t bed_one[30000], bed_two[9000], bed_image[BED_SIZE];
const struct volume_order bed_format = {.what = VOLUME_FORMAT, .fd = -1};
const struct volume_order bed_verify = {.what = VOLUME_VERIFY, .fd = -1};
const struct volume_order bed_layout = {.what = VOLUME_LAYOUT, .fd = -1};

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

void bed_attach(bool verify_all)
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

void bed_detach(void)
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

void bed_reattach(void)
{
	bed_detach();
	bed_attach(false);
}

int bed_setup(void **state)
{
	fault_no_flush = true;
	memset(&bed, 0, sizeof(bed));
	rig_fill(bed_one, sizeof(bed_one), 1);
	rig_fill(bed_two, sizeof(bed_two), 2);
	rig_make(&bed.rig, 16);
	fakeboard_make(BED_SIZE, BED_BLOCK);
	bed.rig.board = true;
	bed_attach(false);
	*state = &bed.rig;
	return 0;
}

int bed_teardown(void **state)
{
	if (bed.v)
		bed_detach();
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

bool bed_is_done(struct rig *r)
{
	return bed.done;
}

void bed_begin(struct volume_order order)
{
	order.done = on_operated;
	bed.done = false;
	assert_int_equal(volume_operate(bed.v, &order), 0);
	assert_false(bed.done);
}

int bed_try(struct volume_order order)
{
	bed_begin(order);
	rig_run_until(&bed.rig, bed_is_done);
	return bed.result;
}

void bed_operate(struct volume_order order)
{
	if (bed_try(order) < 0)
		fail_msg("operation %d: %s", (int)order.what, bed.err.text);
}

int bed_memory(const void *bytes, size_t len)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, bytes, len), 0);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

struct volume_order bed_restore(const void *bytes, size_t len, bool exact)
{
	return (struct volume_order){
		.what = VOLUME_RESTORE, .fd = bed_memory(bytes, len), .exact = exact};
}

/* --- trees ---------------------------------------------------------------------------------- */

void bed_take_image(struct rig *r)
{
	rig_mkdir(r, "lib");
	rig_write(r, "lib/one.py", bed_one, sizeof(bed_one));
	rig_write(r, "two.bin", bed_two, sizeof(bed_two));
	rig_write(r, "empty", "", 0);
	rig_sync(r);
	memcpy(bed_image, fakeboard.flash, BED_SIZE);
}

void bed_expect_image(struct rig *r)
{
	rig_expect(r, "lib/one.py", bed_one, sizeof(bed_one));
	rig_expect(r, "two.bin", bed_two, sizeof(bed_two));
	rig_expect(r, "empty", "", 0);
	rig_expect_none(r, "old");
	rig_expect_none(r, "staged");
	rig_expect_charges(r);
}

void bed_expect_flash(unsigned entries)
{
	_cleanup_(romfs_image_freep) struct romfs_image *parsed = NULL;
	const struct romfs_buffer buffer = {.data = fakeboard.flash, .len = BED_SIZE};
	const struct romfs_source source = romfs_source_buffer(&buffer);
	struct error err = {0};

	assert_int_equal(romfs_parse(&source, &parsed, &err), 0);
	if (parsed->status != ROMFS_VALID)
		fail_msg("flash holds no valid image: %s", parsed->why.text);
	assert_int_equal(romfs_tree_count(parsed->tree), entries + 1);
}

void bed_other_tree(struct rig *r)
{
	rig_write(r, "old", bed_two, 5000);
	rig_mkdir(r, "lib2");
	rig_write(r, "lib2/one.py", bed_two, 700);
	rig_unlink(r, "two.bin");
	rig_sync(r);
}
