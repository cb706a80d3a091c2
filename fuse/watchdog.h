/* SPDX-License-Identifier: MIT */
/* Tells systemd that the loop still turns, as WatchdogSec= of the unit wants it. Its socket is
 * connected at once: later there are none. */
#pragma once

#include <systemd/sd-event.h>

#include "util/macros.h"

/* 1: from now on twice as often as $WATCHDOG_USEC says; 0: nobody has asked. */
must_check int watchdog_start(sd_event *event);
