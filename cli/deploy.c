/* SPDX-License-Identifier: MIT */
/* `romount deploy` and `romount restore`: what a partition shall hold from now on. */
#include <getopt.h>
#include <string.h>

#include "cli/transfer.h"

#define ALIGNS_MAX 32u
enum { OPTION_EXACT = 2000 };

struct putting {
	struct transfer transfer;
	struct romfs_align aligns[ALIGNS_MAX];
};

static int add_align(struct putting *p, char *text)
{
	struct romfs_pack_options *pack = &p->transfer.pack;
	struct error err = {0};

	if (pack->n_aligns == ALIGNS_MAX)
		return cli_usage(p->transfer.command, "at most %u times --align", ALIGNS_MAX);
	pack->aligns = p->aligns;
	if (romfs_align_parse(text, &p->aligns[pack->n_aligns], &err) < 0)
		return cli_usage(p->transfer.command, "%s", err.text);
	pack->n_aligns++;
	return CLI_OK;
}

/* -1: all is said. */
static int parse(int argc, char **argv, struct putting *p, const struct option *options)
{
	struct transfer *t = &p->transfer;
	int c, r = CLI_OK;

	while (r == CLI_OK &&
		(c = getopt_long(argc, argv, ":a:y" CLIENT_LETTERS, options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(t->command), -1;
		if (c == 'y')
			t->yes = true;
		else if (c == OPTION_EXACT)
			t->exact = true;
		else if (c == 'a')
			r = add_align(p, optarg);
		else if (!client_take_option(&t->client, c, optarg))
			r = cli_bad_option(t->command, c, argv);
	}
	if (r != CLI_OK)
		return r;
	if (argc - optind < 1 || argc - optind > 2)
		return cli_usage(t->command, "it wants what to put there, and one board");
	t->path = argv[optind];
	t->word = argv[optind + 1];
	return CLI_OK;
}

static int cmd_deploy(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS,
		{"align", required_argument, NULL, 'a'},
		{"exact", no_argument, NULL, OPTION_EXACT},
		{"yes", no_argument, NULL, 'y'}, {0}};
	struct putting p = {.transfer.command = &cmd_deploy_command};
	int r = parse(argc, argv, &p, options);

	if (r != CLI_OK)
		return MAX(r, CLI_OK);
	if (p.transfer.pack.n_aligns && !p.transfer.exact)
		return cli_usage(&cmd_deploy_command,
			"--align goes with --exact; else romount.conf(5) tells what is aligned");
	p.transfer.pack.notes = !p.transfer.exact;
	p.transfer.yes = true; /* the folder follows DIR; that is what it is for */
	return transfer_put(&p.transfer);
}

static int cmd_restore(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS,
		{"exact", no_argument, NULL, OPTION_EXACT},
		{"yes", no_argument, NULL, 'y'}, {0}};
	struct putting p = {.transfer = {.command = &cmd_restore_command, .exact = true}};
	int r = parse(argc, argv, &p, options);

	if (r != CLI_OK)
		return MAX(r, CLI_OK);
	return transfer_put(&p.transfer);
}

const struct cli_command cmd_deploy_command = {
	.name = "deploy",
	.run = cmd_deploy,
	.synopsis = "[OPTION...] DIR|IMG [BOARD[:N]]",
	.summary = "makes a board's folder equal to a directory, or an image",
	.help =
		"Files that are no part of DIR, or of the image, are removed from the board; what\n"
		"is the same already is not written again. It ends when all is on flash and\n"
		"verified.\n"
		"\n"
		"Options:\n"
		"      --exact            flash holds the image byte for byte: that of IMG, or\n"
		"                         what 'romount build' and mpremote make of DIR\n"
		"  -a, --align=PATTERN=N  with --exact, as 'romount build' takes it\n"
		"  -y, --yes              accepted; it asks nothing\n" CLIENT_HELP,
};

const struct cli_command cmd_restore_command = {
	.name = "restore",
	.run = cmd_restore,
	.synopsis = "[OPTION...] IMG [BOARD[:N]]",
	.summary = "writes an image to a partition, byte for byte",
	.help =
		"For what 'romount save' has made. What the partition holds, and what waits to be\n"
		"written to it, is given up: you are asked before; without a terminal only --yes\n"
		"does it. IMG may be '-', standard input. A wholly blank one, as saved of a new\n"
		"partition, makes it blank again; other bytes that are no ROMFS are refused.\n"
		"\n"
		"Options:\n"
		"  -y, --yes              do not ask\n" CLIENT_HELP,
};
