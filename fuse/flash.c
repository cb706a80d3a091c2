/* SPDX-License-Identifier: MIT */
/* Connecting, and the mirror. Whether flash is what we think is in flash_trust.c, surveys are
 * in flash_survey.c, plans in flash_execute.c. */
#include "fuse/flash.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>

#include "fuse/flash_private.h"
#include "fuse/portmemo.h"
#include "fuse/portwait.h"
#include "util/clock.h"

#define FETCH_BYTES (256u << 10)
#define LOOK_MAX (64u << 10)
#define LOOK_FIRST (16u << 10) /* bytes of a partition's start */

int flash_new(const struct flash_options *options, struct flash **out)
{
	_cleanup_(flash_freep) struct flash *f = calloc(1, sizeof(*f));

	if (!f)
		return -ENOMEM;
	f->options = *options;
	f->next_fd = -1;
	f->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (f->event_fd < 0)
		return -errno;
	atomic_init(&f->proven, true);
	if (!options->link) {
		f->path = strdup(options->path);
		if (!f->path)
			return -ENOMEM;
	}
	f->options.path = f->path;
	*out = TAKE_PTR(f);
	return 0;
}

void flash_free(struct flash *f)
{
	if (!f)
		return;
	flash_rest(f);
	dev_target_free(f->target);
	flash_settled(f);
	wear_free(f->wear);
	free(f->asked);
	if (f->event_fd >= 0)
		close(f->event_fd);
	free(f->memo_root);
	free(f->memo_identity);
	free(f->path);
	free(f);
}

static bool is_same_partition(const struct dev_geometry *a, const struct dev_geometry *b)
{
	return a->kind == b->kind && a->size == b->size && a->erase_block == b->erase_block &&
		a->write_unit == b->write_unit;
}

void flash_drop_memo(struct flash *f)
{
	if (f->memo_root)
		portmemo_drop(f->memo_root, f->memo_identity, f->options.partition);
}

/* What a later mount would show, without asking, is out of date. */
static bool is_same_firmware(const struct dev_board_info *a, const struct dev_board_info *b)
{
	return strcmp(a->machine, b->machine) == 0 && strcmp(a->firmware, b->firmware) == 0;
}

static int meet_again(struct flash *f, const struct dev_board_info *info, struct error *err)
{
	if (info && strcmp(info->unique_id, f->board.unique_id) != 0)
		return error_set(err, -ENODEV,
			"%s: another board answers there now (id %s instead of %s); attach the "
			"first one again, or unmount",
			flash_name(f), info->unique_id, f->board.unique_id);
	if (!is_same_partition(&f->target->geometry, &f->geometry))
		return error_set(err, -ENODEV,
			"%s: partition rom%u has changed its geometry; unmount and mount again",
			flash_name(f), f->options.partition);
	if (info && f->recalled && !is_same_firmware(info, &f->board))
		flash_drop_memo(f);
	f->recalled = false;
	return 0;
}

static int learn(struct flash *f, const struct dev_board_info *info, struct error *err)
{
	int r;

	if (f->learnt) {
		r = meet_again(f, info, err);
		if (r < 0)
			flash_drop_memo(f);
		return r;
	}
	if (info)
		f->board = *info;
	f->geometry = f->target->geometry;
	f->learnt = true;
	return 0;
}

void flash_recall(struct flash *f, const struct portmemo *memo,
	const struct dev_geometry *geometry)
{
	f->board = memo->board;
	f->has_known = memo->has_known;
	f->known = memo->known;
	f->geometry = *geometry;
	f->learnt = f->recalled = true;
	atomic_store(&f->proven, false);
}

const struct dev_known *flash_known(struct flash *f)
{
	if (f->options.link &&
		link_known(f->options.link, f->options.partition, &f->known) == 0)
		f->has_known = true;
	return f->has_known ? &f->known : NULL;
}

const atomic_bool *flash_proof(const struct flash *f)
{
	return &f->proven;
}

int flash_set_memo(struct flash *f, const char *root, const char *identity)
{
	f->memo_root = strdup(root);
	f->memo_identity = strdup(identity);
	return f->memo_root && f->memo_identity ? 0 : -ENOMEM;
}

static int open_image(struct flash *f, struct error *err)
{
	error_clear(err);
	return dev_image_open(f->path, f->options.image_size, true, &f->target, err);
}

