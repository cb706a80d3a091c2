/* SPDX-License-Identifier: MIT */
/* Whether udev knows boards. */
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cli/doctor.h"

#define RULES "60-romount.rules"

static const char *const udev_dirs[] = {
	"/etc/udev", "/run/udev", "/usr/local/lib/udev", "/usr/lib/udev", "/lib/udev"};

/* The compiled data base is one file, in the first of these places that has one. */
static const char *const data_bases[] = {
	"/etc/systemd/hwdb/hwdb.bin", "/etc/udev/hwdb.bin", "/usr/lib/systemd/hwdb/hwdb.bin",
	"/usr/lib/udev/hwdb.bin", "/lib/udev/hwdb.bin"};

static bool holds(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *map;
	bool found;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size <= 0)
		return false;
	map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (map == MAP_FAILED)
		return false;
	found = memmem(map, (size_t)st.st_size, text, strlen(text)) != NULL;
	munmap(map, (size_t)st.st_size);
	return found;
}

static const char *data_base(const struct doctor_place *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(data_bases); i++)
		if (doctor_has(p, "%s", data_bases[i]))
			return data_bases[i];
	return NULL;
}

static const char *rules_dir(const struct doctor_place *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(udev_dirs); i++)
		if (doctor_has(p, "%s/rules.d/" RULES, udev_dirs[i]))
			return udev_dirs[i];
	return NULL;
}

void doctor_check_rules(const struct doctor_place *p, struct doctor_report *r)
{
	const char *dir = rules_dir(p), *base = data_base(p);
	char path[PATH_MAX];

	if (!dir) {
		doctor_advise(doctor_find(r, "rules", DOCTOR_BAD,
				      "udev has no rule for boards: none is found by itself"),
			"install " RULES " and 60-romount.hwdb (the Debian package does), or name "
			"boards in romount.conf");
		return;
	}
	snprintf(path, sizeof(path), "%s%s", p->root, base ? base : "");
	if (!base || !holds(path, "ROMOUNT_BOARD")) {
		doctor_advise(doctor_find(r, "rules", DOCTOR_BAD,
				      "udev has the rule, but its data base does not know the "
				      "boards"),
			"sudo systemd-hwdb update && sudo udevadm trigger --subsystem-match=tty");
		return;
	}
	doctor_find(r, "rules", DOCTOR_OK, "udev knows boards: %s/rules.d/" RULES, dir);
}
