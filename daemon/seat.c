/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "daemon/seat.h"

#include <errno.h>
#include <pwd.h>
#include <string.h>
#include <sys/inotify.h>
#include <systemd/sd-login.h>

#define RUNTIME "/run/systemd"
#define MONITORS 2u
#define PASSWD_MAX 65536u

struct seat {
	sd_event *event;
	bool user_mode;
	void (*changed)(void *ctx);
	void *ctx;
	sd_login_monitor *monitors[MONITORS];
	sd_event_source *sources[MONITORS];
	sd_event_source *runtime; /* while logind has not made its directories */
	bool was_active;
	uid_t last; /* who was */
};

/* --- logind ---------------------------------------------------------------------------- */

static void free_strings(char **strings)
{
	for (char **s = strings; s && *s; s++)
		free(*s);
	free(strings);
}

/* Not the login screen. */
static bool is_user_session(const char *session)
{
	_cleanup_free_ char *class = NULL;

	return sd_session_get_class(session, &class) >= 0 && !strcmp(class, "user");
}

static bool active_on(const char *seat, uid_t *uid)
{
	_cleanup_free_ char *session = NULL;

	return sd_seat_get_active(seat, &session, uid) >= 0 && session &&
		is_user_session(session);
}

static bool find_active(uid_t *uid)
{
	char **seats = NULL;
	bool found = active_on("seat0", uid);

	if (!found && sd_get_seats(&seats) > 0)
		for (char **s = seats; *s && !found; s++)
			found = active_on(*s, uid);
	free_strings(seats);
	return found;
}

static bool is_logged_in(uid_t uid)
{
	char **sessions = NULL;
	bool found = false;

	if (sd_uid_get_sessions(uid, 0, &sessions) > 0)
		for (char **s = sessions; *s && !found; s++)
			found = is_user_session(*s);
	free_strings(sessions);
	return found;
}

static bool find_only(uid_t *uid)
{
	_cleanup_free_ uid_t *uids = NULL;
	int n = sd_get_uids(&uids);
	unsigned found = 0;

	for (int i = 0; i < n; i++) {
		if (!is_logged_in(uids[i]))
			continue;
		*uid = uids[i];
		found++;
	}
	return found == 1;
}

/* --- listening ------------------------------------------------------------------------- */

/* At a login screen between two users nobody is. */
static void remember(struct seat *s)
{
	uid_t uid;

	if (find_active(&uid)) {
		s->was_active = true;
		s->last = uid;
	}
}

static void changed(struct seat *s)
{
	remember(s);
	if (s->changed)
		s->changed(s->ctx);
}

static int on_login(sd_event_source *source, int fd, uint32_t events, void *userdata)
{
	struct seat *s = userdata;
	int r = 0;

	for (unsigned i = 0; i < MONITORS; i++)
		if (s->sources[i] == source)
			r = sd_login_monitor_flush(s->monitors[i]);
	if (r < 0)
		return r;
	changed(s);
	return 0;
}

static void unlisten(struct seat *s)
{
	for (unsigned i = 0; i < MONITORS; i++) {
		s->sources[i] = sd_event_source_disable_unref(s->sources[i]);
		s->monitors[i] = sd_login_monitor_unref(s->monitors[i]);
	}
}

/* Of seats, whose sessions they tell as well, and of users. */
static int listen_to_logind(struct seat *s)
{
	static const char *const kinds[MONITORS] = {"seat", "uid"};
	int r = 0;

	for (unsigned i = 0; i < MONITORS && r >= 0; i++) {
		r = sd_login_monitor_new(kinds[i], &s->monitors[i]);
		if (r >= 0)
			r = sd_event_add_io(s->event, &s->sources[i],
				sd_login_monitor_get_fd(s->monitors[i]),
				(uint32_t)sd_login_monitor_get_events(s->monitors[i]),
				on_login, s);
	}
	return r;
}

/* Until logind has made its directories; they stay when it is restarted. */
static int try_logind(struct seat *s)
{
	int r = listen_to_logind(s);

	if (r >= 0)
		s->runtime = sd_event_source_disable_unref(s->runtime);
	else
		unlisten(s);
	return r == -ENOENT ? 0 : r;
}

static int on_runtime(
	sd_event_source *source, const struct inotify_event *event, void *userdata)
{
	struct seat *s = userdata;
	int r;

	if (event->len && strcmp(event->name, "seats") != 0 && strcmp(event->name, "users") != 0)
		return 0;
	r = try_logind(s);
	if (r >= 0)
		changed(s);
	return r;
}

/* Where systemd is not there is nothing to listen to. */
static int listen_to_any(struct seat *s)
{
	int r = sd_event_add_inotify(s->event, &s->runtime, RUNTIME,
		IN_CREATE | IN_MOVED_TO | IN_ONLYDIR, on_runtime, s);

	if (r == -ENOENT)
		return 0;
	return r < 0 ? r : try_logind(s);
}

int seat_new(sd_event *event, bool user_mode, void (*on_changed)(void *ctx), void *ctx,
	struct seat **out, struct error *err)
{
	_cleanup_(seat_freep) struct seat *s = calloc(1, sizeof(*s));
	int r = -ENOMEM;

	if (s) {
		s->event = event;
		s->user_mode = user_mode;
		s->changed = on_changed;
		s->ctx = ctx;
		r = user_mode ? 0 : listen_to_any(s);
	}
	if (r < 0)
		return error_set(err, r, "cannot listen to logind: %s", strerror(-r));
	remember(s);
	*out = TAKE_PTR(s);
	return 0;
}

void seat_free(struct seat *s)
{
	if (!s)
		return;
	unlisten(s);
	sd_event_source_disable_unref(s->runtime);
	free(s);
}

/* --- who it is ------------------------------------------------------------------------- */

static bool find_last(const struct seat *s, uid_t *uid)
{
	*uid = s->last;
	return s->was_active && is_logged_in(s->last);
}

/* By name, or by number where that is NULL. */
static int find_user(
	const char *name, uid_t uid, uid_t *out_uid, gid_t *out_gid, struct error *err)
{
	_cleanup_free_ char *buf = malloc(PASSWD_MAX);
	struct passwd entry, *found = NULL;
	int r;

	if (!buf)
		return error_set(err, -ENOMEM, "out of memory");
	if (name)
		r = getpwnam_r(name, &entry, buf, PASSWD_MAX, &found);
	else
		r = getpwuid_r(uid, &entry, buf, PASSWD_MAX, &found);
	if (r > 0)
		return error_set(err, -r, "the list of users cannot be read: %s", strerror(r));
	if (!found && name)
		return error_set(err, -ENOENT,
			"there is no user '%s' on this system: set another owner= in romount.conf",
			name);
	if (!found)
		return error_set(err, -ENOENT, "there is no user with number %u", (unsigned)uid);
	*out_uid = found->pw_uid;
	*out_gid = found->pw_gid;
	return 0;
}

int seat_owner(const struct seat *s, const char *user, uid_t *uid, gid_t *gid,
	struct error *err)
{
	uid_t who = 0;

	if (s->user_mode) {
		*uid = geteuid();
		*gid = getegid();
		return 0;
	}
	if (user[0])
		return find_user(user, 0, uid, gid, err);
	if (!find_active(&who) && !find_last(s, &who) && !find_only(&who))
		who = 0;
	return find_user(NULL, who, uid, gid, err);
}
