/* SPDX-License-Identifier: MIT */
/* Orders that concern partitions. */
#include <errno.h>
#include <string.h>

#include "fuse/boardproc_private.h"

/* --- sync: of one partition, or of all --- */

struct sync {
	struct boardproc *b;
	sd_bus_message *call;
	unsigned left;
	struct error err;
	struct sync_part {
		struct sync *sync;
		struct part *part;
		struct committer_waiter waiter;
	} parts[DEV_PARTITIONS_MAX];
};

static void end_sync_part(struct sync *s)
{
	if (--s->left)
		return;
	boardproc_answer(s->b, s->call, s->err.code, &s->err);
	sd_bus_message_unref(s->call);
	free(s);
}

static void on_synced(void *ctx, int result)
{
	struct sync_part *sp = ctx;
	struct sync *s = sp->sync;
	struct volume_status status;

	volume_status(sp->part->volume, &status);
	/* Nothing waited, and yet flash is known not to hold what the folder shows. */
	if (result == 0 && strcmp(status.summary.state, "failed") == 0)
		result = -ESTALE;
	if (result < 0) {
		(void)!error_set(&s->err, result, "%s",
			status.summary.error[0] ? status.summary.error : strerror(-result));
	}
	end_sync_part(s);
}

static int why_not_up(const struct part *p, struct error *err)
{
	if (p->up)
		return 0;
	return error_set(err, p->err.code ? p->err.code : -EIO, "%s",
		p->err.code ? p->err.text : "the partition could not be attached");
}

static void sync_part(struct sync *s, struct part *p, unsigned i)
{
	struct sync_part *sp = &s->parts[i];

	if (why_not_up(p, &s->err) < 0) {
		end_sync_part(s);
		return;
	}
	*sp = (struct sync_part){.sync = s, .part = p};
	sp->waiter.done = on_synced;
	sp->waiter.ctx = sp;
	volume_sync(p->volume, &sp->waiter);
}

/* The first of all; NULL where none is known. */
static struct part *first_part(struct boardproc *b, struct error *err)
{
	if (b->n_parts)
		return &b->parts[0];
	(void)!error_set(err, -ENODEV, "%s",
		b->look.err.text[0] ? b->look.err.text
				    : "the board has not been asked yet: 'romount attach'");
	return NULL;
}

/* One more is counted until all have been begun: an answer may come at once. */
static void sync_order(struct boardproc *b, unsigned number, sd_bus_message *call)
{
	bool all = number == BUS_ALL_PARTITIONS;
	struct error err = {0};
	struct part *one = all ? first_part(b, &err) : boardproc_part(b, number, &err);
	struct sync *s = one ? calloc(1, sizeof(*s)) : NULL;

	if (!s) {
		control_reply(call, err.code ? err.code : -ENOMEM, &err);
		return;
	}
	s->b = b;
	s->call = sd_bus_message_ref(call);
	s->left = 1 + (all ? b->n_parts : 1);
	if (!all)
		sync_part(s, one, 0);
	for (unsigned i = 0; all && i < b->n_parts; i++)
		sync_part(s, &b->parts[i], i);
	end_sync_part(s);
}

/* --- operations on the whole partition --- */

struct operation {
	enum volume_operation what;
	struct part *part;
	sd_bus_message *call;
};

static void on_operated(void *ctx, const struct volume_result *result)
{
	struct operation *o = ctx;

	struct boardproc *b = o->part->b;

	if (result->result < 0)
		boardproc_answer(b, o->call, result->result, &result->err);
	else if (o->what == VOLUME_VERIFY)
		boardproc_answer_bytes(b, o->call, result->bytes);
	else if (o->what == VOLUME_LAYOUT)
		control_reply_layout(o->call, volume_geometry(o->part->volume),
			result->extents, result->n_extents);
	else
		boardproc_answer(b, o->call, 0, NULL);
	sd_bus_message_unref(o->call);
	free(o);
}

static enum volume_operation operation_of(enum control_order_kind kind)
{
	switch (kind) {
	case CONTROL_SAVE:
		return VOLUME_SAVE;
	case CONTROL_RESTORE:
		return VOLUME_RESTORE;
	case CONTROL_LAYOUT:
		return VOLUME_LAYOUT;
	case CONTROL_FORMAT:
		return VOLUME_FORMAT;
	case CONTROL_COMPACT:
		return VOLUME_COMPACT;
	default:
		return VOLUME_VERIFY;
	}
}

static int operate(struct part *p, const struct control_order *order, sd_bus_message *call,
	struct error *err)
{
	struct volume_order vo = {
		.what = operation_of(order->kind),
		.fd = order->fd,
		.exact = order->flag,
		.packed = order->flag,
		.done = on_operated,
	};
	struct operation *o = calloc(1, sizeof(*o));
	int r = o ? why_not_up(p, err) : -ENOMEM;

	if (r < 0) {
		closep(&vo.fd);
		free(o);
		return r;
	}
	*o = (struct operation){vo.what, p, sd_bus_message_ref(call)};
	vo.ctx = o;
	r = volume_operate(p->volume, &vo);
	if (r == 0)
		return 0;
	sd_bus_message_unref(o->call);
	free(o);
	return r == -EBUSY ? error_set(err, r, "rom%u is busy with something else", p->number)
			   : r;
}

/* --- orders that come early --- */

struct delayed {
	struct control_order order;
	sd_bus_message *call;
	struct delayed *next;
};

void boardproc_refuse(const struct control_order *order, sd_bus_message *call, int result)
{
	if (order->fd >= 0)
		close(order->fd);
	control_reply(call, result, NULL);
}

static void delay(
	struct boardproc *b, const struct control_order *order, sd_bus_message *call)
{
	struct delayed *d = malloc(sizeof(*d)), **at = &b->delayed;

	if (!d) {
		boardproc_refuse(order, call, -ENOMEM);
		return;
	}
	*d = (struct delayed){*order, sd_bus_message_ref(call), NULL};
	while (*at)
		at = &(*at)->next;
	*at = d;
}

static struct delayed *take_delayed(struct boardproc *b)
{
	struct delayed *d = b->delayed;

	if (d)
		b->delayed = d->next;
	return d;
}

void boardproc_order_delayed(struct boardproc *b)
{
	struct delayed *d;

	while (!b->ending && !boardproc_is_unsure(b) && (d = take_delayed(b))) {
		boardproc_order(b, &d->order, d->call);
		sd_bus_message_unref(d->call);
		free(d);
	}
}

void boardproc_order_free(struct boardproc *b)
{
	struct delayed *d;

	while ((d = take_delayed(b))) {
		boardproc_refuse(&d->order, d->call, -ECANCELED);
		sd_bus_message_unref(d->call);
		free(d);
	}
}

void boardproc_order(
	struct boardproc *b, const struct control_order *order, sd_bus_message *call)
{
	struct error err = {0};
	struct part *p;
	int r;

	if (boardproc_is_unsure(b)) {
		delay(b, order, call);
		return;
	}
	if (order->kind == CONTROL_SYNC) {
		sync_order(b, order->partition, call);
		return;
	}
	p = boardproc_part(b, order->partition, &err);
	if (!p && order->fd >= 0)
		close(order->fd);
	r = p ? operate(p, order, call, &err) : err.code;
	if (r < 0)
		control_reply(call, r, &err);
	boardproc_report(b);
}
