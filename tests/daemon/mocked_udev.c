/* SPDX-License-Identifier: MIT */
/* romountd, linked with what umockdev preloads. */
#include "config.h"

#include <libudev.h>
#include <stddef.h>

int __wrap_udev_device_get_is_initialized(struct udev_device *device);

/* umockdev has no udev database. */
int __wrap_udev_device_get_is_initialized(struct udev_device *device)
{
	return udev_device_get_property_value(device, "USEC_INITIALIZED") != NULL;
}
