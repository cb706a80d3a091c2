/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/hosttree.h"
#include "cli/output.h"
#include "cli/ui.h"

struct build {
	const char *dir;
	char *image;
	struct romfs_pack_options options;
	struct romfs_align *aligns;
};

/* --- the command -------------------------------------------------------------------- */

/* "DIR.romfs", without slashes at the end of DIR. */
static char *default_image(const char *dir)
{
	size_t len = strlen(dir);
	char *image;

	while (len > 1 && dir[len - 1] == '/')
		len--;
	return asprintf(&image, "%.*s.romfs", (int)len, dir) < 0 ? NULL : image;
}

static bool has_own_name(const char *dir)
{
	size_t len = strlen(dir);
	const char *base;

	while (len && dir[len - 1] == '/')
		len--;
	base = memrchr(dir, '/', len);
	base = base ? base + 1 : dir;
	len -= (size_t)(base - dir);
	return len && !(len == 1 && base[0] == '.') &&
	       !(len == 2 && !memcmp(base, "..", 2));
}

static void count_entries(const struct romfs_tree *tree, uint32_t *files, uint32_t *dirs)
{
	uint32_t i;

	*files = *dirs = 0;
	for (i = ROMFS_ROOT + 1; i < romfs_tree_count(tree); i++)
		++*(romfs_tree_node(tree, i)->type == ROMFS_DIR ? dirs : files);
}

static int report(const char *image, const struct romfs_tree *tree, uint64_t size)
{
	_cleanup_free_ char *name = ui_escape(image, strlen(image));
	uint32_t files, dirs;

	count_entries(tree, &files, &dirs);
	printf("%s: %" PRIu64 " bytes, %u file%s", name ? name : "image", size, files,
		files == 1 ? "" : "s");
	if (dirs)
		printf(" in %u folder%s", dirs, dirs == 1 ? "" : "s");
	puts("");
	return cli_finish(&cmd_build_command);
}

static int pack(const struct build *b, struct hosttree *tree, struct error *err)
{
	struct output output;
	uint64_t size;
	int r = output_open(&output, b->image, err);

	if (r < 0)
		return r;
	r = romfs_pack(tree->tree, &b->options, hosttree_content, tree, output_write,
		&output, &size, err);
	if (r == 0)
		r = output_commit(&output, err);
	output_drop(&output);
	if (r < 0)
		return error_prefix(err, r, "%s not written", b->image);
	return report(b->image, tree->tree, size);
}

static int build(const struct build *b)
{
	struct hosttree tree;
	struct error err = {0};
	struct stat st = {0};
	int r;

	if (stat(b->image, &st) == 0 && !S_ISREG(st.st_mode)) {
		error_set(&err, -EINVAL, "%s is not a regular file; name another with -o",
			b->image);
		return cli_fail(&cmd_build_command, &err);
	}
	r = hosttree_open(b->dir, st.st_dev, st.st_ino, &tree, &err);
	if (r < 0)
		return cli_fail(&cmd_build_command, &err);
	r = pack(b, &tree, &err);
	hosttree_close(&tree);
	return r < 0 ? cli_fail(&cmd_build_command, &err) : r;
}

static int add_align(struct build *b, char *text, struct error *err)
{
	struct romfs_align *more =
		reallocarray(b->aligns, b->options.n_aligns + 1, sizeof(*more));
	int r;

	if (!more)
		return error_set(err, -ENOMEM, "out of memory");
	b->aligns = more;
	b->options.aligns = more;
	r = romfs_align_parse(text, &more[b->options.n_aligns], err);
	if (r == 0)
		b->options.n_aligns++;
	return r;
}

/* CLI_OK when there is something to build; -1 when all is said (the help was printed). */
static int parse(int argc, char **argv, struct build *b)
{
	static const struct option options[] = {
		{"align", required_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},
		{"mtime", no_argument, NULL, 't'},
		{"output", required_argument, NULL, 'o'},
		{0},
	};
	struct error err = {0};
	int c;

	while ((c = getopt_long(argc, argv, ":a:ho:", options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_build_command), -1;
		else if (c == 't')
			b->options.notes = true;
		else if (c == 'o')
			free(b->image), b->image = strdup(optarg);
		else if (c != 'a')
			return cli_bad_option(&cmd_build_command, c, argv);
		else if (add_align(b, optarg, &err) < 0)
			return cli_usage(&cmd_build_command, "%s", err.text);
	}
	if (optind + 1 != argc)
		return cli_usage(&cmd_build_command,
			optind < argc ? "one directory at a time" : "which directory?");
	b->dir = argv[optind];
	if (!b->image && !has_own_name(b->dir))
		return cli_usage(&cmd_build_command,
			"%s gives the image no name; say -o IMG", b->dir);
	if (!b->image)
		b->image = default_image(b->dir);
	return CLI_OK;
}

static int cmd_build(int argc, char **argv)
{
	struct build b = {0};
	int r = parse(argc, argv, &b);

	if (r == CLI_OK)
		r = build(&b);
	free(b.image);
	free(b.aligns);
	return r < 0 ? CLI_OK : r;
}

const struct cli_command cmd_build_command = {
	.name = "build",
	.run = cmd_build,
	.synopsis = "DIR [-o IMG] [--align PATTERN=N]...",
	.summary = "packs a directory into a ROMFS image file",
	.help =
		"  -o, --output=IMG       the image file (default: DIR.romfs)\n"
		"  -a, --align=PATTERN=N  place files of that name at multiples of N bytes, for\n"
		"                         example '*.tflite=16'; the first match counts\n"
		"      --mtime            keep modification times, as the folder does\n"
		"\n"
		"Without options the image is byte for byte what 'mpremote romfs build --no-mpy'\n"
		"writes. Symbolic links are followed. The image appears when it is whole.\n",
};
