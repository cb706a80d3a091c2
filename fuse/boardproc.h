/* SPDX-License-Identifier: MIT */
/* The life of romount-board: one board, all of its partitions, from romountd's first word
 * over the link to the end of that link.
 *
 * A board that is known is shown from memory; else it is asked who it is, if that is allowed.
 * Each partition that can be used gets a volume, which romountd mounts. There is one worker:
 * while one partition is written, the others wait for the board, and when nobody wants
 * anything of it the port is closed for all of them. */
#pragma once

#include <systemd/sd-event.h>

#include "util/macros.h"

/* Runs until the link is closed, or until End. Takes `link`, a connected socket. Called with
 * one thread only, with signals blocked that the event loop shall see. 0, or -errno when it
 * could not start. */
must_check int boardproc_run(sd_event *event, int link);
