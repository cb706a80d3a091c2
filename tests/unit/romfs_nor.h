/* SPDX-License-Identifier: MIT */
/* A flash chip for tests, which asserts its rules: whole blocks, whole units, nothing
 * programmed twice (or, where the geometry allows it, only to clear more bits); and the host
 * beside it, which runs plans on it, whole or cut short. */
#pragma once

#include "libromfs/plan.h"
#include "romfs_model.h"

struct nor {
	struct romfs_geometry g;
	uint8_t *b;
	bool *written; /* by write unit: programmed since its erase */
	bool *unknown; /* by erase block: the host does not know what stands there */
	uint32_t *erases; /* by erase block */
	uint8_t *bad; /* by erase block: 1 where nothing may be erased or programmed */
	uint8_t *hidden; /* by byte, or NULL: 1 where nobody may read */
	unsigned peeks; /* how often somebody did */
	int next_fd;   /* of the last plan */
};

void nor_init(struct nor *f, const struct romfs_geometry *g);
void nor_done(struct nor *f);
/* After a change of f->b by hand: what is not blank has been programmed. */
void nor_settle(struct nor *f);
/* Bytes that something else left there. */
void nor_dirty(struct nor *f, struct rng *r);
void nor_know(struct nor *f, bool known);

/* The first `done` operations, and the next one torn: the first `torn` of its write units
 * (a unit is programmed whole or not), or bytes of an erase; what follows of an erase is
 * neither old nor erased for some bytes. A plan that was run to its end has changed what it
 * says and nothing else. */
void nor_run(struct nor *f, const struct romfs_plan *plan, size_t done, uint64_t torn,
	struct rng *r);
/* Bytes as they will be when the plan is done. */
void nor_after(const struct nor *f, const struct romfs_plan *plan, uint64_t off, void *buf,
	size_t len);
/* The blocks that the plan touches are not known any more. */
void nor_forget(struct nor *f, const struct romfs_plan *plan);

/* What stands on flash, as the planner gets it. The image is NULL if it cannot be known. */
struct romfs_flash nor_flash(struct nor *f, struct romfs_image **image);

enum nor_sees { SEES_NOTHING, SEES_TREE, SEES_OTHER };
/* What a board sees: no file system, exactly this tree, or something else. */
enum nor_sees nor_sees(const struct nor *f, const struct model *m);
/* Fails unless parser and board see exactly the model. */
void nor_expect(const struct nor *f, const struct model *m, bool notes);
/* A tree for the planner: files that stand in `image` with the same content stay there. */
struct romfs_tree *nor_wanted(
	const struct model *m, const struct model *old, const struct romfs_image *image);
