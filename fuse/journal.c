/* SPDX-License-Identifier: MIT */
#include "fuse/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "fuse/journal_flush.h"
#include "libromfs/tree.h"
#include "util/io.h"

#define FILE_NAME "journal"
#define NEW_NAME "journal.new" /* a generation that is not complete */
#define DRAFT_NAME "journal.draft" /* the same, made beside one that goes on */

/* Sequence numbers that the generation of now can still give while a draft is made. */
#define DRAFT_AHEAD ((uint64_t)1 << 32)

struct journal {
	int dirfd;
	uint8_t *buffer;
	struct journal_log log;
	struct flusher *flusher;
	uint64_t cut; /* bytes of a torn tail, dropped when it was opened */
};

static int explain(struct error *err, int code, const char *what)
{
	if (code == -ENOSPC || code == -EDQUOT)
		return error_set(err, code,
			"cannot %s: no space left for romount's state directory; free some, "
			"or give another one with --state",
			what);
	return error_set(err, code, "cannot %s: %s", what, strerror(-code));
}

static int journal_new(int dirfd, struct journal **out)
{
	_cleanup_(journal_freep) struct journal *j = calloc(1, sizeof(*j));

	if (!j)
		return -ENOMEM;
	j->dirfd = -1;
	j->buffer = malloc(JOURNAL_BUFFER_SIZE);
	if (!j->buffer)
		return -ENOMEM;
	j->dirfd = fcntl(dirfd, F_DUPFD_CLOEXEC, 3);
	if (j->dirfd < 0)
		return -errno;
	*out = TAKE_PTR(j);
	return 0;
}

void journal_free(struct journal *j)
{
	if (!j)
		return;
	flusher_free(j->flusher);
	if (j->flusher)
		journal_log_trim(&j->log);
	journal_file_unref(j->log.file);
	if (j->dirfd >= 0)
		close(j->dirfd);
	free(j->buffer);
	free(j);
}

/* --- a new generation ------------------------------------------------------------- */

struct move {
	uint64_t id;
	struct content content;
};

struct rewrite {
	struct journal_log log; /* the new generation */
	int old_fd;
	uint64_t old_tail;
	struct journal_change changes[64]; /* that wait to become a frame */
	char names[64][ROMFS_NAME_MAX + 1];
	size_t n_changes;
	struct move *moves; /* in order; kept until the rename has happened */
	size_t n_moves, cap_moves;
};

static void rewrite_free(struct rewrite *w)
{
	if (!w)
		return;
	journal_file_unref(w->log.file);
	free(w->moves);
	free(w);
}
DEFINE_CLEANUP(struct rewrite *, rewrite_free);

static int write_batch(struct rewrite *w)
{
	int r;

	if (w->n_changes == 0)
		return 0;
	r = journal_log_append(&w->log, w->changes, w->n_changes, 0);
	w->n_changes = 0;
	return r;
}

static int remember_move(struct rewrite *w, uint64_t id, const struct content *content)
{
	if (w->n_moves == w->cap_moves) {
		size_t cap = w->cap_moves ? w->cap_moves * 2 : 64;
		struct move *moves = reallocarray(w->moves, cap, sizeof(*moves));

		if (!moves)
			return -ENOMEM;
		w->moves = moves;
		w->cap_moves = cap;
	}
	w->moves[w->n_moves++] = (struct move){id, *content};
	return 0;
}

static int copy_content(struct rewrite *w, struct journal_entry *entry)
{
	struct journal_bytes bytes = {.fd = entry->from_fd ? entry->from_fd : w->old_fd,
		.off = entry->content.off,
		.size = entry->content.size};
	int r = write_batch(w);

	if (r < 0)
		return r;
	if (!entry->from_fd &&
		(bytes.off > w->old_tail || bytes.size > w->old_tail - bytes.off))
		return -EINVAL;
	return journal_log_append_bytes(&w->log, entry, &bytes, 0);
}

static int add_entry(struct rewrite *w, struct journal_entry *entry)
{
	size_t len = strlen(entry->name);
	int r;

	if (entry->content.kind == CONTENT_LOG) {
		r = copy_content(w, entry);
		return r < 0 ? r : remember_move(w, entry->id, &entry->content);
	}
	if (len > ROMFS_NAME_MAX)
		return -ENAMETOOLONG;
	if (w->n_changes == ARRAY_SIZE(w->changes)) {
		r = write_batch(w);
		if (r < 0)
			return r;
	}
	memcpy(w->names[w->n_changes], entry->name, len + 1);
	w->changes[w->n_changes] =
		(struct journal_change){.kind = JOURNAL_PUT, .entry = *entry};
	w->changes[w->n_changes].entry.name = w->names[w->n_changes];
	w->n_changes++;
	return remember_move(w, entry->id, &entry->content);
}

/* Writes and flushes a generation whose file has been made. */
static int write_generation(struct rewrite *w, const struct journal_header *header,
	journal_next_fn next, void *ctx)
{
	int r;

	for (;;) {
		struct journal_entry entry = {0};

		r = next(ctx, &entry);
		if (r <= 0)
			break;
		r = add_entry(w, &entry);
		if (r < 0)
			break;
	}
	if (r == 0)
		r = write_batch(w);
	if (r == 0)
		r = journal_log_seal(&w->log, header);
	if (r == 0 && fdatasync(journal_file_fd(w->log.file)) < 0)
		r = -errno;
	return r;
}

