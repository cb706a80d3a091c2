/* SPDX-License-Identifier: MIT */
/* What flash shows before a commit. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "fuse/commit_private.h"

/* Somebody may have had the board between a cut and now, so whatever is strange and not ours
 * is his. `again`: nobody else had it since we wrote. */
static int survey(struct commit *c, bool again, struct error *err)
{
	_cleanup_close_ int next_fd = -1;
	struct romfs_source now = flash_now_source(c->flash);
	struct intent intent;
	struct base shown;
	struct flash_census census;
	bool noted = intent_read(c->dirfd, &intent) == 0;
	bool light = !noted || intent_is_light(&intent);
	int r;

	if (!light)
		next_fd = openat(c->dirfd, intent.next_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	r = flash_survey(c->flash, TAKE_FD(next_fd), light, &census, err);
	if (r < 0)
		return r;
	if (!again && noted && census.unknown > intent.strangers)
		return flash_stale_error(c->flash, err);
	/* What the next survey will find besides the base and a new image. */
	c->strangers = census.next + census.unknown;
	/* Not whole, or not known: nothing that could be kept. */
	if (base_read(&now, &shown, NULL) < 0)
		return 0;
	c->parsed = TAKE_PTR(shown.image);
	if (c->parsed->status != ROMFS_VALID)
		return 0;
	c->image = c->parsed;
	return flash_confirm(c->flash, &now, err);
}

static bool same(const uint8_t a[SHA256_SIZE], const uint8_t b[SHA256_SIZE])
{
	return memcmp(a, b, SHA256_SIZE) == 0;
}

/* An append was under way. Nothing that the base needs was touched, so what the mirror knows
 * is still there, or another program was; what it touched is read again. */
static int look_again(struct commit *c, struct error *err)
{
	const struct romfs_source source = flash_base_source(c->flash);
	struct base now = {0};
	struct intent intent;
	int r = flash_connect(c->flash, err);

	if (r == 0)
		r = flash_trust(c->flash, err);
	if (r == 0)
		r = base_read(&source, &now, err);
	if (r < 0)
		return r;
	if (same(now.fingerprint, c->base->fingerprint)) {
		intent_remove(c->dirfd);
		flash_settled(c->flash);
	} else if (intent_read(c->dirfd, &intent) == 0 && same(now.fingerprint, intent.next)) {
		r = flash_confirm(c->flash, &source, err);
		if (r < 0) {
			base_clear(&now);
			return r;
		}
		base_clear(&c->next);
		c->next = now;
		c->outcome = COMMIT_STEP;
		return 1;
	} else if (now.image->status == ROMFS_VALID) {
		r = flash_stale_error(c->flash, err);
	} else {
		c->image = NULL; /* a slot that was torn: flash shows no tree at all */
	}
	base_clear(&now);
	return r;
}

int commit_look(struct commit *c, bool again, struct error *err)
{
	romfs_image_free(c->parsed);
	c->parsed = NULL;
	c->image = NULL;
	c->strangers = 0;
	if (flash_is_mixed(c->flash))
		return survey(c, again, err);
	/* Blank flash would do for an empty folder, but somebody has written something, and
	 * a board shall find a file system then. */
	if (c->base->image->status == ROMFS_VALID)
		c->image = c->base->image;
	return flash_is_doubtful(c->flash) ? look_again(c, err) : 0;
}
