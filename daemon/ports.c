/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/ports_private.h"

#include <errno.h>
#include <string.h>

/* A place that `added` was told of. */
struct told {
	struct told *next;
	struct place place;
};

struct named {
	struct named *next;
	struct ports *ports;
	struct config_static board;
	bool from_config;
	bool is_wanted; /* during a reload */
	struct static_tty *tty; /* NULL: a socket */
};

struct ports {
	sd_event *event;
	const struct config *config;
	struct ports_hooks hooks;
	struct ports_udev *udev; /* NULL: without */
	struct told *told;
	struct named *named;
};

/* --- what was told --------------------------------------------------------------------- */

static struct told *find_told(struct ports *p, const char *key)
{
	struct told *t;

	for (t = p->told; t; t = t->next)
		if (!strcmp(t->place.key, key))
			break;
	return t;
}

static void tell_removed(struct ports *p, const char *key)
{
	struct told **at = &p->told, *t;

	while (*at && strcmp((*at)->place.key, key) != 0)
		at = &(*at)->next;
	t = *at;
	if (!t)
		return;
	*at = t->next;
	p->hooks.removed(p->hooks.ctx, t->place.key);
	free(t);
}

/* Without memory the place stays untold until something else happens to it. */
static void tell_added(struct ports *p, const struct place *place)
{
	struct told *t = find_told(p, place->key);

	if (t && !memcmp(&t->place, place, sizeof(*place)))
		return;
	if (!t) {
		t = calloc(1, sizeof(*t));
		if (!t)
			return;
		t->next = p->told;
		p->told = t;
	}
	memcpy(&t->place, place, sizeof(*place));
	p->hooks.added(p->hooks.ctx, place);
}

/* --- from udev ------------------------------------------------------------------------- */

/* Whether this tty has been named: then it is that board's alone. */
static bool is_named(const struct ports *p, const struct udev_tty *t)
{
	for (const struct named *n = p->named; n; n = n->next) {
		const char *node = n->tty ? static_tty_node(n->tty) : NULL;

		if (!n->tty)
			continue;
		if (!strcmp(n->board.tty, t->tty.node) || (node && !strcmp(node, t->tty.node)))
			return true;
		for (size_t i = 0; t->links[i]; i++)
			if (!strcmp(n->board.tty, t->links[i]))
				return true;
	}
	return false;
}

static bool is_ours(const struct ports *p, const struct udev_tty *t, struct policy *policy)
{
	const char *paths[TTY_LINKS_MAX + 2] = {t->tty.node};
	const struct config_subject subject = {
		.serial = t->serial[0] ? t->serial : NULL,
		.id_path = t->id_path[0] ? t->id_path : NULL,
		.paths = paths,
		.vendor_id = t->vendor_id,
		.product_id = t->product_id,
	};
	bool matched;

	for (size_t i = 0; t->links[i]; i++)
		paths[i + 1] = t->links[i];
	matched = config_policy(p->config, &subject, policy);
	return (matched || t->is_known) && !policy->ignore;
}

/* A tty of the interface that the REPL is on, by rule or by configuration, comes first. */
static bool is_likelier(const struct place_tty *a, const struct place_tty *b, int repl)
{
	if ((a->interface == repl) != (b->interface == repl))
		return a->interface == repl;
	if (a->interface != b->interface)
		return a->interface < b->interface;
	return strcmp(a->node, b->node) < 0;
}

static void add_tty(struct place *place, const struct place_tty *tty, int repl)
{
	unsigned i = place->n_ttys;

	if (i == PLACE_TTYS_MAX && !is_likelier(tty, &place->ttys[i - 1], repl))
		return;
	if (i == PLACE_TTYS_MAX)
		i--;
	else
		place->n_ttys++;
	for (; i > 0 && is_likelier(tty, &place->ttys[i - 1], repl); i--)
		memcpy(&place->ttys[i], &place->ttys[i - 1], sizeof(*tty));
	memcpy(&place->ttys[i], tty, sizeof(*tty));
}

