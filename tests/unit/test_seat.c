/* SPDX-License-Identifier: MIT */
/* Whose mounts are, with a logind of the test's own. */
#include "config.h"

#include <errno.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/epoll.h>
#include <systemd/sd-login.h>

#include <cmocka.h>

#include "daemon/seat.h"

/* --- logind ---------------------------------------------------------------------------- */

static struct {
	bool runs;
	bool has_systemd;
	const char *active_seat; /* NULL: nobody sits there */
	const char *active_session;
	uid_t active;
	uid_t users[4];
	const char *sessions[4]; /* of each of them; its name is its class */
	int n_users;
	int fd; /* of the monitors */
	sd_event_inotify_handler_t on_runtime;
	void *on_runtime_ctx;
} logind;

int __wrap_sd_seat_get_active(const char *seat, char **session, uid_t *uid);
int __wrap_sd_get_seats(char ***seats);
int __wrap_sd_get_uids(uid_t **users);
int __wrap_sd_uid_get_sessions(uid_t uid, int require_active, char ***sessions);
int __wrap_sd_session_get_class(const char *session, char **class);
int __wrap_sd_login_monitor_new(const char *category, sd_login_monitor **out);
int __wrap_sd_login_monitor_get_fd(sd_login_monitor *m);
int __wrap_sd_login_monitor_get_events(sd_login_monitor *m);
int __wrap_sd_login_monitor_flush(sd_login_monitor *m);
sd_login_monitor *__wrap_sd_login_monitor_unref(sd_login_monitor *m);
int __wrap_sd_event_add_inotify(sd_event *e, sd_event_source **s, const char *path,
	uint32_t mask, sd_event_inotify_handler_t callback, void *userdata);

static char **list_of(const char *one)
{
	char **list = calloc(2, sizeof(*list));

	assert_non_null(list);
	list[0] = strdup(one);
	return list;
}

int __wrap_sd_seat_get_active(const char *seat, char **session, uid_t *uid)
{
	if (!logind.runs || !logind.active_seat || strcmp(seat, logind.active_seat) != 0)
		return -ENXIO;
	*session = strdup(logind.active_session);
	*uid = logind.active;
	return 0;
}

int __wrap_sd_get_seats(char ***seats)
{
	if (!logind.runs || !logind.active_seat)
		return logind.runs ? 0 : -ENOENT;
	*seats = list_of(logind.active_seat);
	return 1;
}

int __wrap_sd_get_uids(uid_t **users)
{
	if (!logind.runs)
		return -ENOENT;
	*users = calloc(4, sizeof(**users));
	assert_non_null(*users);
	memcpy(*users, logind.users, sizeof(logind.users));
	return logind.n_users;
}

int __wrap_sd_uid_get_sessions(uid_t uid, int require_active, char ***sessions)
{
	for (int i = 0; i < logind.n_users; i++)
		if (logind.users[i] == uid && logind.sessions[i]) {
			*sessions = list_of(logind.sessions[i]);
			return 1;
		}
	return 0;
}

int __wrap_sd_session_get_class(const char *session, char **class)
{
	*class = strdup(session);
	return 0;
}

