/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/config_private.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "util/text.h"

#define QUIET_MS 1000u
#define IDLE_MS 10000u

/* --- which files ----------------------------------------------------------------------- */

/* The caller frees; NULL with -ENOENT where this user has no home. */
static int usual_folder(bool user_mode, char **out)
{
	const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	int r;

	if (!user_mode)
		r = asprintf(out, "%s/romount", SYSCONFDIR);
	else if (xdg && xdg[0] == '/') /* the standard: relative ones are ignored */
		r = asprintf(out, "%s/romount", xdg);
	else if (home && home[0] == '/')
		r = asprintf(out, "%s/.config/romount", home);
	else
		return -ENOENT;
	return r < 0 ? -ENOMEM : 0;
}

static void tell_file(const struct config_reader *reader, const struct error *err)
{
	if (reader->mistake)
		reader->mistake(reader->ctx, err->text);
}

/* One of the usual files: that it cannot be read spoils no other. */
static int read_usual(const struct config_reader *reader, const char *file)
{
	struct error err = {0};
	int r = config_read_file(reader, file, &err);

	if (r < 0 && r != -ENOENT)
		tell_file(reader, &err);
	return r == -ENOMEM ? r : 0;
}

static int is_conf(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name);

	return entry->d_name[0] != '.' && n > 5 && !strcmp(entry->d_name + n - 5, ".conf");
}

/* Not alphasort(3): the order must not depend on who starts the daemon. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_folder(const struct config_reader *reader, const char *folder)
{
	struct dirent **entries = NULL;
	struct error err = {0};
	int n = scandir(folder, &entries, is_conf, by_name), r = 0;

	if (n < 0 && errno == ENOENT)
		return 0;
	if (n < 0) {
		(void)error_set(&err, -errno, "%s: cannot be read: %m", folder);
		tell_file(reader, &err);
		return err.code == -ENOMEM ? -ENOMEM : 0;
	}
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *file = NULL;

		if (r == 0 && asprintf(&file, "%s/%s", folder, entries[i]->d_name) < 0) {
			file = NULL;
			r = -ENOMEM;
		}
		if (r == 0)
			r = read_usual(reader, file);
		free(entries[i]);
	}
	free(entries);
	return r;
}

static int read_usual_ones(const struct config_reader *reader)
{
	_cleanup_free_ char *folder = NULL, *file = NULL, *more = NULL;
	int r = usual_folder(reader->user_mode, &folder);

	if (r == -ENOENT)
		return 0;
	if (r < 0) {
		folder = NULL;
		return r;
	}
	if (asprintf(&file, "%s/romount.conf", folder) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	if (asprintf(&more, "%s/romount.d", folder) < 0) {
		more = NULL;
		return -ENOMEM;
	}
	r = read_usual(reader, file);
	return r < 0 ? r : read_folder(reader, more);
}

int config_load(const char *file, bool user_mode, config_mistake_fn mistake, void *ctx,
	struct config **out, struct error *err)
{
	_cleanup_(config_freep) struct config *c = calloc(1, sizeof(*c));
	struct config_reader reader = {
		.config = c, .user_mode = user_mode, .mistake = mistake, .ctx = ctx};
	int r = -ENOMEM;

	if (c)
		r = file ? config_read_file(&reader, file, err) : read_usual_ones(&reader);
	if (r < 0)
		return error_set(err, r, "the configuration cannot be read: %s", strerror(-r));
	*out = TAKE_PTR(c);
	return 0;
}

void config_section_clear(struct config_section *section)
{
	for (size_t i = 0; i < section->n_matches; i++)
		free(section->matches[i].text);
	for (size_t i = 0; i < section->n_settings; i++)
		free(section->settings[i].value);
	free(section->matches);
	free(section->settings);
	memset(section, 0, sizeof(*section));
}

void config_free(struct config *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_sections; i++)
		config_section_clear(&c->sections[i]);
	free(c->sections);
	free(c->statics);
	free(c->mount_root);
	free(c->state_root);
	free(c);
}

/* --- what it says ---------------------------------------------------------------------- */

const char *config_mount_root(const struct config *c)
{
	return c->mount_root;
}

const char *config_state_root(const struct config *c)
{
	return c->state_root;
}

bool config_is_verbose(const struct config *c)
{
	return c->is_verbose;
}

