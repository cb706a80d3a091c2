/* SPDX-License-Identifier: MIT */
#include "fuse/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "util/io.h"

/* Journal and mirror agree with flash. */
static void settle(struct handover *h)
{
	h->folder->base_away = false;
	h->adopting[0] = '\0';
	intent_remove(h->folder->dirfd);
	flash_settled(h->flash);
	base_clear(h->base);
	*h->base = h->next;
	h->next = (struct base){0};
}

bool handover_is_open(const struct handover *h)
{
	return h->adopting[0] != '\0';
}

int handover_resume(struct handover *h, struct error *err)
{
	struct folder *f = h->folder;
	struct error why = {0};
	int r = mirror_adopt(f->mirror, f->dirfd, h->adopting, &why);

	/* Renamed, and only its directory was not flushed. */
	if (r < 0 && faccessat(f->dirfd, h->adopting, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
		f->base_away = false;
		r = io_sync_dir(f->dirfd, ".");
	}
	if (r < 0) {
		if (err && !err->code)
			*err = why;
		return error_prefix(err, r, "cannot take over the new image");
	}
	settle(h);
	return 0;
}

/* The nodes of a tree that is on flash now. */
static int take_snapshot(struct handover *h, struct commit *job, struct error *err)
{
	struct folder *f = h->folder;
	struct journal_header header = f->header;
	uint64_t before = f->on_flash;
	bool changed = job->outcome == COMMIT_DONE;
	/* Also where flash was right already: an earlier commit that nobody had heard of may
	 * have left them out. */
	int r = snapshot_save_strays(f, job->snapshot);

	if (r < 0)
		return error_set(err, r, "cannot keep open files on the host: %s", strerror(-r));
	snapshot_committed(f, job->snapshot);
	if (changed)
		memcpy(header.base, job->next.fingerprint, SHA256_SIZE);
	header.dirty = folder_needs_journal(f);
	r = folder_rewrite_journal(f, &header, err);
	if (r < 0)
		snapshot_undo(f, job->snapshot, before);
	return r;
}

/* The same tree as before, with files at other places; or one of an earlier commit, of which
 * the folder has not heard, and which holds all that the folder refers to. */
static int take_step(struct handover *h, struct commit *job, struct error *err)
{
	struct folder *f = h->folder;
	struct journal_header header = f->header;
	int r;

	moves_apply(&job->moves, f);
	memcpy(header.base, job->next.fingerprint, SHA256_SIZE);
	header.dirty = folder_needs_journal(f);
	r = folder_rewrite_journal(f, &header, err);
	if (r < 0)
		moves_undo(&job->moves, f);
	/* Places that the folder refers to hold what they did, but that tree does not need them:
	 * they have to be wanted before anything else is done to flash. */
	else if (job->moves.n == 0)
		f->change++;
	return r;
}

int handover_take(struct handover *h, struct commit *job, struct error *err)
{
	int r = job->outcome == COMMIT_STEP ? take_step(h, job, err)
		: job->snapshot	    ? take_snapshot(h, job, err)
					    : 0;

	if (r < 0 || job->outcome == COMMIT_NOTHING)
		return r;
	base_clear(&h->next);
	h->next = job->next;
	job->next = (struct base){0};
	if (!job->next_name[0]) {
		settle(h);
		return 0;
	}
	memcpy(h->adopting, job->next_name, sizeof(h->adopting));
	h->folder->base_away = true;
	return handover_resume(h, err);
}

void handover_done(struct handover *h)
{
	base_clear(&h->next);
}
