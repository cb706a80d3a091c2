/* SPDX-License-Identifier: MIT */
/* `romount mount`: starts the data plane, in the background unless told otherwise. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>

#include "cli/cli.h"
#include "cli/open.h"
#include "cli/target.h"
#include "fuse/plane.h"
#include "util/io.h"

#define ALIGNS_MAX 32u
#define QUIET_MS 1000u
#define IDLE_MS 10000u
#define BUSY_WAIT_MS 10000u

struct mounting {
	struct plane_options plane;
	struct romfs_pack_options pack;
	struct romfs_align aligns[ALIGNS_MAX];
	struct log_sink log;
	char *target, *mountpoint, *state_dir; /* absolute: the background has no folder */
	bool foreground;
	int report_fd; /* to the process in front; -1 in the foreground */
};

enum { OPT_STATE = 256, OPT_QUIET, OPT_IDLE, OPT_ALIGN, OPT_SIZE, OPT_BAUD, OPT_ID, OPT_ASK };

static const struct option options[] = {
	{"partition", required_argument, NULL, 'p'},
	{"foreground", no_argument, NULL, 'f'},
	{"state", required_argument, NULL, OPT_STATE},
	{"quiet", required_argument, NULL, OPT_QUIET},
	{"idle", required_argument, NULL, OPT_IDLE},
	{"align", required_argument, NULL, OPT_ALIGN},
	{"size", required_argument, NULL, OPT_SIZE},
	{"baud", required_argument, NULL, OPT_BAUD},
	{"id", required_argument, NULL, OPT_ID},
	{"ask", no_argument, NULL, OPT_ASK},
	{"help", no_argument, NULL, 'h'},
	{0},
};

/* --- the two ends of the start ------------------------------------------------------ */

static void log_to_stderr(void *data, int level, const char *text)
{
	(void)data;
	if (level <= LOG_INFO)
		fprintf(stderr, "romount: %s\n", text);
}

static void log_to_syslog(void *data, int level, const char *text)
{
	const struct mounting *m = data;

	syslog(level, "%s: %s", m->mountpoint, text);
}

/* From here on nobody sits in front of this process. */
static void leave_terminal(struct mounting *m)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null >= 0) {
		(void)!dup2(null, STDIN_FILENO);
		(void)!dup2(null, STDOUT_FILENO);
		(void)!dup2(null, STDERR_FILENO);
		close(null);
	}
	openlog("romount", LOG_PID, LOG_USER);
	m->log.write = log_to_syslog;
	m->log.data = m;
}

/* One byte for the result, then what to tell the user. */
static int on_ready(void *ctx, int result, const char *text)
{
	struct mounting *m = ctx;
	char code = result < 0;
	int r;

	if (m->report_fd < 0) {
		if (text[0])
			fprintf(stderr, result < 0 ? "romount mount: %s\n" : "%s", text);
		return 0;
	}
	leave_terminal(m);
	r = io_write_full(m->report_fd, &code, 1);
	if (r == 0)
		r = io_write_full(m->report_fd, text, strlen(text));
	close(m->report_fd);
	m->report_fd = -1;
	return r;
}

/* Waits for what on_ready says, or for the background's death. */
static int hear(int fd)
{
	char text[2048];
	size_t used = 0;
	ssize_t n;

	while (used < sizeof(text) - 1 &&
		((n = read(fd, text + used, sizeof(text) - 1 - used)) > 0 ||
			(n < 0 && errno == EINTR)))
		used += n > 0 ? (size_t)n : 0;
	text[used] = '\0';
	if (used == 0) {
		fputs("romount mount: the background process died; try again with -f\n", stderr);
		return CLI_FAILED;
	}
	if (text[0] == 0) {
		fputs(text + 1, stderr);
		return CLI_OK;
	}
	fprintf(stderr, "romount mount: %s\n", text + 1);
	return CLI_FAILED;
}

static int run(struct mounting *m)
{
	int r;

	/* The terminal, or the process in front, may go away while we talk to a board. */
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		return CLI_FAILED;
	m->plane.ready = on_ready;
	m->plane.hangup_fd = m->report_fd;
	m->plane.ctx = m;
	m->plane.attach.flash.log = &m->log;
	r = plane_run(&m->plane);
	return r < 0 ? CLI_FAILED : CLI_OK;
}

static int run_in_background(struct mounting *m)
{
	int ends[2], r;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0) {
		perror("romount mount");
		return CLI_FAILED;
	}
	pid = fork();
	if (pid < 0) {
		perror("romount mount");
		return CLI_FAILED;
	}
	if (pid > 0) {
		close(ends[1]);
		r = hear(ends[0]);
		close(ends[0]);
		return r;
	}
	close(ends[0]);
	m->report_fd = ends[1];
	if (setsid() < 0 || chdir("/") < 0) {
		(void)on_ready(m, -errno, strerror(errno));
		return CLI_FAILED;
	}
	return run(m);
}

/* --- the command line ---------------------------------------------------------------- */

static int add_align(struct mounting *m, char *text, struct error *err)
{
	int r;

	if (m->pack.n_aligns == ALIGNS_MAX)
		return error_set(err, -E2BIG, "at most %u times --align", ALIGNS_MAX);
	r = romfs_align_parse(text, &m->aligns[m->pack.n_aligns], err);
	m->pack.n_aligns += r == 0;
	return r;
}

