/* SPDX-License-Identifier: MIT */
/* The client's side of romountd: connections to the daemons that run, their boards, and
 * calls that take long.
 *
 * Where a daemon listens: $ROMOUNT_SOCKET alone where it is set; else the user's daemon at
 * $XDG_RUNTIME_DIR/romount/private or on the user's bus, and the system's at
 * /run/romount/private or on the system bus. Who is not root asks the system's daemon by the
 * bus first, where polkit can let somebody do what the private socket never does.
 *
 * One thread. Errors carry the codes that client_fail makes exit codes of. */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "cli/boards.h"
#include "cli/cli.h"

/* In an error: */
#define CLIENT_NO_DAEMON (-ENOTCONN)
#define CLIENT_NO_BOARD (-ENXIO)

enum client_scope { CLIENT_ANY, CLIENT_USER, CLIENT_SYSTEM };

struct client_options {
	enum client_scope scope;
	const char *host; /* -H: "user@host", by ssh; NULL: here */
	bool json;
};

/* The options that all commands of this kind have, for getopt_long and for a help text. */
enum { CLIENT_OPTION_USER = 1000, CLIENT_OPTION_SYSTEM };
#define CLIENT_LETTERS "hjH:"
#define CLIENT_OPTIONS                                                                   \
	{"help", no_argument, NULL, 'h'}, {"host", required_argument, NULL, 'H'},        \
		{"json", no_argument, NULL, 'j'},                                        \
		{"system", no_argument, NULL, CLIENT_OPTION_SYSTEM},                     \
		{"user", no_argument, NULL, CLIENT_OPTION_USER}
#define CLIENT_HELP                                                                      \
	"  -j, --json             as JSON, for programs\n"                                 \
	"  -H, --host=[USER@]HOST the daemon of another computer, by ssh\n"             \
	"      --system           the system's daemon alone\n"                             \
	"      --user             the user's own daemon alone\n"                           \
	"  -h, --help             this text\n"
/* Whether it was one of them; -h is the caller's. */
bool client_take_option(struct client_options *o, int c, const char *value);

struct client;

/* Connects, and reads what boards there are. CLIENT_NO_DAEMON with what to do about it. */
must_check int client_open(
	const struct client_options *o, struct client **out, struct error *err);
void client_free(struct client *c);
DEFINE_CLEANUP(struct client *, client_free);

const struct boards *client_boards(const struct client *c);
sd_event *client_event(const struct client *c);
bool client_is_remote(const struct client *c);
/* "user" or "system": the daemon that has this board. */
const char *client_scope_name(const struct client *c, unsigned link);
/* More than one daemon: names may be there twice. */
bool client_has_two(const struct client *c);

struct client_hooks {
	/* See boards_take_signal. Both NULL: a board has gone. */
	void (*changed)(void *ctx, struct boards_board *b, struct boards_partition *p);
	void *ctx;
};
void client_listen(struct client *c, const struct client_hooks *hooks);

/* Runs the loop until client_stop, a signal (-ECANCELED), or the end of the last daemon
 * (CLIENT_NO_DAEMON). May be called again. */
must_check int client_run(struct client *c, struct error *err);
void client_stop(struct client *c);

/* A call to an object of this link, for the caller to fill and hand to client_send. */
must_check int client_call_new(struct client *c, unsigned link, const char *path,
	const char *interface, const char *method, sd_bus_message **out, struct error *err);

typedef void (*client_answer_fn)(
	void *ctx, int result, const struct error *err, sd_bus_message *reply);

struct client_call;

/* `answer` is told once, from client_run, unless the call is dropped before. There is no
 * limit of time, but a daemon that does not answer at all any more is given up. */
must_check int client_send(struct client *c, unsigned link, sd_bus_message *message,
	client_answer_fn answer, void *ctx, struct client_call **out, struct error *err);
void client_call_drop(struct client_call *call);

/* As cli_fail, with the exit code that fits the error. */
int client_fail(const struct cli_command *command, const struct error *err);
