/* SPDX-License-Identifier: MIT */
#include "fuse/handover.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "util/io.h"

int handover_finish(struct handover *h, struct error *err)
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
	f->base_away = false;
	h->adopting[0] = '\0';
	intent_remove(f->dirfd);
	flash_settled(h->flash);
	base_clear(h->base);
	*h->base = h->next;
	h->next = (struct base){0};
	return 0;
}

int handover_begin(struct handover *h, struct commit *job, struct error *err)
{
	struct folder *f = h->folder;
	struct journal_header header = f->header;
	uint64_t before = f->on_flash;
	int r = job->rewritten ? snapshot_save_strays(f, job->snapshot) : 0;

	if (r < 0)
		return error_set(err, r, "cannot keep open files on the host: %s", strerror(-r));
	snapshot_committed(f, job->snapshot);
	if (job->rewritten)
		memcpy(header.base, job->next.fingerprint, SHA256_SIZE);
	header.dirty = folder_needs_journal(f);
	r = folder_rewrite_journal(f, &header, err);
	if (r < 0) {
		snapshot_undo(f, job->snapshot, before);
		return r;
	}
	if (!job->rewritten)
		return 0;
	memcpy(h->adopting, job->next_name, sizeof(h->adopting));
	h->next = job->next;
	job->next = (struct base){0};
	f->base_away = true;
	return handover_finish(h, err);
}

void handover_done(struct handover *h)
{
	base_clear(&h->next);
}
