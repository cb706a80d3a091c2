/* SPDX-License-Identifier: MIT */
/* romount-board's end of the link to romountd: what romountd asks for (org.romount1.Control),
 * and what it is told (signals of that, calls of org.romount1.Host). Values are checked here,
 * so that the board's process gets well-formed ones.
 *
 * Loop thread only; never waits. */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "fuse/portident.h"
#include "fuse/volume.h"

#define CONTROL_ALIGNS_MAX 32u

struct control;

struct control_options { /* of Start */
	char name[65];	 /* the board's, for messages */
	char port[128];	 /* the same */
	char identity[PORTIDENT_SIZE]; /* portident.h; "": none */
	unsigned baud, uid, gid, quiet_ms, idle_ms;
	bool contact; /* the port may be opened for a first look */
	bool reset;   /* the board's program runs again after a session */
	char verify[16]; /* "written", "everything" */
	char aligns[CONTROL_ALIGNS_MAX][65];
	unsigned n_aligns;
	bool statements; /* no agent */
	char directory[512]; /* that holds the folders, for messages */
};

enum control_order_kind {
	CONTROL_ATTACH, CONTROL_SYNC, CONTROL_RELEASE, CONTROL_END, CONTROL_REFRESH,
	CONTROL_SAVE, CONTROL_RESTORE, CONTROL_VERIFY, CONTROL_LAYOUT, CONTROL_FORMAT,
	CONTROL_COMPACT,
};

struct control_order {
	enum control_order_kind kind;
	unsigned partition; /* BUS_ALL_PARTITIONS with CONTROL_SYNC */
	unsigned seconds;   /* of CONTROL_RELEASE, CONTROL_END */
	bool flag;	    /* finish, exact, packed */
	int fd;		    /* of CONTROL_SAVE, CONTROL_RESTORE: the receiver's; else -1 */
};

struct control_hooks {
	/* Once. `dir` is the state directory, the receiver's. 0, or -errno with a sentence. */
	int (*start)(void *ctx, const struct control_options *options, int dir,
		struct error *err);
	/* `call` is to be answered by one of the functions below; it is the sender's, to be
	 * referred to by whoever answers later. */
	void (*order)(void *ctx, const struct control_order *order, sd_bus_message *call);
	void (*gone)(void *ctx); /* romountd has closed the link, or died */
	void *ctx;
};

/* Takes the socket, which is connected. */
must_check int control_new(
	sd_event *event, int fd, const struct control_hooks *hooks, struct control **out);
void control_free(struct control *c);
DEFINE_CLEANUP(struct control *, control_free);
sd_bus *control_bus(struct control *c);

/* --- answers --- */
void control_reply(sd_bus_message *call, int result, const struct error *err);
void control_reply_bytes(sd_bus_message *call, uint64_t bytes);
void control_reply_layout(sd_bus_message *call, const struct dev_geometry *geometry,
	const struct volume_extent *extents, size_t n);

/* --- signals; all of it each time --- */

struct control_board {
	char machine[96], firmware[128], unique_id[65], platform[32];
	char state[16]; /* "starting" "asking" "ready" "waiting" "none" "failed" "released" */
	char error[480];
	bool port_open;
	unsigned partitions;
};

struct control_partition {
	uint64_t size, used, free, pending, done, total, erase_block, write_unit, address;
	bool has_address;
	unsigned pending_files;
	/* Else what is used and what waits is not known yet, and not told: the receiver may know
	 * it from earlier. */
	bool is_attached;
	char state[16]; /* "on flash" "staged" "writing" "failed"; "": not attached yet */
	char error[480];
	char note[480]; /* what there was to say when it was attached, "" */
	char job[16], kind[24], image[16];
};

void control_tell_board(struct control *c, const struct control_board *b);
void control_tell_partition(
	struct control *c, unsigned number, const struct control_partition *p);

/* --- calls --- */

/* A mounted /dev/fuse, the receiver's; or -errno with a sentence. */
typedef void (*control_mounted_fn)(void *ctx, int result, const char *text);
/* The folder of the partition; `slot` ends it when it is freed. */
must_check int control_mount(struct control *c, unsigned number, control_mounted_fn done,
	void *ctx, sd_bus_slot **slot);
void control_ready(struct control *c, unsigned number);
/* The folder is not served any more: its mount, if it is still there, can go. */
void control_unmount(struct control *c, unsigned number);
