/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/ident.h"

#include <string.h>

static bool has_usb_identity(const struct place *place)
{
	return (place->vendor_id || place->product_id) && portident_tells(place->serial);
}

void ident_line(
	const char *sysfs, const struct place *place, unsigned tty, char out[PORTIDENT_SIZE])
{
	const char *alias = place->policy.alias;

	out[0] = '\0';
	if (!place->is_static) {
		const struct place_tty *t = &place->ttys[tty];

		if (tty < place->n_ttys && t->interface >= 0 && has_usb_identity(place))
			portident_usb(place->vendor_id, place->product_id,
				(unsigned)t->interface, place->serial, out);
		return;
	}
	if (!place->is_socket && portident_of(sysfs, place->ttys[0].node, NULL, out) == 0)
		return;
	if (!alias[0] || portident_of(sysfs, NULL, alias, out) < 0)
		out[0] = '\0';
}

/* Of a board that was plugged in: by its own number, else by the socket it is in. */
static void name_plugged(const struct place *place, bool twin, char out[STATE_KEY_SIZE])
{
	const char *where = place->id_path[0] ? place->id_path : place->key;
	bool tells = has_usb_identity(place);
	char usb[16], readable[sizeof(usb) + PLACE_TEXT];
	const char *const parts[] = {tells ? "serial" : "socket", usb,
		tells ? place->serial : where, twin && tells ? where : NULL, NULL};

	snprintf(usb, sizeof(usb), "%04x_%04x", place->vendor_id, place->product_id);
	snprintf(readable, sizeof(readable), "%s_%s", usb, tells ? place->serial : where);
	state_key_of(readable, parts, out);
}

void ident_name(const char *sysfs, const struct place *place, bool twin,
	char out[STATE_KEY_SIZE])
{
	char line[PORTIDENT_SIZE];
	const char *parts[] = {"line", line, twin ? place->key : NULL, NULL};

	if (!place->is_static) {
		name_plugged(place, twin, out);
		return;
	}
	ident_line(sysfs, place, 0, line);
	if (!line[0]) {
		parts[0] = "path";
		parts[1] = place->key;
		parts[2] = NULL;
	}
	state_key_of(line[0] ? line : place->key, parts, out);
}
