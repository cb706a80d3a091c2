/* SPDX-License-Identifier: MIT */
/* romountd's configuration: files read at start and on reload, mistakes told with file and
 * line, everything else taken. See romount.conf(5). */
#pragma once

#include "daemon/policy.h"
#include "util/error.h"

struct config;

/* A board that no udev tells of: from [board X] with tty= or socket=, or from --board. */
struct config_static {
	char tty[256];	  /* a path; "" */
	char socket[256]; /* HOST:PORT; "" */
	char alias[POLICY_TEXT_MAX + 1];
	unsigned baud;
};

/* What is known of a board when its policy is looked up; NULL: not known. */
struct config_subject {
	const char *alias, *serial, *path, *id_path;
	uint16_t vendor_id, product_id;
};

typedef void (*config_mistake_fn)(void *ctx, const char *text); /* "FILE:LINE: what" */

/* `file` NULL: the usual ones of this mode; files that are missing are no mistake. -errno
 * only when nothing can be used (memory, a given file that cannot be read). */
must_check int config_load(const char *file, bool user_mode, config_mistake_fn mistake,
	void *ctx, struct config **out, struct error *err);
void config_free(struct config *c);
DEFINE_CLEANUP(struct config *, config_free);

const char *config_mount_root(const struct config *c); /* NULL: as the mode says */
const char *config_state_root(const struct config *c); /* NULL: as the mode says */
bool config_is_verbose(const struct config *c);
const struct config_static *config_statics(const struct config *c, unsigned *n);
/* Whether a section names this board (then it is ours although no rule knows it). */
bool config_has(const struct config *c, const struct config_subject *subject);
void config_policy(
	const struct config *c, const struct config_subject *subject, struct policy *out);
/* "tty=PATH,alias=NAME,baud=N" as --board takes it. */
must_check int config_parse_static(
	const char *text, struct config_static *out, struct error *err);
