/* SPDX-License-Identifier: MIT */
/* How a configuration is kept: sections with settings whose values have been checked, applied
 * to a policy whenever one is wanted. Loop thread only. */
#pragma once

#include "daemon/config.h"

/* A setting of [board] and [board X]. */
struct config_key {
	const char *name;
	/* Changes the policy, or says why it cannot. */
	int (*take)(struct policy *policy, const char *value, struct error *err);
	bool repeats;
};

const struct config_key *config_key_find(const char *name); /* NULL: none */

struct config_setting {
	const struct config_key *key;
	char *value;
};

enum config_match_kind {
	MATCH_ALIAS,
	MATCH_SERIAL,
	MATCH_USB,
	MATCH_PATH,
};

struct config_match {
	enum config_match_kind kind;
	char *text; /* NULL with MATCH_USB */
	uint16_t vendor_id, product_id;
};

struct config_section {
	char name[POLICY_TEXT_MAX + 1]; /* "": [board], for all */
	struct config_match *matches; /* all of them must hold */
	size_t n_matches;
	struct config_setting *settings;
	size_t n_settings;
	char tty[CONFIG_PATH_MAX + 1], socket[CONFIG_PATH_MAX + 1];
};

struct config {
	char *mount_root, *state_root;
	char owner[POLICY_TEXT_MAX + 1]; /* [daemon] owner=; "": the seat's user */
	bool is_verbose;
	struct config_section *sections;
	size_t n_sections;
	struct config_static *statics;
	unsigned n_statics;
};

void config_section_clear(struct config_section *section);

/* --- values: 0, or -EINVAL with what is wrong ----------------------------------------- */

must_check int config_take_alias(char out[POLICY_TEXT_MAX + 1], const char *value,
	struct error *err);
must_check int config_take_owner(char out[POLICY_TEXT_MAX + 1], const char *value,
	struct error *err);
must_check int config_take_baud(unsigned *out, const char *value, struct error *err);
must_check int config_take_tty(
	char out[CONFIG_PATH_MAX + 1], const char *value, struct error *err);
must_check int config_take_socket(
	char out[CONFIG_PATH_MAX + 1], const char *value, struct error *err);
/* The text is the caller's to free. */
must_check int config_take_match(
	struct config_match *out, const char *value, struct error *err);

/* --- reading ------------------------------------------------------------------------- */

struct config_reader {
	struct config *config;
	bool user_mode;
	config_mistake_fn mistake;
	void *ctx;
};

/* Adds what a file says; mistakes are told. -errno: the file cannot be read, or no memory. */
must_check int config_read_file(
	const struct config_reader *reader, const char *file, struct error *err);
