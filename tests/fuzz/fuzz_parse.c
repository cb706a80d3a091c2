/* SPDX-License-Identifier: MIT */
/* libFuzzer target: whatever the bytes are, the parser ends, and what it shows lies inside
 * of them. A tree that it shows is planned for as well, as it would be by the next save. */
#include "config.h" /* memfd_create is of GNU */

#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "libromfs/parse.h"
#include "libromfs/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int zeros(void *ctx, const struct romfs_tree *tree, uint32_t index, uint64_t off,
	void *buf, size_t len, struct error *err)
{
	memset(buf, 0, len);
	return 0;
}

static void check_tree(const struct romfs_image *image, size_t size)
{
	for (uint32_t i = 1; i < romfs_tree_count(image->tree); i++) {
		const struct romfs_node *n = romfs_tree_node(image->tree, i);
		char path[64];

		assert(n->name_len > 0 && n->parent < i);
		assert(strlen(romfs_tree_name(image->tree, i)) == n->name_len);
		assert(romfs_tree_find(image->tree, n->parent,
			       romfs_tree_name(image->tree, i), n->name_len) == i);
		romfs_tree_path(image->tree, i, path, sizeof(path));
		if (n->type == ROMFS_FILE)
			assert(n->data_off <= size && n->size <= size - n->data_off);
	}
	for (size_t k = 0; k < image->n_meta; k++) {
		assert(image->meta[k].off + image->meta[k].len <= size);
		assert(k == 0 || image->meta[k - 1].off + image->meta[k - 1].len <
					 image->meta[k].off);
	}
}

/* The folder adds an entry and saves: the planner meets the hostile places. */
static void check_plan(const struct romfs_source *source, const struct romfs_image *image,
	struct romfs_tree *wanted, size_t size)
{
	static int fd = -1;
	const struct romfs_pack_options options = {.notes = true};
	struct romfs_geometry g = {
		.size = size / 64 * 64, .erase_block = 64, .write_unit = 8};
	struct romfs_flash now = {.source = *source, .image = image};
	struct romfs_plan *plan = NULL;
	uint32_t i;

	if (fd < 0)
		fd = memfd_create("next", MFD_CLOEXEC);
	if (g.size == 0 || romfs_tree_add(wanted, 0, ROMFS_FILE, "new", 3, &i) < 0)
		return;
	romfs_tree_node(wanted, i)->size = 20;
	if (romfs_plan(&g, &now, ROMFS_REWRITE, wanted, &options, zeros, NULL, fd, &plan, NULL) < 0)
		return;
	for (size_t k = 0; k < plan->n_ops; k++)
		assert(plan->ops[k].len && plan->ops[k].off + plan->ops[k].len <= g.size);
	romfs_plan_free(plan);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct romfs_buffer buffer = {data, size};
	struct romfs_source source = romfs_source_buffer(&buffer);
	struct romfs_image *image, *again;

	if (romfs_parse(&source, &image, NULL) < 0)
		return 0;
	assert(image->status == ROMFS_VALID || romfs_tree_count(image->tree) == 1);
	check_tree(image, size);
	if (image->status == ROMFS_VALID && romfs_parse(&source, &again, NULL) == 0) {
		check_plan(&source, image, again->tree, size);
		romfs_image_free(again);
	}
	romfs_image_free(image);
	return 0;
}
