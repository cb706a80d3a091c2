/* SPDX-License-Identifier: MIT */
/* What is plugged in: boards as places with ttys, from udev (monitor enabled before the
 * enumeration), from the configuration and from the command line. Nothing is opened here; of
 * ttys that nobody has named only what udev tells is looked at.
 *
 * Loop thread only; never waits. */
#pragma once

#include <systemd/sd-event.h>

#include "daemon/config.h"
#include "daemon/policy.h"

#define PLACE_TTYS_MAX 8u
#define PLACE_TEXT 128u

/* Where a board may be: one USB device with its ttys, a tty by path, or a socket. All texts
 * are printable and capped; most come from USB strings. */
struct place {
	/* Unique among those that are plugged in: "usb/3-1.2", "tty/ttyS0", the path or the
	 * HOST:PORT of a static one. */
	char key[PLACE_TEXT];
	char id_path[PLACE_TEXT]; /* ID_PATH: the socket that it is plugged into; "" */
	char product[PLACE_TEXT]; /* ROMOUNT_NAME, else the USB product string; "" */
	/* Byte for byte what the device says; "" also where that is not printable. */
	char serial[PLACE_TEXT];
	uint16_t vendor_id, product_id; /* 0 0: not USB */
	bool is_socket;		  /* ttys[0].node is HOST:PORT */
	bool is_static;
	struct place_tty {
		char node[PLACE_TEXT]; /* "/dev/ttyACM0" */
		int interface;	       /* USB interface number, -1 */
	} ttys[PLACE_TTYS_MAX]; /* the likeliest REPL first */
	unsigned n_ttys;
	struct policy policy;
};

/* A replug is told as `removed` and `added`, however quick it was. Hooks may add static
 * boards; they must not free or reload. */
struct ports_hooks {
	/* Also when a place that was told has other ttys or another policy now. */
	void (*added)(void *ctx, const struct place *place);
	void (*removed)(void *ctx, const char *key);
	/* A port that cannot be watched, udev that does not answer: one line for the log. */
	void (*trouble)(void *ctx, const char *text);
	void *ctx;
};

struct ports;

/* Starts listening; what is there already is told by `added` before this returns. `udev`
 * false: static places alone. A static one that cannot be watched is told by `trouble`, and
 * the others work. The configuration must outlive it. */
must_check int ports_new(sd_event *event, const struct config *config, bool udev,
	const struct ports_hooks *hooks, struct ports **out, struct error *err);
void ports_free(struct ports *p);
DEFINE_CLEANUP(struct ports *, ports_free);
/* The same as --board: added when its tty is there (a path that is not there yet is waited
 * for; links on the way are followed, and watched), a socket at once. It stays over a reload.
 * -EEXIST: that port is there already. No other place has its tty. */
must_check int ports_add_static(
	struct ports *p, const struct config_static *board, struct error *err);
/* The configuration has changed: places that are now to be left alone, or taken, are told. The
 * old one may be freed afterwards. */
void ports_reload(struct ports *p, const struct config *config);
