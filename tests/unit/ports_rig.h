/* SPDX-License-Identifier: MIT */
/* A loop, a configuration from a string, and all that is told of places, as one line each:
 * "+KEY NODE,NODE" and "-KEY". */
#pragma once

#include "daemon/ports.h"

struct ports_rig {
	char dir[256]; /* of the test's own, below TMPDIR */
	sd_event *event;
	struct config *config;
	struct ports *ports;
	char told[8192];
	struct place last; /* that `added` was told of */
	unsigned n_mistakes;
};

void ports_rig_init(struct ports_rig *rig, const char *config);
void ports_rig_free(struct ports_rig *rig);
/* Fails the test where that is not possible. */
struct config *ports_rig_config(struct ports_rig *rig, const char *text);
void ports_rig_start(struct ports_rig *rig, bool udev);
void ports_rig_reload(struct ports_rig *rig, const char *text);
/* Runs the loop until nothing is left to do, and compares what was told since the last time. */
void ports_rig_expect(struct ports_rig *rig, const char *told, const char *file, int line);
#define expect_told(rig, told) ports_rig_expect(rig, told, __FILE__, __LINE__)
