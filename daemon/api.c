/* SPDX-License-Identifier: MIT */
#include "daemon/api.h"

#include <errno.h>
#include <string.h>

#include "daemon/api_bus.h"
#include "daemon/api_private.h"
#include "daemon/api_socket.h"

#define PATH_MAX_OF_OURS 256u /* a name, each byte as three, and "/rom7" */
#define PROPERTIES_MAX 32u

/* --- what is shown to whom --- */

bool api_sees(const struct api_peer *peer, uid_t owner)
{
	/* On a bus signals go to all anyway. */
	return !peer->who.is_known || access_owns(peer->who.uid, owner);
}

static struct board_partition *find_partition(struct api_board *b, unsigned number)
{
	for (unsigned i = 0; i < b->n_partitions; i++)
		if (b->partitions[i].number == number)
			return &b->partitions[i];
	return NULL;
}

static void partition_path(const struct api_board *b, unsigned number, char *out)
{
	snprintf(out, PATH_MAX_OF_OURS, "%s/rom%u", b->path, number);
}

struct api_board *api_find(
	struct api *a, const char *path, struct board_partition **partition)
{
	char want[PATH_MAX_OF_OURS];

	*partition = NULL;
	for (struct api_board *b = a->boards; b; b = b->next) {
		size_t len = strlen(b->path);

		if (!b->is_published || strncmp(path, b->path, len) != 0)
			continue;
		if (!path[len])
			return b;
		for (unsigned i = 0; i < b->n_partitions; i++) {
			partition_path(b, b->partitions[i].number, want);
			if (strcmp(path, want) != 0)
				continue;
			*partition = &b->partitions[i];
			return b;
		}
	}
	return NULL;
}

static int find_object(sd_bus *bus, const char *path, const char *interface,
	void *userdata, void **found, sd_bus_error *error)
{
	struct api_peer *peer = userdata;
	struct board_partition *p;
	struct api_board *b;

	if (strcmp(interface, BUS_MANAGER) == 0) {
		*found = peer->api;
		return strcmp(path, BUS_ROOT) == 0;
	}
	b = api_find(peer->api, path, &p);
	if (!b || !api_sees(peer, b->view.owner))
		return 0;
	*found = p ? (void *)p : &b->view;
	return strcmp(interface, p ? BUS_PARTITION : BUS_BOARD) == 0;
}

static void free_strings(char **strings)
{
	for (char **s = strings; s && *s; s++)
		free(*s);
	free(strings);
}

static int add_path(char ***paths, unsigned *n, const char *path)
{
	char **grown = reallocarray(*paths, *n + 2, sizeof(**paths));

	if (!grown)
		return -ENOMEM;
	*paths = grown;
	grown[*n] = strdup(path);
	if (!grown[*n])
		return -ENOMEM;
	grown[++*n] = NULL;
	return 0;
}

static int list_objects(
	sd_bus *bus, const char *prefix, void *userdata, char ***out, sd_bus_error *error)
{
	struct api_peer *peer = userdata;
	char **paths = NULL, path[PATH_MAX_OF_OURS];
	unsigned n = 0;
	int r = 0;

	for (const struct api_board *b = peer->api->boards; r >= 0 && b; b = b->next) {
		if (!b->is_published || !api_sees(peer, b->view.owner))
			continue;
		r = add_path(&paths, &n, b->path);
		for (unsigned i = 0; r >= 0 && i < b->n_partitions; i++) {
			partition_path(b, b->partitions[i].number, path);
			r = add_path(&paths, &n, path);
		}
	}
	if (r < 0) {
		free_strings(paths);
		return r;
	}
	*out = paths;
	return 0;
}

struct api_peer *api_peer_of(sd_bus_message *m)
{
	return sd_bus_slot_get_userdata(
		sd_bus_get_current_slot(sd_bus_message_get_bus(m)));
}

/* --- signals --- */

/* A client that does not fetch what it is told is let go, before it costs memory. */
static bool can_tell(struct api_peer *peer, uid_t owner)
{
	uint64_t queued = 0;

	if (peer->is_lost || sd_bus_is_ready(peer->bus) <= 0 || !api_sees(peer, owner))
		return false;
	if (sd_bus_get_n_queued_write(peer->bus, &queued) < 0 ||
		queued > API_QUEUED_MAX) {
		api_lose(peer);
		return false;
	}
	return true;
}

static void check_told(struct api_peer *peer, int r)
{
	if (r < 0)
		api_lose(peer);
}

