/* SPDX-License-Identifier: MIT */
#include "fuse/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include "fuse/held.h"
#include "fuse/intent.h"
#include "fuse/load.h"
#include "fuse/portmemo.h"
#include "fuse/portwait.h"
#include "fuse/state.h"
#include "util/text.h"

/* Flash is compared with the mirror, and parsed again where it differs, this often at most:
 * it must not change while we look. */
#define LOOKS 3u

#define SYSFS "/sys"

struct attaching {
	const struct attach_options *o;
	struct attached *a;
	struct folder *f;
	struct journal_header header; /* as the journal has it */
	bool changed;		      /* frames follow its checkpoint */
	char *root;		      /* of all state */
	char identity[PORTIDENT_SIZE]; /* of the port; "": it has none */
};

static void note(struct attached *a, const char *fmt, ...) format_like(2, 3);
static void note(struct attached *a, const char *fmt, ...)
{
	size_t used = strlen(a->notes);
	char line[700];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	text_make_printable(line);
	snprintf(a->notes + used, sizeof(a->notes) - used, "%s\n", line);
}

void attached_clear(struct attached *a)
{
	base_clear(&a->base);
	flash_free(a->flash);
	folder_free(a->folder);
	a->flash = NULL;
	a->folder = NULL;
}

/* --- the state directory --- */

/* A mount that has just ended may still be writing what was staged in it: it needs the port
 * for that, so we let go of it while we wait. */
static int lock_state(struct attaching *at, const char *key, struct error *err)
{
	const struct flash_options *o = &at->o->flash;
	const char *root = at->root;
	deadline_t deadline = deadline_in(o->busy_wait_ms);
	unsigned partition = at->f->header.partition;
	_cleanup_close_ int watch = -1;
	char lock[PATH_MAX];
	bool told = false, was_open = flash_is_connected(at->a->flash);
	int r;

	if (snprintf(lock, sizeof(lock), "%s/%s/rom%u/lock", root, key, partition) >=
		(int)sizeof(lock))
		return error_set(err, -ENAMETOOLONG, "%s: name too long", root);
	watch = portwait_watch(lock);
	for (;;) {
		error_clear(err);
		r = state_open(root, key, partition, &at->f->state, err);
		if (r != -EBUSY || watch < 0)
			break;
		(void)!flash_disconnect(at->a->flash, NULL);
		if (!told)
			log_to(o->log, LOG_NOTICE, "waiting up to %u s: %s",
				o->busy_wait_ms / 1000, err->text);
		told = true;
		if (portwait_next(watch, lock, o->cancel_fd, deadline) < 0)
			break;
	}
	if (r == 0 && was_open)
		r = flash_connect(at->a->flash, err);
	if (r == 0)
		at->f->dirfd = state_fd(at->f->state);
	return r;
}

/* A port's name is the last resort: another board may be there the next time. */
static void name_board(
	const struct attaching *at, const struct dev_board_info *info, char key[STATE_KEY_SIZE])
{
	const char *given = at->o->identity;

	state_key_board(info->unique_id, info->machine,
		given && given[0] ? given : link_port(at->o->flash.link)->name, key);
}

static int open_state(struct attaching *at, struct error *err)
{
	const struct dev_board_info *info = flash_board(at->a->flash);
	const char *path = at->o->flash.path;
	_cleanup_free_ char *real = NULL;
	char key[STATE_KEY_SIZE];

	if (info) {
		name_board(at, info, key);
	} else {
		real = realpath(path, NULL);
		if (!real)
			return error_set(err, -errno, "%s: %s", path, strerror(errno));
		state_key_image(real, key);
	}
	snprintf(at->f->header.board, sizeof(at->f->header.board), "%s", key);
	at->f->header.partition = flash_geometry(at->a->flash)->number;
	at->f->header.size = flash_geometry(at->a->flash)->size;
	return lock_state(at, key, err);
}

