/* SPDX-License-Identifier: MIT */
/* A sysfs of umockdev's for another process, which finds it by UMOCKDEV_DIR: told is where it is,
 * then "ok" for each block of standard input, which a blank line ends. A block is a device in
 * umockdev's own words, which is plugged in; or "- SYSPATH", which is pulled out. */
#include "config.h"

#include <stdio.h>
#include <string.h>

#include <umockdev.h>

static void plug(UMockdevTestbed *bed, const char *block)
{
	GError *error = NULL;

	if (umockdev_testbed_add_from_string(bed, block, &error))
		return;
	fprintf(stderr, "udevbed: %s\n", error->message);
	exit(1);
}

static void pull(UMockdevTestbed *bed, char *block)
{
	block[strcspn(block, "\n")] = '\0';
	umockdev_testbed_uevent(bed, block + 2, "remove");
	umockdev_testbed_remove_device(bed, block + 2);
}

static void say(const char *text)
{
	puts(text);
	fflush(stdout);
}

int main(void)
{
	UMockdevTestbed *bed = umockdev_testbed_new();
	char block[4096] = "", line[1024], *root = umockdev_testbed_get_root_dir(bed);

	say(root);
	while (fgets(line, sizeof(line), stdin)) {
		if (line[0] != '\n') {
			strncat(block, line, sizeof(block) - strlen(block) - 1);
			continue;
		}
		if (block[0] == '-')
			pull(bed, block);
		else
			plug(bed, block);
		block[0] = '\0';
		say("ok");
	}
	g_free(root);
	g_object_unref(bed); /* removes the directory */
	return 0;
}
