/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/config_private.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <string.h>

#include "util/text.h"

#define FILE_MAX (1u << 20)
#define SPACES " \t\r\v\f"
#define BOM "\xef\xbb\xbf"

enum where {
	OUTSIDE,  /* before the first section */
	UNKNOWN,  /* of a section that was refused: its settings are passed over */
	DAEMON,
	BOARD,
};

/* What inih does not tell, the lines of sections and of what it cannot read, is found out
 * here on the way to it: it sees settings only. */
struct parsing {
	const struct config_reader *reader;
	const char *file;
	const char *next, *end;
	unsigned line;
	bool unanswered; /* a line was handed out as a setting, and has not come back as one */
	enum where where;
	struct config_section section; /* while BOARD */
	unsigned section_line;
	bool section_spoilt; /* without one of its matches it would hold for other boards */
	bool failed; /* out of memory */
};

static void format_like(3, 4)
	mistake(struct parsing *p, unsigned line, const char *fmt, ...)
{
	char what[480], text[1024];
	va_list ap;

	if (!p->reader->mistake)
		return;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(text, sizeof(text), "%s:%u: %s", p->file, line, what);
	text_make_printable(text);
	p->reader->mistake(p->reader->ctx, text);
}

/* Makes room for one more element. */
static bool grow(struct parsing *p, void *array, size_t n, size_t size)
{
	void **at = array, *more = reallocarray(*at, n + 1, size);

	if (!more) {
		p->failed = true;
		return false;
	}
	*at = more;
	return true;
}

/* --- sections -------------------------------------------------------------------------- */

static const char *setting_of(const struct config_section *section, const char *name)
{
	for (size_t i = 0; i < section->n_settings; i++)
		if (!strcmp(section->settings[i].key->name, name))
			return section->settings[i].value;
	return NULL;
}

/* Whether the static board of the section that ends can be taken. */
static bool take_static(struct parsing *p)
{
	struct config *c = p->reader->config;
	const struct config_section *s = &p->section;
	const char *alias = setting_of(s, "alias"), *baud = setting_of(s, "baud");
	struct config_static board = {0};
	struct error err = {0};

	snprintf(board.tty, sizeof(board.tty), "%s", s->tty);
	snprintf(board.socket, sizeof(board.socket), "%s", s->socket);
	if (config_take_alias(board.alias, alias ? alias : s->name, &err) < 0 ||
		(baud && config_take_baud(&board.baud, baud, &err) < 0)) {
		mistake(p, p->section_line, "[board %s]: %s; or set alias=", s->name, err.text);
		return false;
	}
	for (unsigned i = 0; i < c->n_statics; i++) {
		if (strcmp(c->statics[i].tty, board.tty) != 0 ||
			strcmp(c->statics[i].socket, board.socket) != 0)
			continue;
		mistake(p, p->section_line,
			"[board %s]: the board at %s is that of another section already", s->name,
			board.tty[0] ? board.tty : board.socket);
		return false;
	}
	if (!grow(p, &c->statics, c->n_statics, sizeof(*c->statics)))
		return false;
	memcpy(&c->statics[c->n_statics++], &board, sizeof(board));
	return true;
}

static bool section_is_usable(struct parsing *p)
{
	const struct config_section *s = &p->section;
	bool is_static = s->tty[0] || s->socket[0];

	if (p->section_spoilt) {
		mistake(p, p->section_line,
			"[board %s] is left out: which board it means is not clear", s->name);
		return false;
	}
	if (!s->name[0])
		return true;
	if (s->tty[0] && s->socket[0]) {
		mistake(p, p->section_line,
			"[board %s] has tty= and socket=: a board is at one of them", s->name);
		return false;
	}
	if (!is_static && !s->n_matches) {
		mistake(p, p->section_line,
			"[board %s] names no board: give it match=, tty= or socket=", s->name);
		return false;
	}
	return !is_static || take_static(p);
}

static void end_section(struct parsing *p)
{
	struct config *c = p->reader->config;

	if (p->where == BOARD && section_is_usable(p) &&
		grow(p, &c->sections, c->n_sections, sizeof(*c->sections))) {
		memcpy(&c->sections[c->n_sections++], &p->section, sizeof(p->section));
		memset(&p->section, 0, sizeof(p->section));
	}
	config_section_clear(&p->section);
	p->where = OUTSIDE;
}

