/* SPDX-License-Identifier: MIT */
#include "cli/image.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/hosttree.h"
#include "cli/output.h"

#define INPUT_MAX (UINT64_C(256) * 1024 * 1024)

void image_close(struct image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
}

static void count(const struct romfs_tree *tree, struct image *out)
{
	for (uint32_t i = 0; i < romfs_tree_count(tree); i++) {
		const struct romfs_node *n = romfs_tree_node(tree, i);

		if (n->type != ROMFS_FILE)
			continue;
		out->files++;
		out->bytes += n->size;
	}
}

static int pack(const char *path, const struct romfs_pack_options *options, struct output *to,
	struct image *out, struct error *err)
{
	struct hosttree tree;
	int r = hosttree_open(path, 0, 0, &tree, err);

	if (r < 0)
		return r;
	r = romfs_pack(
		tree.tree, options, hosttree_content, &tree, output_write, to, &out->size, err);
	count(tree.tree, out);
	hosttree_close(&tree);
	return r;
}

static int copy_input(struct output *to, struct image *out, struct error *err)
{
	char buf[65536];
	ssize_t n;
	int r = 0;

	while (r == 0 && (n = read(STDIN_FILENO, buf, sizeof(buf))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, -errno, "cannot read standard input: %s",
				strerror(errno));
		out->size += (uint64_t)n;
		if (out->size > INPUT_MAX)
			return error_set(err, -EFBIG, "what comes on standard input is no image");
		r = output_write(to, buf, (size_t)n, err);
	}
	return r;
}

static int in_memory(const char *path, const struct romfs_pack_options *options,
	struct image *out, struct error *err)
{
	struct output memory;
	int r = output_memory(&memory, err);

	if (r < 0)
		return r;
	r = out->is_tree ? pack(path, options, &memory, out, err)
			 : copy_input(&memory, out, err);
	if (r == 0)
		r = output_seal(&memory, &out->fd, err);
	output_drop(&memory);
	return r;
}

int image_open(const char *path, const struct romfs_pack_options *options,
	struct image *out, struct error *err)
{
	struct image image = {.fd = -1};
	struct stat st = {0};
	int r = 0;

	if (strcmp(path, "-") != 0 && stat(path, &st) < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	image.is_tree = S_ISDIR(st.st_mode);
	if (image.is_tree || !st.st_mode) {
		r = in_memory(path, options, &image, err);
	} else if (!S_ISREG(st.st_mode)) {
		r = error_set(err, -EINVAL, "%s is neither an image file nor a directory", path);
	} else {
		image.size = (uint64_t)st.st_size;
		image.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
		if (image.fd < 0)
			r = error_set(err, -errno, "cannot read %s: %s", path, strerror(errno));
	}
	if (r == 0 && image.size == 0)
		r = error_set(err, -ENODATA, "%s is empty: it is no image", path);
	if (r < 0) {
		image_close(&image);
		return r;
	}
	*out = image;
	return 0;
}
