/* SPDX-License-Identifier: MIT */
#include "cli/rework.h"

#include <errno.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/open.h"
#include "cli/target.h"
#include "util/text.h"

#define BUSY_WAIT_MS 10000u

/* --- options ------------------------------------------------------------------------ */

static int add_align(struct rework_options *o, char *text, struct error *err)
{
	int r;

	if (o->pack.n_aligns == REWORK_ALIGNS_MAX)
		return error_set(err, -E2BIG, "at most %u times --align", REWORK_ALIGNS_MAX);
	o->pack.aligns = o->aligns;
	r = romfs_align_parse(text, &o->aligns[o->pack.n_aligns], err);
	o->pack.n_aligns += r == 0;
	return r;
}

int rework_take_option(struct rework_options *o, int c, char *value, struct error *err)
{
	unsigned long n = 0;
	int r = -EINVAL;

	if (c == 'p')
		return subject_parse_number(value, &o->flash.partition);
	if (c == REWORK_ALIGN)
		return add_align(o, value, err);
	if (c == REWORK_STATE) {
		free(o->state_dir);
		o->state_dir = strdup(value);
		return o->state_dir ? 0 : error_set(err, -ENOMEM, "out of memory");
	}
	if (c == REWORK_BAUD) {
		r = target_parse_number(value, 4000000, &n);
		o->baud = (unsigned)n;
	} else if (c == REWORK_SIZE) {
		r = target_parse_number(value, ROMFS_SIZE_MAX, &n);
		o->flash.image_size = n;
	}
	return r;
}

void rework_options_done(struct rework_options *o)
{
	free(o->path);
	free(o->state_dir);
}

/* --- from a name to a folder that nobody sees ---------------------------------------- */

static void log_to_stderr(void *data, int level, const char *text)
{
	const struct rework *w = data;

	if (level <= LOG_NOTICE)
		fprintf(stderr, "romount %s: %s\n", w->command->name, text);
}

struct opening {
	const struct rework_options *o;
	struct rework *w;
};

static int make_link(const struct rework_options *o, struct rework *w)
{
	struct link_options options = {
		.baud = o->baud,
		.cancel_fd = task_cancel_fd(w->task),
		.busy_wait_ms = BUSY_WAIT_MS,
		.log = &w->log,
	};
	int r;

	if (o->is_image)
		return 0;
	r = port_path_new(o->path, &options.port);
	return r < 0 ? r : link_new(&options, &w->link);
}

static int run_attach(void *ctx, struct error *err)
{
	const struct opening *op = ctx;
	const struct rework_options *o = op->o;
	struct attach_options options = {
		.flash = o->flash,
		.state_dir = o->state_dir,
		.pack = &o->pack,
		.ask = true};

	options.flash.link = op->w->link;
	options.flash.path = o->is_image ? o->path : NULL;
	options.flash.cancel_fd = task_cancel_fd(op->w->task);
	options.flash.busy_wait_ms = BUSY_WAIT_MS;
	options.flash.log = &op->w->log;
	return attach(&options, &op->w->attached, err);
}

static void close_all(struct rework *w)
{
	handover_done(&w->handover);
	attached_clear(&w->attached);
	link_free(w->link);
	task_free(w->task);
}

