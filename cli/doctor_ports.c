/* SPDX-License-Identifier: MIT */
/* Serial ports of USB: which are boards, who may use them, and who is in the way. */
#include <ctype.h>
#include <grp.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/doctor.h"
#include "util/dir.h"
#include "util/text.h"

struct tty {
	const struct doctor_place *place;
	char name[64], devnum[32];
	char vendor[16], product[16], what[128]; /* of USB; "" */
	bool known; /* udev's rule says that it is a board */
};

/* Chips that boards are often reached through, or that run anything: they prove nothing. */
static const struct likely {
	const char *vendor, *product; /* NULL: any */
	const char *what;
} likely[] = {
	{"0403", NULL, "an FTDI bridge"},
	{"0d28", "0204", "a debug probe with a serial port (micro:bit)"},
	{"10c4", NULL, "a Silicon Labs bridge"},
	{"1a86", NULL, "a WCH bridge"},
	{"2341", NULL, "an Arduino"},
	{"239a", NULL, "an Adafruit board"},
	{"2e8a", NULL, "a Raspberry Pi Pico or its like"},
	{"303a", NULL, "an Espressif chip"},
};

static const struct likely *find_likely(const char *vendor, const char *product)
{
	for (size_t i = 0; i < ARRAY_SIZE(likely); i++)
		if (strcmp(likely[i].vendor, vendor) == 0 &&
			(!likely[i].product || strcmp(likely[i].product, product) == 0))
			return &likely[i];
	return NULL;
}

/* The USB device is one to three directories above the tty's own device. */
static void read_usb(struct tty *t)
{
	static const char *const up[] = {"..", "../..", "../../.."};
	static const char format[] = "/sys/class/tty/%s/device/%s/%s";
	char known[8];

	for (size_t i = 0; i < ARRAY_SIZE(up); i++) {
		if (!doctor_read(t->place, t->vendor, sizeof(t->vendor), format, t->name, up[i],
			    "idVendor"))
			continue;
		(void)doctor_read(t->place, t->product, sizeof(t->product), format, t->name,
			up[i], "idProduct");
		(void)doctor_read(t->place, t->what, sizeof(t->what), format, t->name, up[i],
			"product");
		break;
	}
	(void)doctor_read(t->place, t->devnum, sizeof(t->devnum), "/sys/class/tty/%s/dev", t->name);
	(void)doctor_udev(t->place, t->devnum, "ROMOUNT_NAME", t->what, sizeof(t->what));
	t->known = doctor_udev(t->place, t->devnum, "ROMOUNT_BOARD", known, sizeof(known)) &&
		   strcmp(known, "1") == 0;
}

/* --- access --- */

static void group_name(gid_t gid, char *out, size_t cap)
{
	const struct group *g = getgrgid(gid);

	if (g)
		snprintf(out, cap, "%s", g->gr_name);
	else
		snprintf(out, cap, "%u", (unsigned)gid);
	text_make_printable(out);
}

static void check_access(const struct tty *t, struct doctor_report *r)
{
	char path[PATH_MAX], group[64];
	struct doctor_finding *f;
	struct stat st;

	snprintf(path, sizeof(path), "%s/dev/%s", t->place->root, t->name);
	if (stat(path, &st) < 0) {
		doctor_advise(doctor_find(r, "port", DOCTOR_BAD, "there is no /dev/%s", t->name),
			"is udev running? A container must be given the device");
		return;
	}
	if (access(path, R_OK | W_OK) == 0) {
		doctor_find(r, "port", DOCTOR_OK, "/dev/%s, %s: you may use it", t->name, t->what);
		return;
	}
	group_name(st.st_gid, group, sizeof(group));
	f = doctor_find(r, "port", t->place->system_daemon ? DOCTOR_NOTE : DOCTOR_BAD,
		"you have no access to /dev/%s, %s: it is for the group %s", t->name, t->what,
		group);
	if (t->place->system_daemon)
		doctor_advise(f, "the system's romountd has; for 'romount mount' and others: sudo "
				 "usermod -aG %s %s, and log in again",
			group, t->place->user);
	else
		doctor_advise(f, "sudo usermod -aG %s %s, and log in again", group, t->place->user);
}

/* --- who is in the way --- */

static bool has_open(const struct doctor_place *p, const char *pid, const char *node)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[PATH_MAX], target[PATH_MAX];
	struct dirent *e;
	ssize_t n;

	snprintf(path, sizeof(path), "%s/proc/%.20s/fd", p->root, pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		n = readlinkat(dirfd(dir), e->d_name, target, sizeof(target) - 1);
		if (n <= 0)
			continue;
		target[n] = '\0';
		if (strcmp(target, node) == 0)
			return true;
	}
	return false;
}

static void check_holder(const struct tty *t, struct doctor_report *r)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[PATH_MAX], node[80], comm[64];
	struct dirent *e;

	snprintf(path, sizeof(path), "%s/proc", t->place->root);
	snprintf(node, sizeof(node), "/dev/%s", t->name);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		if (!isdigit((unsigned char)e->d_name[0]) || !has_open(t->place, e->d_name, node) ||
			!doctor_read(t->place, comm, sizeof(comm), "/proc/%s/comm", e->d_name) ||
			strncmp(comm, "romount", 7) == 0)
			continue;
		doctor_advise(doctor_find(r, "holder", DOCTOR_BAD, "%s is held by %s (pid %s)",
				      node, comm, e->d_name),
			"end it, or let it end: romount waits until the port is free");
	}
}