static int open_folder(struct attaching *at, struct error *err)
{
	struct folder *f = calloc(1, sizeof(*f));
	struct wear *wear;
	int r;

	if (!f)
		return -ENOMEM;
	at->a->folder = at->f = f;
	f->dirfd = -1;
	f->pack = at->o->pack;
	f->geometry = flash_romfs_geometry(at->a->flash);
	r = open_state(at, err);
	if (r < 0)
		return r;
	r = scratch_pool_new(f->dirfd, &f->pool);
	if (r == 0)
		r = mirror_open(f->dirfd, f->geometry.size, &f->mirror, err);
	if (r == 0)
		r = node_table_new(&f->nodes);
	if (r == 0)
		r = wear_open(f->dirfd, f->geometry.size, f->geometry.erase_block, &wear);
	if (r < 0)
		return error_set(err, r, "cannot use the state directory: %s", strerror(-r));
	flash_set_mirror(at->a->flash, f->mirror);
	flash_set_wear(at->a->flash, wear);
	return 0;
}

/* --- what flash holds --- */

struct differences {
	struct mirror *mirror;
	bool forget;
	unsigned count;
	int failure;
};

static void on_difference(void *ctx, uint64_t off, uint64_t len)
{
	struct differences *d = ctx;

	d->count++;
	if (d->forget && d->failure == 0)
		d->failure = mirror_forget(d->mirror, off, len);
}

/* Reads the base until what was read is what flash holds. What the mirror knew before and
 * flash has changed since is forgotten on the way. */
static int look_at_flash(struct attaching *at, struct error *err)
{
	const struct romfs_source source = flash_base_source(at->a->flash);
	unsigned i;

	for (i = 0; i < LOOKS; i++) {
		struct differences d = {.mirror = at->f->mirror, .forget = true};
		int r;

		base_clear(&at->a->base);
		r = base_read(&source, &at->a->base, err);
		/* Once something differs, nothing that the mirror knows is trusted: what is
		 * used the next time may have been unused in the old image. */
		if (r == 0)
			r = flash_compare_known(at->a->flash,
				i ? at->f->geometry.size
				  : flash_used_end(at->a->flash, &at->a->base),
				on_difference, &d, err);
		if (r == 0 && d.failure < 0)
			r = error_set(err, d.failure, "cannot use the state directory: %s",
				strerror(-d.failure));
		if (r < 0 || d.count == 0)
			return r;
	}
	return error_set(err, -EAGAIN,
		"rom%u changes while it is read; is another program writing it?",
		at->f->header.partition);
}

/* --- staged changes --- */

/* 0: the journal is there and was replayed into the nodes. -ENOENT: nothing staged. */
static int read_journal(struct attaching *at, struct error *err)
{
	struct load_replay replay = {.f = at->f, .err = err};
	struct folder *f = at->f;
	int r = journal_open(f->dirfd, &at->header, load_change, &replay, &at->changed,
		&f->journal, err);

	if (r < 0)
		return r;
	if (journal_cut(f->journal))
		log_to(at->o->flash.log, LOG_INFO,
			"the journal ended in %llu bytes of an unfinished write; nothing that was "
			"closed is missing",
			(unsigned long long)journal_cut(f->journal));
	return load_check(f, err);
}

static int forget_nodes(struct folder *f)
{
	node_table_free(f->nodes);
	f->nodes = NULL;
	return node_table_new(&f->nodes);
}

/* Everything as flash has it. The journal starts anew, with all nodes. */
static int start_from_flash(struct attaching *at, struct error *err)
{
	struct folder *f = at->f;
	struct journal_header header = f->header;
	int r = look_at_flash(at, err);

	if (r < 0)
		return r;
	journal_free(f->journal);
	f->journal = NULL;
	intent_remove(f->dirfd);
	intent_sweep(f->dirfd, NULL);
	r = forget_nodes(f);
	if (r == 0)
		r = load_tree(f->nodes, at->a->base.image->tree, CONTENT_BASE);
	if (r < 0)
		return error_set(err, r, "loading the tree: %s", strerror(-r));
	memcpy(header.base, at->a->base.fingerprint, SHA256_SIZE);
	header.dirty = false;
	r = journal_create(f->dirfd, &header, &f->journal, err);
	if (r == 0)
		r = folder_rewrite_journal(f, &header, err);
	return r;
}

/* Staged changes that cannot go where they were meant to. */
static int hold(struct attaching *at, const char *why, struct error *err)
{
	unsigned count = 0;
	char name[64];
	int r = held_save(at->f, name, sizeof(name), &count, err);

	if (r < 0)
		return r;
	note(at->a,
		"%s: %u staged file%s of an earlier time could not be written and %s kept in "
		"%s/%s; the folder shows what is on flash now",
		why, count, count == 1 ? "" : "s", count == 1 ? "is" : "are",
		state_path(at->f->state), name);
	return 0;
}