/* `text` is what stands between the brackets. */
static void begin_section(struct parsing *p, char *text)
{
	char *name;

	p->section_line = p->line;
	p->section_spoilt = false;
	p->where = UNKNOWN;
	text += strspn(text, SPACES);
	for (size_t n = strlen(text); n > 0 && strchr(SPACES, text[n - 1]); n--)
		text[n - 1] = '\0';
	if (!strcmp(text, "daemon")) {
		p->where = DAEMON;
		return;
	}
	name = text + strcspn(text, SPACES);
	if (*name) {
		*name++ = '\0';
		name += strspn(name, SPACES);
	}
	if (strcmp(text, "board") != 0) {
		mistake(p, p->line, "unknown section [%s%s%s]: there are [daemon], [board] "
				    "and [board NAME]",
			text, *name ? " " : "", name);
	} else if (strlen(name) > POLICY_TEXT_MAX) {
		mistake(p, p->line, "the section's name is longer than %u bytes",
			POLICY_TEXT_MAX);
	} else {
		p->where = BOARD;
		snprintf(p->section.name, sizeof(p->section.name), "%s", name);
	}
}

static void take_section_line(struct parsing *p, char *text)
{
	char *end = strchr(text, ']'), *after;

	end_section(p);
	if (!end) {
		mistake(p, p->line, "'%s' has no ']' at its end", text);
		p->where = UNKNOWN;
		return;
	}
	after = end + 1 + strspn(end + 1, SPACES);
	if (*after && *after != ';' && *after != '#')
		mistake(p, p->line, "'%s' stands behind the section's name", after);
	*end = '\0';
	begin_section(p, text + 1);
}

/* --- lines ----------------------------------------------------------------------------- */

static void end_line(struct parsing *p)
{
	if (p->unanswered)
		mistake(p, p->line, "this is neither a [section] nor KEY=VALUE");
	p->unanswered = false;
}

/* The line, cut to `cap`, when it is a setting: NULL for what inih need not see. */
static bool take_line(struct parsing *p, char *out, size_t cap)
{
	const char *end = memchr(p->next, '\n', (size_t)(p->end - p->next));
	size_t n = (size_t)((end ? end : p->end) - p->next);
	const char *text = p->next;

	p->next = end ? end + 1 : p->end;
	p->line++;
	if (p->line == 1 && n >= strlen(BOM) && !memcmp(text, BOM, strlen(BOM))) {
		text += strlen(BOM);
		n -= strlen(BOM);
	}
	/* inih takes an indented line for the rest of the one before. */
	for (; n > 0 && strchr(SPACES, *text) && *text; n--)
		text++;
	for (; n > 0 && strchr(SPACES, text[n - 1]) && text[n - 1]; n--)
		;
	if (n == 0 || *text == '#' || *text == ';')
		return false;
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)text[i] >= ' ' || text[i] == '\t')
			continue;
		mistake(p, p->line, "there is a control character in this line");
		return false;
	}
	if (n >= cap) {
		mistake(p, p->line, "this line is longer than %zu bytes", cap - 1);
		return false;
	}
	memcpy(out, text, n);
	out[n] = '\0';
	return true;
}

/* As fgets(3): inih has dealt with a line when it asks for the next. */
static char *read_line(char *buf, int size, void *stream)
{
	struct parsing *p = stream;

	end_line(p);
	if (p->next == p->end || size < 2)
		return NULL;
	if (!take_line(p, buf, (size_t)size - 1)) {
		buf[0] = '\0';
	} else if (buf[0] == '[') {
		take_section_line(p, buf);
		buf[0] = '\0';
	} else {
		p->unanswered = true;
	}
	return buf;
}

/* --- settings -------------------------------------------------------------------------- */

static int take_folder(struct parsing *p, char **out, const char *value, struct error *err)
{
	const char *home = getenv("HOME");
	char *path;
	int r;

	if (p->reader->user_mode && home && home[0] == '/' && !strncmp(value, "~/", 2))
		r = asprintf(&path, "%s%s", home, value + 1);
	else if (value[0] == '/')
		r = asprintf(&path, "%s", value);
	else
		return error_set(err, -EINVAL, "'%s' is no absolute path", value);
	if (r < 0)
		return error_set(err, -ENOMEM, "out of memory");
	free(*out);
	*out = path;
	return 0;
}

static int take_log(struct parsing *p, const char *value, struct error *err)
{
	if (strcmp(value, "info") != 0 && strcmp(value, "debug") != 0)
		return error_set(err, -EINVAL, "'%s' is none of info, debug", value);
	p->reader->config->is_verbose = value[0] == 'd';
	return 0;
}

static int take_daemon(struct parsing *p, const char *name, const char *value,
	struct error *err)
{
	struct config *c = p->reader->config;

	if (!strcmp(name, "mount-root"))
		return take_folder(p, &c->mount_root, value, err);
	if (!strcmp(name, "state"))
		return take_folder(p, &c->state_root, value, err);
	if (!strcmp(name, "owner"))
		return config_take_owner(c->owner, value, err);
	if (!strcmp(name, "log"))
		return take_log(p, value, err);
	return error_set(err, -EINVAL, "[daemon] has no such setting");
}