/* All but the ttys; all bytes are set, as they are compared. */
static void describe(
	struct place *place, const struct udev_tty *t, const struct policy *policy)
{
	memset(place, 0, sizeof(*place));
	snprintf(place->key, sizeof(place->key), "%s", t->key);
	snprintf(place->id_path, sizeof(place->id_path), "%s", t->id_path);
	snprintf(place->product, sizeof(place->product), "%s", t->product);
	snprintf(place->serial, sizeof(place->serial), "%s", t->serial);
	place->vendor_id = t->vendor_id;
	place->product_id = t->product_id;
	memcpy(&place->policy, policy, sizeof(*policy));
}

/* The tty of the place that speaks for it: that of the lowest interface which is ours. NULL:
 * none is, or one is somebody's by name. */
static const struct udev_tty *find_speaker(const struct ports *p, const char *key)
{
	const struct udev_tty *best = NULL;
	struct policy policy;

	for (const struct udev_tty *t = ports_udev_first(p->udev); t; t = t->next) {
		if (strcmp(t->key, key) != 0)
			continue;
		if (is_named(p, t))
			return NULL;
		if (is_ours(p, t, &policy) && (!best || is_likelier(&t->tty, &best->tty, -1)))
			best = t;
	}
	return best;
}

static bool build(
	const struct ports *p, const struct udev_tty *speaker, struct place *place)
{
	struct policy policy;
	int repl;

	if (!is_ours(p, speaker, &policy))
		return false;
	describe(place, speaker, &policy);
	repl = policy.interface >= 0 ? policy.interface : speaker->repl_interface;
	for (const struct udev_tty *t = ports_udev_first(p->udev); t; t = t->next)
		if (!strcmp(t->key, speaker->key) && is_ours(p, t, &policy))
			add_tty(place, &t->tty, repl);
	return place->n_ttys > 0;
}

static void look_at_key(struct ports *p, const char *key)
{
	const struct udev_tty *speaker = find_speaker(p, key);
	struct place place;

	if (!speaker || !build(p, speaker, &place))
		tell_removed(p, key);
	else if (find_told(p, key) || ports_udev_is_settled(p->udev, speaker))
		tell_added(p, &place);
}

static void look_at_all(struct ports *p)
{
	const struct udev_tty *t = p->udev ? ports_udev_first(p->udev) : NULL;

	for (; t; t = t->next)
		look_at_key(p, t->key);
}

static void on_changed(void *ctx, const char *key)
{
	look_at_key(ctx, key);
}

static void on_unplugged(void *ctx, const char *key)
{
	tell_removed(ctx, key);
}

static void on_trouble(void *ctx, const char *text)
{
	struct ports *p = ctx;

	if (p->hooks.trouble)
		p->hooks.trouble(p->hooks.ctx, text);
}

/* --- by name --------------------------------------------------------------------------- */

static const char *named_key(const struct named *n)
{
	return n->tty ? n->board.tty : n->board.socket;
}

static bool build_named(const struct named *n, struct place *place)
{
	const char *paths[] = {
		named_key(n), n->tty ? static_tty_node(n->tty) : NULL, NULL};
	const struct config_subject subject = {
		.alias = n->board.alias[0] ? n->board.alias : NULL, .paths = paths};

	memset(place, 0, sizeof(*place));
	snprintf(place->key, sizeof(place->key), "%s", named_key(n));
	place->is_static = true;
	place->is_socket = !n->tty;
	snprintf(place->ttys[0].node, sizeof(place->ttys[0].node), "%s", named_key(n));
	place->ttys[0].interface = -1;
	place->n_ttys = 1;
	(void)config_policy(n->ports->config, &subject, &place->policy);
	if (n->board.baud)
		place->policy.baud = n->board.baud;
	return !place->policy.ignore;
}

static void look_at_named(struct named *n)
{
	struct place place;

	if ((!n->tty || static_tty_node(n->tty)) && build_named(n, &place))
		tell_added(n->ports, &place);
	else
		tell_removed(n->ports, named_key(n));
}

/* Its tty may have been a place of udev's until now, or be one again. */
static void on_here(void *ctx)
{
	struct named *n = ctx;

	look_at_all(n->ports);
	look_at_named(n);
}

static void on_gone(void *ctx)
{
	struct named *n = ctx;

	look_at_named(n);
	look_at_all(n->ports);
}

