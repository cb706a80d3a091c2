/* SPDX-License-Identifier: MIT */
#include "cli/json.h"

#include <errno.h>
#include <json-c/json.h>
#include <string.h>

#include "cli/ui.h"

bool json_put(struct json_object *o, const char *key, struct json_object *value)
{
	if (o && value && json_object_object_add(o, key, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

bool json_put_string(struct json_object *o, const char *key, const char *text)
{
	return json_put(o, key, json_object_new_string(text));
}

bool json_put_text(struct json_object *o, const char *key, const char *text)
{
	_cleanup_free_ char *shown = ui_escape(text, strlen(text));

	return shown && json_put_string(o, key, shown);
}

bool json_put_number(struct json_object *o, const char *key, uint64_t value)
{
	return json_put(o, key, json_object_new_uint64(value));
}

bool json_put_bool(struct json_object *o, const char *key, bool value)
{
	return json_put(o, key, json_object_new_boolean(value));
}

bool json_append(struct json_object *list, struct json_object *value)
{
	if (list && value && json_object_array_add(list, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

struct json_object *json_whole(struct json_object *o, bool ok)
{
	if (ok)
		return o;
	json_object_put(o);
	return NULL;
}

static int print(struct json_object *doc, bool ok, int flags)
{
	if (ok)
		puts(json_object_to_json_string_ext(doc, flags | JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(doc);
	return ok ? 0 : -ENOMEM;
}

int json_print(struct json_object *doc, bool ok)
{
	return print(doc, ok, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED);
}

int json_print_line(struct json_object *doc, bool ok)
{
	int r = print(doc, ok, JSON_C_TO_STRING_PLAIN);

	fflush(stdout);
	return r;
}