/* Gives it the name. `*named` tells whether that has happened, also on failure. */
static int name_generation(struct journal *j, bool *named)
{
	*named = false;
	if (renameat(j->dirfd, NEW_NAME, j->dirfd, FILE_NAME) < 0)
		return -errno;
	*named = true;
	return io_sync_dir(j->dirfd, ".");
}

static int start_generation(struct journal *j, const struct journal_header *header,
	journal_next_fn next, void *ctx, struct rewrite **out, struct error *err)
{
	_cleanup_(rewrite_freep) struct rewrite *w = calloc(1, sizeof(*w));
	bool named = false;
	int r;

	if (!w)
		return explain(err, -ENOMEM, "rewrite the journal");
	w->old_fd = j->log.file ? journal_file_fd(j->log.file) : -1;
	w->old_tail = j->log.tail;
	r = journal_log_create(
		j->dirfd, NEW_NAME, header, j->log.seq + 1, j->buffer, &w->log);
	if (r == 0)
		r = write_generation(w, header, next, ctx);
	if (r == 0)
		r = name_generation(j, &named);
	if (r < 0 && !named)
		unlinkat(j->dirfd, NEW_NAME, 0);
	if (r < 0 && named && j->flusher) {
		/* Either file may be there after a power cut. Both hold all that was
		 * promised until now, so from here on nothing more is promised. */
		j->log.broken = r;
		flusher_fail(j->flusher, r);
	}
	if (r < 0)
		return explain(err, r, "rewrite the journal");
	*out = TAKE_PTR(w);
	return 0;
}

static void adopt(struct journal *j, struct rewrite *w)
{
	journal_file_unref(j->log.file);
	j->log = w->log;
	j->log.buffer = j->buffer;
	w->log.file = NULL;
	journal_log_mark(&j->log);
}

int journal_rewrite(struct journal *j, const struct journal_header *header,
	journal_next_fn next, journal_moved_fn moved, void *ctx, struct error *err)
{
	_cleanup_(rewrite_freep) struct rewrite *w = NULL;
	size_t i;
	int r;

	r = start_generation(j, header, next, ctx, &w, err);
	if (r < 0)
		return r;
	flusher_replace(j->flusher, w->log.file, w->log.seq);
	adopt(j, w);
	for (i = 0; moved && i < w->n_moves; i++)
		moved(ctx, w->moves[i].id, &w->moves[i].content);
	return 0;
}

/* --- a generation made by another thread ------------------------------------------ */

struct journal_draft {
	int dirfd;
	struct journal_header header;
	uint64_t first_seq;
	uint8_t *buffer;
	struct rewrite w;
	bool begun, adopted;
};

int journal_draft_new(struct journal *j, const struct journal_header *header,
	struct journal_draft **out, struct error *err)
{
	_cleanup_(journal_draft_freep) struct journal_draft *d = calloc(1, sizeof(*d));

	if (!d)
		return explain(err, -ENOMEM, "rewrite the journal");
	d->header = *header;
	d->first_seq = j->log.seq + 1 + DRAFT_AHEAD;
	d->w.old_fd = -1;
	d->buffer = malloc(JOURNAL_BUFFER_SIZE);
	d->dirfd = fcntl(j->dirfd, F_DUPFD_CLOEXEC, 3);
	if (!d->buffer || d->dirfd < 0)
		return explain(err, d->buffer ? -errno : -ENOMEM, "rewrite the journal");
	*out = TAKE_PTR(d);
	return 0;
}

int journal_draft_write(struct journal_draft *d, journal_next_fn next, journal_moved_fn moved,
	void *ctx, struct error *err)
{
	int r;

	d->begun = true;
	r = journal_log_create(
		d->dirfd, DRAFT_NAME, &d->header, d->first_seq, d->buffer, &d->w.log);
	if (r == 0)
		r = write_generation(&d->w, &d->header, next, ctx);
	if (r < 0)
		return explain(err, r, "rewrite the journal");
	for (size_t i = 0; i < d->w.n_moves; i++)
		moved(ctx, d->w.moves[i].id, &d->w.moves[i].content);
	return 0;
}

int journal_draft_adopt(
	struct journal *j, struct journal_draft *d, uint64_t *seq, struct error *err)
{
	assert(j->log.seq < d->first_seq);
	if (renameat(d->dirfd, DRAFT_NAME, j->dirfd, FILE_NAME) < 0)
		return explain(err, -errno, "rewrite the journal");
	d->adopted = true;
	flusher_replace_named(j->flusher, d->w.log.file, d->w.log.seq, j->dirfd);
	adopt(j, &d->w);
	*seq = j->log.seq;
	return 0;
}

void journal_draft_free(struct journal_draft *d)
{
	if (!d)
		return;
	if (d->begun && !d->adopted)
		(void)!unlinkat(d->dirfd, DRAFT_NAME, 0);
	journal_file_unref(d->w.log.file);
	free(d->w.moves);
	closep(&d->dirfd);
	free(d->buffer);
	free(d);
}

