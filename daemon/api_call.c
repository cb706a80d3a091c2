/* SPDX-License-Identifier: MIT */
/* Calls that are answered later: first it is asked whether the caller may, then a board does
 * it. A call that runs outlives its client, and even the API; then it answers to nobody. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/api_private.h"

#define EXTENTS_MAX 65536u

struct api_call {
	struct api_call *next;
	struct api_peer *peer;	 /* NULL: gone */
	sd_bus_message *message; /* NULL then */
	struct access *access;
	bool is_ordered; /* the board will tell */
	uid_t owner;
	char board[BOARD_NAME_MAX + 1];
	struct board_order order;
	api_run_fn run;
};

static void unlink_call(struct api_call *call)
{
	struct api_call **at = &call->peer->calls;

	while (*at != call)
		at = &(*at)->next;
	*at = call->next;
}

/* Descriptors that came with the message are closed with it. */
static void forget(struct api_call *call)
{
	if (call->peer)
		unlink_call(call);
	call->peer = NULL;
	call->message = sd_bus_message_unref(call->message);
	access_free(TAKE_PTR(call->access));
}

static void call_free(struct api_call *call)
{
	if (!call)
		return;
	forget(call);
	free(call);
}

void api_call_forget_all(struct api_peer *peer)
{
	struct api_call *next;

	for (struct api_call *call = peer->calls; call; call = next) {
		next = call->next;
		if (call->is_ordered)
			forget(call);
		else
			call_free(call);
	}
}

sd_bus_message *api_call_message(struct api_call *call)
{
	return call->message;
}

struct api *api_call_api(struct api_call *call)
{
	return call->peer->api;
}

/* --- answers --- */

/* An answer that cannot be sent leaves a client waiting: it shall see that. */
static void check_sent(struct api_call *call, int r)
{
	if (r < 0)
		api_lose(call->peer);
}

static int copy_extent(sd_bus_message *from, sd_bus_message *to)
{
	const char *kind, *name;
	char kind_copy[16], name_copy[BOARD_TEXT * 2];
	uint64_t offset, length;
	int r = sd_bus_message_read(from, "(ttss)", &offset, &length, &kind, &name);

	if (r <= 0)
		return r;
	wire_copy_text(kind_copy, sizeof(kind_copy), kind);
	wire_copy_text(name_copy, sizeof(name_copy), name);
	r = sd_bus_message_append(to, "(ttss)", offset, length, kind_copy, name_copy);
	return r < 0 ? r : 1;
}

/* What a board process says is as good as the board is: lengths and texts are cut. */
static int copy_layout(sd_bus_message *from, sd_bus_message *to)
{
	uint64_t size, erase_block;
	unsigned n = 0;
	int r = sd_bus_message_read(from, "tt", &size, &erase_block);

	if (r <= 0)
		return -EBADMSG;
	r = sd_bus_message_append(to, "tt", size, erase_block);
	if (r >= 0)
		r = sd_bus_message_open_container(to, 'a', "(ttss)");
	if (r >= 0)
		r = sd_bus_message_enter_container(from, 'a', "(ttss)");
	while (r >= 0 && (r = copy_extent(from, to)) > 0)
		if (++n > EXTENTS_MAX)
			return -E2BIG;
	return r < 0 ? r : sd_bus_message_close_container(to);
}

static int copy_bytes(sd_bus_message *from, sd_bus_message *to)
{
	uint64_t bytes;
	int r = sd_bus_message_read(from, "t", &bytes);

	return r <= 0 ? -EBADMSG : sd_bus_message_append(to, "t", bytes);
}

static int answer(struct api_call *call, sd_bus_message *result)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	int r = sd_bus_message_new_method_return(call->message, &m);

	if (r < 0)
		return r;
	if (call->order.kind == ORDER_LAYOUT)
		r = result ? copy_layout(result, m) : -EBADMSG;
	else if (call->order.kind == ORDER_VERIFY)
		r = result ? copy_bytes(result, m) : -EBADMSG;
	if (r < 0)
		return sd_bus_reply_method_errorf(call->message, BUS_ERROR_FAILED,
			"the board's process gave an answer that makes no sense");
	return sd_bus_message_send(m);
}

static void on_done(void *ctx, int result, const char *error_name, const char *text,
	sd_bus_message *reply)
{
	struct api_call *call = ctx;
	char clean[BOARD_TEXT * 2];
	int r;

	if (call->peer) {
		api_publish(
			call->peer
				->api); /* what it has changed is known before it is done */
		if (result >= 0) {
			r = answer(call, reply);
		} else {
			wire_copy_text(clean, sizeof(clean),
				text && *text ? text : strerror(-result));
			/* The code, not a name from elsewhere: only ours go out. */
			r = sd_bus_reply_method_errorf(call->message,
				wire_error_name(error_name ? wire_error_code(error_name)
							   : result),
				"%s", clean);
		}
		check_sent(call, r);
	}
	call_free(call);
}

/* --- from the question to the order --- */

static int run_order(struct api_call *call, struct error *err)
{
	struct board *b = registry_find(call->peer->api->options.registry, call->board);
	int r;

	if (!b)
		return error_set(err, -ENODEV, "the board '%s' has gone", call->board);
	if (b->owner != call->owner)
		return error_set(err, -EBUSY,
			"the board '%s' has just got another owner; try again",
			call->board);
	call->order.done = on_done;
	call->order.ctx = call;
	/* It may be done before board_order returns. */
	call->is_ordered = true;
	r = board_order(b, &call->order, err);
	if (r < 0)
		call->is_ordered = false;
	return r;
}

