/* SPDX-License-Identifier: MIT */
#include "bus/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bus/names.h"
#include "util/text.h"

/* --- append --- */

static const char *signature_of(enum wire_kind kind)
{
	static const char *const signatures[] = {
		[WIRE_KIND_TEXT] = "s",
		[WIRE_KIND_NAME] = "s",
		[WIRE_KIND_BOOL] = "b",
		[WIRE_KIND_U32] = "u",
		[WIRE_KIND_U64] = "t",
		[WIRE_KIND_NAMES] = "as",
	};

	return signatures[kind];
}

static int append_names(sd_bus_message *m, const struct wire_field *f, const char *base)
{
	const char *names = base + f->at;
	unsigned n = *(const unsigned *)(const void *)(base + f->count);
	int r = sd_bus_message_open_container(m, 'a', "s");

	for (unsigned i = 0; r >= 0 && i < n && i < f->most; i++)
		r = sd_bus_message_append(m, "s", names + i * f->size);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

static int append_value(sd_bus_message *m, const struct wire_field *f, const char *base)
{
	const void *value = base + f->at;

	switch (f->kind) {
	case WIRE_KIND_TEXT:
	case WIRE_KIND_NAME:
		return sd_bus_message_append_basic(m, 's', value);
	case WIRE_KIND_BOOL:
		return sd_bus_message_append(m, "b", (int)*(const bool *)value);
	case WIRE_KIND_U32:
		return sd_bus_message_append_basic(m, 'u', value);
	case WIRE_KIND_U64:
		return sd_bus_message_append_basic(m, 't', value);
	case WIRE_KIND_NAMES:
		return append_names(m, f, base);
	}
	return -EINVAL;
}

static int append_entry(sd_bus_message *m, const struct wire_field *f, const char *base)
{
	int r = sd_bus_message_open_container(m, 'e', "sv");

	if (r >= 0)
		r = sd_bus_message_append_basic(m, 's', f->name);
	if (r >= 0)
		r = sd_bus_message_open_container(m, 'v', signature_of(f->kind));
	if (r >= 0)
		r = append_value(m, f, base);
	if (r >= 0)
		r = sd_bus_message_close_container(m);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

int wire_append(sd_bus_message *m, const struct wire_field *fields, unsigned n,
	const void *from, uint64_t which)
{
	int r = sd_bus_message_open_container(m, 'a', "{sv}");

	assert(n <= 64);
	for (unsigned i = 0; r >= 0 && i < n; i++)
		if (which & 1ull << i)
			r = append_entry(m, &fields[i], from);
	return r < 0 ? r : sd_bus_message_close_container(m);
}

/* --- read --- */

void wire_copy_text(char *out, size_t size, const char *text)
{
	size_t len = strnlen(text, size);

	assert(size > 0);
	if (len == size) {
		len = size - 1;
		while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
			len--;
	}
	memmove(out, text, len);
	out[len] = '\0';
	text_make_printable(out);
}

static int copy_name(
	char *out, const struct wire_field *f, const char *text, struct error *err)
{
	if (strlen(text) >= f->size)
		return error_set(err, -EBADMSG, "%s is too long, %zu bytes are the most",
			f->name, f->size - 1);
	wire_copy_text(out, f->size, text);
	if (strcmp(out, text) != 0)
		return error_set(err, -EBADMSG, "%s holds bytes that are no text: \"%s\"",
			f->name, out);
	return 0;
}

static int bad_message(struct error *err)
{
	return error_set(err, -EBADMSG, "the message is damaged");
}

static int read_names(
	sd_bus_message *m, const struct wire_field *f, char *base, struct error *err)
{
	unsigned n = 0;
	const char *text;
	int r = sd_bus_message_enter_container(m, 'a', "s");

	while (r >= 0 && (r = sd_bus_message_read_basic(m, 's', &text)) > 0) {
		if (n >= f->most)
			return error_set(err, -EBADMSG,
				"%s has too many entries, %zu are the most", f->name,
				f->most);
		r = copy_name(base + f->at + n++ * f->size, f, text, err);
		if (r < 0)
			return r;
	}
	if (r < 0 || sd_bus_message_exit_container(m) < 0)
		return bad_message(err);
	*(unsigned *)(void *)(base + f->count) = n;
	return 0;
}

static int read_value(
	sd_bus_message *m, const struct wire_field *f, char *base, struct error *err)
{
	void *value = base + f->at;
	const char *text;
	int flag, r;

	switch (f->kind) {
	case WIRE_KIND_TEXT:
	case WIRE_KIND_NAME:
		if (sd_bus_message_read_basic(m, 's', &text) <= 0)
			return bad_message(err);
		if (f->kind == WIRE_KIND_NAME)
			return copy_name(value, f, text, err);
		wire_copy_text(value, f->size, text);
		return 0;
	case WIRE_KIND_BOOL:
		r = sd_bus_message_read_basic(m, 'b', &flag);
		if (r > 0)
			*(bool *)value = flag;
		break;
	case WIRE_KIND_U32:
		r = sd_bus_message_read_basic(m, 'u', value);
		break;
	case WIRE_KIND_U64:
		r = sd_bus_message_read_basic(m, 't', value);
		break;
	case WIRE_KIND_NAMES:
		return read_names(m, f, base, err);
	default:
		r = -EINVAL;
	}
	return r > 0 ? 0 : bad_message(err);
}

static int read_known(
	sd_bus_message *m, const struct wire_field *f, char *base, struct error *err)
{
	const char *contents;
	char type;
	int r;

	if (sd_bus_message_peek_type(m, &type, &contents) <= 0 || type != 'v')
		return bad_message(err);
	if (strcmp(contents, signature_of(f->kind)) != 0)
		return error_set(err, -EBADMSG, "%s has the type %.16s instead of %s",
			f->name, contents, signature_of(f->kind));
	if (sd_bus_message_enter_container(m, 'v', contents) <= 0)
		return bad_message(err);
	r = read_value(m, f, base, err);
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m) < 0 ? bad_message(err) : 0;
}

static int read_entry(sd_bus_message *m, const struct wire_field *fields, unsigned n,
	char *base, uint64_t *seen, struct error *err)
{
	const char *name;
	unsigned i;
	int r;

	if (sd_bus_message_read_basic(m, 's', &name) <= 0)
		return bad_message(err);
	for (i = 0; i < n; i++)
		if (strcmp(fields[i].name, name) == 0)
			break;
	if (i == n) {
		r = sd_bus_message_skip(m, "v") < 0 ? bad_message(err) : 0;
	} else {
		if (*seen & 1ull << i)
			return error_set(err, -EBADMSG, "%s comes twice", fields[i].name);
		*seen |= 1ull << i;
		r = read_known(m, &fields[i], base, err);
	}
	if (r < 0)
		return r;
	return sd_bus_message_exit_container(m) < 0 ? bad_message(err) : 0;
}

int wire_read(sd_bus_message *m, const struct wire_field *fields, unsigned n, void *into,
	uint64_t *seen, struct error *err)
{
	uint64_t found = 0;
	unsigned entries = 0;
	int r;

	assert(n <= 64);
	if (sd_bus_message_enter_container(m, 'a', "{sv}") < 0)
		return bad_message(err);
	while ((r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		if (++entries > WIRE_ENTRIES_MAX)
			return error_set(
				err, -EBADMSG, "more than %u entries", WIRE_ENTRIES_MAX);
		r = read_entry(m, fields, n, into, &found, err);
		if (r < 0)
			return r;
	}
	if (r < 0 || sd_bus_message_exit_container(m) < 0)
		return bad_message(err);
	if (seen)
		*seen = found;
	return 0;
}

/* --- properties --- */

int wire_get_text(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *at, sd_bus_error *error)
{
	return sd_bus_message_append_basic(reply, 's', at);
}

int wire_get_bool(sd_bus *bus, const char *path, const char *interface,
	const char *property, sd_bus_message *reply, void *at, sd_bus_error *error)
{
	return sd_bus_message_append(reply, "b", (int)*(const bool *)at);
}

/* --- errors --- */

/* The first of a code gives its name, the first of a name its code. */
static const struct {
	int code;
	const char *name;
} errors[] = {
	{EIO, BUS_ERROR_FAILED},
	{EBUSY, BUS_ERROR_BUSY},
	{EAGAIN, BUS_ERROR_BUSY},
	{ENODEV, BUS_ERROR_GONE},
	{ENXIO, BUS_ERROR_GONE},
	{ENOTCONN, BUS_ERROR_GONE},
	{ECONNRESET, BUS_ERROR_GONE},
	{EPIPE, BUS_ERROR_GONE},
	{EACCES, BUS_ERROR_DENIED},
	{EPERM, BUS_ERROR_DENIED},
	{ENOENT, BUS_ERROR_NO_BOARD},
	{ESTALE, BUS_ERROR_CHANGED},
	{EUCLEAN, BUS_ERROR_CHANGED},
	{EINVAL, BUS_ERROR_INVALID},
	{EBADMSG, BUS_ERROR_INVALID},
	{ENAMETOOLONG, BUS_ERROR_INVALID},
	{ERANGE, BUS_ERROR_INVALID},
	{ETIMEDOUT, BUS_ERROR_TIMEOUT},
	{ENOSPC, BUS_ERROR_NO_SPACE},
	{EFBIG, BUS_ERROR_NO_SPACE},
	{EOPNOTSUPP, BUS_ERROR_NOT_SUPPORTED},
	{ENOSYS, BUS_ERROR_NOT_SUPPORTED},
	{ETIMEDOUT, SD_BUS_ERROR_NO_REPLY},
	{ETIMEDOUT, SD_BUS_ERROR_TIMEOUT},
	{ENODEV, SD_BUS_ERROR_DISCONNECTED},
	{ENODEV, SD_BUS_ERROR_SERVICE_UNKNOWN},
	{ENODEV, SD_BUS_ERROR_NAME_HAS_NO_OWNER},
	{ENOENT, SD_BUS_ERROR_UNKNOWN_OBJECT},
	{EACCES, SD_BUS_ERROR_ACCESS_DENIED},
	{EINVAL, SD_BUS_ERROR_INVALID_ARGS},
	{EOPNOTSUPP, SD_BUS_ERROR_UNKNOWN_METHOD},
	{EOPNOTSUPP, SD_BUS_ERROR_UNKNOWN_INTERFACE},
	{EBUSY, SD_BUS_ERROR_LIMITS_EXCEEDED},
	{ENOMEM, SD_BUS_ERROR_NO_MEMORY},
};

const char *wire_error_name(int code)
{
	for (unsigned i = 0; i < ARRAY_SIZE(errors); i++)
		if (errors[i].code == -code)
			return errors[i].name;
	return BUS_ERROR_FAILED;
}

int wire_error_code(const char *name)
{
	for (unsigned i = 0; name && i < ARRAY_SIZE(errors); i++)
		if (strcmp(errors[i].name, name) == 0)
			return -errors[i].code;
	return -EIO;
}

int wire_reply_error(sd_bus_message *call, int code, const struct error *err)
{
	bool told = err && err->code;

	if (told)
		code = err->code;
	return sd_bus_reply_method_errorf(
		call, wire_error_name(code), "%s", told ? err->text : strerror(-code));
}

int wire_take_error(const sd_bus_error *from, struct error *err)
{
	int code = wire_error_code(from ? from->name : NULL);

	return error_set(err, code, "%s",
		from && from->message && *from->message ? from->message
							: strerror(-code));
}