static void tell_added(struct api_peer *peer, const char *path, const char *interface)
{
	check_told(peer, sd_bus_emit_interfaces_added(peer->bus, path, interface, NULL));
}

static void tell_removed(struct api_peer *peer, const char *path, const char *interface)
{
	check_told(
		peer, sd_bus_emit_interfaces_removed(peer->bus, path, interface, NULL));
}

static void tell_board_added(struct api_peer *peer, const struct api_board *b)
{
	char path[PATH_MAX_OF_OURS];

	tell_added(peer, b->path, BUS_BOARD);
	for (unsigned i = 0; i < b->n_partitions; i++) {
		partition_path(b, b->partitions[i].number, path);
		tell_added(peer, path, BUS_PARTITION);
	}
}

static void tell_board_removed(struct api_peer *peer, const struct api_board *b)
{
	char path[PATH_MAX_OF_OURS];

	for (unsigned i = 0; i < b->n_partitions; i++) {
		partition_path(b, b->partitions[i].number, path);
		tell_removed(peer, path, BUS_PARTITION);
	}
	tell_removed(peer, b->path, BUS_BOARD);
}

static bool is_equal(const sd_bus_vtable *property, const void *a, const void *b)
{
	size_t at = property->x.property.offset;
	const char *va = (const char *)a + at, *vb = (const char *)b + at;

	switch (*property->x.property.signature) {
	case 's':
		return strcmp(va, vb) == 0;
	case 'b':
		return *(const bool *)va == *(const bool *)vb;
	case 'u':
		return memcmp(va, vb, sizeof(uint32_t)) == 0;
	default:
		return memcmp(va, vb, sizeof(uint64_t)) == 0;
	}
}

/* Which properties differ; the names are the vtable's. */
static unsigned list_changes(const sd_bus_vtable *vtable, const void *before,
	const void *after, char *names[PROPERTIES_MAX])
{
	unsigned n = 0;

	for (; vtable->type != _SD_BUS_VTABLE_END; vtable++)
		if (vtable->type == _SD_BUS_VTABLE_PROPERTY &&
			!is_equal(vtable, before, after) && n + 1 < PROPERTIES_MAX)
			names[n++] = (char *)(uintptr_t)vtable->x.property.member;
	names[n] = NULL;
	return n;
}

static void tell_changes(struct api_peer *peer, const char *path, const char *interface,
	const sd_bus_vtable *vtable, const void *before, const void *after)
{
	char *names[PROPERTIES_MAX];

	if (list_changes(vtable, before, after, names) > 0)
		check_told(peer, sd_bus_emit_properties_changed_strv(
					 peer->bus, path, interface, names));
}

/* The partitions of one state of a board in the light of the other. */
static void tell_partitions(
	struct api_peer *peer, struct api_board *before, struct api_board *after)
{
	char path[PATH_MAX_OF_OURS];
	struct board_partition *p, *old;

	for (unsigned i = 0; i < before->n_partitions; i++) {
		p = &before->partitions[i];
		partition_path(before, p->number, path);
		if (!find_partition(after, p->number))
			tell_removed(peer, path, BUS_PARTITION);
	}
	for (unsigned i = 0; i < after->n_partitions; i++) {
		p = &after->partitions[i];
		partition_path(after, p->number, path);
		old = find_partition(before, p->number);
		if (old)
			tell_changes(
				peer, path, BUS_PARTITION, api_partition_vtable, old, p);
		else
			tell_added(peer, path, BUS_PARTITION);
	}
}

static void tell_board(
	struct api_peer *peer, struct api_board *before, struct api_board *after)
{
	bool saw = before->is_published && can_tell(peer, before->view.owner);
	bool sees = can_tell(peer, after->view.owner);

	if (saw && sees) {
		tell_changes(peer, after->path, BUS_BOARD, api_board_vtable,
			&before->view, &after->view);
		tell_partitions(peer, before, after);
	} else if (sees) {
		tell_board_added(peer, after);
	} else if (saw) {
		tell_board_removed(peer, before);
	}
}

/* --- what the registry tells --- */

