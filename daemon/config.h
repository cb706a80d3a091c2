/* SPDX-License-Identifier: MIT */
/* romountd's configuration: files read at start and on reload, mistakes told with file and
 * line, everything else taken. See romount.conf(5). */
#pragma once

#include "daemon/policy.h"
#include "util/error.h"

struct config;

/* A board that no udev tells of: from [board X] with tty= or socket=, or from --board. */
#define CONFIG_PATH_MAX 127u
struct config_static {
	char tty[CONFIG_PATH_MAX + 1];	  /* an absolute path; "" */
	char socket[CONFIG_PATH_MAX + 1]; /* HOST:PORT, [ADDRESS]:PORT; "" */
	char alias[POLICY_TEXT_MAX + 1];  /* --board may have none: "" */
	unsigned baud;			  /* 0: as the policy says */
};

/* What is known of a board when its policy is looked up; NULL: not known. */
struct config_subject {
	const char *alias, *serial, *id_path;
	const char *const *paths; /* of its ttys, links to them as well; NULL at the end */
	uint16_t vendor_id, product_id;
};

/* One line of printable text: "FILE:LINE: what", or "FILE: what". */
typedef void (*config_mistake_fn)(void *ctx, const char *text);

/* `file` NULL: the usual ones of this mode, SYSCONFDIR/romount/romount.conf and then those of
 * romount.d in the order of their names; that they are missing is no mistake. -errno only
 * when nothing can be used (memory, a given file that cannot be read). Blocks on the disk,
 * and on the list of users where an owner is named. */
must_check int config_load(const char *file, bool user_mode, config_mistake_fn mistake,
	void *ctx, struct config **out, struct error *err);
void config_free(struct config *c);
DEFINE_CLEANUP(struct config *, config_free);

const char *config_mount_root(const struct config *c); /* NULL: as the mode says */
const char *config_state_root(const struct config *c); /* NULL: as the mode says */
bool config_is_verbose(const struct config *c);
const struct config_static *config_statics(const struct config *c, unsigned *n);
/* The policy of this board: defaults, every [board], then each [board X] that matches, in the
 * order of the files; a later one wins. Returns whether one of the last kind matched: then
 * the board is ours although no rule knows it. All bytes of `out` are written, so that two
 * can be compared by memcmp. */
bool config_policy(
	const struct config *c, const struct config_subject *subject, struct policy *out);
/* "tty=PATH,alias=NAME,baud=N" as --board takes it. */
must_check int config_parse_static(
	const char *text, struct config_static *out, struct error *err);
