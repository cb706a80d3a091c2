/* SPDX-License-Identifier: MIT */
#include "cli/folder.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

#include "cli/ui.h"

#define PREFIX "user.romount."
#define VALUE_MAX 65536u /* the kernel's own limit for a value, and for the list */

static int read_fact(
	const char *path, const char *name, char *buf, struct report_fact *out)
{
	ssize_t len = getxattr(path, name, buf, VALUE_MAX);

	if (len < 0)
		return -errno;
	while (len && buf[len - 1] == '\n')
		len--;
	out->name = ui_escape(name + strlen(PREFIX), strlen(name) - strlen(PREFIX));
	out->value = ui_escape(buf, (size_t)len);
	return out->name && out->value ? 0 : -ENOMEM;
}

static int read_facts(const char *path, const char *list, size_t len,
	struct report_fact **out, size_t *n)
{
	_cleanup_free_ char *buf = malloc(VALUE_MAX);
	const char *name;

	if (!buf)
		return -ENOMEM;
	for (name = list; name < list + len; name += strlen(name) + 1) {
		struct report_fact fact = {0}, *more;
		int r;

		if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		r = read_fact(path, name, buf, &fact);
		more = r < 0 ? NULL : reallocarray(*out, *n + 1, sizeof(*more));
		if (!more) {
			free(fact.name);
			free(fact.value);
			return r < 0 ? r : -ENOMEM;
		}
		*out = more;
		more[(*n)++] = fact;
	}
	return 0;
}

int folder_facts(const char *path, struct report_fact **out, size_t *n, struct error *err)
{
	_cleanup_free_ char *list = malloc(VALUE_MAX + 1);
	struct report_fact *facts = NULL;
	size_t count = 0;
	ssize_t len;
	int r = 0;

	if (!list)
		return error_set(err, -ENOMEM, "out of memory");
	len = listxattr(path, list, VALUE_MAX);
	if (len < 0 && errno != ENOTSUP)
		r = -errno;
	else if (len > 0)
		list[len] = '\0', r = read_facts(path, list, (size_t)len, &facts, &count);
	if (r == 0 && count == 0)
		r = error_set(err, -ENOENT, "%s is a folder, but none that romount shows",
			path);
	if (r < 0) {
		folder_facts_free(facts, count);
		return error_set(
			err, r, "cannot read the status of %s: %s", path, strerror(-r));
	}
	*out = facts;
	*n = count;
	return 0;
}

void folder_facts_free(struct report_fact *facts, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		free(facts[i].name);
		free(facts[i].value);
	}
	free(facts);
}
