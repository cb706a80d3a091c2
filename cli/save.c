/* SPDX-License-Identifier: MIT */
/* `romount save`: a partition's bytes as flash holds them, in a file. */
#include <errno.h>
#include <getopt.h>
#include <json-c/json.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/flashmap.h"
#include "cli/json.h"
#include "cli/operate.h"
#include "cli/output.h"
#include "cli/remote.h"
#include "cli/transfer.h"
#include "cli/ui.h"
#include "util/io.h"

static int check_path(const char *path, struct error *err)
{
	struct stat st;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s is not a regular file; name another", path);
	return 0;
}

static int save_there(const struct transfer *t, int fd, struct error *err)
{
	const char *words[] = {"save", "--", t->word ? t->word : "-", "-", NULL};
	int r;

	if (!t->word)
		words[3] = NULL;
	r = remote_run(t->client.host, words, -1, fd, err);
	/* What went wrong there was told there. */
	return r > 0 ? error_set(err, -EIO, "it has failed on %s", t->client.host) : r;
}

static int save_here(const struct transfer *t, int fd, char *name, size_t cap, struct error *err)
{
	_cleanup_(client_freep) struct client *c = NULL;
	struct order o = {0};
	struct pick p;
	int r = client_open(&t->client, &c, err);

	if (r == 0)
		r = pick_partition(c, t->word, &p, err);
	if (r == 0)
		r = order_partition(c, p.partition, "Save", &o, err);
	if (r == 0 && (r = sd_bus_message_append(o.message, "h", fd)) < 0)
		error_set(err, r, "cannot hand the file to romountd: %s", strerror(-r));
	if (r >= 0)
		r = orders_run(c, &o, 1, err);
	snprintf(name, cap, "%s", o.name);
	order_done(&o);
	return r;
}

static int copy_out(int fd, struct error *err)
{
	char buf[65536];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(fd, buf, sizeof(buf), at)) > 0) {
		int r = io_write_full(STDOUT_FILENO, buf, (size_t)n);

		if (r < 0)
			return error_set(err, r, "cannot write the output: %s", strerror(-r));
		at += n;
	}
	return n < 0 ? error_set(err, -errno, "cannot read the image: %s", strerror(errno)) : 0;
}

static void print_saved(const struct transfer *t, const char *name, uint64_t size,
	enum romfs_status status)
{
	_cleanup_free_ char *shown = ui_escape(t->path, strlen(t->path));

	printf("%s: %s, from %s\n", shown ? shown : "?", UI_SIZE(size),
		*name ? name : t->client.host);
	if (status == ROMFS_BLANK)
		puts("There is no file system in it: it begins blank. Where all of it is, 'romount "
		     "restore' makes a partition blank with it.");
	else if (status != ROMFS_VALID)
		printf("There is no file system in it (%s), and 'romount restore' does not take "
		       "it.\n",
			flashmap_status_name(status));
}

static int print_json(const struct transfer *t, const char *name, uint64_t size,
	enum romfs_status status, struct error *err)
{
	struct json_object *doc = json_object_new_object();
	bool ok = json_put_text(doc, "file", t->path) && json_put_number(doc, "size", size) &&
		  json_put_string(doc, "status", flashmap_status_name(status)) &&
		  (!*name || json_put_string(doc, "from", name));

	return json_print(doc, ok) < 0 ? error_set(err, -ENOMEM, "out of memory") : 0;
}

static int report(const struct transfer *t, const char *name, int fd, struct error *err)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	struct romfs_source source;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		return error_set(err, -errno, "%s: %s", t->path, strerror(errno));
	source = romfs_source_fd(&fd, (uint64_t)st.st_size);
	r = romfs_parse(&source, &image, err);
	if (r < 0)
		return error_prefix(err, r, "%s", t->path);
	if (t->client.json)
		return print_json(t, name, source.size, image->status, err);
	print_saved(t, name, source.size, image->status);
	return 0;
}

static int save(const struct transfer *t, struct error *err)
{
	bool to_stdout = !strcmp(t->path, "-");
	struct output output = {0};
	char name[160] = "";
	int fd, r = to_stdout ? output_memory(&output, err) : check_path(t->path, err);

	if (r == 0 && !to_stdout)
		r = output_open(&output, t->path, err);
	if (r < 0)
		return r;
	fd = fileno(output.file);
	r = t->client.host ? save_there(t, fd, err) : save_here(t, fd, name, sizeof(name), err);
	if (r == 0)
		r = to_stdout ? copy_out(fd, err) : output_commit(&output, err);
	if (r == 0 && !to_stdout)
		r = report(t, name, fd, err);
	output_drop(&output);
	return r;
}

static int cmd_save(int argc, char **argv)
{
	static const struct option options[] = {CLIENT_OPTIONS, {0}};
	struct transfer t = {.command = &cmd_save_command};
	struct error err = {0};
	int c, n;

	while ((c = getopt_long(argc, argv, ":" CLIENT_LETTERS, options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_save_command);
		if (!client_take_option(&t.client, c, optarg))
			return cli_bad_option(&cmd_save_command, c, argv);
	}
	n = argc - optind;
	if (n < 1 || n > 2)
		return cli_usage(&cmd_save_command, "it wants a board, and the file to be made");
	t.word = n == 2 ? argv[optind] : NULL;
	t.path = argv[argc - 1];
	return save(&t, &err) < 0 ? client_fail(&cmd_save_command, &err)
				  : cli_finish(&cmd_save_command);
}

const struct cli_command cmd_save_command = {
	.name = "save",
	.run = cmd_save,
	.synopsis = "[OPTION...] [BOARD[:N]] FILE",
	.summary = "copies a partition's bytes into an image file",
	.help =
		"The whole partition as flash holds it, for 'romount restore', 'info', 'ls' and\n"
		"'mount'. FILE appears when it is whole; '-' is standard output. Where flash\n"
		"holds no file system, its bytes are saved all the same, and that is said.\n"
		"\n"
		"Options:\n" CLIENT_HELP,
};