static void check_modem_manager(const struct tty *t, struct doctor_report *r)
{
	long pid = doctor_process(t->place, "ModemManager");
	char value[8];

	if (!pid || (doctor_udev(t->place, t->devnum, "ID_MM_DEVICE_IGNORE", value,
			     sizeof(value)) &&
			    strcmp(value, "0") != 0))
		return;
	doctor_advise(doctor_find(r, "modemmanager", t->known ? DOCTOR_BAD : DOCTOR_NOTE,
			      "ModemManager (pid %ld) may type into /dev/%s, to see whether it is "
			      "a modem",
			      pid, t->name),
		"a line of its own in /etc/udev/rules.d/60-mine.rules: ATTRS{idVendor}==\"%s\", "
		"ATTRS{idProduct}==\"%s\", ENV{ID_MM_DEVICE_IGNORE}=\"1\"; then plug it in again",
		t->vendor, t->product);
}

static void check_unknown(const struct tty *t, struct doctor_report *r)
{
	const struct likely *l = find_likely(t->vendor, t->product);
	struct doctor_finding *f;
	char quirks[64];

	if (!l)
		return;
	f = doctor_find(r, "unknown", DOCTOR_NOTE,
		"/dev/%s is %s (%s:%s%s%s): there may be a board behind it, so it is left alone",
		t->name, l->what, t->vendor, t->product, t->what[0] ? ", " : "", t->what);
	doctor_advise(f,
		"if there is: in /etc/romount/romount.conf, [board NAME] and below it "
		"match=usb:%s:%s%s",
		t->vendor, t->product,
		doctor_udev(t->place, t->devnum, "ROMOUNT_QUIRKS", quirks, sizeof(quirks)) &&
				strstr(quirks, "resets")
			? "; opening this port may reset the chip"
			: "");
}

/* --- brltty: takes bridges for displays for the blind, and their ttys vanish --- */

static const char *brltty_rule(const struct doctor_place *p)
{
	static const char *const rules[] = {"/etc/udev/rules.d/85-brltty.rules",
		"/usr/lib/udev/rules.d/85-brltty.rules", "/lib/udev/rules.d/85-brltty.rules",
		"/usr/lib/udev/rules.d/90-brltty-device.rules",
		"/lib/udev/rules.d/90-brltty-device.rules"};

	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (doctor_has(p, "%s", rules[i]))
			return rules[i];
	return NULL;
}

static void check_brltty(const struct doctor_place *p, struct doctor_report *r)
{
	_cleanup_closedir_ DIR *dir = NULL;
	const char *rule = brltty_rule(p);
	static const char format[] = "/sys/bus/usb/devices/%s/%s";
	char path[PATH_MAX], vendor[16], product[16];
	struct dirent *e;

	if (!rule && !doctor_process(p, "brltty"))
		return;
	snprintf(path, sizeof(path), "%s/sys/bus/usb/devices", p->root);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		if (!doctor_read(p, vendor, sizeof(vendor), format, e->d_name, "idVendor") ||
			!doctor_read(p, product, sizeof(product), format, e->d_name, "idProduct"))
			continue;
		if (!(strcmp(vendor, "1a86") == 0 && strcmp(product, "7523") == 0) &&
			!(strcmp(vendor, "10c4") == 0 && strcmp(product, "ea60") == 0))
			continue;
		doctor_advise(doctor_find(r, "brltty", DOCTOR_BAD,
				      "brltty takes %s:%s for a braille display, and its port "
				      "vanishes",
				      vendor, product),
			"where nobody needs it: sudo apt-get remove brltty; else sudo ln -s "
			"/dev/null /etc/udev/rules.d/%s",
			rule ? strrchr(rule, '/') + 1 : "85-brltty.rules");
	}
}

/* --- all --- */

static void check_tty(const struct doctor_place *p, const char *name, struct doctor_report *r)
{
	struct tty t = {.place = p, .what = ""};

	snprintf(t.name, sizeof(t.name), "%s", name);
	text_make_printable(t.name);
	read_usb(&t);
	if (t.known) {
		check_access(&t, r);
	} else if (find_likely(t.vendor, t.product)) {
		check_unknown(&t, r);
	} else {
		return;
	}
	check_holder(&t, r);
	check_modem_manager(&t, r);
}

void doctor_check_ports(const struct doctor_place *p, struct doctor_report *r)
{
	_cleanup_closedir_ DIR *dir = NULL;
	char path[PATH_MAX];
	struct dirent *e;
	size_t before = r->n;

	snprintf(path, sizeof(path), "%s/sys/class/tty", p->root);
	dir = opendir(path);
	while (dir && (e = readdir(dir)))
		if (strncmp(e->d_name, "ttyACM", 6) == 0 || strncmp(e->d_name, "ttyUSB", 6) == 0)
			check_tty(p, e->d_name, r);
	check_brltty(p, r);
	if (r->n == before)
		doctor_advise(doctor_find(r, "port", DOCTOR_NOTE,
				      "no board is plugged in, as far as USB tells"),
			"is it a cable for data? 'journalctl -k -e' shows what the kernel saw");
}
