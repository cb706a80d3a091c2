/* SPDX-License-Identifier: MIT */
/* What is plugged in at a port, told without opening it: by the USB device behind the tty, or
 * by a name that the user gives. Waits for nothing. */
#pragma once

#include "util/macros.h"

#define PORTIDENT_SIZE 256u

/* One line of printable text: "id NAME" where `name` is given, else
 * "usb VENDOR:PRODUCT ifINTERFACE SERIAL". -ENOENT: nothing there tells this board from
 * others of its kind; -EINVAL: no name. `sysfs` is where sysfs is mounted. */
must_check int portident_of(
	const char *sysfs, const char *path, const char *name, char out[PORTIDENT_SIZE]);
