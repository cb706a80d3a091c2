/* SPDX-License-Identifier: MIT */
/* Nothing in an image may reach outside of the target directory: the parser takes no name
 * that is a path, and here every step is made relative to a descriptor and follows no
 * link, so that neither the image nor somebody else at work there can lead elsewhere. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/open.h"
#include "cli/ui.h"
#include "libromfs/parse.h"
#include "util/io.h"

#define COPY_CHUNK (64u * 1024)

struct extract {
	const char *from, *dir;
	unsigned partition;
	bool force;
	struct romfs_source source;
	const struct romfs_tree *tree;
	struct error *err;
	uint32_t files;
	uint64_t bytes;
	uint8_t *buf; /* COPY_CHUNK bytes */
};

static int entry_error(const struct extract *x, uint32_t index, int code, const char *why)
{
	size_t len = romfs_tree_path(x->tree, index, NULL, 0);
	_cleanup_free_ char *path = malloc(len + 1);

	if (!path)
		return error_set(x->err, -ENOMEM, "out of memory");
	romfs_tree_path(x->tree, index, path, len + 1);
	return error_set(x->err, code, "%s/%s: %s", x->dir, path, why);
}

static int set_mtime(int fd, int64_t ns)
{
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}};

	if (ns == ROMFS_NO_MTIME)
		return 0;
	times[1].tv_sec = (time_t)(ns / 1000000000);
	times[1].tv_nsec = (long)(ns % 1000000000);
	if (times[1].tv_nsec < 0)
		times[1].tv_sec--, times[1].tv_nsec += 1000000000;
	return futimens(fd, times) < 0 ? -errno : 0;
}

static int create_file(struct extract *x, int dirfd, uint32_t index)
{
	const char *name = romfs_tree_name(x->tree, index);
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(dirfd, name, flags, 0666);

	if (fd < 0 && errno == EEXIST && x->force) {
		if (unlinkat(dirfd, name, 0) < 0)
			return entry_error(x, index, -errno, strerror(errno));
		fd = openat(dirfd, name, flags, 0666);
	}
	if (fd < 0 && errno == EEXIST)
		return entry_error(x, index, -EEXIST, "it exists; -f replaces it");
	return fd < 0 ? entry_error(x, index, -errno, strerror(errno)) : fd;
}

static int copy_bytes(struct extract *x, int fd, uint32_t index)
{
	const struct romfs_node *node = romfs_tree_node(x->tree, index);
	uint64_t done = 0;
	int r;

	while (done < node->size) {
		size_t n = (size_t)MIN(COPY_CHUNK, node->size - done);

		r = x->source.read(
			x->source.ctx, node->data_off + done, x->buf, n, x->err);
		if (r < 0)
			return r;
		r = io_write_full(fd, x->buf, n);
		if (r < 0)
			return entry_error(x, index, r, strerror(-r));
		done += n;
	}
	r = set_mtime(fd, node->mtime_ns);
	return r < 0 ? entry_error(x, index, r, strerror(-r)) : 0;
}

/* Half a file is worse than none: it looks like a whole one. */
static int copy_file(struct extract *x, int dirfd, uint32_t index)
{
	_cleanup_close_ int fd = create_file(x, dirfd, index);
	int r = fd < 0 ? fd : copy_bytes(x, fd, index);

	if (fd >= 0 && r < 0)
		(void)!unlinkat(dirfd, romfs_tree_name(x->tree, index), 0);
	if (r < 0)
		return r;
	x->files++;
	x->bytes += romfs_tree_node(x->tree, index)->size;
	return 0;
}

/* An existing directory is used as it is; anything else of that name is in the way. */
static int make_directory(struct extract *x, int dirfd, uint32_t index)
{
	const char *name = romfs_tree_name(x->tree, index);
	int fd;

	if (mkdirat(dirfd, name, 0777) < 0 && errno != EEXIST)
		return entry_error(x, index, -errno, strerror(errno));
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
		return entry_error(x, index, -ENOTDIR,
			"it exists and is no directory; take it away, or extract elsewhere");
	return fd < 0 ? entry_error(x, index, -errno, strerror(errno)) : fd;
}