static int wait_for_image(struct flash *f, unsigned busy_wait_ms, struct error *err)
{
	deadline_t deadline = deadline_in(busy_wait_ms);
	_cleanup_close_ int watch = portwait_watch(f->path);
	int r = open_image(f, err);

	if (r == -EBUSY && watch >= 0 && busy_wait_ms)
		log_to(f->options.log, LOG_NOTICE, "waiting up to %u s: %s",
			busy_wait_ms / 1000, err->text);
	while (r == -EBUSY && watch >= 0 && busy_wait_ms &&
		portwait_next(watch, f->path, f->options.cancel_fd, deadline) == 0)
		r = open_image(f, err);
	return r;
}

/* Of a session that another partition has ended. */
static void drop_target(struct flash *f)
{
	dev_target_free(f->target);
	f->target = NULL;
	f->trusted = false;
}

static int connect(struct flash *f, bool wait, struct error *err)
{
	const struct flash_options *o = &f->options;
	struct error ignored = {0};
	int r;

	if (!err)
		err = &ignored;
	if (f->target && o->link && !link_holds(o->link, o->partition))
		drop_target(f);
	if (f->target)
		return 0;
	r = o->link ? link_connect(o->link, o->partition, flash_known(f), wait, &f->target, err)
		    : wait_for_image(f, wait ? o->busy_wait_ms : 0, err);
	if (r == 0)
		r = learn(f, o->link ? link_board(o->link) : NULL, err);
	if (r < 0) {
		drop_target(f);
		(void)!flash_disconnect(f, NULL);
	}
	return r;
}

int flash_connect(struct flash *f, struct error *err)
{
	return connect(f, true, err);
}

int flash_try_connect(struct flash *f, struct error *err)
{
	return connect(f, false, err);
}

int flash_disconnect(struct flash *f, struct error *err)
{
	const struct flash_options *o = &f->options;

	f->trusted = false;
	if (!o->link)
		return 0;
	drop_target(f);
	return link_disconnect(o->link, o->partition, err);
}

void flash_rest(struct flash *f)
{
	(void)!flash_disconnect(f, NULL);
	/* What was read is worth keeping, but nothing rests on it until a commit. */
	if (f->stored)
		(void)!mirror_flush(f->mirror);
	f->stored = false;
	if (f->wear)
		wear_save(f->wear);
}

bool flash_is_resting(const struct flash *f)
{
	return !flash_is_connected(f) && !f->stored;
}

void flash_note_read(struct flash *f)
{
	f->read = true;
}

bool flash_was_read(struct flash *f)
{
	return atomic_exchange(&f->read, false);
}

void flash_has_news(struct flash *f)
{
	f->stored = true;
}

bool flash_is_connected(const struct flash *f)
{
	const struct flash_options *o = &f->options;

	return o->link && f->target && link_holds(o->link, o->partition);
}

const struct log_sink *flash_log(const struct flash *f)
{
	return f->options.log;
}

const char *flash_name(const struct flash *f)
{
	return f->options.link ? link_port(f->options.link)->name : f->path;
}

const struct dev_geometry *flash_geometry(const struct flash *f)
{
	return &f->geometry;
}

enum dev_twice flash_twice(const struct flash *f)
{
	enum dev_twice seen = f->wear ? wear_twice(f->wear) : DEV_TWICE_UNKNOWN;

	/* That it was refused counts more than what is known of its kind. */
	return seen == DEV_TWICE_NO || f->geometry.twice == DEV_TWICE_UNKNOWN
		       ? seen
		       : f->geometry.twice;
}

struct romfs_geometry flash_romfs_geometry(const struct flash *f)
{
	return (struct romfs_geometry){
		.size = f->geometry.size,
		.erase_block = f->geometry.erase_block,
		.write_unit = f->geometry.write_unit,
		.no_erase = f->geometry.no_erase,
		.prefix_erase = f->geometry.prefix_erase,
		.twice = flash_twice(f) == DEV_TWICE_YES,
	};
}

const struct dev_board_info *flash_board(const struct flash *f)
{
	return f->options.link ? &f->board : NULL;
}

void flash_set_mirror(struct flash *f, struct mirror *m)
{
	f->mirror = m;
}

void flash_set_wear(struct flash *f, struct wear *w)
{
	f->wear = w;
}

struct mirror *flash_mirror(const struct flash *f)
{
	return f->mirror;
}

void flash_forgive(struct flash *f)
{
	if (f->wear)
		wear_forgive(f->wear);
}

const struct wear *flash_wear(const struct flash *f)
{
	return f->wear;
}

