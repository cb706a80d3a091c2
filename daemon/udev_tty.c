/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/ports_private.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "util/text.h"

static void copy_text(char out[PLACE_TEXT], const char *text)
{
	snprintf(out, PLACE_TEXT, "%s", text ? text : "");
	text_make_printable(out);
}

/* A serial number that is shown otherwise than it is would be that of several boards. */
static void copy_serial(char out[PLACE_TEXT], const char *serial)
{
	copy_text(out, serial);
	if (serial && strcmp(out, serial) != 0)
		out[0] = '\0';
}

/* -1 where there is no such number. */
static int parse_hex(const char *text, int max)
{
	char *end;
	unsigned long n;

	if (!text || !isxdigit((unsigned char)text[0]))
		return -1;
	errno = 0;
	n = strtoul(text, &end, 16);
	return errno || *end || n > (unsigned long)max ? -1 : (int)n;
}

/* All ttys of a board are plugged in at the same place: ID_PATH without ":1.0" at its end. */
static void copy_id_path(char out[PLACE_TEXT], const char *id_path)
{
	char *colon;

	copy_text(out, id_path);
	colon = strrchr(out, ':');
	if (colon && strchr(colon, '.') && strspn(colon, ":.0123456789") == strlen(colon))
		*colon = '\0';
}

static void read_usb(struct udev_tty *t, struct udev_device *tty, struct udev_device *usb)
{
	const char *number = udev_device_get_property_value(tty, "ID_USB_INTERFACE_NUM");
	struct udev_device *interface =
		udev_device_get_parent_with_subsystem_devtype(tty, "usb", "usb_interface");
	int id;

	if (!number && interface)
		number = udev_device_get_sysattr_value(interface, "bInterfaceNumber");
	t->tty.interface = parse_hex(number, 255);
	id = parse_hex(udev_device_get_sysattr_value(usb, "idVendor"), UINT16_MAX);
	t->vendor_id = id < 0 ? 0 : (uint16_t)id;
	id = parse_hex(udev_device_get_sysattr_value(usb, "idProduct"), UINT16_MAX);
	t->product_id = id < 0 ? 0 : (uint16_t)id;
	copy_text(t->product, udev_device_get_sysattr_value(usb, "product"));
	copy_serial(t->serial, udev_device_get_sysattr_value(usb, "serial"));
	copy_id_path(t->id_path, udev_device_get_property_value(tty, "ID_PATH"));
}

static void read_rules(struct udev_tty *t, struct udev_device *tty)
{
	const char *known = udev_device_get_property_value(tty, "ROMOUNT_BOARD");
	const char *name = udev_device_get_property_value(tty, "ROMOUNT_NAME");
	const char *plugged = udev_device_get_property_value(tty, "USEC_INITIALIZED");

	t->is_known = known && !strcmp(known, "1");
	if (name && name[0])
		copy_text(t->product, name);
	t->repl_interface =
		parse_hex(udev_device_get_property_value(tty, "ROMOUNT_INTERFACE"), 255);
	snprintf(t->plugged, sizeof(t->plugged), "%s", plugged ? plugged : "");
}

/* Links are what people write into a configuration; more than a few are no use. */
static bool read_links(struct udev_tty *t, struct udev_device *tty)
{
	struct udev_list_entry *entry;
	size_t n = 0;

	udev_list_entry_foreach(entry, udev_device_get_devlinks_list_entry(tty)) {
		if (n == TTY_LINKS_MAX)
			break;
		t->links[n] = strdup(udev_list_entry_get_name(entry));
		if (!t->links[n])
			return false;
		n++;
	}
	return true;
}

struct udev_tty *udev_tty_new(struct udev_device *device)
{
	struct udev_device *usb =
		udev_device_get_parent_with_subsystem_devtype(device, "usb", "usb_device");
	const char *node = udev_device_get_devnode(device);
	struct udev_tty *t;

	/* Consoles and the like have no parent. */
	if (!node || strlen(node) >= PLACE_TEXT || !udev_device_get_parent(device))
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->syspath = strdup(udev_device_get_syspath(device));
	t->device = strdup(udev_device_get_syspath(usb ? usb : device));
	snprintf(t->tty.node, sizeof(t->tty.node), "%s", node);
	t->tty.interface = -1;
	snprintf(t->key, sizeof(t->key), "%s/%s", usb ? "usb" : "tty",
		udev_device_get_sysname(usb ? usb : device));
	if (usb)
		read_usb(t, device, usb);
	else
		copy_text(t->id_path, udev_device_get_property_value(device, "ID_PATH"));
	read_rules(t, device);
	if (!t->syspath || !t->device || !read_links(t, device)) {
		udev_tty_free(t);
		return NULL;
	}
	return t;
}

void udev_tty_free(struct udev_tty *t)
{
	if (!t)
		return;
	for (size_t i = 0; t->links[i]; i++)
		free(t->links[i]);
	free(t->syspath);
	free(t->device);
	free(t);
}
