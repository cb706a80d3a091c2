/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include "cli/cli.h"
#include "util/text.h"

static const struct cli_command *const commands[] = {
	&cmd_mount_command,
	&cmd_info_command,
	&cmd_ls_command,
	&cmd_build_command,
	&cmd_extract_command,
	&cmd_format_command,
	&cmd_compact_command,
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
	size_t i;

	fputs("Usage: romount COMMAND [OPTION...] [ARGUMENT...]\n\n"
	      "Shows the ROM partitions of MicroPython boards as folders.\n\n"
	      "Commands:\n",
		to);
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		fprintf(to, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	fputs("\n"
	      "  romount COMMAND --help  tells about one of them\n"
	      "  romount --version       prints the version\n\n"
	      "romount(1) has everything, with examples.\n",
		to);
	return fflush(to) == 0 ? CLI_OK : CLI_FAILED;
}

/* Edits (a letter more, less, other, or two swapped) from one word to the other: enough to
 * tell a slip of the finger. Words longer than commands are never near. */
static size_t distance(const char *a, const char *b)
{
	size_t row[3][20], la = strlen(a), lb = strlen(b), i, j;

	if (la >= ARRAY_SIZE(row[0]) || lb >= ARRAY_SIZE(row[0]))
		return SIZE_MAX;
	for (j = 0; j <= lb; j++)
		row[0][j] = j;
	for (i = 1; i <= la; i++) {
		size_t *now = row[i % 3], *last = row[(i - 1) % 3];

		now[0] = i;
		for (j = 1; j <= lb; j++) {
			now[j] = MIN(last[j - 1] + (a[i - 1] != b[j - 1]),
				MIN(last[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
				a[i - 2] == b[j - 1])
				now[j] = MIN(now[j], row[(i - 2) % 3][j - 2] + 1);
		}
	}
	return row[la % 3][lb];
}

static int unknown_command(const char *word)
{
	const char *near = NULL;
	size_t best = 3, i;
	char text[200];

	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		size_t d = distance(word, commands[i]->name);

		if (d < best)
			best = d, near = commands[i]->name;
	}
	snprintf(text, sizeof(text), "%s", word);
	text_make_printable(text);
	fprintf(stderr, "romount: there is no command '%s'", text);
	if (near)
		fprintf(stderr, "; did you mean '%s'?\n", near);
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
		if (strcmp(word, commands[i]->name) != 0)
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
