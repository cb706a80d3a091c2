/* SPDX-License-Identifier: MIT */
/* The API on a bus: one that is not there yet, that goes and comes back, and whose clients
 * polkit is asked about. A dbus-daemon of the test's own plays the system's. */
#include "config.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/unit/api_rig.h"

#define PICO BUS_BOARDS "/pico"
#define MINE BUS_BOARDS "/mine"

static pid_t dbus;

/* --- a bus --- */

static void write_config(const char *path)
{
	_cleanup_fclose_ FILE *f = fopen(path, "we");

	assert_non_null(f);
	fprintf(f,
		"<busconfig><type>system</type><listen>%s</listen><auth>EXTERNAL</auth>"
		"<policy context='default'><allow user='*'/><allow own='*'/>"
		"<allow send_destination='*'/><allow receive_sender='*'/></policy></busconfig>\n",
		rig.bus_address);
}

static void start_dbus(void)
{
	char config[128], option[160];

	snprintf(config, sizeof(config), "%s/dbus.conf", rig.dir);
	write_config(config);
	snprintf(option, sizeof(option), "--config-file=%s", config);
	dbus = fork();
	assert_return_code(dbus, errno);
	if (dbus == 0) {
		execlp("dbus-daemon", "dbus-daemon", option, "--nofork", "--nopidfile",
			"--nosyslog", (char *)NULL);
		_exit(127);
	}
}

static void remove_file(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", rig.dir, name);
	unlink(path);
}

static void stop_dbus(void)
{
	if (dbus > 0) {
		kill(dbus, SIGKILL);
		waitpid(dbus, NULL, 0);
	}
	dbus = 0;
	remove_file("bus");
	remove_file("dbus.conf");
}

static int setup(void **state)
{
	rig_setup(true);
	return 0;
}

static int teardown(void **state)
{
	stop_dbus();
	rig_settle();
	rig_teardown();
	return 0;
}

/* A client that waits for the bus, as romountd does. */
static sd_bus *connect_bus(void)
{
	sd_bus *bus;

	assert_return_code(sd_bus_new(&bus), 0);
	assert_return_code(sd_bus_set_address(bus, rig.bus_address), 0);
	assert_return_code(sd_bus_set_bus_client(bus, true), 0);
	assert_return_code(sd_bus_set_watch_bind(bus, true), 0);
	assert_return_code(sd_bus_attach_event(bus, rig.event, 0), 0);
	assert_return_code(sd_bus_start(bus), 0);
	return bus;
}

static int on_owner(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *name, *before, *after;

	assert_true(sd_bus_message_read(m, "sss", &name, &before, &after) > 0);
	if (strcmp(name, BUS_NAME) == 0)
		*(bool *)userdata = *after;
	return 0;
}

static int on_has_owner(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	int has = 0;

	if (sd_bus_message_read(m, "b", &has) > 0 && has)
		*(bool *)userdata = true;
	return 0;
}

static sd_bus *wait_for_name(void)
{
	sd_bus *bus = connect_bus();
	bool is_there = false;
	sd_bus_slot *match;

	assert_return_code(sd_bus_match_signal_async(bus, &match, "org.freedesktop.DBus",
				   NULL, "org.freedesktop.DBus", "NameOwnerChanged",
				   on_owner, NULL, &is_there),
		0);
	assert_return_code(
		sd_bus_call_method_async(bus, NULL, "org.freedesktop.DBus",
			"/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner",
			on_has_owner, &is_there, "s", BUS_NAME),
		0);
	rig_until(is_there);
	sd_bus_slot_unref(match);
	return bus;
}

static void expect_private(void)
{
	sd_bus *client = rig_connect();

	sd_bus_message_unref(
		rig_call_ok(client, BUS_ROOT, BUS_MANAGER, "FindBoard", "s", "pico"));
	sd_bus_close_unref(client);
}

static void test_bus_comes_and_goes(void **state)
{
	sd_bus *client;

	rig_add("pico", 0, 1);
	expect_private();
	for (unsigned i = 0; i < 2; i++) {
		start_dbus();
		client = wait_for_name();
		sd_bus_message_unref(rig_call_ok(
			client, BUS_ROOT, BUS_MANAGER, "FindBoard", "s", "pico"));
		stop_dbus();
		sd_bus_close_unref(client);
		expect_private();
	}
}

/* --- polkit --- */

static struct polkit {
	bool allows;
	unsigned asked;
	char action[64];
} polkit;

