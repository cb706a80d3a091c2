/* SPDX-License-Identifier: MIT */
#include "daemon/api_private.h"

#define PROPERTY(as, type, get, member)                                                  \
	SD_BUS_PROPERTY(as, type, get, offsetof(struct board_partition, member),         \
		SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE)
#define TEXT(as, member) PROPERTY(as, "s", wire_get_text, member)
#define SIZE(as, member) PROPERTY(as, "t", NULL, member)
#define METHOD(as, in, in_names, out, out_names)                                         \
	SD_BUS_METHOD_WITH_NAMES(                                                        \
		as, in, in_names, out, out_names, api_order, SD_BUS_VTABLE_UNPRIVILEGED)

const sd_bus_vtable api_partition_vtable[] = {
	SD_BUS_VTABLE_START(0),
	PROPERTY("Number", "u", NULL, number),
	TEXT("Mount", mount),
	SIZE("Size", size),
	SIZE("Used", used),
	SIZE("Free", free),
	SIZE("Pending", pending),
	PROPERTY("PendingFiles", "u", NULL, pending_files),
	TEXT("State", state),
	TEXT("Error", error),
	TEXT("Job", job),
	SIZE("Done", done),
	SIZE("Total", total),
	TEXT("Kind", kind),
	SIZE("EraseBlock", erase_block),
	SIZE("WriteUnit", write_unit),
	SIZE("Address", address),
	PROPERTY("HasAddress", "b", wire_get_bool, has_address),
	TEXT("Image", image),
	METHOD("Sync", "", "", "", ""),
	METHOD("Save", "h", SD_BUS_PARAM(file), "", ""),
	METHOD("Restore", "hb", SD_BUS_PARAM(file) SD_BUS_PARAM(exact), "", ""),
	METHOD("Verify", "", "", "t", SD_BUS_PARAM(bytes)),
	METHOD("Layout", "", "", "tta(ttss)",
		SD_BUS_PARAM(size) SD_BUS_PARAM(erase_block) SD_BUS_PARAM(extents)),
	METHOD("Format", "", "", "", ""),
	METHOD("Compact", "b", SD_BUS_PARAM(packed), "", ""),
	SD_BUS_VTABLE_END,
};
