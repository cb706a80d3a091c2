/* SPDX-License-Identifier: MIT */
/* romountd: boards that are plugged in appear as folders. See romountd(8). */
#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <systemd/sd-daemon.h>

#include "daemon/api.h"
#include "daemon/boards.h"
#include "daemon/options.h"
#include "daemon/seat.h"

#define BOARD_SOCKET "/run/romount/board.socket"
#define FINISH_SECONDS 45u /* for what is staged, at the end; the unit grants 90 */
#define DESCRIPTORS 16384u
#define KILL_USEC (5u * 1000000u)

struct daemon {
	struct options options;
	struct log_sink log;
	bool verbose, for_journal;
	sd_event *event;
	sd_event_source *signals[3], *counter, *deadline;
	struct config *config;
	struct seat *seat;
	struct registry *registry;
	struct store *store;
	struct mount_root *mounts;
	struct launcher launcher;
	struct boards *boards;
	struct ports *ports;
	struct api *api;
	unsigned told_boards;
	unsigned ends; /* how often it was asked to end */
};

/* --- log --- */

static void write_log(void *data, int level, const char *text)
{
	const struct daemon *d = data;

	if (level > (d->verbose ? LOG_DEBUG : LOG_INFO))
		return;
	if (d->for_journal)
		fprintf(stderr, "<%d>%s\n", level, text);
	else
		fprintf(stderr, "romountd: %s\n", text);
}

static void on_mistake(void *ctx, const char *text)
{
	const struct daemon *d = ctx;

	log_to(&d->log, LOG_WARNING, "%s", text);
}

/* --- what systemd wants to know --- */

static int count_boards(sd_event_source *s, void *data)
{
	struct daemon *d = data;
	struct board *b = NULL;
	unsigned n = 0;

	(void)s;
	while ((b = registry_next(d->registry, b)))
		n += b->present;
	if (n == d->told_boards)
		return 0;
	d->told_boards = n;
	(void)!sd_notifyf(0, "STATUS=%u board%s plugged in", n, n == 1 ? "" : "s");
	return 0;
}

/* --- the end --- */

static void on_ended(void *ctx)
{
	struct daemon *d = ctx;

	(void)sd_event_exit(d->event, 0);
}

static int on_too_late(sd_event_source *s, uint64_t usec, void *data)
{
	(void)s;
	(void)usec;
	on_ended(data);
	return 0;
}

static void end(struct daemon *d)
{
	(void)!sd_notify(0, "STOPPING=1");
	ports_free(TAKE_PTR(d->ports));
	if (d->boards)
		boards_end(d->boards, FINISH_SECONDS, on_ended, d);
	else
		on_ended(d);
}

/* Processes are killed; then only their mounts are waited for, and that not for long. */
static void end_now(struct daemon *d)
{
	int r = sd_event_add_time_relative(
		d->event, &d->deadline, CLOCK_MONOTONIC, KILL_USEC, 0, on_too_late, d);

	if (d->boards && r >= 0)
		boards_kill(d->boards);
	else
		on_ended(d);
}

static int on_end_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	struct daemon *d = data;

	(void)s;
	(void)si;
	switch (d->ends++) {
	case 0:
		end(d);
		break;
	case 1:
		end_now(d);
		break;
	default:
		on_ended(d);
	}
	return 0;
}

/* --- the configuration --- */

static int reload(struct daemon *d, struct error *err)
{
	struct config *fresh;
	int r = config_load(d->options.config, d->options.user_mode, on_mistake, d, &fresh, err);

	if (r < 0)
		return r;
	d->verbose = config_is_verbose(fresh);
	if (d->ports)
		ports_reload(d->ports, fresh);
	config_free(d->config);
	d->config = fresh;
	log_to(&d->log, LOG_INFO, "took up the configuration anew");
	return 0;
}

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	struct daemon *d = data;
	struct error err = {0};

	(void)s;
	(void)si;
	if (reload(d, &err) < 0)
		log_to(&d->log, LOG_ERR, "%s; the configuration stays as it was", err.text);
	return 0;
}

static void count_mistake(void *ctx, const char *text)
{
	unsigned *n = ctx;

	puts(text);
	(*n)++;
}