/* CLI_OK, or the exit code; *done where nothing is left to do. */
static int take_option(struct mounting *m, int c, char **argv, bool *done)
{
	struct flash_options *flash = &m->plane.attach.flash;
	unsigned long n = 0;
	struct error err = {0};
	int r = 0;

	switch (c) {
	case 'p':
		r = subject_parse_number(optarg, &flash->partition);
		break;
	case 'f':
		m->foreground = true;
		break;
	case OPT_STATE:
		free(m->state_dir);
		r = target_absolute(optarg, &m->state_dir);
		break;
	case OPT_QUIET:
		r = target_parse_number(optarg, 3600000, &n);
		m->plane.quiet_ms = (unsigned)n;
		break;
	case OPT_IDLE:
		if (strcmp(optarg, "never") != 0)
			r = target_parse_number(optarg, 86400, &n);
		m->plane.idle_ms = (unsigned)n * 1000;
		break;
	case OPT_ALIGN:
		r = add_align(m, optarg, &err);
		break;
	case OPT_SIZE:
		r = target_parse_number(optarg, ROMFS_SIZE_MAX, &n);
		flash->image_size = n;
		break;
	case OPT_BAUD:
		r = target_parse_number(optarg, 4000000, &n);
		m->plane.baud = (unsigned)n;
		break;
	case OPT_ID:
		m->plane.attach.id = optarg;
		break;
	case OPT_ASK:
		m->plane.attach.ask = true;
		break;
	case 'h':
		*done = true;
		return cli_help(&cmd_mount_command);
	default:
		return cli_bad_option(&cmd_mount_command, c, argv);
	}
	if (r == 0)
		return CLI_OK;
	return cli_usage(&cmd_mount_command, "%s: %s", optarg,
		err.text[0] ? err.text : "this number makes no sense here");
}

static int resolve(struct mounting *m, char **argv, struct error *err)
{
	bool is_image;
	int r = target_find(argv[0], &m->target, &is_image, err);

	if (r < 0)
		return r;
	if (is_image)
		m->plane.attach.flash.path = m->target;
	else
		m->plane.port = m->target;
	m->mountpoint = realpath(argv[1], NULL);
	if (!m->mountpoint)
		return error_set(err, -errno, "folder %s: %s", argv[1],
			errno == ENOTCONN ? "a mount whose program has died; "
					    "'fusermount3 -u' it first"
					  : strerror(errno));
	return 0;
}

int cmd_mount(int argc, char **argv)
{
	struct mounting m = {
		.plane.quiet_ms = QUIET_MS,
		.plane.idle_ms = IDLE_MS,
		.plane.attach.flash.busy_wait_ms = BUSY_WAIT_MS,
		.log = {.write = log_to_stderr},
		.report_fd = -1,
	};
	struct error err = {0};
	bool done = false;
	int c, r;

	m.pack.aligns = m.aligns;
	m.pack.notes = true;
	while ((c = getopt_long(argc, argv, ":p:fh", options, NULL)) != -1) {
		r = take_option(&m, c, argv, &done);
		if (r != CLI_OK || done)
			return r;
	}
	if (argc - optind != 2)
		return cli_usage(&cmd_mount_command, "it wants a port or image, and a folder");
	r = resolve(&m, argv + optind, &err);
	if (r < 0) {
		r = cli_fail(&cmd_mount_command, &err);
	} else {
		m.plane.attach.pack = &m.pack;
		m.plane.attach.state_dir = m.state_dir;
		m.plane.mountpoint = m.mountpoint;
		r = m.foreground ? run(&m) : run_in_background(&m);
	}
	free(m.target);
	free(m.mountpoint);
	free(m.state_dir);
	return r;
}

const struct cli_command cmd_mount_command = {
	.name = "mount",
	.run = cmd_mount,
	.synopsis = "[OPTION...] PORT|IMAGE DIR",
	.summary = "shows a partition of a board, or an image file, as a folder",
	.help =
		"The command returns when the folder is there, and goes on in the background\n"
		"until the folder is unmounted: fusermount3 -u DIR\n"
		"\n"
		"What you save is safe on this computer when close() returns, and goes to flash\n"
		"when the folder has been quiet for a second. 'sync FILE' or 'sync DIR' waits\n"
		"until all of it is on flash and verified. A plain 'sync' does not.\n"
		"\n"
		"Options:\n"
		"  -p, --partition N       partition N of the board (default 0)\n"
		"  -f, --foreground        stay in the foreground, log to the terminal\n"
		"      --state DIR         keep staged files below DIR\n"
		"      --quiet MS          write flash after MS milliseconds without a change\n"
		"      --idle SECONDS      erase what is not used any more after SECONDS without\n"
		"                          a change (default 10), or 'never'\n"
		"      --align PATTERN=N   align the data of files like PATTERN to N bytes\n"
		"      --size N            an image file may grow to N bytes (as 512k, 2M)\n"
		"      --baud N            speed of a real serial line (default 115200)\n"
		"      --id NAME           this port's board is NAME, known from an earlier mount\n"
		"      --ask               ask the board what it holds before showing anything\n"
		"  -h, --help              this text\n",
};
