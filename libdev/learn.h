/* SPDX-License-Identifier: MIT */
/* What a board tells about itself, asked in small statements (there are boards with 9 KB of
 * heap) whose answers are lines of key=value, read strictly. */
#pragma once

#include "libdev/quirks.h"
#include "libdev/repl.h"
#include "libdev/session.h"

/* Beside the public information, what our own code on the board needs to know. */
struct board_caps {
	bool checked;  /* statements can be sent with a sum, see checked.h */
	bool crc32;    /* binascii.crc32 */
	bool base64;   /* binascii.a2b_base64 and b2a_base64 */
	bool kbd_intr; /* micropython.kbd_intr */
	bool umountable; /* vfs.umount */
	struct {
		bool present;	 /* `facts` hold */
		struct quirk_facts facts;
		bool buffer;	 /* memoryview(segment) works */
		bool usable;	 /* has a geometry in info->partitions */
		unsigned index;	 /* its place there */
		char reason[160]; /* why it is not usable */
	} segments[DEV_PARTITIONS_MAX];
};

/* Fills `info` and `caps`. -EPROTO: what answers at the raw REPL's prompt does not run
 * Python. */
must_check int learn_board(struct repl *r, struct dev_board_info *info,
	struct board_caps *caps, deadline_t deadline, struct error *err);

/* The part of it that needs no board: partitions and reasons, from the facts. */
void learn_partitions(struct dev_board_info *info, struct board_caps *caps);

/* Decimal, with an optional minus sign, nothing else, within int64_t; else -EPROTO. */
must_check int learn_number(const char *text, int64_t *out);
