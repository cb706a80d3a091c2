/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/nearword.h"
#include "util/text.h"

/* In the order in which they are listed; NULL ends a group. */
static const struct cli_command *const commands[] = {
	&cmd_list_command,
	&cmd_info_command,
	&cmd_watch_command,
	&cmd_sync_command,
	&cmd_eject_command,
	&cmd_attach_command,
	&cmd_release_command,
	&cmd_doctor_command,
	NULL,
	&cmd_deploy_command,
	&cmd_layout_command,
	&cmd_verify_command,
	&cmd_save_command,
	&cmd_restore_command,
	&cmd_format_command,
	&cmd_compact_command,
	NULL,
	&cmd_mount_command,
	&cmd_ls_command,
	&cmd_build_command,
	&cmd_extract_command,
};

static const char *const groups[] = {
	"Boards:",
	"Partitions:",
	"Without romountd:",
};

int cli_help(const struct cli_command *command)
{
	printf("Usage: romount %s %s\n\n%s\n\n%s", command->name, command->synopsis,
		command->summary, command->help);
	return cli_finish(command);
}

int cli_usage(const struct cli_command *command, const char *why, ...)
{
	char text[480];
	va_list ap;

	va_start(ap, why);
	vsnprintf(text, sizeof(text), why, ap);
	va_end(ap);
	text_make_printable(text);
	fprintf(stderr,
		"romount %s: %s\n"
		"Usage: romount %s %s\n"
		"Try 'romount %s --help'.\n",
		command->name, text, command->name, command->synopsis, command->name);
	return CLI_USAGE;
}

int cli_bad_option(const struct cli_command *command, int c, char **argv)
{
	const char *word = argv[optind - 1];

	if (c == ':')
		return cli_usage(command, "%s wants a value", word);
	if (optopt && strncmp(word, "--", 2) != 0)
		return cli_usage(command, "there is no option -%c", optopt);
	return cli_usage(command, "%s makes no sense here", word);
}

int cli_fail(const struct cli_command *command, const struct error *err)
{
	fprintf(stderr, "romount %s: %s\n", command->name, err->text);
	return CLI_FAILED;
}

int cli_finish(const struct cli_command *command)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return CLI_OK;
	fprintf(stderr, "romount %s: cannot write the output: %s\n", command->name,
		strerror(errno));
	return CLI_FAILED;
}

/* --- the program itself ------------------------------------------------------------- */

static int print_help(FILE *to)
{
	size_t group = 0;

	fprintf(to,
		"Usage: romount COMMAND [OPTION...] [ARGUMENT...]\n\n"
		"Shows the ROM partitions of MicroPython boards as folders.\n\n%s\n",
		groups[0]);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (commands[i])
			fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
		else
			fprintf(to, "\n%s\n", groups[++group]);
	}
	fputs("\n"
	      "  romount COMMAND --help  tells about one of them\n"
	      "  romount --version       prints the version\n\n"
	      "romount(1) has everything, with examples.\n",
		to);
	return fflush(to) == 0 ? CLI_OK : CLI_FAILED;
}

static int unknown_command(const char *word)
{
	struct nearword near = {.word = word};
	char text[200];

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i])
			nearword_try(&near, commands[i]->name);
	snprintf(text, sizeof(text), "%s", word);
	text_make_printable(text);
	fprintf(stderr, "romount: there is no command '%s'", text);
	if (near.best)
		fprintf(stderr, "; did you mean '%s'?\n", near.best);
	else
		fputs("\n", stderr);
	fputs("Try 'romount --help'.\n", stderr);
	return CLI_USAGE;
}

int main(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : NULL;
	size_t i;

	setlocale(LC_CTYPE, "");
	opterr = 0; /* cli_bad_option speaks */
	if (!word) {
		print_help(stderr);
		return CLI_USAGE;
	}
	if (!strcmp(word, "--version") || !strcmp(word, "-V")) {
		puts(PACKAGE_STRING);
		return fflush(stdout) == 0 ? CLI_OK : CLI_FAILED;
	}
	if (!strcmp(word, "--help") || !strcmp(word, "-h"))
		return print_help(stdout);
	if (!strcmp(word, "help") && argc == 2)
		return print_help(stdout);
	if (!strcmp(word, "help"))
		word = argv[2];
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!commands[i] || strcmp(word, commands[i]->name) != 0)
			continue;
		if (word == argv[2])
			return cli_help(commands[i]);
		return commands[i]->run(argc - 1, argv + 1);
	}
	if (word[0] == '-') {
		fprintf(stderr, "romount: the first word must be a command\n"
				"Try 'romount --help'.\n");
		return CLI_USAGE;
	}
	return unknown_command(word);
}
