/* SPDX-License-Identifier: MIT */
/* The two sources of places: what udev tells of ttys, and paths that were named. */
#pragma once

#include <libudev.h>

#include "daemon/ports.h"

/* --- ports_udev.c: all ttys of real devices, ours or not, as udev tells of them ---------- */

#define TTY_LINKS_MAX 8u

struct udev_tty {
	struct udev_tty *next;
	char *syspath;
	char *device;	       /* syspath of what is plugged in, with all its ttys */
	char plugged[24];      /* when udev saw it first: another plug, another time */
	char key[PLACE_TEXT];  /* of the place */
	char id_path[PLACE_TEXT], product[PLACE_TEXT], serial[PLACE_TEXT];
	uint16_t vendor_id, product_id;
	bool is_known;	       /* by a rule, as a MicroPython board */
	int repl_interface;    /* by a rule; -1 */
	struct place_tty tty;
	char *links[TTY_LINKS_MAX + 1]; /* NULL behind the last */
};

struct udev_hooks {
	/* A place has other ttys than before, or other words about them. */
	void (*changed)(void *ctx, const char *key);
	/* It was pulled out, and may be in again. */
	void (*unplugged)(void *ctx, const char *key);
	void (*trouble)(void *ctx, const char *text);
	void *ctx;
};

struct ports_udev;

/* Listens; nothing is told before ports_udev_enumerate. */
must_check int ports_udev_new(sd_event *event, const struct udev_hooks *hooks,
	struct ports_udev **out, struct error *err);
must_check int ports_udev_enumerate(struct ports_udev *u, struct error *err);
void ports_udev_free(struct ports_udev *u);
DEFINE_CLEANUP(struct ports_udev *, ports_udev_free);
const struct udev_tty *ports_udev_first(const struct ports_udev *u); /* NULL: none */
/* Whether all ttys of the same device are known: they come one by one. */
bool ports_udev_is_settled(struct ports_udev *u, const struct udev_tty *t);

/* What udev says of one tty; NULL where it is none of a real device, or there is no memory. */
struct udev_tty *udev_tty_new(struct udev_device *device);
void udev_tty_free(struct udev_tty *t);

/* --- ports_static.c: one path, watched without opening it -------------------------------- */

struct static_hooks {
	/* Something is there now (or something else than before), or nothing any more. */
	void (*here)(void *ctx);
	void (*gone)(void *ctx);
	void *ctx;
};

struct static_tty;

/* Nothing is told before static_tty_look. */
must_check int static_tty_new(sd_event *event, const char *path,
	const struct static_hooks *hooks, struct static_tty **out);
/* Looks at the path, and watches all that can change it. -errno: it cannot be watched. */
must_check int static_tty_look(struct static_tty *t);
void static_tty_free(struct static_tty *t);
DEFINE_CLEANUP(struct static_tty *, static_tty_free);
/* The node behind all links; NULL while there is none. */
const char *static_tty_node(const struct static_tty *t);
