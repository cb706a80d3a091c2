/* SPDX-License-Identifier: MIT */
#include "daemon/access.h"

#include <errno.h>
#include <inttypes.h>

#include "bus/names.h"
#include "bus/wire.h"

/* Somebody may have to type a password. */
#define POLKIT_WAIT_USEC (300u * 1000000ull)
#define POLKIT_INTERACTIVE 1u

struct access {
	sd_bus_slot *slot;
	sd_bus_message *call;
	bool has_polkit;
	uid_t owner;
	access_fn answer;
	void *ctx;
};

bool access_owns(uid_t caller, uid_t owner)
{
	return caller == 0 || caller == owner || caller == geteuid();
}

static int denied(uid_t owner, struct error *err)
{
	if (owner == 0)
		return error_set(err, -EACCES, "only root may do this");
	return error_set(err, -EACCES,
		"this board belongs to another user (uid %u): only that user and root may do this",
		(unsigned)owner);
}

static void tell(struct access *a, int result, const struct error *err)
{
	a->answer(a->ctx, result, err);
}

static int on_polkit(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct access *a = userdata;
	struct error err = {0};
	int allowed = 0, challenge = 0;

	if (!sd_bus_message_is_method_error(reply, NULL) &&
		sd_bus_message_enter_container(reply, 'r', "bba{ss}") > 0 &&
		sd_bus_message_read(reply, "bb", &allowed, &challenge) > 0 && allowed)
		tell(a, 0, NULL);
	else
		tell(a, denied(a->owner, &err), &err);
	return 1;
}

static int ask_polkit(struct access *a)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	sd_bus *bus = sd_bus_message_get_bus(a->call);
	uint32_t flags = 0;
	int r;

	if (sd_bus_message_get_allow_interactive_authorization(a->call) > 0)
		flags = POLKIT_INTERACTIVE;
	r = sd_bus_message_new_method_call(bus, &m, "org.freedesktop.PolicyKit1",
		"/org/freedesktop/PolicyKit1/Authority",
		"org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
	if (r >= 0)
		r = sd_bus_message_append(m, "(sa{sv})sa{ss}us", "system-bus-name", 1,
			"name", "s", sd_bus_message_get_sender(a->call),
			BUS_ACTION_MANAGE_OTHERS, 0, flags, "");
	a->slot = sd_bus_slot_unref(a->slot);
	if (r >= 0)
		r = sd_bus_call_async(bus, &a->slot, m, on_polkit, a, POLKIT_WAIT_USEC);
	return r;
}

static int on_uid(sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
	struct access *a = userdata;
	struct error err = {0};
	uint32_t uid;

	if (sd_bus_message_is_method_error(reply, NULL) ||
		sd_bus_message_read_basic(reply, 'u', &uid) <= 0)
		tell(a,
			error_set(
				&err, -EACCES, "the bus does not tell who asks for this"),
			&err);
	else if (access_owns(uid, a->owner))
		tell(a, 0, NULL);
	else if (!a->has_polkit || ask_polkit(a) < 0)
		tell(a, denied(a->owner, &err), &err);
	return 1;
}

int access_ask(sd_bus_message *call, const struct access_caller *who, uid_t owner,
	access_fn answer, void *ctx, struct access **out, struct error *err)
{
	_cleanup_(access_freep) struct access *a = NULL;
	const char *sender = sd_bus_message_get_sender(call);
	int r;

	if (who->is_known)
		return access_owns(who->uid, owner) ? 1 : denied(owner, err);
	if (!sender)
		return error_set(err, -EACCES, "the bus does not tell who asks for this");
	a = calloc(1, sizeof(*a));
	if (!a)
		return error_set(err, -ENOMEM, "out of memory");
	*a = (struct access){.call = sd_bus_message_ref(call),
		.has_polkit = who->has_polkit,
		.owner = owner,
		.answer = answer,
		.ctx = ctx};
	r = sd_bus_call_method_async(sd_bus_message_get_bus(call), &a->slot,
		"org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
		"GetConnectionUnixUser", on_uid, a, "s", sender);
	if (r < 0)
		return error_set(err, r, "the bus cannot be asked who asks for this");
	*out = TAKE_PTR(a);
	return 0;
}

void access_free(struct access *a)
{
	if (!a)
		return;
	sd_bus_slot_unref(a->slot);
	sd_bus_message_unref(a->call);
	free(a);
}
