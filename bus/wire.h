/* SPDX-License-Identifier: MIT */
/* Structs as a{sv} on the bus, and back. A table tells for each entry its name, its type and
 * where in the struct it stands:
 *
 *	static const struct wire_field fields[] = {
 *		WIRE_TEXT("error", struct partition_news, error),
 *		WIRE_U64("size", struct partition_news, size),
 *	};
 *
 * The other side is never trusted: a wrong type, an entry that comes twice, too many entries
 * are refused; entries with unknown names are skipped, so that either side may be newer.
 * Texts are char arrays in the struct, always terminated and printable (util/text.h).
 *
 * Nothing here waits, keeps memory or has state. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-bus.h>

#include "util/error.h"

#define WIRE_ENTRIES_MAX 64u /* in one a{sv} */
#define WIRE_ALL UINT64_MAX

enum wire_kind {
	WIRE_KIND_TEXT, /* what is too long is cut, what is not printable becomes '?' */
	WIRE_KIND_NAME, /* what is too long or not printable is refused */
	WIRE_KIND_BOOL,
	WIRE_KIND_U32,
	WIRE_KIND_U64,
	WIRE_KIND_NAMES, /* as: an array of names, and the unsigned that counts them */
};

struct wire_field {
	const char *name;
	enum wire_kind kind;
	size_t at;    /* in the struct */
	size_t size;  /* of a text's array; of one name's */
	size_t most;  /* names in the array */
	size_t count; /* in the struct: the unsigned */
};

/* The member's type must be right: what is compared here makes others fail to compile. */
#define WIRE_MEMBER(type, member) (((type *)NULL)->member)
#define WIRE_AT(type, member, of)                                                        \
	(offsetof(type, member) +                                                        \
		0 * sizeof(char[__builtin_types_compatible_p(                            \
					__typeof__(WIRE_MEMBER(type, member)), of)       \
					? 1                                              \
					: -1]))
#define WIRE_SIZED(type, member) sizeof(WIRE_MEMBER(type, member))

#define WIRE_TEXT(as, type, member)                                                      \
	{                                                                                \
		.name = (as), .kind = WIRE_KIND_TEXT,                                    \
		.at = WIRE_AT(type, member, char[WIRE_SIZED(type, member)]),             \
		.size = WIRE_SIZED(type, member)                                         \
	}
#define WIRE_NAME(as, type, member)                                                      \
	{                                                                                \
		.name = (as), .kind = WIRE_KIND_NAME,                                    \
		.at = WIRE_AT(type, member, char[WIRE_SIZED(type, member)]),             \
		.size = WIRE_SIZED(type, member)                                         \
	}
#define WIRE_BOOL(as, type, member)                                                      \
	{                                                                                \
		.name = (as), .kind = WIRE_KIND_BOOL, .at = WIRE_AT(type, member, bool)  \
	}
#define WIRE_U32(as, type, member)                                                       \
	{                                                                                \
		.name = (as), .kind = WIRE_KIND_U32,                                     \
		.at = WIRE_AT(type, member, unsigned)                                    \
	}
#define WIRE_U64(as, type, member)                                                       \
	{                                                                                \
		.name = (as), .kind = WIRE_KIND_U64,                                     \
		.at = WIRE_AT(type, member, uint64_t)                                    \
	}
/* char member[most][size] */
#define WIRE_NAMES(as, type, member, counter)                                            \
	{                                                                                \
		.name = (as), .kind = WIRE_KIND_NAMES, .at = offsetof(type, member),     \
		.size = sizeof(WIRE_MEMBER(type, member)[0]),                            \
		.most = WIRE_SIZED(type, member) / sizeof(WIRE_MEMBER(type, member)[0]), \
		.count = WIRE_AT(type, counter, unsigned)                                \
	}

/* Appends an a{sv} with the fields whose bits (1 << index in the table) are in `which`. */
must_check int wire_append(sd_bus_message *m, const struct wire_field *fields, unsigned n,
	const void *from, uint64_t which);

/* Reads an a{sv}; fields that are not in it stay as they are. `seen` (may be NULL) gets the
 * bits of those that were. -EBADMSG with a sentence where something is wrong; `into` may then
 * have been changed in part. */
must_check int wire_read(sd_bus_message *m, const struct wire_field *fields, unsigned n,
	void *into, uint64_t *seen, struct error *err);

/* For a vtable whose property stands at the field's offset: texts and bools. Numbers need
 * no getter. */
int wire_get_text(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *at, sd_bus_error *error);
int wire_get_bool(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *at, sd_bus_error *error);

/* Copies a text into an array, cut between characters, and printable. */
void wire_copy_text(char *out, size_t size, const char *text);

/* --- errors: a code and a sentence on this side, a name and a sentence on the bus --- */

/* BUS_ERROR_* for a negative errno; BUS_ERROR_FAILED for those without one. */
const char *wire_error_name(int code);
/* Negative errno for a name; -EIO for unknown ones. */
int wire_error_code(const char *name);
/* Answers a call with an error: `err` if it tells one, else what `code` means. */
must_check int wire_reply_error(sd_bus_message *call, int code, const struct error *err);
/* Reads the error that a reply is, or that sd_bus_call left: sets `err` (text printable) and
 * returns its code. */
int wire_take_error(const sd_bus_error *from, struct error *err);
