/* SPDX-License-Identifier: MIT */
/* An image that somebody else has laid out, to flash as it is. The folder has taken its tree
 * already, so that a cut is healed to that tree, if not to these bytes. */
#include <errno.h>
#include <string.h>

#include "fuse/commit_private.h"
#include "util/io.h"

#define COPY_BYTES (64u << 10)

static int copy_image(struct commit *c, struct patch *patch)
{
	_cleanup_free_ uint8_t *buf = malloc(COPY_BYTES);
	int r = buf ? 0 : -ENOMEM;

	for (uint64_t done = 0; r == 0 && done < c->image_size; done += COPY_BYTES) {
		size_t n = (size_t)MIN((uint64_t)COPY_BYTES, c->image_size - done);

		r = io_pread_full(c->image_fd, buf, n, (off_t)done);
		if (r == 0)
			r = io_pwrite_full(patch_fd(patch), buf, n, (off_t)done);
	}
	return r < 0 || ftruncate(patch_fd(patch), (off_t)flash_geometry(c->flash)->size) == 0
		       ? r
		       : -errno;
}

/* Nothing that was closed since may be taken for the image's. */
static int changed_meanwhile(struct error *err)
{
	return error_set(err, -EBUSY,
		"the folder was changed meanwhile: it holds the image's files and those changes, "
		"and is written as it is, not byte by byte");
}

/* The folder's files stand where the image has them. */
static int find_places(struct commit *c, const struct romfs_tree *image, struct error *err)
{
	const struct romfs_tree *tree = c->snapshot->tree;
	uint32_t count = romfs_tree_count(tree);
	_cleanup_free_ uint32_t *order = NULL, *twin = calloc(count, sizeof(*twin));

	if (!twin || romfs_tree_preorder(tree, &order) < 0)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t k = 0; k < count; k++) {
		uint32_t i = order[k];
		struct romfs_node *n = romfs_tree_node(tree, i);
		const struct romfs_node *there;

		twin[i] = i == ROMFS_ROOT ? ROMFS_ROOT
					  : romfs_tree_find(image, twin[n->parent],
						    romfs_tree_name(tree, i), n->name_len);
		there = twin[i] == ROMFS_NO_NODE ? NULL : romfs_tree_node(image, twin[i]);
		if (!there || there->type != n->type || there->size != n->size)
			return changed_meanwhile(err);
		n->data_off = there->data_off;
	}
	return 0;
}

static int write_image(struct commit *c, struct romfs_image *image, struct error *err)
{
	const struct romfs_geometry geometry = flash_romfs_geometry(c->flash);
	const struct romfs_flash now = commit_flash_now(c);
	const struct wanted w = {.tree = image->tree, .blank = image->status == ROMFS_BLANK};
	_cleanup_(romfs_plan_freep) struct romfs_plan *plan = NULL;
	_cleanup_(patch_freep) struct patch *patch = NULL;
	int r = patch_new(c->dirfd, geometry.size, &patch);

	if (r == 0)
		r = copy_image(c, patch);
	if (r < 0)
		return error_set(err, r, "cannot prepare a commit: %s", strerror(-r));
	r = romfs_plan_image(
		&geometry, &now, image, c->image_size, patch_fd(patch), &plan, err);
	if (r < 0)
		return r;
	if (plan->n_ops == 0 && !flash_is_mixed(c->flash) && !flash_is_doubtful(c->flash))
		return 0;
	r = commit_carry_out(c, &w, patch, plan, err);
	if (r == 0)
		c->outcome = COMMIT_DONE;
	return r;
}

int commit_image(struct commit *c, struct error *err)
{
	const struct romfs_source source = romfs_source_fd(&c->image_fd, c->image_size);
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	int r = c->snapshot->change == c->change ? romfs_parse(&source, &image, err)
						 : changed_meanwhile(err);

	if (r == 0)
		r = find_places(c, image->tree, err);
	if (r == 0)
		r = commit_fetch_strays(c, err);
	return r < 0 ? r : write_image(c, image, err);
}
