/* SPDX-License-Identifier: MIT */
/* What the files of the API share. */
#pragma once

#include "bus/names.h"
#include "bus/wire.h"
#include "daemon/access.h"
#include "daemon/api.h"

#define API_CALLS_MAX 1024u	 /* unanswered, on one connection */
#define API_SENDER_CALLS_MAX 32u /* of these, of one client */
#define API_QUEUED_MAX 1024u	 /* messages that a client does not fetch */

/* A board as it is published: signals tell when this changes, and properties are read from
 * here, so that both always agree. */
struct api_board_view {
	char name[BOARD_NAME_MAX + 1];
	bool present;
	char port[PLACE_TEXT], serial[PLACE_TEXT];
	char state[16], usb_id[16];
	char error[BOARD_TEXT * 2];
	char machine[BOARD_TEXT], firmware[BOARD_TEXT], unique_id[BOARD_TEXT];
	char directory[512];
	uint32_t owner, pid;
};

struct api_board {
	struct api_board *next;
	char *path;
	bool is_published, is_changed;
	struct api_board_view view;
	struct board_partition partitions[BOARD_PARTITIONS_MAX];
	unsigned n_partitions;
};

/* A connection: one client of the private socket, or a bus with all of its clients. */
struct api_peer {
	struct api *api;
	struct api_peer *next;
	sd_bus *bus;
	struct access_caller who;
	struct api_call *calls;
	bool is_lost;
	/* The connection has ended, or must: the owner detaches the peer. Told from the loop, in no
	 * callback of the connection. */
	void (*lost)(struct api_peer *peer);
};

struct api {
	struct api_options options;
	struct { /* the manager's properties */
		char version[32], mode[8], mount_root[512], state_root[512];
	} facts;
	struct api_board *boards;
	struct api_peer *peers;
	sd_event_source *publisher, *reaper;
	struct api_socket *socket;
	struct api_bus *bus;
};

extern const sd_bus_vtable api_manager_vtable[], api_board_vtable[],
	api_partition_vtable[];

/* --- api.c --- */

/* The tree appears on the connection. The peer is the caller's, and stays until detached. */
must_check int api_attach(struct api *a, struct api_peer *peer);
/* Closes the connection; calls that run are answered to nobody. */
void api_detach(struct api_peer *peer);
/* `lost` will be told. */
void api_lose(struct api_peer *peer);
/* What has changed is told before anything else is. */
void api_publish(struct api *a);
/* The connection that the message came by. */
struct api_peer *api_peer_of(sd_bus_message *m);
bool api_sees(const struct api_peer *peer, uid_t owner);
/* The board, and its partition, that this object is; NULL: none. */
struct api_board *api_find(
	struct api *a, const char *path, struct board_partition **partition);

/* --- api_call.c --- */

struct api_call;
/* Does what was asked, when it is allowed. 1: answered; 0: api_call_finish will; or -errno. */
typedef int (*api_run_fn)(struct api_call *call, struct error *err);

/* Asks whether the caller may touch what `owner` owns, and runs. Answers the message in any
 * case; returns what a method handler has to. */
must_check int api_call_new(sd_bus_message *m, uid_t owner, const char *board,
	const struct board_order *order, api_run_fn run);
sd_bus_message *api_call_message(struct api_call *call);
struct api *api_call_api(struct api_call *call);
/* The peer goes away. */
void api_call_forget_all(struct api_peer *peer);
/* A method handler for all orders on boards and partitions. */
int api_order(sd_bus_message *m, void *userdata, sd_bus_error *error);
