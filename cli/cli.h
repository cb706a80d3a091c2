/* SPDX-License-Identifier: MIT */
/* The subcommands of romount, and how every one of them speaks.
 *
 * A command gets its own argv (argv[0] is its name) and returns one of the exit codes. It
 * prints results to stdout, and what went wrong, once, to stderr. */
#pragma once

#include "util/error.h"

enum cli_exit {
	CLI_OK = 0,
	CLI_FAILED = 1, /* it was tried, and failed: stderr says why */
	CLI_USAGE = 2,	/* the command line makes no sense */
	CLI_NO_DAEMON = 3, /* romountd does not run, or ended meanwhile */
	CLI_NO_BOARD = 4,  /* it knows no such board or partition, or the board is away */
	CLI_BUSY = 5,	   /* something else has the board, or it took too long */
};

struct cli_command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *synopsis; /* what follows the name in a usage line */
	const char *summary;  /* one line, for the list of commands */
	const char *help;     /* the options and what to know, many lines */
};

extern const struct cli_command cmd_attach_command;
extern const struct cli_command cmd_build_command;
extern const struct cli_command cmd_compact_command;
extern const struct cli_command cmd_deploy_command;
extern const struct cli_command cmd_eject_command;
extern const struct cli_command cmd_doctor_command;
extern const struct cli_command cmd_extract_command;
extern const struct cli_command cmd_format_command;
extern const struct cli_command cmd_info_command;
extern const struct cli_command cmd_layout_command;
extern const struct cli_command cmd_list_command;
extern const struct cli_command cmd_ls_command;
extern const struct cli_command cmd_mount_command;
extern const struct cli_command cmd_release_command;
extern const struct cli_command cmd_restore_command;
extern const struct cli_command cmd_save_command;
extern const struct cli_command cmd_sync_command;
extern const struct cli_command cmd_verify_command;
extern const struct cli_command cmd_watch_command;

int cmd_mount(int argc, char **argv);

/* Prints the command's help to stdout; CLI_OK. */
int cli_help(const struct cli_command *command);
/* "romount NAME: why", how to call it, to stderr; CLI_USAGE. */
int cli_usage(const struct cli_command *command, const char *why, ...) format_like(2, 3);
/* The same for what getopt_long made '?' or ':' of. Option strings begin with ':'. */
int cli_bad_option(const struct cli_command *command, int c, char **argv);
/* "romount NAME: text" to stderr; CLI_FAILED. */
int cli_fail(const struct cli_command *command, const struct error *err);

/* Flushes stdout: CLI_OK, or CLI_FAILED with a message, since a full disk or a closed
 * pipe is noticed only then. */
int cli_finish(const struct cli_command *command);
