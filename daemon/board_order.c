/* SPDX-License-Identifier: MIT */
/* What clients want of a board, passed on to its process. */
#include "daemon/board_private.h"

#include <errno.h>
#include <string.h>

#include "bus/names.h"

#define EJECT_SECONDS 60u

static int is_away(const struct board *b, struct error *err)
{
	return error_set(err, -ENODEV,
		"%s is not plugged in; what is staged for it goes there when it is back",
		b->name);
}

static int is_not_running(const struct board *b, struct error *err)
{
	if (!b->present)
		return is_away(b, err);
	if (b->life->ejected)
		return error_set(err, -ENODEV,
			"%s was ejected: 'romount attach %s' takes it again", b->name, b->name);
	if (b->life->ending)
		return error_set(err, -ENODEV, "romountd is ending");
	return error_set(err, -EBUSY, "%s is not ready yet: %s", b->name,
		b->error[0] ? b->error : "it is being started; try again in a moment");
}

/* --- to the process --- */

static int append_number(sd_bus_message *m, const struct board_order *o)
{
	return sd_bus_message_append(m, "u", (uint32_t)o->partition);
}

static int append_file(sd_bus_message *m, const struct board_order *o)
{
	return sd_bus_message_append(m, "uh", (uint32_t)o->partition, o->fd);
}

static int append_file_and_flag(sd_bus_message *m, const struct board_order *o)
{
	return sd_bus_message_append(m, "uhb", (uint32_t)o->partition, o->fd, (int)o->flag);
}

static int append_flag(sd_bus_message *m, const struct board_order *o)
{
	return sd_bus_message_append(m, "ub", (uint32_t)o->partition, (int)o->flag);
}

static int append_seconds(sd_bus_message *m, const struct board_order *o)
{
	return sd_bus_message_append(m, "u", (uint32_t)o->seconds);
}

static int append_nothing(sd_bus_message *m, const struct board_order *o)
{
	(void)m;
	(void)o;
	return 0;
}

static const struct method {
	const char *name;
	int (*append)(sd_bus_message *m, const struct board_order *o);
} methods[] = {
	[ORDER_SYNC] = {"Sync", append_number},
	[ORDER_SAVE] = {"Save", append_file},
	[ORDER_RESTORE] = {"Restore", append_file_and_flag},
	[ORDER_VERIFY] = {"Verify", append_number},
	[ORDER_LAYOUT] = {"Layout", append_number},
	[ORDER_FORMAT] = {"Format", append_number},
	[ORDER_COMPACT] = {"Compact", append_flag},
	[ORDER_ATTACH] = {"Attach", append_nothing},
	[ORDER_RELEASE] = {"Release", append_seconds},
};

static int pass_on(struct board_life *l, const struct board_order *o, struct error *err)
{
	const struct method *method = &methods[o->kind];
	sd_bus_message *m = NULL;
	int r;

	r = hostlink_prepare(l->link, method->name, &m);
	if (r >= 0)
		r = method->append(m, o);
	if (r < 0)
		sd_bus_message_unref(m);
	else
		r = hostlink_call(l->link, m, UINT64_MAX, o->done, o->ctx);
	if (r == -EBUSY)
		return error_set(err, r, "too much has been asked of %s already; wait a moment",
			l->board->name);
	return r < 0 ? error_set(err, r, "cannot ask the process of %s: %s", l->board->name,
			       strerror(-r))
		     : 0;
}

/* --- to its life --- */

static int attach(struct board_life *l, const struct board_order *o, struct error *err)
{
	int r = board_life_attach(l, err);

	if (r < 0)
		return r;
	if (l->phase == PHASE_RUNNING)
		return pass_on(l, o, err);
	o->done(o->ctx, 0, NULL, "", NULL); /* it is being started, and then asked */
	return 0;
}

void board_life_answer_ejects(
	struct board_life *l, int result, const char *error_name, const char *text)
{
	struct eject_waiter waiters[EJECTS_MAX];
	unsigned n = l->n_ejects;

	memcpy(waiters, l->ejects, sizeof(waiters));
	l->n_ejects = 0;
	for (unsigned i = 0; i < n; i++)
		waiters[i].done(waiters[i].ctx, result, error_name, text, NULL);
}

static void on_ended(
	void *ctx, int result, const char *error_name, const char *text, sd_bus_message *reply)
{
	(void)reply;
	/* -ENODEV is its way to go without a word. */
	if (result < 0 && result != -ENODEV)
		board_life_answer_ejects(ctx, result, error_name, text);
	/* Else when its process and its folders are gone, and what waits is known. */
}

static int eject(struct board_life *l, const struct board_order *o, struct error *err)
{
	if (l->n_ejects == EJECTS_MAX)
		return error_set(err, -EBUSY, "%s is being ejected already", l->board->name);
	l->ejects[l->n_ejects++] = (struct eject_waiter){.done = o->done, .ctx = o->ctx};
	l->ejected = true;
	if (l->phase == PHASE_STARTING || l->phase == PHASE_RUNNING)
		board_life_begin_end(l, true, EJECT_SECONDS, on_ended, l);
	else
		board_life_step(l); /* in PHASE_ENDING: it goes on when that is over */
	return 0;
}

int board_order(struct board *b, const struct board_order *order, struct error *err)
{
	struct board_life *l = b->life;

	if (!b->present)
		return is_away(b, err);
	if (l->ending)
		return is_not_running(b, err);
	switch (order->kind) {
	case ORDER_ATTACH:
		return attach(l, order, err);
	case ORDER_EJECT:
		return eject(l, order, err);
	default:
		return l->phase == PHASE_RUNNING && l->link ? pass_on(l, order, err)
							    : is_not_running(b, err);
	}
}
