/* SPDX-License-Identifier: MIT */
/* A volume on the fakeboard, and operations on its whole partition, for tests; the rig's helpers
 * work on its folder. Functions fail the test where they cannot. */
#pragma once

#include "fuse/volume.h"
#include "tests/unit/rig.h"

#define BED_SIZE (256u << 10)
#define BED_BLOCK 4096u
#define BED_TURN_USEC 60000000u /* for one turn of the loop; to end a test that hangs */

struct bed {
	struct rig rig;
	struct log_sink log;
	struct volume *v;
	bool ready, done;
	int result; /* of the last operation, as all below */
	struct error err;
	uint64_t bytes;
	struct volume_extent *extents;
	size_t n_extents;
	unsigned ends;
};
extern struct bed bed;

/* Contents, and an image of bed_take_image's tree. */
extern uint8_t bed_one[30000], bed_two[9000], bed_image[BED_SIZE];
extern const struct volume_order bed_format, bed_verify, bed_layout;

/* For cmocka; the state is the rig. */
int bed_setup(void **state);
int bed_teardown(void **state);

void bed_attach(bool verify_all);
void bed_detach(void); /* as a crash does it */
void bed_reattach(void);

void bed_begin(struct volume_order order);
bool bed_is_done(struct rig *r); /* for rig_run_until */
int bed_try(struct volume_order order);
void bed_operate(struct volume_order order);
int bed_memory(const void *bytes, size_t len); /* a file that holds them */
struct volume_order bed_restore(const void *bytes, size_t len, bool exact);

/* Makes a tree, and takes the image that flash holds then. */
void bed_take_image(struct rig *r);
void bed_expect_image(struct rig *r); /* the folder is that tree */
void bed_other_tree(struct rig *r); /* what bed_take_image has made, changed, on flash */
/* Flash holds an image of so many entries, for somebody who knows nothing of the folder. */
void bed_expect_flash(unsigned entries);
