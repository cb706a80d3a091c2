/* SPDX-License-Identifier: MIT */
/* How the room of a partition is used: the layout that its image has, what a save finds, and
 * what the host remembers of its wear. */
#pragma once

#include "cli/open.h"
#include "fuse/wear.h"
#include "libromfs/plan.h"

enum occupancy_form {
	OCCUPANCY_NONE,	    /* no valid image */
	OCCUPANCY_APPEND,
	OCCUPANCY_LAID_OUT, /* data by pointers, metadata in front */
	OCCUPANCY_PACKED,   /* data between the metadata, as mpremote writes it */
};

struct occupancy {
	enum occupancy_form form;
	struct romfs_usage usage;
	bool knows_blank; /* else blank, dead and mixed are not known */
};

/* Of partition `number`, the subject's current one, with this image. `ask`: a board is asked
 * which of its free space is blank, by hashes; a file is looked at anyway. */
must_check int occupancy_of(struct subject *s, const struct romfs_image *image, bool ask,
	struct occupancy *out, struct error *err);
const char *occupancy_form_name(enum occupancy_form form); /* "append", ... */

/* What the state directory tells of the erases. */
struct occupancy_wear {
	struct wear *wear; /* NULL: nothing */
	uint64_t erases; /* of all blocks */
	uint64_t blocks;
	uint64_t most, least; /* the blocks that were erased so */
	uint32_t most_erases, least_erases;
	uint64_t set_aside;
};
/* `state_fd`: of the partition's state directory. All 0 where nothing is known. -ENOMEM. */
must_check int occupancy_wear(
	int state_fd, const struct dev_geometry *g, struct occupancy_wear *out);
void occupancy_wear_done(struct occupancy_wear *w);