static int fetch_part(struct flash *f, uint64_t off, uint8_t *buf, size_t len, struct error *err)
{
	int r;

	if (!flash_holds_base(f, off, len))
		return error_set(err, -EIO,
			"rom%u: the bytes at 0x%llx were not copied to the host before flash "
			"changed",
			f->geometry.number, (unsigned long long)off);
	r = dev_target_read(f->target, off, buf, len, err);
	if (r == 0)
		r = mirror_store(f->mirror, off, buf, len);
	if (r < 0)
		return error_prefix(err, r, "reading rom%u at 0x%llx", f->geometry.number,
			(unsigned long long)off);
	(void)!eventfd_write(f->event_fd, 1);
	return 0;
}

/* While nobody knows yet what stands where, records are being looked for: where they follow
 * each other they are read in ever larger pieces, and one by one where files lie between. */
static uint64_t look_ahead(struct flash *f, uint64_t start, uint64_t end)
{
	if (f->base)
		return end;
	if (start == 0 || start != f->looked)
		f->look = start ? MIRROR_CHUNK : LOOK_FIRST;
	end = MAX(end, start + f->look);
	f->look = MIN(f->look * 2, (uint64_t)LOOK_MAX);
	f->looked = end;
	return end;
}

/* One run that the mirror misses, widened to whole chunks. */
static int fetch_run(struct flash *f, uint64_t off, uint64_t len, struct error *err)
{
	uint64_t start = off - off % MIRROR_CHUNK;
	uint64_t want = (off + len + MIRROR_CHUNK - 1) / MIRROR_CHUNK * MIRROR_CHUNK;
	uint64_t ahead = look_ahead(f, start, want);
	uint64_t end = MIN(f->geometry.size, ahead);
	_cleanup_free_ uint8_t *buf = malloc(MIN(end - start, (uint64_t)FETCH_BYTES));
	int r = 0;

	if (!buf)
		return -ENOMEM;
	while (start < end && r == 0) {
		size_t part = (size_t)MIN((uint64_t)FETCH_BYTES, end - start);

		r = fetch_part(f, start, buf, part, err);
		start += part;
	}
	return r;
}

int flash_fetch(struct flash *f, uint64_t off, uint64_t len, struct error *err)
{
	uint64_t end = off + len, at, run;
	int r = 0;

	if (end < off || end > f->geometry.size)
		return error_set(err, -EINVAL, "a read beyond the partition");
	/* What only the user can mend is not tried again and again: that stops the board's
	 * program every time. */
	if (len && !f->mixed && !atomic_load(&f->proven))
		r = flash_is_stale(f) ? flash_stale_error(f, err) : flash_trust(f, err);
	while (r == 0 && mirror_missing(f->mirror, off, end - off, &at, &run)) {
		r = flash_connect(f, err);
		if (r == 0)
			r = flash_trust(f, err);
		if (r == 0)
			r = fetch_run(f, at, run, err);
		off = at + run;
		f->stored = true;
	}
	return r;
}

int flash_event_fd(const struct flash *f)
{
	return f->event_fd;
}

int flash_keep_base(struct flash *f, struct error *err)
{
	_cleanup_(mirror_unrefp) struct mirror_file *file = mirror_ref(f->mirror);
	int r = mirror_flush(f->mirror);

	/* The map comes behind the bytes, and is not waited for by mirror_flush. */
	if (r == 0 && fdatasync(mirror_file_fd(file)) < 0)
		r = -errno;
	f->stored = false;
	return r < 0 ? error_set(err, r, "cannot keep the copy of rom%u: %s",
			       f->geometry.number, strerror(-r))
		     : 0;
}

static int read_base(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct flash *f = ctx;
	int r = flash_fetch(f, off, len, err);

	if (r == 0)
		r = mirror_read(f->mirror, off, buf, len);
	return r < 0 ? error_set(err, r, "the copy of rom%u on this computer: %s",
			       f->geometry.number, strerror(-r))
		     : 0;
}

static int read_known(void *ctx, uint64_t off, void *buf, size_t len, struct error *err)
{
	const struct flash *f = ctx;
	int r = mirror_read(f->mirror, off, buf, len);

	return r < 0 ? error_set(err, r, "these bytes of rom%u are not known",
			       f->geometry.number)
		     : 0;
}

struct romfs_source flash_known_source(struct flash *f)
{
	return (struct romfs_source){.read = read_known, .ctx = f, .size = f->geometry.size};
}

struct romfs_source flash_base_source(struct flash *f)
{
	return (struct romfs_source){.read = read_base, .ctx = f, .size = f->geometry.size};
}