static void take_view(struct api_board_view *v, const struct board *b)
{
	const struct place *place = &b->place;

	*v = (struct api_board_view){.present = b->present, .owner = b->owner};
	v->pid = (uint32_t)b->pid;
	wire_copy_text(v->name, sizeof(v->name), b->name);
	if (place->n_ttys > 0)
		wire_copy_text(v->port, sizeof(v->port), place->ttys[0].node);
	wire_copy_text(v->serial, sizeof(v->serial), place->serial);
	wire_copy_text(v->state, sizeof(v->state), b->state);
	wire_copy_text(v->error, sizeof(v->error), b->error);
	wire_copy_text(v->machine, sizeof(v->machine), b->machine);
	wire_copy_text(v->firmware, sizeof(v->firmware), b->firmware);
	wire_copy_text(v->unique_id, sizeof(v->unique_id), b->unique_id);
	wire_copy_text(v->directory, sizeof(v->directory), b->directory);
	if (place->vendor_id || place->product_id)
		snprintf(v->usb_id, sizeof(v->usb_id), "%04x:%04x", place->vendor_id,
			place->product_id);
}

static void take_board(struct api_board *to, const struct board *b)
{
	take_view(&to->view, b);
	to->n_partitions = MIN(b->n_partitions, BOARD_PARTITIONS_MAX);
	memcpy(to->partitions, b->partitions, to->n_partitions * sizeof(*to->partitions));
	for (unsigned i = 0; i < to->n_partitions; i++)
		if (!to->partitions[i].mounted)
			to->partitions[i].mount[0] = '\0';
}

static void publish_board(struct api *a, struct api_board *b, const struct board *now)
{
	struct api_board before = *b;

	b->is_changed = false;
	take_board(b, now);
	b->is_published = true;
	for (struct api_peer *peer = a->peers; peer; peer = peer->next)
		tell_board(peer, &before, b);
}

void api_publish(struct api *a)
{
	const struct board *now;

	for (struct api_board *b = a->boards; b; b = b->next) {
		if (!b->is_changed)
			continue;
		now = registry_find(a->options.registry, b->view.name);
		if (now)
			publish_board(a, b, now);
	}
}

static int on_publish(sd_event_source *s, void *userdata)
{
	api_publish(userdata);
	return 0;
}

static struct api_board **find_view(struct api *a, const char *name)
{
	struct api_board **at = &a->boards;

	while (*at && strcmp((*at)->view.name, name) != 0)
		at = &(*at)->next;
	return at;
}

static void board_free(struct api_board *b)
{
	free(b->path);
	free(b);
}

static struct api_board *board_new(const char *name)
{
	struct api_board *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	wire_copy_text(b->view.name, sizeof(b->view.name), name);
	if (sd_bus_path_encode(BUS_BOARDS, name, &b->path) < 0) {
		board_free(b);
		return NULL;
	}
	return b;
}

static void on_board(void *ctx, struct board *changed)
{
	struct api *a = ctx;
	struct api_board **at = find_view(a, changed->name);

	if (!*at)
		*at = board_new(changed->name);
	if (!*at || sd_event_source_set_enabled(a->publisher, SD_EVENT_ONESHOT) < 0) {
		log_to(a->options.log, LOG_ERR, "%s: not shown on the bus: out of memory",
			changed->name);
		return;
	}
	(*at)->is_changed = true;
}

static void on_partition(void *ctx, struct board *b, struct board_partition *p)
{
	on_board(ctx, b);
}

static void on_board_removed(void *ctx, struct board *b)
{
	struct api *a = ctx;
	struct api_board **at = find_view(a, b->name), *gone = *at;

	if (!gone)
		return;
	*at = gone->next;
	if (gone->is_published)
		for (struct api_peer *peer = a->peers; peer; peer = peer->next)
			if (can_tell(peer, gone->view.owner))
				tell_board_removed(peer, gone);
	board_free(gone);
}

/* --- connections --- */

static int on_reap(sd_event_source *s, void *userdata)
{
	struct api *a = userdata;
	struct api_peer *next;

	for (struct api_peer *peer = a->peers; peer; peer = next) {
		next = peer->next;
		if (peer->is_lost)
			peer->lost(peer);
	}
	return 0;
}

void api_lose(struct api_peer *peer)
{
	if (!peer || peer->is_lost)
		return;
	peer->is_lost = true;
	/* Cannot fail for a source that exists in a loop that is this process's. */
	(void)sd_event_source_set_enabled(peer->api->reaper, SD_EVENT_ONESHOT);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	api_lose(userdata);
	return 0;
}