static struct named *find_named(struct ports *p, const struct config_static *board)
{
	struct named *n;

	for (n = p->named; n; n = n->next)
		if (!strcmp(n->board.tty, board->tty) && !strcmp(n->board.socket, board->socket))
			break;
	return n;
}

static void drop_named(struct ports *p, struct named *old)
{
	struct named **at = &p->named;

	while (*at != old)
		at = &(*at)->next;
	*at = old->next;
	static_tty_free(old->tty);
	free(old);
}

static int add_named(struct ports *p, const struct config_static *board, bool from_config,
	struct error *err)
{
	struct named *n = calloc(1, sizeof(*n));
	const struct static_hooks hooks = {.here = on_here, .gone = on_gone, .ctx = n};
	int r = 0;

	if (!n)
		return error_set(err, -ENOMEM, "out of memory");
	n->ports = p;
	memcpy(&n->board, board, sizeof(*board));
	n->from_config = from_config;
	n->is_wanted = true;
	n->next = p->named;
	p->named = n;
	if (board->tty[0])
		r = static_tty_new(p->event, board->tty, &hooks, &n->tty);
	if (r == 0 && n->tty)
		r = static_tty_look(n->tty);
	if (r < 0) {
		tell_removed(p, board->tty);
		drop_named(p, n);
		return error_set(err, r, "cannot watch for the port %s: %s", board->tty,
			strerror(-r));
	}
	look_at_all(p);
	look_at_named(n);
	return 0;
}

int ports_add_static(
	struct ports *p, const struct config_static *board, struct error *err)
{
	const char *port = board->tty[0] ? board->tty : board->socket;

	if (!port[0])
		return error_set(err, -EINVAL, "a board needs a port: tty or socket");
	if (find_named(p, board))
		return error_set(err, -EEXIST, "the board at %s is there already", port);
	return add_named(p, board, false, err);
}

/* --- all of it ------------------------------------------------------------------------- */

static void add_configured(struct ports *p)
{
	unsigned n, i;
	const struct config_static *boards = config_statics(p->config, &n);

	for (i = 0; i < n; i++) {
		struct named *old = find_named(p, &boards[i]);
		struct error err = {0};

		if (!old && add_named(p, &boards[i], true, &err) < 0)
			on_trouble(p, err.text);
		if (old && old->from_config)
			memcpy(&old->board, &boards[i], sizeof(old->board));
		if (old)
			old->is_wanted = true;
	}
}

void ports_reload(struct ports *p, const struct config *config)
{
	struct named *n, *next;

	p->config = config;
	for (n = p->named; n; n = n->next)
		n->is_wanted = !n->from_config;
	add_configured(p);
	for (n = p->named; n; n = next) {
		next = n->next;
		if (n->is_wanted) {
			look_at_named(n);
			continue;
		}
		tell_removed(p, named_key(n));
		drop_named(p, n);
	}
	look_at_all(p);
}

int ports_new(sd_event *event, const struct config *config, bool udev,
	const struct ports_hooks *hooks, struct ports **out, struct error *err)
{
	_cleanup_(ports_freep) struct ports *p = calloc(1, sizeof(*p));
	const struct udev_hooks udev_hooks = {
		.changed = on_changed, .unplugged = on_unplugged,
		.trouble = on_trouble, .ctx = p};
	int r = 0;

	if (!p)
		return error_set(err, -ENOMEM, "out of memory");
	p->event = event;
	p->config = config;
	p->hooks = *hooks;
	/* Named ones first: udev's are told without them. */
	add_configured(p);
	if (udev)
		r = ports_udev_new(event, &udev_hooks, &p->udev, err);
	if (r == 0 && udev)
		r = ports_udev_enumerate(p->udev, err);
	if (r < 0)
		return r;
	*out = TAKE_PTR(p);
	return 0;
}

void ports_free(struct ports *p)
{
	if (!p)
		return;
	while (p->named)
		drop_named(p, p->named);
	while (p->told) {
		struct told *next = p->told->next;

		free(p->told);
		p->told = next;
	}
	ports_udev_free(p->udev);
	free(p);
}