/* The journal of a partition that another program could not read either. */
static int set_aside(struct attaching *at, const struct error *why, struct error *err)
{
	struct intent intent;
	struct folder *f = at->f;
	char name[64];
	unsigned i;

	journal_free(f->journal);
	f->journal = NULL;
	for (i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "journal.damaged-%u", i);
		if (faccessat(f->dirfd, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
			break;
	}
	if (renameat(f->dirfd, "journal", f->dirfd, name) < 0)
		return error_set(err, -errno, "cannot set the damaged journal aside: %s",
			strerror(errno));
	/* The image of a commit under way may hold the only whole copy of what was staged. */
	if (intent_read(f->dirfd, &intent) == 0 && !intent_is_light(&intent)) {
		char image[64];

		snprintf(image, sizeof(image), "image.damaged-%u", i);
		if (renameat(f->dirfd, intent.next_name, f->dirfd, image) == 0)
			note(at->a, "the image that was being written then is kept as %s/%s: "
				    "'romount extract' shows its files",
				state_path(f->state), image);
	}
	note(at->a, "%s; it is kept as %s/%s, and the folder shows what is on flash now",
		why->text, state_path(f->state), name);
	return forget_nodes(f);
}

static bool same_print(const uint8_t a[SHA256_SIZE], const uint8_t b[SHA256_SIZE])
{
	return memcmp(a, b, SHA256_SIZE) == 0;
}

/* Whether the base image of the mirror is the one that the staged changes rest on; reads it,
 * asking the board only for what the mirror does not know. */
static int read_old_base(struct attaching *at, bool *same, struct error *err)
{
	const struct romfs_source source = flash_base_source(at->a->flash);
	int r;

	base_clear(&at->a->base);
	r = base_read(&source, &at->a->base, err);
	if (r == 0)
		*same = same_print(at->a->base.fingerprint, at->header.base);
	return r;
}

/* A commit was under way. Whether what flash holds is ours: the old image, the new one, or
 * something between the two. */
static int survey(struct attaching *at, const struct intent *intent, bool *ours,
	struct error *err)
{
	_cleanup_close_ int next_fd = openat(
		at->f->dirfd, intent->next_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct flash_census census;
	int r;

	flash_set_mixed(at->a->flash);
	r = flash_survey(at->a->flash, TAKE_FD(next_fd), false, &census, err);
	if (r < 0)
		return r;
	*ours = census.unknown <= intent->strangers;
	return 0;
}

/* Whether flash is what the mirror knows of it, up to here. */
static int compare_known(struct attaching *at, uint64_t end, bool *ours, struct error *err)
{
	struct differences d = {.mirror = at->f->mirror};
	int r = flash_compare_known(at->a->flash, end, on_difference, &d, err);

	*ours = d.count == 0;
	return r;
}

static bool has_all_bytes(const struct folder *f)
{
	const struct node *root = node_root(f->nodes);

	for (const struct node *n = root; n; n = node_next(root, n))
		if (n->content.kind == CONTENT_BASE &&
			!mirror_has(f->mirror, n->content.off, n->content.size))
			return false;
	return true;
}

/* A commit that wrote the front of flash anew was under way: it is known block by block what
 * flash holds. Where an append had been torn before it, the mirror does not know the front of
 * the base; the intent says which one it was, and the mirror has its files. */
static int look_at_mixture(
	struct attaching *at, const struct intent *intent, bool *ours, struct error *err)
{
	bool same = false, kept = has_all_bytes(at->f);
	int r = read_old_base(at, &same, err);

	if (r == 0 && !same)
		same = kept && same_print(intent->base, at->header.base);
	if (r < 0 || !same)
		return r;
	memcpy(at->a->base.fingerprint, at->header.base, SHA256_SIZE);
	return survey(at, intent, ours, err);
}

/* An append was under way. What the mirror knows was not touched by it, so that must be as it
 * was. Flash shows the base, or the tree that it should get, or, where a slot was torn, none:
 * that is healed by the next commit. */
static int look_at_append(
	struct attaching *at, const struct intent *intent, bool *ours, struct error *err)
{
	struct romfs_source source;
	bool same = false, done;
	int r = read_old_base(at, &same, err);

	if (r == 0)
		r = compare_known(at, at->f->geometry.size, ours, err);
	if (r < 0 || !*ours)
		return r;
	done = same_print(at->a->base.fingerprint, intent->next);
	*ours = same || same_print(intent->base, at->header.base);
	if (same || !*ours)
		return 0;
	if (done) {
		memcpy(at->header.base, intent->next, SHA256_SIZE);
		source = flash_base_source(at->a->flash);
		return flash_confirm(at->a->flash, &source, err);
	}
	*ours = at->a->base.image->status != ROMFS_VALID;
	flash_set_doubtful(at->a->flash);
	memcpy(at->a->base.fingerprint, at->header.base, SHA256_SIZE);
	return 0;
}

/* Flash must be the base to the last used byte that we know. */
static int look_without_intent(struct attaching *at, bool *ours, struct error *err)
{
	bool same = false;
	int r = read_old_base(at, &same, err);

	return r < 0 || !same ? r
			      : compare_known(at, flash_used_end(at->a->flash, &at->a->base),
					ours, err);
}

/* The last commit was done but for taking its image over. */
static int finish_adoption(struct attaching *at, const struct intent *intent, struct error *err)
{
	struct error why = {0};
	int r = 0;

	if (!intent_is_light(intent))
		r = mirror_adopt(at->f->mirror, at->f->dirfd, intent->next_name, &why);
	/* It was adopted already, or is the image of a partition of another size. */
	if (r < 0 && r != -ENOENT && r != -EUCLEAN)
		return error_set(err, r, "cannot take over the new image: %s", strerror(-r));
	intent_remove(at->f->dirfd);
	return 0;
}

/* NULL where the staged changes were meant for this partition, else the reason why not. An
 * image file may have been given more room since, but not while an update was under way: the
 * mirror of the old size, which could tell old from new, is gone. */
static const char *why_not_for_this(
	const struct attaching *at, const struct intent *intent)
{
	const struct journal_header *was = &at->header, *is = &at->f->header;

	if (strcmp(was->board, is->board) != 0 || was->partition != is->partition)
		return "the staged changes were made for another partition";
	if (was->size == is->size ||
		(!at->o->flash.link && was->size < is->size && !intent))
		return NULL;
	return "this partition had another size when the changes were staged";
}

/* The journal rests on what flash shows, whichever of the two it is. */
static int settle_append(struct attaching *at, const struct intent *intent, struct error *err)
{
	struct folder *f = at->f;
	int r = 0;

	if (flash_is_doubtful(at->a->flash))
		return 0;
	/* What was staged behind the checkpoint stands in it then. */
	f->header.dirty = true;
	if (same_print(f->header.base, intent->next))
		r = folder_rewrite_journal(f, &f->header, err);
	if (r == 0)
		intent_remove(f->dirfd);
	return r;
}

/* Staged changes are there: take them up, or hold them. */
static int take_up(struct attaching *at, struct intent *intent, struct error *err)
{
	struct folder *f = at->f;
	const char *why = why_not_for_this(at, intent);
	bool ours = false;
	int r = 0;

	if (!why)
		r = !intent		      ? look_without_intent(at, &ours, err)
			: intent_is_light(intent) ? look_at_append(at, intent, &ours, err)
						  : look_at_mixture(at, intent, &ours, err);
	if (r < 0)
		return r;
	if (!ours) {
		flash_settled(at->a->flash);
		r = mirror_forget(f->mirror, 0, f->geometry.size);
		if (r < 0)
			return error_set(err, r, "cannot use the state directory: %s",
				strerror(-r));
		r = hold(at, why ? why : "another program has written this partition", err);
		return r < 0 ? r : start_from_flash(at, err);
	}
	at->header.size = f->header.size;
	f->header = at->header;
	folder_recount(f); /* tells junk from what flash shall hold */
	r = intent && intent_is_light(intent) ? settle_append(at, intent, err) : 0;
	if (r < 0)
		return r;
	/* The first commit heals, or writes what waits. */
	f->change = flash_is_mixed(at->a->flash) || flash_is_doubtful(at->a->flash) ||
		    !load_is_image(f, at->a->base.image->tree);
	if (intent && f->change)
		note(at->a, "an earlier update of rom%u was interrupted; it is written again now",
			f->header.partition);
	return 0;
}

static int load(struct attaching *at, struct error *err)
{
	struct error why = {0};
	struct intent intent;
	int r = read_journal(at, &why), noted = intent_read(at->f->dirfd, &intent);
	bool has_intent = noted == 0;

	/* To go on as if there were none would throw away the image that heals. */
	if (noted < 0 && noted != -ENOENT && noted != -EUCLEAN)
		return error_set(err, noted, "cannot read the note of the last commit: %s",
			strerror(-noted));
	if (r == -EUCLEAN) {
		r = set_aside(at, &why, err);
		return r < 0 ? r : start_from_flash(at, err);
	}
	if (r < 0 && r != -ENOENT)
		return error_set(err, r, "%s", why.text[0] ? why.text : strerror(-r));
	if (r == 0 && has_intent && same_print(at->header.base, intent.next)) {
		int r2 = finish_adoption(at, &intent, err);

		if (r2 < 0)
			return r2;
		has_intent = false;
	}
	if (r == -ENOENT || (!at->header.dirty && !at->changed && !has_intent))
		return start_from_flash(at, err);
	return take_up(at, has_intent ? &intent : NULL, err);
}

/* Most errors say which port they are about. */
static int name_port(struct error *err, int r, const char *path)
{
	if (err->code && strncmp(err->text, path, strlen(path)) == 0)
		return r;
	return error_prefix(err, r, "%s", path);
}

/* A board's partition may hold anything before its first file system. A file that holds
 * something else is somebody's, and named by mistake. */
static int check_image_file(const struct attaching *at, struct error *err)
{
	uint8_t head[512];
	size_t n = (size_t)MIN(sizeof(head), at->f->geometry.size), i;
	int r;

	if (at->o->flash.link || at->a->base.image->status != ROMFS_NOT_ROMFS)
		return 0;
	r = mirror_read(at->f->mirror, 0, head, n);
	for (i = 0; i < n && r == 0; i++)
		if (head[i] != 0) /* as truncate(1) makes it */
			return error_set(err, -EINVAL,
				"%s is no ROMFS image, and not empty either: nothing of it would "
				"be left when you write. If that is what you want, empty it: "
				"truncate -s 0 FILE, and mount it with --size",
				at->o->flash.path);
	return r;
}

/* --- from memory --- */

/* The memo of this port, if it tells of this partition, and of the directory that the board
 * it describes would get. */
static const struct dev_geometry *find_memo(struct attaching *at, struct portmemo *memo)
{
	const struct flash_options *o = &at->o->flash;
	const struct dev_geometry *g;
	char key[STATE_KEY_SIZE];

	if (at->o->ask || !at->identity[0] ||
		portmemo_read(at->root, at->identity, o->partition, memo) < 0)
		return NULL;
	name_board(at, &memo->board, key);
	g = portmemo_partition(memo, o->partition);
	if (strcmp(key, memo->key) != 0 || !g || g->kind == DEV_TARGET_READONLY)
		return NULL;
	return g;
}

/* Whether the journal rests on the image that the mirror knows, and all of that image's
 * records are known, and nothing but junk is staged. */
static bool is_all_known(struct attaching *at)
{
	const struct romfs_source source = flash_known_source(at->a->flash);
	struct folder *f = at->f;
	struct intent intent;

	if (read_journal(at, NULL) < 0 || intent_read(f->dirfd, &intent) != -ENOENT ||
		why_not_for_this(at, NULL) || at->header.size != f->header.size ||
		base_read(&source, &at->a->base, NULL) < 0)
		return false;
	folder_recount(f); /* tells junk from what flash shall hold */
	return at->a->base.image->status == ROMFS_VALID &&
		same_print(at->a->base.fingerprint, at->header.base) &&
		load_is_image(f, at->a->base.image->tree);
}

/* 1: the folder stands; 0: the board must be asked. */
static int recall(struct attaching *at, struct error *err)
{
	struct portmemo memo;
	const struct dev_geometry *g = find_memo(at, &memo);
	int r;

	if (!g)
		return 0;
	flash_recall(at->a->flash, &memo, g);
	r = open_folder(at, err);
	if (r < 0 || !is_all_known(at))
		return r < 0 ? r : 0;
	at->f->header = at->header;
	at->f->proven = flash_proof(at->a->flash);
	return 1;
}

/* So that the next mount can do without the board. */
static void remember(struct attaching *at)
{
	struct portmemo memo = {.board = *flash_board(at->a->flash)};
	const struct dev_known *known = flash_known(at->a->flash);
	struct error err = {0};

	memo.has_known = known != NULL;
	if (known)
		memo.known = *known;

	snprintf(memo.identity, sizeof(memo.identity), "%s", at->identity);
	name_board(at, &memo.board, memo.key);
	if (portmemo_write(at->root, &memo, at->o->flash.partition, &err) < 0)
		log_to(at->o->flash.log, LOG_WARNING, "%s", err.text);
}

/* --- all of it --- */

static int ask_board(struct attaching *at, struct error *err)
{
	const struct flash_options *o = &at->o->flash;
	struct attached *a = at->a;
	int r = flash_connect(a->flash, err);

	if (r == 0 && flash_geometry(a->flash)->kind == DEV_TARGET_READONLY)
		r = error_set(
			err, -EROFS, "rom%u of this board cannot be written", o->partition);
	if (r == 0)
		r = open_folder(at, err);
	if (r == 0)
		r = load(at, err);
	/* A file is copied in no time, and then it may change under us as it likes. */
	if (r == 0 && !o->link && !flash_is_mixed(a->flash))
		r = flash_fetch(a->flash, 0, MAX(base_used_end(&a->base), 512u), err);
	if (r == 0)
		r = check_image_file(at, err);
	/* Where a cut is to be healed, nothing has been compared that could be relied on. */
	if (r == 0 && flash_is_connected(a->flash) && !flash_is_mixed(a->flash))
		flash_vouch(a->flash);
	if (r == 0 && at->identity[0])
		remember(at);
	return r;
}

static int start(struct attaching *at, struct error *err)
{
	int r = flash_new(&at->o->flash, &at->a->flash);

	if (r == 0 && at->identity[0])
		r = flash_set_memo(at->a->flash, at->root, at->identity);
	return r < 0 ? error_set(err, r, "cannot start: %s", strerror(-r)) : 0;
}

/* Where memory does not do, nothing of what was tried stays. */
static int attach_somehow(struct attaching *at, struct error *err)
{
	int r = start(at, err);

	if (r == 0)
		r = recall(at, err);
	if (r != 0)
		return MIN(r, 0);
	if (at->f) {
		attached_clear(at->a);
		at->f = NULL;
		r = start(at, err);
	}
	if (r == 0 && at->o->only_memory)
		r = error_set(err, -ENODATA,
			"the board has to be asked what it holds: 'romount attach'");
	return r < 0 ? r : ask_board(at, err);
}

static int identify(struct attaching *at, struct error *err)
{
	const struct attach_options *o = at->o;
	int r = state_root(o->state_dir, &at->root, err);

	if (r < 0 || !o->flash.link)
		return r;
	if (o->identity) {
		snprintf(at->identity, sizeof(at->identity), "%s", o->identity);
		return 0;
	}
	r = portident_of(SYSFS, link_port(o->flash.link)->name, o->id, at->identity);
	if (r == -EINVAL)
		return error_set(err, r, "'%s' is no name for a board", o->id);
	if (r < 0)
		at->identity[0] = '\0';
	return 0;
}

int attach(const struct attach_options *options, struct attached *out, struct error *err)
{
	const struct flash_options *flash = &options->flash;
	const char *name = flash->link ? link_port(flash->link)->name : flash->path;
	struct attaching at = {.o = options, .a = out};
	int r, r2;

	*out = (struct attached){0};
	r = identify(&at, err);
	if (r == 0)
		r = attach_somehow(&at, err);
	free(at.root);
	if (out->flash) {
		r2 = flash_disconnect(out->flash, r == 0 ? err : NULL);
		flash_rest(out->flash);
		if (r == 0)
			r = r2;
	}
	if (r < 0) {
		attached_clear(out);
		return name_port(err, r, name);
	}
	flash_set_base(out->flash, &out->base);
	folder_recount(out->folder);
	if (out->base.image->status != ROMFS_VALID && !folder_is_staged(out->folder) &&
		!flash_is_mixed(out->flash))
		note(out, "rom%u holds no ROMFS (%s); the folder is empty, and nothing is "
			  "written before you write",
			out->folder->header.partition,
			out->base.image->status == ROMFS_BLANK ? "it is blank"
							       : out->base.image->why.text);
	return 0;
}