static void run(struct api_call *call)
{
	struct error err = {0};
	int r = call->run(call, &err);

	if (r == 0)
		return;
	if (r < 0)
		check_sent(call, wire_reply_error(call->message, r, &err));
	call_free(call);
}

static void on_access(void *ctx, int result, const struct error *err)
{
	struct api_call *call = ctx;

	access_free(TAKE_PTR(call->access));
	if (result >= 0) {
		run(call);
		return;
	}
	check_sent(call, wire_reply_error(call->message, result, err));
	call_free(call);
}

/* --- calls --- */

static bool is_same_sender(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static int check_number(const struct api_peer *peer, sd_bus_message *m, struct error *err)
{
	const char *sender = sd_bus_message_get_sender(m);
	unsigned all = 0, same = 0;

	for (const struct api_call *call = peer->calls; call; call = call->next) {
		all++;
		same += is_same_sender(sd_bus_message_get_sender(call->message), sender);
	}
	if (same >= API_SENDER_CALLS_MAX || all >= API_CALLS_MAX)
		return error_set(err, -EBUSY,
			"too many calls wait for their answers (%u are the most)",
			API_SENDER_CALLS_MAX);
	return 0;
}

static int call_new(sd_bus_message *m, struct api_peer *peer, struct api_call **out,
	struct error *err)
{
	struct api_call *call;
	int r = check_number(peer, m, err);

	if (r < 0)
		return r;
	call = calloc(1, sizeof(*call));
	if (!call)
		return error_set(err, -ENOMEM, "out of memory");
	call->peer = peer;
	call->message = sd_bus_message_ref(m);
	call->next = peer->calls;
	peer->calls = call;
	*out = call;
	return 0;
}

int api_call_new(sd_bus_message *m, uid_t owner, const char *board,
	const struct board_order *order, api_run_fn run_fn)
{
	struct api_peer *peer = api_peer_of(m);
	struct error err = {0};
	struct api_call *call;
	int r = call_new(m, peer, &call, &err);

	if (r < 0)
		return wire_reply_error(m, r, &err);
	call->owner = owner;
	call->run = run_fn;
	if (board)
		snprintf(call->board, sizeof(call->board), "%s", board);
	if (order)
		call->order = *order;
	r = access_ask(m, &peer->who, owner, on_access, call, &call->access, &err);
	if (r > 0) {
		run(call);
	} else if (r < 0) {
		r = wire_reply_error(m, r, &err);
		call_free(call);
		return r;
	}
	return 1;
}

/* --- orders --- */

/* What each method's arguments are: the signature of the vtable, letter by letter. */
static const struct order_form {
	const char *member;
	enum board_order_kind kind;
	const char *arguments;
	int access; /* of the file */
} order_forms[] = {
	{"Sync", ORDER_SYNC, "", 0},
	{"Save", ORDER_SAVE, "h", O_WRONLY},
	{"Restore", ORDER_RESTORE, "hb", O_RDONLY},
	{"Verify", ORDER_VERIFY, "", 0},
	{"Layout", ORDER_LAYOUT, "", 0},
	{"Format", ORDER_FORMAT, "", 0},
	{"Compact", ORDER_COMPACT, "b", 0},
	{"Attach", ORDER_ATTACH, "", 0},
	{"Release", ORDER_RELEASE, "u", 0},
	{"Eject", ORDER_EJECT, "", 0},
};

/* Nobody shall wait in a pipe or a device of the client's. */
static int check_file(int fd, int access, struct error *err)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat st;

	if (flags < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || (flags & O_PATH))
		return error_set(
			err, -EINVAL, "an image goes to and comes from an ordinary file");
	if ((flags & O_ACCMODE) != O_RDWR && (flags & O_ACCMODE) != access)
		return error_set(err, -EINVAL, "the file is not open for %s",
			access == O_RDONLY ? "reading" : "writing");
	return 0;
}

static int read_order(sd_bus_message *m, const struct order_form *form,
	struct board_order *order, struct error *err)
{
	int flag, r = 0;

	for (const char *type = form->arguments; r >= 0 && *type; type++) {
		if (*type == 'u') {
			r = sd_bus_message_read_basic(m, 'u', &order->seconds);
		} else if (*type == 'b') {
			r = sd_bus_message_read_basic(m, 'b', &flag);
			order->flag = r > 0 && flag;
		} else {
			r = sd_bus_message_read_basic(m, 'h', &order->fd);
			if (r > 0)
				r = check_file(order->fd, form->access, err);
		}
	}
	return r < 0 ? error_set(err, r, "the message is damaged") : 0;
}

static const struct order_form *find_form(const char *member)
{
	for (unsigned i = 0; i < ARRAY_SIZE(order_forms); i++)
		if (strcmp(order_forms[i].member, member) == 0)
			return &order_forms[i];
	return NULL;
}

int api_order(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const struct order_form *form = find_form(sd_bus_message_get_member(m));
	struct board_partition *p;
	struct api_board *b =
		api_find(api_peer_of(m)->api, sd_bus_message_get_path(m), &p);
	struct board_order order = {.fd = -1};
	struct error err = {0};
	int r;

	if (!form || !b)
		return -ENOENT;
	order.kind = form->kind;
	order.partition = p ? p->number : BUS_ALL_PARTITIONS;
	r = read_order(m, form, &order, &err);
	if (r < 0)
		return wire_reply_error(m, err.code, &err);
	return api_call_new(m, b->view.owner, b->view.name, &order, run_order);
}
