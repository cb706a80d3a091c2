/* SPDX-License-Identifier: MIT */
/* What romountd is told: all of it, whenever some of it has changed, and not too often. */
#include <errno.h>
#include <string.h>

#include "fuse/boardproc_private.h"

#define GAP_US 100000u
/* How far a job has come changes without anybody being told. */
#define PROGRESS_US 250000u

static const char *board_state(const struct boardproc *b, bool *any_up)
{
	bool waiting = true;

	*any_up = false;
	for (unsigned i = 0; i < b->n_parts; i++) {
		*any_up |= b->parts[i].up;
		waiting &= b->parts[i].err.code == -ENODATA;
	}
	if (!turn_has_come(b->turn))
		return "starting";
	if (b->released)
		return "released";
	if (boardproc_is_unsure(b))
		return "asking";
	if (b->n_parts)
		return *any_up ? "ready" : waiting ? "waiting" : "failed";
	if (!b->look.known)
		return b->look.result < 0 ? "failed" : "waiting";
	return "none";
}

static void describe_board(const struct boardproc *b, struct control_board *out)
{
	bool any_up;

	memset(out, 0, sizeof(*out));
	snprintf(out->state, sizeof(out->state), "%s", board_state(b, &any_up));
	snprintf(out->machine, sizeof(out->machine), "%s", b->board.machine);
	snprintf(out->firmware, sizeof(out->firmware), "%s", b->board.firmware);
	snprintf(out->unique_id, sizeof(out->unique_id), "%s", b->board.unique_id);
	snprintf(out->platform, sizeof(out->platform), "%s", b->board.platform);
	out->partitions = b->n_parts;
	out->port_open = b->link && port_host_is_open(boardproc_port(b));
	if (!b->looking)
		snprintf(out->error, sizeof(out->error), "%s", b->look.err.text);
	for (unsigned i = 0; i < b->n_parts && !any_up && !out->error[0]; i++)
		snprintf(out->error, sizeof(out->error), "%s", b->parts[i].err.text);
}

static void describe_geometry(const struct dev_geometry *g, struct control_partition *out)
{
	out->size = g->size;
	out->erase_block = g->erase_block;
	out->write_unit = g->write_unit;
	out->has_address = g->has_address;
	out->address = g->has_address ? g->address : 0;
	snprintf(out->kind, sizeof(out->kind), "%s", dev_target_kind_name(g->kind));
}

/* True while something runs. */
static bool describe_part(
	const struct boardproc *b, unsigned i, struct control_partition *out)
{
	const struct part *p = &b->parts[i];
	struct volume_status s;

	memset(out, 0, sizeof(*out));
	describe_geometry(p->up ? volume_geometry(p->volume) : &b->board.partitions[i], out);
	snprintf(out->error, sizeof(out->error), "%s", p->err.text);
	snprintf(out->note, sizeof(out->note), "%s", p->note);
	if (!p->up) {
		snprintf(out->state, sizeof(out->state), "%s", p->err.code ? "failed" : "");
		return false;
	}
	volume_status(p->volume, &s);
	out->is_attached = true;
	out->used = s.summary.used;
	out->free = s.summary.free;
	out->pending = s.summary.pending;
	out->pending_files = s.summary.pending_files;
	out->done = s.done;
	out->total = s.total;
	snprintf(out->state, sizeof(out->state), "%s", s.summary.state);
	snprintf(out->job, sizeof(out->job), "%s", s.job);
	snprintf(out->image, sizeof(out->image), "%s", s.summary.image);
	if (s.summary.error[0])
		snprintf(out->error, sizeof(out->error), "%s", s.summary.error);
	return s.job[0];
}

static void tell_board(struct boardproc *b)
{
	struct control_board now;

	describe_board(b, &now);
	if (b->was_told && memcmp(&now, &b->told, sizeof(now)) == 0)
		return;
	b->told = now;
	b->was_told = true;
	control_tell_board(b->control, &now);
}

static bool tell_part(struct boardproc *b, unsigned i)
{
	struct part *p = &b->parts[i];
	struct control_partition now;
	bool runs = describe_part(b, i, &now);

	if (p->was_told && memcmp(&now, &p->told, sizeof(now)) == 0)
		return runs;
	/* For who looks at the state directory when the board is away. */
	if (p->up && (now.pending != p->told.pending ||
			     now.pending_files != p->told.pending_files))
		volume_save_status(p->volume);
	p->told = now;
	p->was_told = true;
	control_tell_partition(b->control, p->number, &now);
	return runs;
}

static int on_timer(sd_event_source *s, uint64_t us, void *data);

static void arm(struct boardproc *b, uint64_t at_us)
{
	int r;

	if (!b->report_timer)
		r = sd_event_add_time(b->event, &b->report_timer, CLOCK_MONOTONIC, at_us, 1000,
			on_timer, b);
	else
		r = sd_event_source_set_time(b->report_timer, at_us);
	if (r >= 0)
		r = sd_event_source_set_enabled(b->report_timer, SD_EVENT_ONESHOT);
	b->report_at_us = r < 0 ? 0 : at_us;
	if (r < 0 && r != -ESTALE) /* that is the end of the loop */
		log_to(&b->log, LOG_ERR, "no timer for reports: %s", strerror(-r));
}

static void tell_all(struct boardproc *b)
{
	bool runs = false;

	(void)sd_event_now(b->event, CLOCK_MONOTONIC, &b->reported_us);
	b->report_at_us = 0;
	tell_board(b);
	for (unsigned i = 0; i < b->n_parts; i++)
		runs |= tell_part(b, i);
	if (runs)
		arm(b, b->reported_us + PROGRESS_US);
}

static int on_timer(sd_event_source *s, uint64_t us, void *data)
{
	(void)s;
	(void)us;
	tell_all(data);
	return 0;
}

void boardproc_report(struct boardproc *b)
{
	uint64_t now = 0, due = b->reported_us + GAP_US;

	(void)sd_event_now(b->event, CLOCK_MONOTONIC, &now);
	due = MAX(now, due);
	if (!b->report_at_us || b->report_at_us > due)
		arm(b, due);
}

void boardproc_report_now(struct boardproc *b)
{
	tell_all(b);
}

void boardproc_report_anew(struct boardproc *b)
{
	b->was_told = false;
	for (unsigned i = 0; i < b->n_parts; i++)
		b->parts[i].was_told = false;
	tell_all(b);
}

void boardproc_report_free(struct boardproc *b)
{
	b->report_timer = sd_event_source_disable_unref(b->report_timer);
}
