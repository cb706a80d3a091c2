/* SPDX-License-Identifier: MIT */
#include "libromfs/pack.h"

#include <assert.h>
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#define ALIGN_MAX 65536u

int romfs_align_parse(char *text, struct romfs_align *out, struct error *err)
{
	char *eq = strrchr(text, '=');
	unsigned long value = 0;

	if (!eq || eq == text)
		return error_set(err, -EINVAL,
			"\"%s\" is no alignment: write PATTERN=BYTES, for example \"*.tflite=32\"",
			text);
	for (const char *p = eq + 1; *p && value <= ALIGN_MAX; p++) {
		if (*p < '0' || *p > '9') {
			value = 0;
			break;
		}
		value = value * 10 + (unsigned long)(*p - '0');
	}
	if (value == 0 || value > ALIGN_MAX || (value & (value - 1)))
		return error_set(err, -EINVAL,
			"alignment \"%s\": the number of bytes must be a power of two from 1 to %u",
			text, ALIGN_MAX);
	*eq = '\0';
	*out = (struct romfs_align){.pattern = text, .align = (uint32_t)value};
	return 0;
}

uint32_t romfs_pack_align_path(const struct romfs_pack_options *options, const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;

	for (size_t i = 0; options && i < options->n_aligns; i++) {
		const struct romfs_align *a = &options->aligns[i];
		bool on_path = strchr(a->pattern, '/');

		assert(a->align && !(a->align & (a->align - 1)));
		if (fnmatch(a->pattern, on_path ? path : name,
			    on_path ? FNM_PATHNAME : 0) == 0)
			return a->align;
	}
	return 1;
}

uint32_t romfs_pack_align(const struct romfs_pack_options *options,
	const struct romfs_tree *tree, uint32_t index)
{
	char path[(ROMFS_DEPTH_MAX + 1) * (ROMFS_NAME_MAX + 1)];

	if (!options || options->n_aligns == 0)
		return 1;
	romfs_tree_path(tree, index, path, sizeof(path));
	return romfs_pack_align_path(options, path);
}
