/* SPDX-License-Identifier: MIT */
/* What stands where, by what the host knows: the board is not asked. */
#include <errno.h>
#include <string.h>

#include "fuse/operate_private.h"
#include "libromfs/chart.h"
#include "util/text.h"

static const char *const words[] = {
	[ROMFS_USE_HEAD] = "head",
	[ROMFS_USE_SLOT] = "slot",
	[ROMFS_USE_ROOT] = "root",
	[ROMFS_USE_FILE] = "file",
	[ROMFS_USE_DEAD] = "dead",
	[ROMFS_USE_BLANK] = "blank",
	[ROMFS_USE_UNKNOWN] = "unknown",
	[ROMFS_USE_BAD] = "bad",
};

static void describe(const struct operation *op, const struct romfs_stretch *s,
	struct volume_extent *out)
{
	const struct romfs_tree *tree = op->v->attached.base.image->tree;

	out->off = s->off;
	out->len = s->len;
	snprintf(out->kind, sizeof(out->kind), "%s", words[s->use]);
	if (s->use != ROMFS_USE_FILE)
		return;
	romfs_tree_path(tree, s->index, out->name, sizeof(out->name));
	text_make_printable(out->name);
}

static int run_layout(struct operation *op, struct error *err)
{
	struct flash *flash = operation_flash(op);
	const struct romfs_geometry geometry = flash_romfs_geometry(flash);
	const struct wear *wear = flash_wear(flash);
	const struct romfs_flash now = {.source = flash_now_source(flash),
		.image = op->v->attached.base.image,
		.bad = wear ? wear_bad(wear) : NULL};
	_cleanup_free_ struct romfs_stretch *v = NULL;
	size_t n = 0;
	int r = romfs_chart(&geometry, &now, &v, &n, err);

	if (r < 0)
		return r;
	op->result.extents = calloc(n + 1, sizeof(*op->result.extents));
	if (!op->result.extents)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++)
		describe(op, &v[i], &op->result.extents[i]);
	op->result.n_extents = n;
	return 0;
}

static void on_layout(struct operation *op)
{
	op->result.bytes = flash_geometry(operation_flash(op))->size;
	operation_end(op, 0);
}

static void begin_layout(struct operation *op)
{
	operation_submit(op, run_layout, on_layout);
}

const struct operation_kind operation_layout = {.name = "layout", .begin = begin_layout};
