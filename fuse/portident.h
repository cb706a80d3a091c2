/* SPDX-License-Identifier: MIT */
/* What is plugged in at a port, told without opening it: by the USB device behind the tty, or
 * by a name that the user gives. Waits for nothing. */
#pragma once

#include <stdbool.h>

#include "util/macros.h"

#define PORTIDENT_SIZE 256u

/* One line of printable text: "id NAME" where `name` is given, else
 * "usb VENDOR:PRODUCT ifINTERFACE SERIAL". -ENOENT: nothing there tells this board from
 * others of its kind; -EINVAL: no name. `sysfs` is where sysfs is mounted. */
must_check int portident_of(
	const char *sysfs, const char *path, const char *name, char out[PORTIDENT_SIZE]);

/* Whether a USB serial number tells one device from all others: some come with "0001" from the
 * factory. */
bool portident_tells(const char *serial);
/* The line of a USB device with such a serial number. */
void portident_usb(unsigned vendor, unsigned product, unsigned interface,
	const char *serial, char out[PORTIDENT_SIZE]);
