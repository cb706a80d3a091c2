/* SPDX-License-Identifier: MIT */
/* What romountd asks of romount-mount, one packet, and the answer, one packet. Both are of
 * one package and on one computer: plain structs. Texts end with NUL. */
#pragma once

#include <stdint.h>

#define MOUNT_ORDER_MAGIC 0x726f6d31u

struct mount_order {
	uint32_t magic;
	uint32_t mounts; /* 1: mount there, 0: take away what is mounted there */
	uint32_t uid, gid; /* whose files they are; nobody else gets in */
	char source[80]; /* what mount(8) shows */
	char path[1024]; /* absolute, without symbolic links */
};

/* With the opened /dev/fuse where something was mounted. */
struct mount_answer {
	int32_t result; /* 0 or -errno */
	char text[200]; /* what went wrong; printable */
};
