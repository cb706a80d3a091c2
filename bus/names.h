/* SPDX-License-Identifier: MIT */
/* Names on the bus, as romountd, romount-board and romount use them. The interfaces are
 * described in org.romount1(5). */
#pragma once

#define BUS_NAME "org.romount1"

/* Public: on the private socket, and on the system's or the user's bus. */
#define BUS_ROOT "/org/romount1"
#define BUS_BOARDS BUS_ROOT "/board" /* below: the board's name, sd_bus_path_encode'd */
#define BUS_MANAGER "org.romount1.Manager"
#define BUS_BOARD "org.romount1.Board"
#define BUS_PARTITION "org.romount1.Partition"

/* Between romountd and one romount-board, over the socket that it was started with. */
#define BUS_CONTROL_PATH BUS_ROOT "/control"
#define BUS_CONTROL "org.romount1.Control"
#define BUS_HOST_PATH BUS_ROOT "/host"
#define BUS_HOST "org.romount1.Host"
#define BUS_ALL_PARTITIONS 0xffffffffu

/* In the folder of every board. */
#define BUS_BOARD_FILE "BOARD.txt"

#define BUS_ERROR_FAILED "org.romount1.Error.Failed"
#define BUS_ERROR_BUSY "org.romount1.Error.Busy"
#define BUS_ERROR_GONE "org.romount1.Error.Gone"
#define BUS_ERROR_DENIED "org.romount1.Error.Denied"
#define BUS_ERROR_NO_BOARD "org.romount1.Error.NoBoard"
#define BUS_ERROR_CHANGED "org.romount1.Error.Changed"
#define BUS_ERROR_INVALID "org.romount1.Error.Invalid"
#define BUS_ERROR_TIMEOUT "org.romount1.Error.Timeout"
#define BUS_ERROR_NO_SPACE "org.romount1.Error.NoSpace"
#define BUS_ERROR_NOT_SUPPORTED "org.romount1.Error.NotSupported"

#define BUS_ACTION_MANAGE_OTHERS "org.romount1.manage-others"