static int check_authorization(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	const char *kind, *action;

	polkit.asked++;
	assert_true(sd_bus_message_enter_container(m, 'r', "sa{sv}") > 0);
	assert_true(sd_bus_message_read(m, "s", &kind) > 0);
	assert_string_equal(kind, "system-bus-name");
	assert_true(sd_bus_message_skip(m, "a{sv}") > 0);
	assert_return_code(sd_bus_message_exit_container(m), 0);
	assert_true(sd_bus_message_read(m, "s", &action) > 0);
	snprintf(polkit.action, sizeof(polkit.action), "%s", action);
	return sd_bus_reply_method_return(m, "(bba{ss})", polkit.allows, false, 0);
}

static const sd_bus_vtable polkit_vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("CheckAuthorization", "(sa{sv})sa{ss}us", "(bba{ss})",
		check_authorization, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static int on_name(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
	*(bool *)userdata = !sd_bus_message_is_method_error(m, NULL);
	return 0;
}

static sd_bus *start_polkit(void)
{
	sd_bus *bus = connect_bus();
	bool has_name = false;

	memset(&polkit, 0, sizeof(polkit));
	assert_return_code(
		sd_bus_add_object_vtable(bus, NULL,
			"/org/freedesktop/PolicyKit1/Authority",
			"org.freedesktop.PolicyKit1.Authority", polkit_vtable, NULL),
		0);
	assert_return_code(sd_bus_request_name_async(bus, NULL,
				   "org.freedesktop.PolicyKit1", 0, on_name, &has_name),
		0);
	rig_until(has_name);
	return bus;
}

static int finish_orders(sd_event_source *s, void *userdata)
{
	for (; rig.n_orders > 0; ++*(unsigned *)userdata)
		rig_finish(0, NULL, NULL, NULL);
	return 0;
}

static bool is_denied(
	sd_bus *bus, const char *path, const char *interface, const char *member)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	bool is = sd_bus_call_method(
			  bus, BUS_NAME, path, interface, member, &error, NULL, "") < 0 &&
		  sd_bus_error_has_name(&error, BUS_ERROR_DENIED);

	sd_bus_error_free(&error);
	return is;
}

static int is_refused_to_other(sd_bus *bus)
{
	char *name;

	if (sd_bus_get_property_string(
		    bus, BUS_NAME, PICO, BUS_BOARD, "Name", NULL, &name) < 0)
		return 1; /* seen it is */
	if (!is_denied(bus, PICO, BUS_BOARD, "Sync"))
		return 2;
	if (!is_denied(bus, PICO "/rom0", BUS_PARTITION, "Layout"))
		return 3;
	return is_denied(bus, BUS_ROOT, BUS_MANAGER, "Reload") ? 0 : 4;
}

static int is_allowed_to_other(sd_bus *bus)
{
	return sd_bus_call_method(
		       bus, BUS_NAME, PICO, BUS_BOARD, "Sync", NULL, NULL, "") < 0;
}

static int is_allowed_his_own(sd_bus *bus)
{
	return sd_bus_call_method(
		       bus, BUS_NAME, MINE, BUS_BOARD, "Sync", NULL, NULL, "") < 0;
}

static void test_other_users_boards(void **state)
{
	_cleanup_(sd_event_source_unrefp) sd_event_source *finisher = NULL;
	sd_bus *client, *authority;
	unsigned done = 0;

	rig_skip_unless_root();
	rig_add("pico", 0, 1);
	rig_add("mine", RIG_OTHER_UID, 1);
	assert_return_code(
		sd_event_add_post(rig.event, &finisher, finish_orders, &done), 0);
	start_dbus();
	client = wait_for_name();
	rig_run_as_other(true, is_refused_to_other); /* no polkit */
	assert_int_equal(done, 0);
	authority = start_polkit();
	rig_run_as_other(true, is_refused_to_other); /* polkit says no */
	assert_int_equal(done, 0);
	assert_int_equal(rig.n_reloads, 0);
	assert_int_equal(polkit.asked, 3);
	assert_string_equal(polkit.action, BUS_ACTION_MANAGE_OTHERS);
	polkit.allows = true;
	rig_run_as_other(true, is_allowed_to_other);
	assert_int_equal(done, 1);
	assert_int_equal(polkit.asked, 4);
	polkit.allows = false;
	rig_run_as_other(true, is_allowed_his_own); /* nobody is asked */
	assert_int_equal(done, 2);
	assert_int_equal(polkit.asked, 4);
	sd_bus_message_unref(
		rig_call_ok(client, PICO, BUS_BOARD, "Sync", "")); /* root's */
	assert_int_equal(done, 3);
	sd_bus_close_unref(authority);
	sd_bus_close_unref(client);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_bus_comes_and_goes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_users_boards, setup, teardown),
	};

	if (access("/usr/bin/dbus-daemon", X_OK) < 0) {
		puts("skip test_api_bus - dbus-daemon is not installed");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
