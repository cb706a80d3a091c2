/* SPDX-License-Identifier: MIT */
/* What the files of boardproc*.c share. */
#pragma once

#include "bus/names.h"
#include "fuse/control.h"
#include "fuse/link.h"
#include "fuse/port_host.h"
#include "fuse/turn.h"
#include "fuse/volume.h"
#include "fuse/worker.h"

struct boardproc;

/* A partition of the board. Volumes are made and freed only before the worker's first job or
 * in the `done` of a job, when the worker looks at none of them. */
struct part {
	struct boardproc *b;
	unsigned number;
	struct volume *volume; /* NULL: it could not be attached, `err` says why */
	bool up;	       /* attached */
	bool ended;	       /* after volume_end */
	sd_bus_slot *mounting;
	bool mounted; /* by romountd, for all it knows */
	struct error err;
	struct error logged; /* the last failure */
	char note[480]; /* what attaching had to say */
	char mountpoint[600];
	struct control_partition told;
	bool was_told;
};

/* Finds out what there is: from memory, or by asking. */
struct look {
	struct worker_job job;
	bool ask;   /* allowed */
	bool fresh; /* memory has shown to be of no use */
	struct dev_board_info info;
	bool known; /* info is */
	int result;
	struct error err;
	struct error logged; /* the last failure */
};

struct boardproc {
	sd_event *event;
	struct control *control;
	struct worker *worker;
	struct link *link; /* NULL: not started */
	struct turn *turn;
	int cancel_fd;	   /* readable: the worker shall not wait any more */
	struct log_sink log;
	struct control_options o;
	struct romfs_align aligns[CONTROL_ALIGNS_MAX];
	struct romfs_pack_options pack;
	struct dev_board_info board;
	struct part parts[DEV_PARTITIONS_MAX];
	unsigned n_parts; /* 0: not known, or none */
	struct look look;
	bool looking;
	struct worker_job leave_job; /* behind the attaching of all: link_leave */
	/* After a look, or an attaching, that has failed: others at the port, or time, help. */
	struct port_waker waker;
	sd_event_source *retry_timer;
	unsigned retry_ms; /* 0: the last attaching has not failed so */
	/* Released. */
	bool released;
	struct worker_job release_job;
	sd_bus_message *release_call;
	sd_event_source *release_timer;
	/* The end. */
	bool ending, finish;
	sd_bus_message *end_call;
	sd_event_source *end_timer;
	struct delayed *delayed; /* orders that came while the board was looked at */
	/* Answers that wait for the state that goes with them. */
	struct answer *answers;
	sd_event_source *answer_source;
	/* Reports. */
	sd_event_source *report_timer;
	uint64_t report_at_us; /* 0: not armed */
	uint64_t reported_us;
	struct control_board told;
	bool was_told;
};

static inline struct port *boardproc_port(const struct boardproc *b)
{
	return link_port(b->link);
}

/* NULL where the board has no such partition; `err` says so. */
struct part *boardproc_part(struct boardproc *b, unsigned number, struct error *err);
bool boardproc_is_attaching(const struct boardproc *b); /* or looking */
bool boardproc_is_unsure(const struct boardproc *b);	 /* or about to */

/* boardproc_orders.c: what concerns partitions. */
void boardproc_order(
	struct boardproc *b, const struct control_order *order, sd_bus_message *call);
void boardproc_order_delayed(struct boardproc *b); /* something is known now */
void boardproc_order_free(struct boardproc *b);	   /* what is left is refused */
/* Answers at once, and closes the order's descriptor. */
void boardproc_refuse(const struct control_order *order, sd_bus_message *call, int result);

/* boardproc_answer.c: answers when the event at hand has been dealt with, behind a report of
 * what it has changed. */
void boardproc_answer(struct boardproc *b, sd_bus_message *call, int result,
	const struct error *err);
void boardproc_answer_bytes(struct boardproc *b, sd_bus_message *call, uint64_t bytes);
void boardproc_answer_free(struct boardproc *b); /* what is left is answered */

/* boardproc_report.c: something has changed; romountd hears of it soon, if it is so. */
void boardproc_report(struct boardproc *b);
void boardproc_report_now(struct boardproc *b);
void boardproc_report_anew(struct boardproc *b); /* what has not changed as well */
void boardproc_report_free(struct boardproc *b);