static int check_config(struct daemon *d)
{
	struct config *config;
	struct error err = {0};
	unsigned mistakes = 0;

	if (config_load(d->options.config, d->options.user_mode, count_mistake, &mistakes,
		    &config, &err) < 0) {
		fprintf(stderr, "romountd: %s\n", err.text);
		return EXIT_FAILURE;
	}
	config_free(config);
	return mistakes ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* --- the start --- */

static const char *default_mount_root(const struct daemon *d, char out[PATH_MAX],
	struct error *err)
{
	const char *home = getenv("HOME");

	if (d->options.mount_root)
		return d->options.mount_root;
	if (config_mount_root(d->config))
		return config_mount_root(d->config);
	if (!d->options.user_mode)
		return "/media/romount";
	if (!home || home[0] != '/') {
		error_set(err, -ENOENT, "HOME is not set: give a place with --mount-root DIR");
		return NULL;
	}
	snprintf(out, PATH_MAX, "%s/Boards", home);
	return out;
}

static const char *default_state_root(const struct daemon *d, char out[PATH_MAX],
	struct error *err)
{
	const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");

	if (d->options.state_root)
		return d->options.state_root;
	if (config_state_root(d->config))
		return config_state_root(d->config);
	if (!d->options.user_mode)
		return "/var/lib/romount";
	if (xdg && xdg[0] == '/') {
		snprintf(out, PATH_MAX, "%s/romount/boards", xdg);
		return out;
	}
	if (!home || home[0] != '/') {
		error_set(err, -ENOENT, "HOME is not set: give a place with --state DIR");
		return NULL;
	}
	snprintf(out, PATH_MAX, "%s/.local/state/romount/boards", home);
	return out;
}

/* Whoever reads what boards send is a user of its own. */
static int find_board_user(struct daemon *d, struct error *err)
{
	const char *name = d->options.board_user;
	struct passwd *user;

	if (d->options.user_mode)
		return 0;
	user = getpwnam(name);
	if (!user)
		return error_set(err, -ENOENT,
			"there is no user '%s' for the boards' processes: 'systemd-sysusers' "
			"makes it, or 'useradd --system %s'",
			name, name);
	if (user->pw_uid == 0)
		return error_set(err, -EPERM, "boards' processes must not be root's");
	d->launcher.become = true;
	d->launcher.uid = user->pw_uid;
	d->launcher.gid = user->pw_gid;
	d->launcher.socket_path = BOARD_SOCKET;
	return 0;
}

static void on_seat_changed(void *ctx)
{
	struct daemon *d = ctx;

	if (d->boards)
		boards_check_owners(d->boards);
}

/* --- what clients ask for --- */

static int on_add_board(void *ctx, const struct config_static *board, struct error *err)
{
	struct daemon *d = ctx;

	if (!d->ports)
		return error_set(err, -EBUSY, "romountd is about to start, or to end; try again");
	return ports_add_static(d->ports, board, err);
}

static int on_reload(void *ctx, struct error *err)
{
	return reload(ctx, err);
}

static int serve(struct daemon *d, const char *mount_root, const char *state_root,
	struct error *err)
{
	const struct api_options options = {
		.event = d->event,
		.registry = d->registry,
		.user_mode = d->options.user_mode,
		.mount_root = mount_root,
		.state_root = state_root,
		.add_board = on_add_board,
		.reload = on_reload,
		.ctx = d,
		.log = &d->log,
	};

	return api_new(&options, &d->api, err);
}

static int open_places(struct daemon *d, struct error *err)
{
	char mounts[PATH_MAX], states[PATH_MAX];
	const char *mount_root = default_mount_root(d, mounts, err);
	const char *state_root = default_state_root(d, states, err);
	struct store_options store = {
		.root = state_root,
		.give_away = d->launcher.become,
		.uid = d->launcher.uid,
		.event = d->event,
		.log = &d->log,
	};
	int r;

	if (!mount_root || !state_root)
		return err->code;
	r = store_open(&store, &d->store, err);
	if (r == 0)
		r = mount_root_open(d->event, mount_root, d->options.user_mode, &d->log,
			&d->mounts, err);
	if (r == 0)
		r = serve(d, mount_root, state_root, err);
	return r;
}

static int set_up(struct daemon *d, struct error *err)
{
	int r = config_load(
		d->options.config, d->options.user_mode, on_mistake, d, &d->config, err);

	if (r < 0)
		return r;
	d->verbose = config_is_verbose(d->config);
	d->launcher.event = d->event;
	r = find_board_user(d, err);
	if (r == 0)
		r = launcher_init(&d->launcher, err);
	if (r == 0 && registry_new(&d->registry) < 0)
		r = error_set(err, -ENOMEM, "out of memory");
	if (r == 0)
		r = open_places(d, err);
	if (r == 0)
		r = seat_new(d->event, d->options.user_mode, on_seat_changed, d, &d->seat, err);
	return r;
}

static void on_place(void *ctx, const struct place *place)
{
	struct daemon *d = ctx;

	boards_plugged(d->boards, place);
}

static void on_no_place(void *ctx, const char *key)
{
	struct daemon *d = ctx;

	boards_unplugged(d->boards, key);
}

static int show_boards(struct daemon *d, struct error *err)
{
	const struct boards_options boards = {
		.env = {.event = d->event,
			.registry = d->registry,
			.store = d->store,
			.mounts = d->mounts,
			.launcher = &d->launcher,
			.log = &d->log},
		.seat = d->seat,
	};
	const struct ports_hooks hooks = {.added = on_place,
		.removed = on_no_place,
		.trouble = on_mistake,
		.ctx = d};
	unsigned i;
	int r = boards_new(&boards, &d->boards, err);

	if (r < 0)
		return r;
	r = ports_new(d->event, d->config, !d->options.no_udev, &hooks, &d->ports, err);
	for (i = 0; r == 0 && i < d->options.n_boards; i++)
		r = ports_add_static(d->ports, &d->options.boards[i], err);
	return r;
}

/* What an earlier daemon has left is gone: now boards may appear. */
static void on_cleaned(void *ctx)
{
	struct daemon *d = ctx;
	struct error err = {0};

	if (d->ends)
		return;
	if (show_boards(d, &err) < 0) {
		log_to(&d->log, LOG_ERR, "%s", err.text);
		(void)sd_event_exit(d->event, EXIT_FAILURE);
		return;
	}
	(void)!sd_notify(0, "READY=1");
}

/* A board takes up to a dozen descriptors, and the usual limit is 1024. */
static void raise_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= DESCRIPTORS)
		return;
	limit.rlim_cur = MIN(limit.rlim_max, DESCRIPTORS);
	(void)!setrlimit(RLIMIT_NOFILE, &limit);
}

