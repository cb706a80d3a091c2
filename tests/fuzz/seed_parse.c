/* SPDX-License-Identifier: MIT */
/* Writes images to begin fuzzing with: seed_parse DIR. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "romfs_bytes.h"

static void save(const char *dir, const char *name, struct bytes *b)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || fwrite(b->p, 1, b->n, f) != b->n || fclose(f) != 0) {
		perror(path);
		exit(1);
	}
	bytes_done(b);
}

static struct bytes packed(void)
{
	struct bytes b = {0}, root = {0}, lib = {0}, deep = {0};

	bytes_mtime_note(&root, 1700000000000000000);
	bytes_file(&deep, "x.py", "x = 1\n", 6);
	bytes_dir(&lib, "deep", &deep);
	bytes_file(&lib, "y", "", 0);
	bytes_dir(&root, "lib", &lib);
	bytes_file(&root, "main.py", "import x\n", 9);
	bytes_image(&b, &root);
	return b;
}

static struct bytes by_pointer(void)
{
	struct bytes b = {0}, root = {0}, junk = {0}, data = {0};

	bytes_record(&root, 1, bytes_fill(&junk, 0, 20));
	bytes_record(&root, 77, bytes_fill(&junk, 0xFF, 9));
	bytes_record(&root, 2, bytes_add(&data, "shared data", 11));
	bytes_pointer_file(&root, "p", 6, 35, 6);
	bytes_pointer_file(&root, "q", 4, 42, 1);
	bytes_image(&b, &root);
	bytes_fill(&b, 0xFF, 300);
	return b;
}

/* Jumps by padding records, and erased bytes as digits of a kind. */
static struct bytes appended(void)
{
	struct bytes b = {0}, root = {0};

	bytes_fill(&root, 0xFF, 24);
	bytes_varuint(bytes_varuint(&root, 1, 1), 70, 5);
	bytes_fill(&root, 0xFF, 70);
	bytes_pointer_file(&root, "a", 5, 40, 3);
	bytes_varuint(bytes_varuint(&root, 1, 1), 100, 5);
	bytes_fill(&root, 0xFF, 100);
	bytes_image(&b, &root);
	return b;
}

int main(int argc, char **argv)
{
	struct bytes b;

	if (argc != 2) {
		fprintf(stderr, "usage: seed_parse DIR\n");
		return 2;
	}
	b = packed();
	save(argv[1], "packed", &b);
	b = by_pointer();
	save(argv[1], "by-pointer", &b);
	b = appended();
	save(argv[1], "appended", &b);
	bytes_fill(&b, 0xFF, 64);
	save(argv[1], "blank", &b);
	return 0;
}
