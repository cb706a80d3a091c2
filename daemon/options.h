/* SPDX-License-Identifier: MIT */
/* romountd's command line. */
#pragma once

#include "daemon/config.h"
#include "util/error.h"

#define OPTIONS_BOARDS_MAX 256u

struct options {
	bool user_mode, check_config, no_udev, help, version;
	const char *config;		    /* NULL: the usual ones */
	const char *mount_root, *state_root; /* NULL: as the configuration or the mode says */
	const char *board_user;		    /* of the boards' processes, as root */
	struct config_static *boards;
	unsigned n_boards;
};

/* -EINVAL with a sentence. Texts are argv's. */
must_check int options_parse(int argc, char **argv, struct options *out, struct error *err);
void options_clear(struct options *o);
extern const char options_help[];