/* Recursion ends at ROMFS_DEPTH_MAX: no tree is deeper. */
static int copy_directory(struct extract *x, int dirfd, uint32_t dir)
{
	int r = 0;

	romfs_tree_foreach_child (x->tree, dir, i) {
		_cleanup_close_ int fd = -1;

		if (romfs_tree_node(x->tree, i)->type == ROMFS_FILE) {
			r = copy_file(x, dirfd, i);
		} else {
			fd = make_directory(x, dirfd, i);
			r = fd < 0 ? fd : copy_directory(x, fd, i);
			if (r == 0)
				r = set_mtime(fd, romfs_tree_node(x->tree, i)->mtime_ns);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

/* Data pointers may make thousands of files of the same bytes: an image of 1 MiB must not
 * fill the disk. */
static int check_total(const struct extract *x)
{
	uint64_t total = 0;
	uint32_t i;

	for (i = 0; i < romfs_tree_count(x->tree); i++)
		total += romfs_tree_node(x->tree, i)->size;
	if (total <= x->source.size || x->force)
		return 0;
	return error_set(x->err, -EFBIG,
		"%s is %s, but its files share bytes and would fill %s; -f extracts them",
		x->from, UI_SIZE(x->source.size), UI_SIZE(total));
}

static int open_target_dir(const struct extract *x)
{
	int fd;

	if (mkdir(x->dir, 0777) < 0 && errno != EEXIST)
		return error_set(
			x->err, -errno, "cannot make %s: %s", x->dir, strerror(errno));
	fd = open(x->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return error_set(
			x->err, -errno, "cannot open %s: %s", x->dir, strerror(errno));
	return fd;
}

static int copy_tree(struct extract *x)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ uint8_t *buf = NULL;
	int r = check_total(x);

	if (r < 0)
		return r;
	buf = malloc(COPY_CHUNK);
	if (!buf)
		return error_set(x->err, -ENOMEM, "out of memory");
	fd = open_target_dir(x);
	if (fd < 0)
		return fd;
	x->buf = buf;
	return copy_directory(x, fd, ROMFS_ROOT);
}

static int extract_from(struct extract *x, struct subject *s)
{
	_cleanup_(romfs_image_freep) struct romfs_image *image = NULL;
	int r = subject_image(s, x->partition, &x->source, &image, x->err);

	if (r < 0)
		return r;
	x->tree = image->tree;
	r = copy_tree(x);
	if (r == 0 && image->skipped_entries)
		return error_set(x->err, -EBADMSG,
			"%u entries were left out: no file can have their names, or have them "
			"twice; the others are in %s",
			image->skipped_entries, x->dir);
	return r;
}

static int extract(struct extract *x)
{
	struct error err = {0};
	struct subject *s;
	int r, closed;

	x->err = &err;
	r = subject_open(x->from, &s, &err);
	if (r == 0) {
		r = extract_from(x, s);
		closed = subject_close(s, &err);
		r = r < 0 ? r : closed;
	}
	if (r < 0)
		return cli_fail(&cmd_extract_command, &err);
	printf("%u file%s, %" PRIu64 " bytes\n", x->files, x->files == 1 ? "" : "s",
		x->bytes);
	return cli_finish(&cmd_extract_command);
}

static int cmd_extract(int argc, char **argv)
{
	static const struct option options[] = {
		{"force", no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{"partition", required_argument, NULL, 'p'},
		{0},
	};
	struct extract x = {0};
	int c;

	while ((c = getopt_long(argc, argv, ":fhp:", options, NULL)) >= 0) {
		if (c == 'h')
			return cli_help(&cmd_extract_command);
		else if (c == 'f')
			x.force = true;
		else if (c != 'p')
			return cli_bad_option(&cmd_extract_command, c, argv);
		else if (subject_parse_number(optarg, &x.partition) < 0)
			return cli_usage(&cmd_extract_command,
				"-p wants the number of a partition, not '%s'", optarg);
	}
	if (optind + 2 != argc)
		return cli_usage(
			&cmd_extract_command, "it wants an image and a directory");
	x.from = argv[optind];
	x.dir = argv[optind + 1];
	return extract(&x);
}

const struct cli_command cmd_extract_command = {
	.name = "extract",
	.run = cmd_extract,
	.synopsis = "IMG|PORT DIR [-p N] [-f]",
	.summary = "copies everything out of an image or a board's partition",
	.help =
		"  -f, --force        replace files that exist, and let files share bytes\n"
		"  -p, --partition=N  which partition of a board (default: 0)\n"
		"\n"
		"DIR is made where it is missing. Nothing is ever written outside of it.\n",
};
