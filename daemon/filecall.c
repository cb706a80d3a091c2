/* SPDX-License-Identifier: MIT */
#include "daemon/filecall.h"

#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <systemd/sd-bus.h>

#include "bus/names.h"

/* The D-Bus specification, "Message Protocol". */
#define HEADER_BYTES 16u
#define METHOD_CALL 1
#define PROTOCOL_VERSION 1
#define FIELD_SIGNATURE 8
#define FIELD_UNIX_FDS 9
#define TEXT_MAX 255u

struct walk {
	const uint8_t *bytes;
	size_t at, end;
	bool is_big_endian;
};

static size_t align_up(size_t at, size_t to)
{
	return (at + to - 1) / to * to;
}

static int skip_padding(struct walk *w, size_t to)
{
	size_t end = align_up(w->at, to);

	if (end > w->end)
		return -EBADMSG;
	while (w->at < end)
		if (w->bytes[w->at++] != 0)
			return -EBADMSG;
	return 0;
}

static int take_byte(struct walk *w, uint8_t *out)
{
	if (w->at >= w->end)
		return -EBADMSG;
	*out = w->bytes[w->at++];
	return 0;
}

static int take_word(struct walk *w, uint32_t *out)
{
	if (skip_padding(w, 4) < 0 || w->end - w->at < 4)
		return -EBADMSG;
	memcpy(out, w->bytes + w->at, 4);
	*out = w->is_big_endian ? be32toh(*out) : le32toh(*out);
	w->at += 4;
	return 0;
}

/* A text, or a signature, whose length is one byte. */
static int take_text(struct walk *w, bool is_signature, const char **out)
{
	uint8_t short_len = 0;
	uint32_t len;
	int r = is_signature ? take_byte(w, &short_len) : take_word(w, &len);

	if (is_signature)
		len = short_len;
	if (r < 0 || len > TEXT_MAX || w->end - w->at <= len ||
		w->bytes[w->at + len] != 0 || memchr(w->bytes + w->at, 0, len))
		return -EBADMSG;
	*out = (const char *)w->bytes + w->at;
	w->at += len + 1;
	return 0;
}

static int is_path(const char *s)
{
	return strncmp(s, BUS_ROOT "/", strlen(BUS_ROOT "/")) == 0 &&
	       sd_bus_object_path_is_valid(s) > 0;
}

static int is_arguments(const char *s)
{
	return strcmp(s, "h") == 0 || strcmp(s, "hb") == 0;
}

static const struct {
	uint8_t code;
	char type;
	int (*is_valid)(const char *text);
} text_fields[] = {
	{1, 'o', is_path},
	{2, 's', sd_bus_interface_name_is_valid},
	{3, 's', sd_bus_member_name_is_valid},
	{6, 's', sd_bus_service_name_is_valid},
	{FIELD_SIGNATURE, 'g', is_arguments},
};
#define NEEDED_FIELDS                                                                    \
	(1u << 1 | 1u << 2 | 1u << 3 | 1u << FIELD_SIGNATURE | 1u << FIELD_UNIX_FDS)

static int take_text_field(
	struct walk *w, uint8_t code, char type, const char **arguments)
{
	const char *text;

	for (unsigned i = 0; i < ARRAY_SIZE(text_fields); i++) {
		if (text_fields[i].code != code)
			continue;
		if (text_fields[i].type != type || take_text(w, type == 'g', &text) < 0 ||
			text_fields[i].is_valid(text) <= 0)
			return -EBADMSG;
		if (code == FIELD_SIGNATURE)
			*arguments = text;
		return 0;
	}
	return -EBADMSG;
}

static int take_field(struct walk *w, unsigned *seen, const char **arguments)
{
	const char *type;
	uint32_t n_fds;
	uint8_t code;

	if (skip_padding(w, 8) < 0 || take_byte(w, &code) < 0 || code > FIELD_UNIX_FDS ||
		*seen & 1u << code || take_text(w, true, &type) < 0 || strlen(type) != 1)
		return -EBADMSG;
	*seen |= 1u << code;
	if (code == FIELD_UNIX_FDS)
		return *type == 'u' && take_word(w, &n_fds) >= 0 && n_fds == 1 ? 0
									       : -EBADMSG;
	return take_text_field(w, code, *type, arguments);
}

/* The one descriptor, and where there is a flag, that. */
static int check_body(struct walk *w, const char *arguments)
{
	uint32_t index, flag = 0;

	if (take_word(w, &index) < 0 || index != 0)
		return -EBADMSG;
	if (strcmp(arguments, "hb") == 0 && (take_word(w, &flag) < 0 || flag > 1))
		return -EBADMSG;
	return w->at == w->end ? 0 : -EBADMSG;
}

int filecall_check(const uint8_t *message, size_t len)
{
	struct walk w = {.bytes = message, .at = 4, .end = len};
	uint32_t body, serial, fields;
	const char *arguments = "";
	unsigned seen = 0;

	if (len < HEADER_BYTES || (message[0] != 'l' && message[0] != 'B') ||
		message[1] != METHOD_CALL || message[3] != PROTOCOL_VERSION)
		return -EBADMSG;
	w.is_big_endian = message[0] == 'B';
	if (take_word(&w, &body) < 0 || take_word(&w, &serial) < 0 ||
		take_word(&w, &fields) < 0 || serial == 0 || fields > len - HEADER_BYTES)
		return -EBADMSG;
	w.end = HEADER_BYTES + fields;
	while (w.at < w.end)
		if (take_field(&w, &seen, &arguments) < 0)
			return -EBADMSG;
	w.end = len;
	if ((seen & NEEDED_FIELDS) != NEEDED_FIELDS || skip_padding(&w, 8) < 0 ||
		w.end - w.at != body)
		return -EBADMSG;
	return check_body(&w, arguments);
}