static int add_sources(struct daemon *d)
{
	static const int numbers[] = {SIGTERM, SIGINT};
	sigset_t mask;
	int r;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return -errno;
	r = sd_event_default(&d->event);
	for (unsigned i = 0; r >= 0 && i < ARRAY_SIZE(numbers); i++)
		r = sd_event_add_signal(
			d->event, &d->signals[i], numbers[i], on_end_signal, d);
	if (r >= 0)
		r = sd_event_add_signal(d->event, &d->signals[2], SIGHUP, on_hangup, d);
	if (r >= 0)
		r = sd_event_set_watchdog(d->event, true);
	return r;
}

static void tear_down(struct daemon *d)
{
	api_free(d->api);
	ports_free(d->ports);
	boards_free(d->boards);
	registry_free(d->registry);
	seat_free(d->seat);
	mount_root_free(d->mounts);
	store_free(d->store);
	launcher_clear(&d->launcher);
	config_free(d->config);
	for (unsigned i = 0; i < ARRAY_SIZE(d->signals); i++)
		sd_event_source_disable_unref(d->signals[i]);
	sd_event_source_disable_unref(d->counter);
	sd_event_source_disable_unref(d->deadline);
	sd_event_unref(d->event);
	options_clear(&d->options);
}

static int run(struct daemon *d)
{
	struct error err = {0};
	int r = add_sources(d);

	raise_limit();
	if (r < 0)
		r = error_set(&err, r, "cannot set up the event loop: %s", strerror(-r));
	if (r >= 0)
		r = set_up(d, &err);
	if (r >= 0)
		r = sd_event_add_post(d->event, &d->counter, count_boards, d);
	if (r >= 0) {
		mount_root_clean(d->mounts, on_cleaned, d);
		r = sd_event_loop(d->event);
	}
	if (r < 0)
		log_to(&d->log, LOG_ERR, "%s", err.text[0] ? err.text : strerror(-r));
	tear_down(d);
	return r == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct daemon d = {.told_boards = UINT_MAX};
	struct error err = {0};

	d.log.write = write_log;
	d.log.data = &d;
	d.for_journal = getenv("JOURNAL_STREAM") != NULL;
	if (options_parse(argc, argv, &d.options, &err) < 0) {
		fprintf(stderr, "romountd: %s\n", err.text);
		return 2;
	}
	if (d.options.help || d.options.version) {
		fputs(d.options.help ? options_help : "romountd " PACKAGE_VERSION "\n", stdout);
		return EXIT_SUCCESS;
	}
	if (d.options.check_config)
		return check_config(&d);
	return run(&d);
}
