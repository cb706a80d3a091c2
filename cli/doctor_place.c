/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "cli/doctor.h"
#include "util/dir.h"
#include "util/text.h"

/* --- the report --- */

void doctor_report_clear(struct doctor_report *r)
{
	free(r->list);
	*r = (struct doctor_report){0};
}

struct doctor_finding *doctor_find(struct doctor_report *r, const char *check,
	enum doctor_verdict verdict, const char *fmt, ...)
{
	struct doctor_finding *f;
	va_list ap;

	if (r->n == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 16;
		struct doctor_finding *more = reallocarray(r->list, cap, sizeof(*more));

		if (!more) {
			r->lost = true;
			return NULL;
		}
		r->list = more;
		r->cap = cap;
	}
	f = &r->list[r->n++];
	*f = (struct doctor_finding){.verdict = verdict, .check = check};
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
	text_make_printable(f->text);
	return f;
}

void doctor_advise(struct doctor_finding *f, const char *fmt, ...)
{
	va_list ap;

	if (!f)
		return;
	va_start(ap, fmt);
	vsnprintf(f->advice, sizeof(f->advice), fmt, ap);
	va_end(ap);
	text_make_printable(f->advice);
}

bool doctor_is_bad(const struct doctor_report *r)
{
	for (size_t i = 0; i < r->n; i++)
		if (r->list[i].verdict == DOCTOR_BAD)
			return true;
	return r->lost;
}

/* --- the place --- */

/* False where the path is too long to be one. */
static format_like(3, 0) bool below(
	const struct doctor_place *p, char out[PATH_MAX], const char *fmt, va_list ap)
{
	int n = snprintf(out, PATH_MAX, "%s", p->root);
	int m = vsnprintf(out + n, (size_t)(PATH_MAX - n), fmt, ap);

	return m >= 0 && m < PATH_MAX - n;
}

bool doctor_has(const struct doctor_place *p, const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;
	bool fits;

	va_start(ap, fmt);
	fits = below(p, path, fmt, ap);
	va_end(ap);
	return fits && access(path, F_OK) == 0;
}

bool doctor_read(const struct doctor_place *p, char *out, size_t cap, const char *fmt, ...)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[PATH_MAX];
	va_list ap;
	bool fits;

	va_start(ap, fmt);
	fits = below(p, path, fmt, ap);
	va_end(ap);
	f = fits ? fopen(path, "re") : NULL;
	if (!f || !fgets(out, (int)cap, f))
		return false;
	out[strcspn(out, "\n")] = '\0';
	text_make_printable(out);
	return true;
}

bool doctor_udev(const struct doctor_place *p, const char *devnum, const char *key, char *out,
	size_t cap)
{
	_cleanup_free_ char *path = NULL, *line = NULL;
	_cleanup_fclose_ FILE *f = NULL;
	size_t size = 0, len = strlen(key);
	ssize_t n;

	if (asprintf(&path, "%s/run/udev/data/c%s", p->root, devnum) < 0) {
		path = NULL;
		return false;
	}
	f = fopen(path, "re");
	while (f && (n = getline(&line, &size, f)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = '\0';
		if (strncmp(line, "E:", 2) != 0 || strncmp(line + 2, key, len) != 0 ||
			line[2 + len] != '=')
			continue;
		snprintf(out, cap, "%s", line + 3 + len);
		text_make_printable(out);
		return true;
	}
	return false;
}

long doctor_process(const struct doctor_place *p, const char *name)
{
	_cleanup_closedir_ DIR *dir = NULL;
	_cleanup_free_ char *path = NULL;
	struct dirent *e;
	char comm[64];

	if (asprintf(&path, "%s/proc", p->root) < 0) {
		path = NULL;
		return 0;
	}
	dir = opendir(path);
	while (dir && (e = readdir(dir)))
		if (isdigit((unsigned char)e->d_name[0]) &&
			doctor_read(p, comm, sizeof(comm), "/proc/%s/comm", e->d_name) &&
			strcmp(comm, name) == 0)
			return strtol(e->d_name, NULL, 10);
	return 0;
}

bool doctor_program(const struct doctor_place *p, const char *name, char *out, size_t cap)
{
	_cleanup_free_ char *copy = strdup(p->path ? p->path : "");
	char *save = NULL, *dir;

	for (dir = copy ? strtok_r(copy, ":", &save) : NULL; dir;
		dir = strtok_r(NULL, ":", &save)) {
		int n = snprintf(out, cap, "%s%s/%s", p->root, dir, name);

		if (dir[0] == '/' && n >= 0 && (size_t)n < cap && access(out, X_OK) == 0)
			return true;
	}
	return false;
}