static int take_match(struct parsing *p, const char *value, struct error *err)
{
	struct config_section *s = &p->section;
	struct config_match match;
	int r = config_take_match(&match, value, err);

	if (r < 0) {
		p->section_spoilt = true;
		return r;
	}
	if (!grow(p, &s->matches, s->n_matches, sizeof(*s->matches))) {
		free(match.text);
		return -ENOMEM;
	}
	s->matches[s->n_matches++] = match;
	return 0;
}

/* Where the board is, which a section for all boards cannot say. */
static int take_place(struct parsing *p, const char *name, const char *value,
	struct error *err)
{
	struct config_section *s = &p->section;
	int r;

	if (!s->name[0])
		return error_set(err, -EINVAL,
			"[board] is for all boards: write it below [board NAME]");
	if (!strcmp(name, "match"))
		return take_match(p, value, err);
	if (name[0] == 't' ? s->tty[0] : s->socket[0])
		return error_set(err, -EEXIST, "it is set in this section already");
	r = name[0] == 't' ? config_take_tty(s->tty, value, err)
			   : config_take_socket(s->socket, value, err);
	p->section_spoilt |= r < 0;
	return r;
}

static int take_board(struct parsing *p, const char *name, const char *value,
	struct error *err)
{
	struct config_section *s = &p->section;
	const struct config_key *key;
	struct policy policy = {0};
	char *copy;
	int r;

	if (!strcmp(name, "match") || !strcmp(name, "tty") || !strcmp(name, "socket"))
		return take_place(p, name, value, err);
	key = config_key_find(name);
	if (!key)
		return error_set(err, -EINVAL, "[board] has no such setting");
	if (!s->name[0] && !strcmp(name, "alias"))
		return error_set(err, -EINVAL, "all boards cannot have the same name");
	if (!key->repeats && setting_of(s, name))
		return error_set(err, -EEXIST, "it is set in this section already");
	r = key->take(&policy, value, err);
	if (r < 0)
		return r;
	copy = strdup(value);
	if (!copy || !grow(p, &s->settings, s->n_settings, sizeof(*s->settings))) {
		free(copy);
		return -ENOMEM;
	}
	s->settings[s->n_settings++] = (struct config_setting){.key = key, .value = copy};
	return 0;
}

/* inih's handler; the section that it names is cut at 50 bytes, ours is not. */
static int take_setting(
	void *user, const char *section, const char *name, const char *value)
{
	struct parsing *p = user;
	struct error err = {0};
	int r = 0;

	p->unanswered = false;
	if (p->where == OUTSIDE)
		r = error_set(&err, -EINVAL, "it stands before the first [section]");
	else if (p->where == DAEMON)
		r = take_daemon(p, name, value, &err);
	else if (p->where == BOARD)
		r = take_board(p, name, value, &err);
	if (r == -ENOMEM)
		p->failed = true;
	else if (r < 0)
		mistake(p, p->line, "%s: %s", name, err.text);
	return 1;
}

/* --- files ----------------------------------------------------------------------------- */

static int read_bytes(const char *file, char **out, size_t *n, struct error *err)
{
	_cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	_cleanup_free_ char *bytes = malloc(FILE_MAX + 1);
	size_t have = 0;
	ssize_t got = 1;

	if (fd < 0)
		return error_set(err, -errno, "%s: cannot be opened: %m", file);
	if (!bytes)
		return error_set(err, -ENOMEM, "out of memory");
	while (have <= FILE_MAX && got > 0) {
		got = read(fd, bytes + have, FILE_MAX + 1 - have);
		if (got < 0 && errno == EINTR)
			got = 1;
		else if (got < 0)
			return error_set(err, -errno, "%s: cannot be read: %m", file);
		else
			have += (size_t)got;
	}
	if (have > FILE_MAX)
		return error_set(err, -EFBIG, "%s: is larger than %u KiB", file, FILE_MAX / 1024);
	*out = TAKE_PTR(bytes);
	*n = have;
	return 0;
}

int config_read_file(
	const struct config_reader *reader, const char *file, struct error *err)
{
	struct parsing p = {.reader = reader, .file = file};
	_cleanup_free_ char *bytes = NULL;
	size_t n = 0;
	int r = read_bytes(file, &bytes, &n, err);

	if (r < 0)
		return r;
	p.next = bytes;
	p.end = bytes + n;
	(void)ini_parse_stream(read_line, &p, take_setting, &p);
	end_line(&p);
	end_section(&p);
	return p.failed ? error_set(err, -ENOMEM, "out of memory") : 0;
}
