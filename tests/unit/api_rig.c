/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "tests/unit/api_rig.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct api_rig rig;

static int must(int r, const char *what)
{
	if (r < 0)
		fail_msg("%s: %s", what, strerror(-r));
	return r;
}
#define MUST(call) must(call, #call)

/* --- what romountd does --- */

int board_order(struct board *b, const struct board_order *order, struct error *err)
{
	if (rig.refuse)
		return error_set(
			err, rig.refuse, "%s is busy with something else", b->name);
	assert_true(rig.n_orders < ARRAY_SIZE(rig.orders));
	snprintf(rig.order_boards[rig.n_orders], sizeof(rig.order_boards[0]), "%s",
		b->name);
	rig.orders[rig.n_orders++] = *order;
	return 0;
}

void rig_finish(
	int result, const char *error_name, const char *text, sd_bus_message *reply)
{
	struct board_order order = rig.orders[0];

	assert_true(rig.n_orders > 0);
	rig.n_orders--;
	memmove(rig.orders, rig.orders + 1, rig.n_orders * sizeof(rig.orders[0]));
	memmove(rig.order_boards, rig.order_boards + 1,
		rig.n_orders * sizeof(rig.order_boards[0]));
	order.done(order.ctx, result, error_name, text, reply);
}

static int add_board(void *ctx, const struct config_static *board, struct error *err)
{
	struct board b = {.present = true, .place = {.is_static = true, .n_ttys = 1}};
	struct board *added;

	rig.added = *board;
	rig.n_added++;
	if (!rig.add_to_registry)
		return 0;
	snprintf(b.name, sizeof(b.name), "%s", board->alias);
	snprintf(b.place.ttys[0].node, sizeof(b.place.ttys[0].node), "%.100s",
		*board->tty ? board->tty : board->socket);
	return registry_add(rig.registry, &b, &added);
}

static int reload(void *ctx, struct error *err)
{
	rig.n_reloads++;
	return 0;
}

struct board *rig_add(const char *name, uid_t owner, unsigned n_partitions)
{
	struct board b = {.present = true,
		.state = "ready",
		.owner = owner,
		.pid = 4711,
		.machine = "Fake board",
		.firmware = "1.27.0",
		.unique_id = "e660",
		.place = {.vendor_id = 0x2e8a,
			.product_id = 5,
			.n_ttys = 1,
			.serial = "E660"},
		.n_partitions = n_partitions};
	struct board *added;

	snprintf(b.name, sizeof(b.name), "%s", name);
	snprintf(b.directory, sizeof(b.directory), "/media/romount/%s", name);
	snprintf(b.place.ttys[0].node, sizeof(b.place.ttys[0].node), "/dev/tty-%.64s",
		name);
	for (unsigned i = 0; i < n_partitions; i++) {
		b.partitions[i] = (struct board_partition){.number = i,
			.mounted = true,
			.size = 1u << 20,
			.used = 4096,
			.state = "on flash"};
		snprintf(b.partitions[i].mount, sizeof(b.partitions[i].mount),
			"/media/romount/%s/rom%u", name, i);
	}
	MUST(registry_add(rig.registry, &b, &added));
	return added;
}

/* --- the rig --- */

void rig_setup(bool with_bus)
{
	struct api_options options = {.user_mode = false,
		.mount_root = "/media/romount",
		.state_root = "/var/lib/romount",
		.add_board = add_board,
		.reload = reload};
	struct error err = {0};

	memset(&rig, 0, sizeof(rig));
	alarm(RIG_SECONDS);
	snprintf(rig.dir, sizeof(rig.dir), "/tmp/romount-api-XXXXXX");
	assert_non_null(mkdtemp(rig.dir));
	assert_return_code(chmod(rig.dir, 0755), errno);
	snprintf(rig.socket, sizeof(rig.socket), "%s/private", rig.dir);
	MUST(sd_event_new(&rig.event));
	MUST(registry_new(&rig.registry));
	snprintf(rig.bus_address, sizeof(rig.bus_address), "unix:path=%s/bus", rig.dir);
	assert_return_code(setenv("DBUS_SYSTEM_BUS_ADDRESS", rig.bus_address, 1), errno);
	options.event = rig.event;
	options.registry = rig.registry;
	options.socket = rig.socket;
	options.no_bus = !with_bus;
	if (api_new(&options, &rig.api, &err) < 0)
		fail_msg("api_new: %s", err.text);
}

void rig_teardown(void)
{
	api_free(rig.api);
	while (rig.n_orders > 0)
		rig_finish(-ENODEV, NULL, "the daemon ends", NULL);
	registry_free(rig.registry);
	sd_event_unref(rig.event);
	assert_int_equal(access(rig.socket, F_OK), -1);
	assert_return_code(rmdir(rig.dir), errno);
	alarm(0);
}