int rework_open(const struct rework_options *o, struct rework *w, struct error *err)
{
	struct opening op = {.o = o, .w = w};
	const struct task_work work = {.run = run_attach, .ctx = &op};
	int r;

	*w = (struct rework){.path = o->path, .command = o->command};
	w->log = (struct log_sink){.write = log_to_stderr, .data = w};
	r = task_new(&w->task, err);
	if (r == 0 && make_link(o, w) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = task_run(w->task, &work, err);
	if (r < 0) {
		close_all(w);
		return r;
	}
	w->handover = (struct handover){.folder = w->attached.folder,
		.flash = w->attached.flash,
		.base = &w->attached.base};
	return 0;
}

/* Whether the next mount has something to do. */
static bool has_rest(const struct rework *w)
{
	const struct flash *flash = w->attached.flash;

	return folder_is_staged(w->attached.folder) || flash_is_mixed(flash) ||
	       flash_is_doubtful(flash) || handover_is_open(&w->handover);
}

int rework_end(struct rework *w, int r, const struct error *err)
{
	int code;

	fflush(stdout);
	code = r < 0 ? cli_fail(w->command, err) : cli_finish(w->command);
	if (r < 0 && w->begun && has_rest(w))
		fprintf(stderr,
			"romount %s: it is finished when this partition is mounted, or by the "
			"same command again\n",
			w->command->name);
	close_all(w);
	return code;
}

void rework_name(const struct rework *w, char *out, size_t cap)
{
	const struct dev_board_info *board = flash_board(w->attached.flash);

	if (board)
		snprintf(out, cap, "rom%u of %s", flash_geometry(w->attached.flash)->number,
			board->machine[0] ? board->machine : w->path);
	else
		snprintf(out, cap, "%s", w->path);
	text_make_printable(out);
}

void rework_what(const struct rework *w, struct rework_load *out)
{
	const struct folder *f = w->attached.folder;
	const struct romfs_tree *tree = w->attached.base.image->tree;
	struct node *root = node_root(f->nodes);

	*out = (struct rework_load){
		.waiting = folder_is_staged(f) || flash_is_mixed(w->attached.flash)};
	for (uint32_t i = 0; i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		if (n->type != ROMFS_FILE)
			continue;
		out->files++;
		out->bytes += n->size;
	}
	for (const struct node *n = root; n; n = node_next(root, n))
		out->staged += !n->junk && n->content.kind == CONTENT_LOG;
}

/* --- commits ------------------------------------------------------------------------ */

static int make_commit(
	struct rework *w, const struct rework_step *step, unsigned steps, struct commit **out)
{
	struct folder *f = w->attached.folder;
	struct snapshot *snapshot = NULL;
	struct commit *c;
	int r = step->aim < COMMIT_ERASE ? snapshot_take(f, &snapshot) : 0;

	if (r == 0)
		r = commit_new(f, snapshot, &c);
	if (r < 0) {
		snapshot_free(snapshot);
		return r;
	}
	c->flash = w->attached.flash;
	c->base = &w->attached.base;
	c->dirfd = f->dirfd;
	c->pack = step->pack ? step->pack : f->pack;
	c->aim = step->aim;
	atomic_store(&c->linger, true); /* rework_rest ends the session */
	c->steps = steps;
	c->progress = &w->progress;
	*out = c;
	return 0;
}

/* 1: flash has changed. *step: what was asked for is still to be done. */
static int run_commit(struct rework *w, struct commit *c, bool *step, struct error *err)
{
	int r;

	commit_run(&c->job);
	atomic_fetch_add(&w->erased_blocks, c->erased_blocks);
	atomic_fetch_add(&w->programmed_bytes, c->programmed_bytes);
	*step = c->snapshot && c->outcome == COMMIT_STEP;
	r = c->result;
	if (r == 0)
		r = handover_take(&w->handover, c, &c->err);
	if (r < 0)
		return error_set(err, r, "%s", c->err.text[0] ? c->err.text : strerror(-r));
	return c->outcome != COMMIT_NOTHING || c->tidied;
}

int rework_commit(struct rework *w, const struct rework_step *step, struct error *err)
{
	unsigned steps = 0;
	bool again = true;
	int r = 0;

	w->begun = true;

	while (r >= 0 && again) {
		struct commit *c;

		r = make_commit(w, step, steps++, &c);
		if (r < 0)
			return error_set(err, r, "cannot prepare a commit: %s", strerror(-r));
		r = run_commit(w, c, &again, err);
		commit_free(c);
	}
	return r;
}

/* What a mount has left there is over: `romount info` shall not tell that files wait. */
static void save_status(const struct rework *w)
{
	const struct state_line lines[] = {{.key = "state", .value = "on flash"}};

	if (!has_rest(w))
		(void)!state_write_status(
			w->attached.folder->dirfd, lines, ARRAY_SIZE(lines));
}

int rework_rest(struct rework *w, struct error *err)
{
	int r = flash_disconnect(w->attached.flash, err);

	flash_rest(w->attached.flash);
	save_status(w);
	return r;
}

int rework_usage(struct rework *w, struct romfs_usage *out, struct error *err)
{
	struct flash *flash = w->attached.flash;
	const struct romfs_geometry geometry = flash_romfs_geometry(flash);
	const struct wear *wear = flash_wear(flash);
	const struct romfs_flash now = {.source = flash_now_source(flash),
		.image = w->attached.base.image,
		.bad = wear ? wear_bad(wear) : NULL};
	int r = flash_find_blank(flash, now.image, err);

	return r < 0 ? r : romfs_usage(&geometry, &now, out, err);
}