int __wrap_sd_login_monitor_new(const char *category, sd_login_monitor **out)
{
	assert_true(!strcmp(category, "seat") || !strcmp(category, "uid"));
	if (!logind.runs)
		return -ENOENT;
	*out = (sd_login_monitor *)(intptr_t)(logind.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	return 0;
}

int __wrap_sd_login_monitor_get_fd(sd_login_monitor *m)
{
	return (int)(intptr_t)m;
}

int __wrap_sd_login_monitor_get_events(sd_login_monitor *m)
{
	return EPOLLIN;
}

int __wrap_sd_login_monitor_flush(sd_login_monitor *m)
{
	eventfd_t value;

	return eventfd_read((int)(intptr_t)m, &value);
}

sd_login_monitor *__wrap_sd_login_monitor_unref(sd_login_monitor *m)
{
	if (m)
		close((int)(intptr_t)m);
	return NULL;
}

int __wrap_sd_event_add_inotify(sd_event *e, sd_event_source **s, const char *path,
	uint32_t mask, sd_event_inotify_handler_t callback, void *userdata)
{
	assert_string_equal(path, "/run/systemd");
	if (!logind.has_systemd)
		return -ENOENT;
	logind.on_runtime = callback;
	logind.on_runtime_ctx = userdata;
	return 0;
}

/* --- tests ------------------------------------------------------------------------------- */

static sd_event *event;
static struct seat *seat;
static unsigned changes;

static int setup(void **state)
{
	memset(&logind, 0, sizeof(logind));
	logind.runs = logind.has_systemd = true;
	changes = 0;
	return sd_event_new(&event) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
	seat_free(seat);
	seat = NULL;
	sd_event_unref(event);
	return 0;
}

static void on_changed(void *ctx)
{
	changes++;
}

static void start(bool user_mode)
{
	struct error err = {0};

	if (seat_new(event, user_mode, on_changed, NULL, &seat, &err) < 0)
		fail_msg("%s", err.text);
}

static void expect_owner(const char *user, const char *want)
{
	struct passwd *pw = getpwnam(want);
	struct error err = {0};
	uid_t uid = 12345;
	gid_t gid = 12345;

	assert_non_null(pw);
	if (seat_owner(seat, user, &uid, &gid, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(uid, pw->pw_uid);
	assert_int_equal(gid, pw->pw_gid);
}

static uid_t uid_of(const char *name)
{
	return getpwnam(name)->pw_uid;
}

static void sits(const char *at, const char *user, const char *class)
{
	logind.active_seat = at;
	logind.active_session = class;
	logind.active = uid_of(user);
}

static void logs_in(const char *user, const char *class)
{
	logind.users[logind.n_users] = uid_of(user);
	logind.sessions[logind.n_users++] = class;
}

static void test_named(void **state)
{
	struct error err = {0};
	uid_t uid = 12345;
	gid_t gid = 12345;

	sits("seat0", "daemon", "user");
	start(false);
	expect_owner("games", "games"); /* whose primary group has another number */
	assert_int_equal(seat_owner(seat, "nobody-has-this", &uid, &gid, &err), -ENOENT);
	assert_non_null(strstr(err.text, "nobody-has-this"));
	assert_int_equal(uid, 12345);
	assert_int_equal(gid, 12345);
}

static void test_active(void **state)
{
	sits("seat0", "daemon", "user");
	logs_in("daemon", "user");
	logs_in("games", "user");
	start(false);
	expect_owner("", "daemon");
	sits("seat1", "games", "user");
	expect_owner("", "games");
}

static void become(const char *at, const char *user, const char *class)
{
	unsigned before = changes;

	sits(at, user, class);
	assert_int_equal(eventfd_write(logind.fd, 1), 0);
	assert_int_equal(sd_event_run(event, 0), 1);
	assert_int_equal(changes, before + 1);
}

/* From one user to another by a login screen: it is nobody's meanwhile. */
static void test_last(void **state)
{
	sits("seat0", "daemon", "user");
	logs_in("daemon", "user");
	logs_in("games", "user");
	start(false);
	become("seat0", "man", "greeter");
	expect_owner("", "daemon");
	become("seat0", "games", "user");
	expect_owner("", "games");
	become("seat0", "man", "greeter");
	expect_owner("", "games");
	/* who has logged out is not there */
	logind.n_users = 1;
	expect_owner("", "daemon");
	logs_in("man", "user");
	expect_owner("", "root");
}

static void test_only_one(void **state)
{
	start(false);
	expect_owner("", "root");
	logs_in("bin", "greeter");
	logs_in("daemon", NULL); /* lingers */
	logs_in("games", "user");
	expect_owner("", "games");
	logs_in("man", "user");
	expect_owner("", "root");
}

static void test_change_is_told(void **state)
{
	start(false);
	assert_int_equal(sd_event_run(event, 0), 0);
	assert_int_equal(changes, 0);
	assert_int_equal(eventfd_write(logind.fd, 1), 0);
	assert_int_equal(sd_event_run(event, 0), 1);
	assert_int_equal(changes, 1);
	/* and once only */
	assert_int_equal(sd_event_run(event, 0), 0);
	assert_int_equal(changes, 1);
}

static void test_without_systemd(void **state)
{
	logind.runs = logind.has_systemd = false;
	start(false);
	expect_owner("", "root");
	expect_owner("games", "games");
	assert_int_equal(sd_event_run(event, 0), 0);
}

static void test_logind_comes_later(void **state)
{
	union {
		struct inotify_event event;
		char bytes[sizeof(struct inotify_event) + 8];
	} made = {.event = {.mask = IN_CREATE, .len = 8}};
	char *name = made.bytes + sizeof(struct inotify_event);

	memcpy(name, "other", 6);
	logind.runs = false;
	start(false);
	expect_owner("", "root");
	assert_int_equal(logind.on_runtime(NULL, &made.event, logind.on_runtime_ctx), 0);
	assert_int_equal(changes, 0);
	logind.runs = true;
	sits("seat0", "games", "user");
	memcpy(name, "users", 6);
	assert_int_equal(logind.on_runtime(NULL, &made.event, logind.on_runtime_ctx), 0);
	assert_int_equal(changes, 1);
	expect_owner("", "games");
	assert_int_equal(eventfd_write(logind.fd, 1), 0);
	assert_int_equal(sd_event_run(event, 0), 1);
	assert_int_equal(changes, 2);
}

static void test_user_mode(void **state)
{
	struct error err = {0};
	uid_t uid;
	gid_t gid;

	sits("seat0", "games", "user");
	start(true);
	assert_int_equal(seat_owner(seat, "", &uid, &gid, &err), 0);
	assert_int_equal(uid, geteuid());
	assert_int_equal(gid, getegid());
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(named),
		TEST(active),
		TEST(last),
		TEST(only_one),
		TEST(change_is_told),
		TEST(without_systemd),
		TEST(logind_comes_later),
		TEST(user_mode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