static int add_tree(struct api_peer *peer)
{
	static const struct {
		const char *prefix, *interface;
		const sd_bus_vtable *vtable;
	} interfaces[] = {
		{BUS_ROOT, BUS_MANAGER, api_manager_vtable},
		{BUS_BOARDS, BUS_BOARD, api_board_vtable},
		{BUS_BOARDS, BUS_PARTITION, api_partition_vtable},
	};
	int r = sd_bus_add_object_manager(peer->bus, NULL, BUS_ROOT);

	for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(interfaces); i++)
		r = sd_bus_add_fallback_vtable(peer->bus, NULL, interfaces[i].prefix,
			interfaces[i].interface, interfaces[i].vtable, find_object, peer);
	if (r >= 0)
		r = sd_bus_add_node_enumerator(
			peer->bus, NULL, BUS_ROOT, list_objects, peer);
	return r;
}

int api_attach(struct api *a, struct api_peer *peer)
{
	int r;

	peer->api = a;
	r = add_tree(peer);
	if (r >= 0)
		r = sd_bus_match_signal(peer->bus, NULL, NULL,
			"/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local",
			"Disconnected", on_disconnected, peer);
	if (r >= 0)
		r = sd_bus_attach_event(
			peer->bus, a->options.event, SD_EVENT_PRIORITY_NORMAL);
	if (r < 0)
		return r;
	peer->next = a->peers;
	a->peers = peer;
	return 0;
}

void api_detach(struct api_peer *peer)
{
	struct api_peer **at = &peer->api->peers;

	while (*at && *at != peer)
		at = &(*at)->next;
	if (*at)
		*at = peer->next;
	api_call_forget_all(peer);
	peer->bus = sd_bus_close_unref(peer->bus);
}

/* --- the whole --- */

static int add_sources(struct api *a)
{
	sd_event *event = a->options.event;
	int r = sd_event_add_defer(event, &a->publisher, on_publish, a);

	/* Before clients are read: what they ask then is answered with what they were told. */
	if (r >= 0)
		r = sd_event_source_set_priority(
			a->publisher, SD_EVENT_PRIORITY_IMPORTANT);
	if (r >= 0)
		r = sd_event_source_set_enabled(a->publisher, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_defer(event, &a->reaper, on_reap, a);
	if (r >= 0)
		r = sd_event_source_set_enabled(a->reaper, SD_EVENT_OFF);
	return r;
}

static void take_facts(struct api *a)
{
	const struct api_options *o = &a->options;

	wire_copy_text(a->facts.version, sizeof(a->facts.version), PACKAGE_VERSION);
	wire_copy_text(
		a->facts.mode, sizeof(a->facts.mode), o->user_mode ? "user" : "system");
	wire_copy_text(a->facts.mount_root, sizeof(a->facts.mount_root), o->mount_root);
	wire_copy_text(a->facts.state_root, sizeof(a->facts.state_root), o->state_root);
	a->options.mount_root = a->options.state_root = NULL; /* the caller's */
}

static void listen_to_registry(struct api *a)
{
	const struct registry_hooks hooks = {
		.board_added = on_board,
		.board_changed = on_board,
		.board_removed = on_board_removed,
		.partition_added = on_partition,
		.partition_changed = on_partition,
		.partition_removed = on_partition,
		.ctx = a,
	};

	registry_listen(a->options.registry, &hooks);
	for (struct board *b = NULL; (b = registry_next(a->options.registry, b));)
		on_board(a, b);
}

int api_new(const struct api_options *options, struct api **out, struct error *err)
{
	_cleanup_(api_freep) struct api *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return error_set(err, -ENOMEM, "out of memory");
	a->options = *options;
	take_facts(a);
	r = add_sources(a);
	if (r < 0)
		return error_set(err, r, "the bus cannot be served: %s", strerror(-r));
	r = api_socket_new(a, &a->socket, err);
	if (r >= 0 && !options->no_bus)
		r = api_bus_new(a, &a->bus, err);
	if (r < 0)
		return r;
	listen_to_registry(a);
	*out = TAKE_PTR(a);
	return 0;
}

void api_free(struct api *a)
{
	struct api_board *next;

	if (!a)
		return;
	registry_listen(a->options.registry, &(struct registry_hooks){0});
	api_socket_free(a->socket);
	api_bus_free(a->bus);
	for (struct api_board *b = a->boards; b; b = next) {
		next = b->next;
		board_free(b);
	}
	sd_event_source_disable_unref(a->publisher);
	sd_event_source_disable_unref(a->reaper);
	free(a);
}