/* --- an empty one ----------------------------------------------------------------- */

static int next_root(void *ctx, struct journal_entry *entry)
{
	bool *given = ctx;

	if (*given)
		return 0;
	*given = true;
	*entry = (struct journal_entry){.id = JOURNAL_ROOT_ID,
		.name = "",
		.type = ROMFS_DIR,
		.mtime_ns = ROMFS_NO_MTIME};
	return 1;
}

int journal_create(int dirfd, const struct journal_header *header, struct journal **out,
	struct error *err)
{
	_cleanup_(journal_freep) struct journal *j = NULL;
	_cleanup_(rewrite_freep) struct rewrite *w = NULL;
	bool given = false;
	int r;

	r = journal_new(dirfd, &j);
	if (r < 0)
		return explain(err, r, "make the journal");
	r = start_generation(j, header, next_root, &given, &w, err);
	if (r < 0)
		return r;
	adopt(j, w);
	r = flusher_new(j->log.file, j->log.seq, &j->flusher);
	if (r < 0)
		return explain(err, r, "start the journal's thread");
	*out = TAKE_PTR(j);
	return 0;
}

/* --- opening ---------------------------------------------------------------------- */

/* Makes sure of what was read: it may never have left the page cache, its name neither,
 * and a torn tail must not be taken for frames that come later. */
static int settle(struct journal *j)
{
	int fd = journal_file_fd(j->log.file);

	if (unlinkat(j->dirfd, NEW_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	if (unlinkat(j->dirfd, DRAFT_NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	if (j->cut) {
		if (ftruncate(fd, (off_t)j->log.tail) < 0)
			return -errno;
		j->log.allocated = j->log.tail;
	}
	if (fdatasync(fd) < 0)
		return -errno;
	return io_sync_dir(j->dirfd, ".");
}

int journal_open(int dirfd, struct journal_header *header, journal_replay_fn replay,
	void *ctx, bool *changed, struct journal **out, struct error *err)
{
	_cleanup_(journal_freep) struct journal *j = NULL;
	struct journal_header h;
	int fd, r;

	r = journal_new(dirfd, &j);
	if (r < 0)
		return explain(err, r, "open the journal");
	fd = openat(dirfd, FILE_NAME, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return explain(err, -errno, "open the journal");
	r = journal_file_new(fd, &j->log.file);
	if (r < 0) {
		close(fd);
		return explain(err, r, "open the journal");
	}
	j->log.buffer = j->buffer;
	r = journal_log_replay(&j->log, &h, replay, ctx, &j->cut, err);
	if (r < 0)
		return r;
	r = settle(j);
	if (r < 0)
		return explain(err, r, "flush the journal");
	journal_log_mark(&j->log);
	r = flusher_new(j->log.file, j->log.seq, &j->flusher);
	if (r < 0)
		return explain(err, r, "start the journal's thread");
	*header = h;
	*changed = j->log.tail > j->log.generation.checkpoint;
	*out = TAKE_PTR(j);
	return 0;
}

/* --- appending and flushing ------------------------------------------------------- */

int journal_append(struct journal *j, const struct journal_change *changes, size_t n,
	uint64_t *seq, struct error *err)
{
	int r = journal_log_append(&j->log, changes, n, flusher_durable(j->flusher));

	if (r < 0)
		return explain(err, r, "stage the change");
	*seq = j->log.seq;
	return 0;
}

int journal_append_file(struct journal *j, struct journal_entry *entry, int data_fd,
	uint64_t size, uint64_t *seq, struct error *err)
{
	struct journal_bytes bytes = {.fd = data_fd, .size = size, .sparse_tail = true};
	int r;

	r = journal_log_append_bytes(
		&j->log, entry, &bytes, flusher_durable(j->flusher));
	if (r < 0)
		return explain(err, r, "stage the file");
	*seq = j->log.seq;
	return 0;
}

int journal_fd(const struct journal *j)
{
	return journal_file_fd(j->log.file);
}

uint64_t journal_seq(const struct journal *j)
{
	return j->log.seq;
}

uint64_t journal_bytes(const struct journal *j)
{
	return j->log.tail;
}

uint64_t journal_cut(const struct journal *j)
{
	return j->cut;
}

int journal_request_sync(struct journal *j, uint64_t seq)
{
	assert(seq <= j->log.seq);
	return flusher_request(j->flusher, seq, j->log.seq);
}

int journal_event_fd(const struct journal *j)
{
	return flusher_event_fd(j->flusher);
}

int journal_wait(struct journal *j, uint64_t seq, struct error *err)
{
	int r = flusher_wait(j->flusher, seq);

	return r < 0 ? explain(err, r, "flush the journal") : 0;
}

int journal_synced(struct journal *j, uint64_t *seq)
{
	uint64_t durable;
	int r = flusher_result(j->flusher, &durable);

	if (r < 0)
		return r;
	if (durable == j->log.seq && !j->log.broken)
		journal_log_mark(&j->log);
	*seq = durable;
	return 0;
}
