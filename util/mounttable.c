/* SPDX-License-Identifier: MIT */
#include "util/mounttable.h"

#include <errno.h>
#include <string.h>

#define COLUMN_PATH 4u

struct line {
	struct line *next;
	char *text;
	const char *path, *type;
};

static void lines_free(struct line **first)
{
	while (*first) {
		struct line *l = *first;

		*first = l->next;
		free(l->text);
		free(l);
	}
}

/* The kernel writes blanks, tabs, newlines and backslashes as \ooo. */
static void unescape(char *s)
{
	char *out = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
		} else {
			*out++ = *s++;
		}
	}
	*out = '\0';
}

/* proc(5): "36 35 98:0 /root /place options tag:1 - type source options" */
static bool split(struct line *l)
{
	char *save = NULL, *word, *path = NULL;
	unsigned column = 0;

	for (word = strtok_r(l->text, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
		if (column++ == COLUMN_PATH)
			path = word;
		if (path && strcmp(word, "-") == 0)
			break;
	}
	l->type = word ? strtok_r(NULL, " \n", &save) : NULL;
	if (!l->type)
		return false;
	unescape(path);
	l->path = path;
	return true;
}

static int read_table(const char *proc, struct line **first)
{
	_cleanup_fclose_ FILE *f = NULL;
	_cleanup_free_ char *text = NULL, *path = NULL;
	size_t cap = 0;

	if (asprintf(&path, "%s/self/mountinfo", proc) < 0)
		return -ENOMEM;
	f = fopen(path, "re");
	if (!f)
		return -errno;
	while (getline(&text, &cap, f) > 0) {
		struct line *l = calloc(1, sizeof(*l));

		if (!l)
			return -ENOMEM;
		l->text = TAKE_PTR(text);
		cap = 0;
		l->next = *first;
		*first = l;
		if (!split(l)) {
			*first = l->next;
			free(l->text);
			free(l);
		}
	}
	return ferror(f) ? -EIO : 0;
}

int mounttable_each(
	const char *proc, void (*each)(void *ctx, const char *path, const char *type), void *ctx)
{
	_cleanup_(lines_free) struct line *first = NULL;
	struct line *l;
	int r = read_table(proc, &first);

	if (r < 0)
		return r;
	for (l = first; l; l = l->next)
		each(ctx, l->path, l->type);
	return 0;
}

bool mounttable_has(const char *proc, const char *path)
{
	_cleanup_(lines_free) struct line *first = NULL;
	struct line *l;

	if (read_table(proc, &first) < 0)
		return true;
	for (l = first; l; l = l->next)
		if (strcmp(l->path, path) == 0)
			return true;
	return false;
}
