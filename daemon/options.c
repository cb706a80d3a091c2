/* SPDX-License-Identifier: MIT */
#include "daemon/options.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

#define BOARD_USER "romount"

enum {
	OPT_USER = 256, OPT_SYSTEM, OPT_CONFIG, OPT_BOARD, OPT_MOUNT_ROOT, OPT_STATE,
	OPT_CHECK_CONFIG, OPT_NO_UDEV, OPT_BOARD_USER, OPT_VERSION,
};

static const struct option table[] = {
	{"user", no_argument, NULL, OPT_USER},
	{"system", no_argument, NULL, OPT_SYSTEM},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"board", required_argument, NULL, OPT_BOARD},
	{"mount-root", required_argument, NULL, OPT_MOUNT_ROOT},
	{"state", required_argument, NULL, OPT_STATE},
	{"check-config", no_argument, NULL, OPT_CHECK_CONFIG},
	{"no-udev", no_argument, NULL, OPT_NO_UDEV},
	{"board-user", required_argument, NULL, OPT_BOARD_USER},
	{"version", no_argument, NULL, OPT_VERSION},
	{"help", no_argument, NULL, 'h'},
	{0},
};

const char options_help[] =
	"usage: romountd [OPTION...]\n"
	"Shows the ROM partitions of plugged in MicroPython boards as folders.\n"
	"\n"
	"      --user               for one user, in ~/Boards (the default if not root)\n"
	"      --system             for the computer, in /media/romount (the default as root)\n"
	"      --config FILE        this configuration alone\n"
	"      --check-config       tell mistakes in the configuration, and end\n"
	"      --board tty=PATH|socket=HOST:PORT[,alias=NAME][,baud=N]\n"
	"                           a board that no rule knows; as often as wanted\n"
	"      --no-udev            boards of the configuration and of --board alone\n"
	"      --mount-root DIR     show boards below DIR\n"
	"      --state DIR          keep what is staged below DIR\n"
	"      --board-user NAME    as root: run boards' processes as NAME (romount)\n"
	"      --version            tell the version\n"
	"  -h, --help               this text\n";

static int add_board(struct options *o, const char *text, struct error *err)
{
	struct config_static *more;
	int r;

	if (o->n_boards == OPTIONS_BOARDS_MAX)
		return error_set(err, -EINVAL, "at most %u times --board", OPTIONS_BOARDS_MAX);
	more = reallocarray(o->boards, o->n_boards + 1, sizeof(*more));
	if (!more)
		return error_set(err, -ENOMEM, "out of memory");
	o->boards = more;
	r = config_parse_static(text, &o->boards[o->n_boards], err);
	o->n_boards += r == 0;
	return r;
}

static int take(struct options *o, int c, char **argv, struct error *err)
{
	switch (c) {
	case OPT_USER:
		o->user_mode = true;
		return 0;
	case OPT_SYSTEM:
		o->user_mode = false;
		return 0;
	case OPT_CONFIG:
		o->config = optarg;
		return 0;
	case OPT_BOARD:
		return add_board(o, optarg, err);
	case OPT_MOUNT_ROOT:
		o->mount_root = optarg;
		return 0;
	case OPT_STATE:
		o->state_root = optarg;
		return 0;
	case OPT_CHECK_CONFIG:
		o->check_config = true;
		return 0;
	case OPT_NO_UDEV:
		o->no_udev = true;
		return 0;
	case OPT_BOARD_USER:
		o->board_user = optarg;
		return 0;
	case OPT_VERSION:
		o->version = true;
		return 0;
	case 'h':
		o->help = true;
		return 0;
	case ':':
		return error_set(err, -EINVAL, "%s wants a value", argv[optind - 1]);
	default:
		return error_set(err, -EINVAL, "there is no option %s", argv[optind - 1]);
	}
}

int options_parse(int argc, char **argv, struct options *out, struct error *err)
{
	struct options o = {.user_mode = geteuid() != 0, .board_user = BOARD_USER};
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, ":h", table, NULL)) != -1)
		r = take(&o, c, argv, err);
	if (r == 0 && optind < argc)
		r = error_set(err, -EINVAL, "'%s' is one word too many", argv[optind]);
	if (r == 0 && !o.user_mode && geteuid() != 0 && !o.check_config)
		r = error_set(err, -EPERM, "--system is for root: try --user");
	if (r < 0)
		options_clear(&o);
	else
		*out = o;
	return r;
}

void options_clear(struct options *o)
{
	free(TAKE_PTR(o->boards));
}
