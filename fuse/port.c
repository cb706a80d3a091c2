/* SPDX-License-Identifier: MIT */
#include "fuse/port.h"

#include <assert.h>

void port_free(struct port *p)
{
	if (!p)
		return;
	assert(!p->wakers);
	p->ops->free(p);
}

static struct port_waker **find(struct port *p, const struct port_waker *w)
{
	struct port_waker **at = &p->wakers;

	while (*at && *at != w)
		at = &(*at)->next;
	return at;
}

int port_watch(struct port *p, sd_event *event, struct port_waker *w)
{
	int r = 0;

	if (*find(p, w))
		return 0;
	if (!p->wakers)
		r = p->ops->watch(p, event);
	if (r < 0)
		return r;
	w->next = p->wakers;
	p->wakers = w;
	return 0;
}

void port_unwatch(struct port *p, struct port_waker *w)
{
	struct port_waker **at = find(p, w);

	if (!*at)
		return;
	*at = w->next;
	if (!p->wakers)
		p->ops->unwatch(p);
}

void port_wake(struct port *p)
{
	struct port_waker *w, *next;

	for (w = p->wakers; w; w = next) {
		next = w->next;
		w->wake(w->ctx);
	}
}
