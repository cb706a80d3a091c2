/* SPDX-License-Identifier: MIT */
/* What is known about ports and chips that a board does not tell, or tells wrongly: a table
 * of data, matched by sys.platform and a part of the machine name. */
#pragma once

#include <stdbool.h>

#include "libdev/target.h"

enum quirk_flags {
	QUIRK_WHOLE = 1u << 0, /* always the 3-argument prepare */
	QUIRK_NO_PROBE = 1u << 1, /* prepare checks no bounds: never call it to find out */
	QUIRK_NO_ERASE = 1u << 2, /* memory is overwritten freely */
	/* The reported erase unit is a multiple of the true one, or none is reported: where
	 * it does not divide the partition, smaller powers of two are tried. */
	QUIRK_SHRINK_ERASE = 1u << 3,
};

struct quirk {
	const char *platform; /* sys.platform; NULL matches any */
	const char *machine;  /* found in os.uname().machine; NULL matches any */
	uint64_t address, address_end; /* the partition starts in [address, end); 0: any */
	unsigned flags;
	uint32_t erase_block; /* bytes; 0: as reported */
	uint32_t write_unit;  /* bytes; 0: 256, or the erase block if that is less */
	unsigned erase_ms;    /* worst case per erase block; 0: 400 per 4 KiB */
	enum dev_twice twice; /* by the kind of memory; see the table for each source */
	unsigned program_ms;  /* worst case per 4 KiB; 0: 100 */
	const char *why;      /* for the log */
};

/* The first entry that matches; never NULL. */
const struct quirk *quirk_find(
	const char *platform, const char *machine, bool has_address, uint64_t address);

/* What the board said about one partition, numbers as they came. */
struct quirk_facts {
	unsigned number;
	bool is_block;	     /* the segment has `ioctl` */
	int64_t count, size; /* of blocks, ioctl 4 and 5; -1 where there is none */
	int64_t length;	     /* len(segment); -1 where there is none */
	int64_t min_prepare; /* rom_ioctl(6, n) */
	int64_t probe_range; /* rom_ioctl(3, n, 0, 1 << 29): -22 or its answer; 0 not asked */
	int64_t probe_empty; /* rom_ioctl(3, n, 0): the write size; 0 not asked */
	bool has_address;
	uint64_t address;
};

/* Geometry from facts: -EINVAL with a reason where they make no sense. */
must_check int quirk_geometry(const struct quirk *q, const struct quirk_facts *facts,
	struct dev_geometry *out, struct error *err);