const struct config_static *config_statics(const struct config *c, unsigned *n)
{
	*n = c->n_statics;
	return c->statics;
}

static bool has_path(const struct config_subject *subject, const char *path)
{
	for (const char *const *p = subject->paths; p && *p; p++)
		if (!strcmp(*p, path))
			return true;
	return false;
}

static bool path_matches(const struct config_subject *subject, const char *pattern)
{
	for (const char *const *p = subject->paths; p && *p; p++)
		if (fnmatch(pattern, *p, FNM_PATHNAME) == 0)
			return true;
	return subject->id_path && fnmatch(pattern, subject->id_path, 0) == 0;
}

static bool match_holds(const struct config_match *m, const struct config_subject *subject,
	const char *alias)
{
	switch (m->kind) {
	case MATCH_ALIAS:
		return !strcmp(m->text, alias);
	case MATCH_SERIAL:
		return subject->serial && !strcmp(m->text, subject->serial);
	case MATCH_USB:
		return m->vendor_id == subject->vendor_id &&
			m->product_id == subject->product_id;
	case MATCH_PATH:
		return path_matches(subject, m->text);
	}
	return false;
}

static bool section_holds(const struct config_section *section,
	const struct config_subject *subject, const char *alias)
{
	if (section->tty[0] && !has_path(subject, section->tty))
		return false;
	if (section->socket[0] && !has_path(subject, section->socket))
		return false;
	for (size_t i = 0; i < section->n_matches; i++)
		if (!match_holds(&section->matches[i], subject, alias))
			return false;
	return true;
}

/* Each value was taken once before, so that only too many alignments can fail here. */
static void apply(const struct config_section *section, struct policy *policy)
{
	for (size_t i = 0; i < section->n_settings; i++) {
		const struct config_setting *s = &section->settings[i];

		(void)s->key->take(policy, s->value, NULL);
	}
}

bool config_policy(
	const struct config *c, const struct config_subject *subject, struct policy *out)
{
	bool matched = false;

	memset(out, 0, sizeof(*out));
	out->interface = -1;
	out->quiet_ms = QUIET_MS;
	out->idle_ms = IDLE_MS;
	snprintf(out->owner, sizeof(out->owner), "%s", c->owner);
	for (size_t i = 0; i < c->n_sections; i++)
		if (!c->sections[i].name[0])
			apply(&c->sections[i], out);
	snprintf(out->alias, sizeof(out->alias), "%s", subject->alias ? subject->alias : "");
	for (size_t i = 0; i < c->n_sections; i++) {
		const struct config_section *section = &c->sections[i];

		if (!section->name[0] || !section_holds(section, subject, out->alias))
			continue;
		apply(section, out);
		matched = true;
	}
	return matched;
}

/* --- a board on the command line ------------------------------------------------------- */

static int take_part(struct config_static *out, const char *part, struct error *err)
{
	const char *eq = strchr(part, '=');
	size_t n = eq ? (size_t)(eq - part) : 0;

	if (n == 3 && !strncmp(part, "tty", n))
		return config_take_tty(out->tty, eq + 1, err);
	if (n == 6 && !strncmp(part, "socket", n))
		return config_take_socket(out->socket, eq + 1, err);
	if (n == 5 && !strncmp(part, "alias", n))
		return config_take_alias(out->alias, eq + 1, err);
	if (n == 4 && !strncmp(part, "baud", n))
		return config_take_baud(&out->baud, eq + 1, err);
	return error_set(err, -EINVAL,
		"'%s' says nothing of a board: write tty=PATH or socket=HOST:PORT, and then "
		"alias=NAME or baud=N",
		part);
}

int config_parse_static(const char *text, struct config_static *out, struct error *err)
{
	_cleanup_free_ char *copy = strdup(text);
	struct config_static board = {0};
	char *rest = copy, *part;
	int r;

	if (!copy)
		return error_set(err, -ENOMEM, "out of memory");
	while ((part = strsep(&rest, ","))) {
		r = take_part(&board, part, err);
		if (r < 0)
			return r;
	}
	if (!board.tty[0] == !board.socket[0])
		return error_set(err, -EINVAL,
			"'%s' names %s: a board is at one of tty=PATH, socket=HOST:PORT", text,
			board.tty[0] ? "two ports" : "no port");
	*out = board;
	return 0;
}
