/* SPDX-License-Identifier: MIT */
/* The map of a partition: what every byte of it is used for, from the first to the last. */
#pragma once

#include <stdbool.h>
#include <stdio.h>
#include <systemd/sd-bus.h>

#include "cli/open.h"

enum memmap_kind {
	MEMMAP_HEAD,	/* the header, and what leads to the newest tree */
	MEMMAP_SLOT,	/* room that later saves use for that */
	MEMMAP_ROOT,	/* names, folders, times */
	MEMMAP_FILE,
	MEMMAP_DEAD,	/* used once; to be erased before it is written */
	MEMMAP_BLANK,	/* can be written at once */
	MEMMAP_UNKNOWN, /* free, and nobody has looked whether it is blank */
	MEMMAP_BAD,	/* blocks that failed, set aside */
	MEMMAP_KINDS,
};

struct memmap_extent {
	uint64_t off, len; /* bytes */
	enum memmap_kind kind;
	char *name; /* of a file, printable; else NULL */
};

struct memmap {
	char title[160]; /* printable */
	uint64_t size, erase_block, address;
	bool has_address;
	struct memmap_extent *list; /* by offset, without gaps or overlaps */
	size_t n;
};

void memmap_clear(struct memmap *m);

/* What Layout answered; a daemon may pass on what a board's process made up, so that all of it
 * is checked. Title and address are the caller's. -EBADMSG, -ENOMEM. */
must_check int memmap_read(sd_bus_message *reply, struct memmap *out, struct error *err);

/* Of partition `number` of a port or an image. Free space of an image is looked at; that of a
 * port would take seconds to ask for, and stays unknown. */
must_check int memmap_look(
	struct subject *s, unsigned number, struct memmap *out, struct error *err);

struct memmap_sums {
	uint64_t bytes[MEMMAP_KINDS];
	unsigned files;
};
void memmap_sum(const struct memmap *m, struct memmap_sums *out);

/* For people: "header", "names", "dead"... */
const char *memmap_kind_title(enum memmap_kind kind);
/* For programs, as on the bus: "head", "slot"... */
const char *memmap_kind_name(enum memmap_kind kind);

/* Indexes of the biggest files, at most `max`, biggest first: how many. */
size_t memmap_biggest(const struct memmap *m, size_t *out, size_t max);

/* Cells for a terminal of so many columns. */
void memmap_print(const struct memmap *m, FILE *to, int columns);
/* The same as a table, a line for each extent. -ENOMEM. */
must_check int memmap_print_table(const struct memmap *m, FILE *to);
/* A whole SVG document. What could not be written is seen by ferror(to). */
void memmap_print_svg(const struct memmap *m, FILE *to);

struct json_object;
/* NULL where memory is short. */
struct json_object *memmap_json(const struct memmap *m);
struct json_object *memmap_extents_json(const struct memmap *m);
