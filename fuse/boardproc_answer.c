/* SPDX-License-Identifier: MIT */
/* Whoever was answered may look at once: what an order has changed is told before. The one
 * that tells of its end is in the middle of it, so the answer waits for the next turn of the
 * loop. */
#include <errno.h>

#include "fuse/boardproc_private.h"

struct answer {
	sd_bus_message *call;
	int result;
	struct error err;
	uint64_t bytes;
	bool has_bytes;
	struct answer *next;
};

static void give(struct answer *a)
{
	if (a->has_bytes)
		control_reply_bytes(a->call, a->bytes);
	else
		control_reply(a->call, a->result, &a->err);
	sd_bus_message_unref(a->call);
	free(a);
}

static void give_all(struct boardproc *b)
{
	while (b->answers) {
		struct answer *a = b->answers;

		b->answers = a->next;
		give(a);
	}
}

static int on_turn(sd_event_source *s, void *data)
{
	struct boardproc *b = data;

	(void)s;
	b->answer_source = sd_event_source_disable_unref(b->answer_source);
	boardproc_report_now(b);
	give_all(b);
	return 0;
}

static void append(struct boardproc *b, sd_bus_message *call, const struct answer *answer)
{
	struct answer *a = malloc(sizeof(*a)), **at = &b->answers;
	int r;

	if (!a) {
		control_reply(call, -ENOMEM, NULL);
		return;
	}
	*a = *answer;
	a->call = sd_bus_message_ref(call);
	while (*at)
		at = &(*at)->next;
	*at = a;
	if (b->answer_source)
		return;
	r = sd_event_add_defer(b->event, &b->answer_source, on_turn, b);
	if (r < 0)
		give_all(b);
}

void boardproc_answer(
	struct boardproc *b, sd_bus_message *call, int result, const struct error *err)
{
	struct answer a = {.result = result};

	if (err)
		a.err = *err;
	append(b, call, &a);
}

void boardproc_answer_bytes(struct boardproc *b, sd_bus_message *call, uint64_t bytes)
{
	const struct answer a = {.bytes = bytes, .has_bytes = true};

	append(b, call, &a);
}

void boardproc_answer_free(struct boardproc *b)
{
	b->answer_source = sd_event_source_disable_unref(b->answer_source);
	give_all(b);
}
