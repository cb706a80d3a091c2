/* SPDX-License-Identifier: MIT */
#include "daemon/api_private.h"

#define TEXT(as, member)                                                                 \
	SD_BUS_PROPERTY(as, "s", wire_get_text, offsetof(struct api_board_view, member), \
		SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define NUMBER(as, member)                                                               \
	SD_BUS_PROPERTY(as, "u", NULL, offsetof(struct api_board_view, member),          \
		SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define METHOD(as, in, names)                                                            \
	SD_BUS_METHOD_WITH_NAMES(                                                        \
		as, in, names, "", "", api_order, SD_BUS_VTABLE_UNPRIVILEGED)

const sd_bus_vtable api_board_vtable[] = {
	SD_BUS_VTABLE_START(0),
	TEXT("Name", name),
	SD_BUS_PROPERTY("Present", "b", wire_get_bool,
		offsetof(struct api_board_view, present),
		SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
	TEXT("Port", port),
	TEXT("State", state),
	TEXT("Error", error),
	TEXT("Machine", machine),
	TEXT("Firmware", firmware),
	TEXT("UniqueId", unique_id),
	TEXT("UsbId", usb_id),
	TEXT("Serial", serial),
	TEXT("Directory", directory),
	NUMBER("Owner", owner),
	NUMBER("Pid", pid),
	METHOD("Sync", "", ""),
	METHOD("Eject", "", ""),
	METHOD("Attach", "", ""),
	METHOD("Release", "u", SD_BUS_PARAM(seconds)),
	SD_BUS_VTABLE_END,
};
