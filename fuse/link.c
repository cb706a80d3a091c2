/* SPDX-License-Identifier: MIT */
#include "fuse/link.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "libdev/known.h"

struct partition {
	bool holds;   /* a target of this session */
	bool vouched; /* and nobody else had the port since */
	struct dev_known *known;
};

struct link {
	struct link_options o;
	struct dev_session *session;
	bool stays; /* link_stay */
	struct partition partitions[DEV_PARTITIONS_MAX];
	pthread_mutex_t lock; /* of forbidden */
	char forbidden[300];
};

int link_new(const struct link_options *options, struct link **out)
{
	struct link *l = calloc(1, sizeof(*l));
	int r = l ? -pthread_mutex_init(&l->lock, NULL) : -ENOMEM;

	if (r < 0) {
		port_free(options->port);
		free(l);
		return r;
	}
	l->o = *options;
	*out = l;
	return 0;
}

struct port *link_port(const struct link *l)
{
	return l->o.port;
}

/* --- who may ------------------------------------------------------------------------- */

static void forbid(struct link *l, const char *why)
{
	pthread_mutex_lock(&l->lock);
	snprintf(l->forbidden, sizeof(l->forbidden), "%s", why);
	pthread_mutex_unlock(&l->lock);
}

void link_forbid(struct link *l, const char *why)
{
	assert(why[0]);
	forbid(l, why);
}

void link_allow(struct link *l)
{
	forbid(l, "");
}

static int check_allowed(struct link *l, struct error *err)
{
	int r = 0;

	pthread_mutex_lock(&l->lock);
	if (l->forbidden[0])
		r = error_set(err, -EBUSY, "%s", l->forbidden);
	pthread_mutex_unlock(&l->lock);
	return r;
}

/* --- the session ----------------------------------------------------------------------- */

/* What the others may have done is to be looked at by every partition by itself; so what the
 * port tells is taken note of here, and starts anew. */
static void note_strangers(struct link *l)
{
	struct port *p = l->o.port;

	if (!p->ops->alone(p))
		for (unsigned i = 0; i < DEV_PARTITIONS_MAX; i++)
			l->partitions[i].vouched = false;
	p->ops->reset(p);
}

static int open_once(struct link *l, const struct dev_known *known, struct error *err)
{
	const struct dev_session_options options = {
		.baud = l->o.baud,
		.cancel_fd = l->o.cancel_fd,
		.log = l->o.log,
		.no_agent = l->o.statements,
		.known = known,
		.keep_stopped = l->o.keep_stopped,
	};
	struct port *p = l->o.port;
	struct dev_transport *transport;
	int r;

	error_clear(err);
	r = p->ops->open(p, l->o.baud, l->o.cancel_fd, &transport, err);
	if (r == 0) {
		note_strangers(l);
		r = dev_session_open_on(transport, &options, &l->session, err);
	}
	if (r < 0)
		p->ops->closed(p);
	return r;
}

static int open_session(
	struct link *l, const struct dev_known *known, bool wait, struct error *err)
{
	deadline_t deadline = deadline_in(wait ? l->o.busy_wait_ms : 0);
	struct port *p = l->o.port;
	int r = check_allowed(l, err);

	if (r < 0)
		return r;
	r = open_once(l, known, err);
	if (r != -EBUSY || !wait || !l->o.busy_wait_ms)
		return r;
	log_to(l->o.log, LOG_NOTICE, "waiting up to %u s: %s", l->o.busy_wait_ms / 1000,
		err->text);
	while (r == -EBUSY && p->ops->wait(p, l->o.cancel_fd, deadline) == 0) {
		error_clear(err);
		r = check_allowed(l, err);
		if (r == 0)
			r = open_once(l, known, err);
	}
	return r;
}

/* So that a later session only has to prove that the board is the same. */
static void keep_known(struct link *l, unsigned number)
{
	struct partition *p = &l->partitions[number];
	struct dev_known *k = p->known ? p->known : malloc(sizeof(*k));

	p->known = k;
	if (k && dev_session_known(l->session, number, k) < 0) {
		free(k);
		p->known = NULL;
	}
}

static int close_session(struct link *l, struct error *err)
{
	int r;

	if (!l->session)
		return 0;
	for (unsigned i = 0; i < DEV_PARTITIONS_MAX; i++) {
		if (l->partitions[i].holds)
			keep_known(l, i);
		l->partitions[i].holds = false;
	}
	r = dev_session_close(l->session, err);
	l->session = NULL;
	l->o.port->ops->closed(l->o.port);
	return r;
}

void link_free(struct link *l)
{
	if (!l)
		return;
	(void)!close_session(l, NULL);
	for (unsigned i = 0; i < DEV_PARTITIONS_MAX; i++)
		free(l->partitions[i].known);
	port_free(l->o.port);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

/* --- partitions ------------------------------------------------------------------------ */

int link_connect(struct link *l, unsigned partition, const struct dev_known *known, bool wait,
	struct dev_target **out, struct error *err)
{
	int r = 0;

	/* Who lost it has been told; for the others it is over as well. */
	if (l->session && dev_session_is_lost(l->session))
		(void)!close_session(l, NULL);
	if (!l->session)
		r = open_session(l, known, wait, err);
	if (r < 0)
		return r;
	r = dev_session_target(l->session, partition, out, err);
	if (r < 0)
		(void)!close_session(l, NULL);
	else
		l->partitions[partition].holds = true;
	return r;
}

bool link_holds(const struct link *l, unsigned partition)
{
	return partition < DEV_PARTITIONS_MAX && l->partitions[partition].holds;
}

int link_disconnect(struct link *l, unsigned partition, struct error *err)
{
	if (!link_holds(l, partition))
		return 0;
	if (!l->stays || dev_session_is_lost(l->session))
		return close_session(l, err);
	keep_known(l, partition);
	l->partitions[partition].holds = false;
	return 0;
}

void link_stay(struct link *l)
{
	l->stays = true;
}

void link_leave(struct link *l)
{
	bool held = false;

	l->stays = false;
	for (unsigned i = 0; i < DEV_PARTITIONS_MAX; i++)
		held |= l->partitions[i].holds;
	if (!held)
		(void)!close_session(l, NULL);
}

const struct dev_board_info *link_board(const struct link *l)
{
	return l->session ? dev_session_info(l->session) : NULL;
}

int link_known(const struct link *l, unsigned partition, struct dev_known *out)
{
	if (partition >= DEV_PARTITIONS_MAX)
		return -ENODATA;
	if (l->session && dev_session_known(l->session, partition, out) == 0)
		return 0;
	if (!l->partitions[partition].known)
		return -ENODATA;
	*out = *l->partitions[partition].known;
	return 0;
}

bool link_alone(const struct link *l, unsigned partition)
{
	return l->partitions[partition].vouched && l->o.port->ops->alone(l->o.port);
}

void link_vouch(struct link *l, unsigned partition)
{
	l->partitions[partition].vouched = link_holds(l, partition);
}

void link_doubt(struct link *l, unsigned partition)
{
	l->partitions[partition].vouched = false;
}

int link_ask(struct link *l, struct dev_board_info *out, struct error *err)
{
	int r = l->session ? 0 : open_session(l, NULL, true, err);

	if (r < 0)
		return r;
	*out = *dev_session_info(l->session);
	return l->stays ? 0 : close_session(l, err);
}
