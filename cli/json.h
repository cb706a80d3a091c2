/* SPDX-License-Identifier: MIT */
/* Building JSON documents with json-c: each takes over the value that is given, NULL included,
 * and is false where memory is short, so that a chain of && tells about the whole. */
#pragma once

#include <json-c/json_object.h>
#include <stdbool.h>
#include <stdint.h>

#include "util/macros.h"

must_check bool json_put(struct json_object *o, const char *key, struct json_object *value);
/* A text that is printable already. */
must_check bool json_put_string(struct json_object *o, const char *key, const char *text);
/* Any text: it becomes printable (ui_escape). */
must_check bool json_put_text(struct json_object *o, const char *key, const char *text);
must_check bool json_put_number(struct json_object *o, const char *key, uint64_t value);
must_check bool json_put_bool(struct json_object *o, const char *key, bool value);
must_check bool json_append(struct json_object *list, struct json_object *value);

/* `o` itself where `ok`, else NULL, and it is released. */
struct json_object *json_whole(struct json_object *o, bool ok);

/* Prints the document and releases it: 0, or -ENOMEM where not `ok`. */
must_check int json_print(struct json_object *doc, bool ok);
/* The same in one line, and flushed: for documents that come one after the other. */
must_check int json_print_line(struct json_object *doc, bool ok);
