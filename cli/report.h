/* SPDX-License-Identifier: MIT */
/* What `romount info` knows about one partition, and the two forms in which it tells. */
#pragma once

#include <stdbool.h>

#include "cli/flashmap.h"
#include "cli/occupancy.h"
#include "libdev/session.h"

/* Something that a mounted folder, or the state of a mount, tells about itself. */
struct report_fact {
	char *name, *value; /* printable */
};

struct report {
	const struct dev_geometry *geometry;
	const struct romfs_image *image;
	struct flashmap map;
	struct occupancy occupancy;
	struct occupancy_wear wear;
	struct report_fact *mount; /* mountstate.h */
	size_t n_mount;
};

void report_board_text(const char *path, const struct dev_board_info *board);
/* -ENOMEM or 0. */
must_check int report_partition_text(const struct report *report, bool with_layout);
void report_facts_text(const char *path, const struct report_fact *facts, size_t n);

/* JSON objects, NULL when memory is short; documented in romount(1). */
struct json_object;
struct json_object *report_board_json(const struct dev_board_info *board);
struct json_object *report_partition_json(const struct report *report, bool with_layout);
struct json_object *report_facts_json(const struct report_fact *facts, size_t n);
