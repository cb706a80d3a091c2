/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <string.h>

#include "daemon/api_private.h"
#include "daemon/config_private.h"

/* --- boards by name --- */

static int find_board(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	struct api_peer *peer = api_peer_of(m);
	struct api_board *found = NULL;
	struct error err = {0};
	const char *name;
	char shown[BOARD_NAME_MAX + 1];
	int r = sd_bus_message_read_basic(m, 's', &name);

	if (r < 0)
		return r;
	api_publish(peer->api);
	for (struct api_board *b = peer->api->boards; b && *name; b = b->next) {
		if (!b->is_published || !api_sees(peer, b->view.owner))
			continue;
		if (strcmp(b->view.name, name) == 0 ||
			(!found && strcmp(b->view.port, name) == 0))
			found = b;
		if (found && strcmp(found->view.name, name) == 0)
			break;
	}
	if (found)
		return sd_bus_reply_method_return(m, "o", found->path);
	wire_copy_text(shown, sizeof(shown), name);
	error_set(&err, -ENOENT, "there is no board '%s' here; `romount list` tells all",
		shown);
	return wire_reply_error(m, err.code, &err);
}

/* --- boards by path --- */

static const struct wire_field board_fields[] = {
	WIRE_NAME("tty", struct config_static, tty),
	WIRE_NAME("socket", struct config_static, socket),
	WIRE_NAME("alias", struct config_static, alias),
	WIRE_U32("baud", struct config_static, baud),
};

/* By the rules of the configuration; what has none is "". */
static int check_static(
	const struct config_static *raw, struct config_static *b, struct error *err)
{
	char baud[16];
	int r = 0;

	if (!*raw->tty == !*raw->socket)
		return error_set(err, -EINVAL, "a board has either a tty or a socket");
	if (*raw->tty)
		r = config_take_tty(b->tty, raw->tty, err);
	else
		r = config_take_socket(b->socket, raw->socket, err);
	if (r >= 0 && *raw->alias)
		r = config_take_alias(b->alias, raw->alias, err);
	if (r >= 0 && raw->baud) {
		snprintf(baud, sizeof(baud), "%u", raw->baud);
		r = config_take_baud(&b->baud, baud, err);
	}
	return r;
}

static const char *path_of_static(struct api *a, const struct config_static *want)
{
	const char *node = *want->tty ? want->tty : want->socket;
	const struct api_board *shown;

	for (struct board *b = NULL; (b = registry_next(a->options.registry, b));) {
		if (!b->place.is_static || strcmp(b->place.ttys[0].node, node) != 0)
			continue;
		for (shown = a->boards; shown; shown = shown->next)
			if (strcmp(shown->view.name, b->name) == 0)
				return shown->path;
	}
	return "/"; /* it appears when its tty does */
}

static int run_add_board(struct api_call *call, struct error *err)
{
	sd_bus_message *m = api_call_message(call);
	struct api *a = api_call_api(call);
	struct config_static raw = {0}, board = {0};
	int r = wire_read(m, board_fields, ARRAY_SIZE(board_fields), &raw, NULL, err);

	if (r >= 0)
		r = check_static(&raw, &board, err);
	if (r >= 0)
		r = a->options.add_board(a->options.ctx, &board, err);
	if (r < 0)
		return r;
	api_publish(a);
	r = sd_bus_reply_method_return(m, "o", path_of_static(a, &board));
	return r < 0 ? r : 1;
}

static int add_board(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return api_call_new(m, 0, NULL, NULL, run_add_board);
}

/* --- configuration --- */

static int run_reload(struct api_call *call, struct error *err)
{
	struct api *a = api_call_api(call);
	int r = a->options.reload(a->options.ctx, err);

	if (r < 0)
		return r;
	api_publish(a);
	r = sd_bus_reply_method_return(api_call_message(call), "");
	return r < 0 ? r : 1;
}

static int reload(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	return api_call_new(m, 0, NULL, NULL, run_reload);
}

#define FACT(member) offsetof(struct api, facts.member)
const sd_bus_vtable api_manager_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_PROPERTY("Version", "s", wire_get_text, FACT(version),
		SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY(
		"Mode", "s", wire_get_text, FACT(mode), SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("MountRoot", "s", wire_get_text, FACT(mount_root),
		SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_PROPERTY("StateRoot", "s", wire_get_text, FACT(state_root),
		SD_BUS_VTABLE_PROPERTY_CONST),
	SD_BUS_METHOD_WITH_NAMES("FindBoard", "s", SD_BUS_PARAM(name), "o",
		SD_BUS_PARAM(board), find_board, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD_WITH_NAMES("AddBoard", "a{sv}", SD_BUS_PARAM(options), "o",
		SD_BUS_PARAM(board), add_board, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("Reload", "", "", reload, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};
