/* SPDX-License-Identifier: MIT */
/* `romount doctor`: looks for what keeps boards from appearing, and says what to do. */
#include "cli/doctor.h"

#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cli/client.h"
#include "cli/json.h"
#include "cli/open.h"
#include "cli/ui.h"

#define PROBE_MS 2000

/* --- the place that we are at --- */

/* By a child, since a folder whose server hangs makes whoever looks at it wait. */
static int probe_mount(const char *path)
{
	struct pollfd wait = {.events = POLLIN};
	struct stat st;
	int status = 0, ended;
	pid_t pid = fork();

	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(stat(path, &st) == 0 ? 0 : errno & 0xff);
	wait.fd = pidfd_open(pid, 0);
	if (wait.fd < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, &status, 0);
		return -ENOSYS;
	}
	do
		ended = poll(&wait, 1, PROBE_MS);
	while (ended < 0 && errno == EINTR);
	if (ended <= 0)
		kill(pid, SIGKILL);
	close(wait.fd);
	waitpid(pid, &status, 0);
	if (ended <= 0)
		return -ETIMEDOUT;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -EIO;
}

static const char *user_name(void)
{
	const struct passwd *p = getpwuid(getuid());

	return p ? p->pw_name : "$USER";
}

/* --- what romountd and boards tell --- */

static const char *scopes(const struct client *c)
{
	if (client_has_two(c))
		return "the system's and your own";
	return strcmp(client_scope_name(c, 0), "system") == 0 ? "the system's" : "your own";
}

static void check_daemon(struct doctor_place *place, struct doctor_report *report)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct client_options o = {0};
	struct error err = {0};
	int r;

	r = client_open(&o, &c, &err);
	if (r < 0) {
		doctor_check_daemon(NULL, "",
			r == CLIENT_NO_DAEMON ? "romountd does not run" : err.text, report);
		return;
	}
	place->system_daemon =
		client_has_two(c) || strcmp(client_scope_name(c, 0), "system") == 0;
	doctor_check_daemon(client_boards(c), scopes(c), "", report);
}

/* Asks the board, which stops its program for a moment: only where somebody says so. */
static void ask_board(const char *port, struct doctor_report *report)
{
	_cleanup_(subject_closep) struct subject *s = NULL;
	const struct dev_board_info *board;
	struct error err = {0};

	if (subject_open(port, &s, &err) < 0) {
		doctor_check_board(port, -1, err.text, report);
		return;
	}
	board = subject_board(s);
	if (board)
		doctor_check_board(port, (int)board->n_partitions, "", report);
	else
		doctor_check_board(port, -1, "this is no port of a board", report);
}

/* --- telling it --- */

static const struct {
	const char *mark, *word;
	enum ui_style style;
} verdicts[] = {
	[DOCTOR_OK] = {"[ok]", "ok", UI_GOOD},
	[DOCTOR_NOTE] = {"[--]", "note", UI_DIM},
	[DOCTOR_BAD] = {"[!!]", "bad", UI_BAD},
};

static void print_text(const struct doctor_report *r)
{
	for (size_t i = 0; i < r->n; i++) {
		const struct doctor_finding *f = &r->list[i];

		ui_style(stdout, verdicts[f->verdict].style);
		fputs(verdicts[f->verdict].mark, stdout);
		ui_style(stdout, UI_PLAIN);
		printf(" %s\n", f->text);
		if (f->advice[0])
			printf("     %s\n", f->advice);
	}
}

static struct json_object *finding_json(const struct doctor_finding *f)
{
	struct json_object *o = json_object_new_object();

	return json_whole(o, o && json_put_string(o, "check", f->check) &&
				     json_put_string(o, "verdict", verdicts[f->verdict].word) &&
				     json_put_string(o, "text", f->text) &&
				     json_put_string(o, "advice", f->advice));
}

static int print_json(const struct doctor_report *r)
{
	struct json_object *doc = json_object_new_object(), *list = json_object_new_array();
	bool ok = doc && list && json_put_bool(doc, "ok", !doctor_is_bad(r));

	for (size_t i = 0; ok && i < r->n; i++)
		ok = json_append(list, finding_json(&r->list[i]));
	if (ok)
		ok = json_put(doc, "findings", list);
	else
		json_object_put(list);
	return json_print(doc, ok);
}

static int run(char **ports, bool as_json)
{
	struct doctor_place place = {.root = "", .path = getenv("PATH"), .user = user_name(),
		.is_root = geteuid() == 0, .probe_mount = probe_mount};
	struct doctor_report report = {0};
	struct error err = {0};
	bool bad;
	int r = 0;

	check_daemon(&place, &report);
	doctor_check_rules(&place, &report);
	doctor_check_ports(&place, &report);
	doctor_check_fuse(&place, &report);
	doctor_check_mounts(&place, &report);
	doctor_check_tools(&place, &report);
	for (; *ports; ports++)
		ask_board(*ports, &report);
	bad = doctor_is_bad(&report);
	if (as_json)
		r = print_json(&report);
	else
		print_text(&report);
	if (r < 0 || report.lost)
		r = error_set(&err, -ENOMEM, "out of memory");
	doctor_report_clear(&report);
	if (r < 0)
		return cli_fail(&cmd_doctor_command, &err);
	r = cli_finish(&cmd_doctor_command);
	return r == CLI_OK && bad ? CLI_FAILED : r;
}

static int cmd_doctor(int argc, char **argv)
{
	static const struct option options[] = {
		{"help", no_argument, NULL, 'h'}, {"json", no_argument, NULL, 'j'}, {0}};
	bool as_json = false;
	int c;

	while ((c = getopt_long(argc, argv, ":hj", options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_doctor_command);
		if (c != 'j')
			return cli_bad_option(&cmd_doctor_command, c, argv);
		as_json = true;
	}
	return run(argv + optind, as_json);
}

const struct cli_command cmd_doctor_command = {
	.name = "doctor",
	.run = cmd_doctor,
	.synopsis = "[--json] [PORT...]",
	.summary = "finds what keeps boards from appearing, and says what to do",
	.help =
		"Lines with [ok] are fine, [--] is worth knowing, [!!] is wrong, and then the\n"
		"exit code is 1. Boards are not disturbed; only those at a PORT that is named are\n"
		"asked what they have, which stops their program for a moment.\n"
		"\n"
		"Options:\n"
		"  -j, --json             as JSON, for programs\n"
		"  -h, --help             this text\n",
};