void rig_turn(void)
{
	if (MUST(sd_event_run(rig.event, RIG_SECONDS * 1000000ull)) == 0)
		fail_msg("nothing happened for %u seconds", RIG_SECONDS);
}

void rig_settle(void)
{
	while (MUST(sd_event_run(rig.event, 0)) > 0)
		;
}

sd_bus *rig_connect(void)
{
	char address[128];
	sd_bus *bus;

	MUST(sd_bus_new(&bus));
	snprintf(address, sizeof(address), "unix:path=%s", rig.socket);
	MUST(sd_bus_set_address(bus, address));
	MUST(sd_bus_negotiate_fds(bus, true));
	MUST(sd_bus_attach_event(bus, rig.event, 0));
	MUST(sd_bus_start(bus));
	return bus;
}

sd_bus_message *rig_message(sd_bus *any, const char *types, ...)
{
	sd_bus_message *m;
	va_list ap;

	MUST(sd_bus_message_new_signal(any, &m, "/a", "a.b", "C"));
	va_start(ap, types);
	MUST(sd_bus_message_appendv(m, types, ap));
	va_end(ap);
	MUST(sd_bus_message_seal(m, 1, 0));
	MUST(sd_bus_message_rewind(m, true));
	return m;
}

static int on_reply(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	*(sd_bus_message **)userdata = sd_bus_message_ref(m);
	return 1;
}

sd_bus_message *rig_call(sd_bus *bus, const char *path, const char *interface,
	const char *member, const char *types, ...)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	sd_bus_message *reply = NULL;
	va_list ap;

	MUST(sd_bus_message_new_method_call(bus, &m,
		sd_bus_is_bus_client(bus) > 0 ? BUS_NAME : NULL, path, interface,
		member));
	va_start(ap, types);
	MUST(sd_bus_message_appendv(m, types, ap));
	va_end(ap);
	MUST(sd_bus_call_async(bus, NULL, m, on_reply, &reply, RIG_SECONDS * 1000000ull));
	rig_until(reply);
	return reply;
}

sd_bus_message *rig_must_be_ok(sd_bus_message *reply)
{
	const sd_bus_error *e = sd_bus_message_get_error(reply);

	if (e)
		fail_msg("%s: %s", e->name, e->message);
	return reply;
}

void rig_expect_error(sd_bus_message *reply, const char *name, const char *text)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *owned = reply;
	const sd_bus_error *e = sd_bus_message_get_error(reply);

	if (!e)
		fail_msg("no error, but %s was to come", name);
	if (strcmp(e->name, name) != 0 || !strstr(e->message, text))
		fail_msg("%s: %s; but %s: ...%s... was to come", e->name, e->message,
			name, text);
}

/* --- another user --- */

static int as_other(bool on_bus, int (*what)(sd_bus *bus))
{
	char address[128];
	sd_bus *bus;

	alarm(RIG_SECONDS);
	if (setgroups(0, NULL) < 0 || setgid(RIG_OTHER_UID) < 0 ||
		setuid(RIG_OTHER_UID) < 0)
		return 101;
	snprintf(address, sizeof(address), "unix:path=%s", rig.socket);
	if (sd_bus_new(&bus) < 0 ||
		sd_bus_set_address(bus, on_bus ? rig.bus_address : address) < 0 ||
		sd_bus_set_bus_client(bus, on_bus) < 0 || sd_bus_start(bus) < 0)
		return 102;
	return what(bus);
}

static int on_exit_of_other(sd_event_source *s, const siginfo_t *si, void *userdata)
{
	*(int *)userdata = si->si_code == CLD_EXITED ? si->si_status : 200;
	return 0;
}

void rig_run_as_other(bool on_bus, int (*what)(sd_bus *bus))
{
	_cleanup_(sd_event_source_unrefp) sd_event_source *source = NULL;
	int status = -1;
	sigset_t mask;
	pid_t pid;

	assert_return_code(sigemptyset(&mask), errno);
	assert_return_code(sigaddset(&mask, SIGCHLD), errno);
	assert_return_code(sigprocmask(SIG_BLOCK, &mask, NULL), errno);
	pid = fork();
	assert_return_code(pid, errno);
	if (pid == 0)
		_exit(as_other(on_bus, what));
	MUST(sd_event_add_child(
		rig.event, &source, pid, WEXITED, on_exit_of_other, &status));
	rig_until(status >= 0);
	if (status > 0)
		fail_msg("step %d failed as another user", status);
}

void rig_skip_unless_root(void)
{
	if (geteuid() == 0)
		return;
	print_message("skip: another user can be played by root alone\n");
	skip();
}

unsigned rig_count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
