/* SPDX-License-Identifier: MIT */
/* What romount-board may do once it runs, besides what its unit and its user allow: bytes
 * from a board are parsed here, and a board may be anybody's.
 *
 * No capabilities and no way to new privileges; not to be traced, and no core files; at most
 * SANDBOX_MEMORY bytes of address space; and of system calls only those in the list of
 * sandbox.c, with the arguments that are needed: files by openat below the working directory
 * (paths are for the unit to restrict), the tty's settings but not its input (TIOCSTI), memory
 * that can be written or executed but not both, threads but no processes.
 *
 * A call that is not in the list fails with EPERM, since a newer C library tries new ones and
 * falls back. Those that no library would ever try on behalf of this program - another
 * program, a new socket, another process's memory, mounts, other users - end the process:
 * somebody else is at work in it. */
#pragma once

#include "util/error.h"

/* The largest partition (256 MiB) twice, as an image and a plan for it, and as much again. */
#define SANDBOX_MEMORY (1024u << 20)

/* Of the whole process, for good; before there are threads. */
must_check int sandbox_enter(struct error *err);
