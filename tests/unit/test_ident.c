/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "daemon/ident.h"
#include "util/io.h"

static struct place plugged(const char *serial, const char *id_path)
{
	struct place p = {.key = "usb/1-1", .vendor_id = 0x2e8a, .product_id = 5, .n_ttys = 2,
		.ttys = {{"/dev/ttyACM0", 0}, {"/dev/ttyACM1", 2}}};

	snprintf(p.serial, sizeof(p.serial), "%s", serial);
	snprintf(p.id_path, sizeof(p.id_path), "%s", id_path);
	snprintf(p.product, sizeof(p.product), "Pico");
	return p;
}

static void check_name(const char *name)
{
	size_t n = strlen(name);

	assert_true(n > 16 && n < STATE_KEY_SIZE);
	assert_int_equal(strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
				      "0123456789._-"),
		n);
	assert_true(name[0] != '.' && name[0] != '-');
}

static void name_of(const struct place *p, bool twin, char out[STATE_KEY_SIZE])
{
	memset(out, 0, STATE_KEY_SIZE);
	ident_name("/nowhere", p, twin, out);
	check_name(out);
}

static void test_line_of_a_usb_device(void **state)
{
	struct place p = plugged("E6614104032B6A22", "pci-usb-0:1");
	char line[PORTIDENT_SIZE];

	ident_line("/nowhere", &p, 0, line);
	assert_string_equal(line, "usb 2e8a:0005 if00 E6614104032B6A22");
	ident_line("/nowhere", &p, 1, line);
	assert_string_equal(line, "usb 2e8a:0005 if02 E6614104032B6A22");
	ident_line("/nowhere", &p, 2, line);
	assert_string_equal(line, "");
	/* from the factory: no board's own */
	p = plugged("0001", "pci-usb-0:1");
	ident_line("/nowhere", &p, 0, line);
	assert_string_equal(line, "");
	p = plugged("", "pci-usb-0:1");
	ident_line("/nowhere", &p, 0, line);
	assert_string_equal(line, "");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static void put(const char *dir, const char *name, const char *text)
{
	char path[400];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* `romount mount` asks sysfs, the daemon has it from udev. */
static void test_line_as_a_mount_makes_it(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char sysfs[200], usb[260], interface[300], dev[300], link[330];
	char by_daemon[PORTIDENT_SIZE], by_mount[PORTIDENT_SIZE];
	struct place p = plugged("E6614104032B6A22", "pci-usb-0:1"), named = {
		.key = "/dev/null", .is_static = true, .n_ttys = 1, .ttys = {{"/dev/null", -1}},
		.policy.alias = "mine"};

	snprintf(sysfs, sizeof(sysfs), "%s/ident.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(sysfs));
	snprintf(usb, sizeof(usb), "%s/devices/usb1/1-1", sysfs);
	snprintf(interface, sizeof(interface), "%s/1-1:1.0", usb);
	snprintf(dev, sizeof(dev), "%s/dev/char/1:3", sysfs);
	assert_int_equal(io_make_dirs(interface), 0);
	assert_int_equal(io_make_dirs(dev), 0);
	put(usb, "idVendor", "2e8a\n");
	put(usb, "idProduct", "0005\n");
	put(usb, "serial", "E6614104032B6A22\n");
	put(interface, "bInterfaceNumber", "00\n");
	snprintf(link, sizeof(link), "%s/device", dev);
	assert_int_equal(symlink(interface, link), 0);

	assert_int_equal(portident_of(sysfs, "/dev/null", NULL, by_mount), 0);
	ident_line(sysfs, &p, 0, by_daemon);
	assert_string_equal(by_daemon, by_mount);
	/* a static one is the device behind it; its alias is for those that have none */
	ident_line(sysfs, &named, 0, by_daemon);
	assert_string_equal(by_daemon, by_mount);
	ident_line("/nowhere", &named, 0, by_daemon);
	assert_int_equal(portident_of("/nowhere", "/dev/null", "mine", by_mount), 0);
	assert_string_equal(by_daemon, by_mount);
	assert_int_equal(nftw(sysfs, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void test_name_stays(void **state)
{
	struct place p = plugged("E6614104032B6A22", "pci-usb-0:1"), q = p;
	char a[STATE_KEY_SIZE], b[STATE_KEY_SIZE];

	name_of(&p, false, a);
	/* in another socket, with one tty, called something else */
	snprintf(q.id_path, sizeof(q.id_path), "pci-usb-0:7");
	snprintf(q.key, sizeof(q.key), "usb/1-7");
	snprintf(q.product, sizeof(q.product), "Other");
	snprintf(q.policy.alias, sizeof(q.policy.alias), "alias");
	q.n_ttys = 1;
	name_of(&q, false, b);
	assert_string_equal(a, b);
	assert_non_null(strstr(a, "2e8a_0005_E6614104032B6A22"));
	/* the format is what directories on disk have: it must never change */
	assert_string_equal(a, "2e8a_0005_E6614104032B6A22-3eb646182e5116b7");
}

static void test_7_names_differ(void **state)
{
	const struct place places[] = {
		plugged("E6614104032B6A22", "pci-usb-0:1"),
		plugged("E6614104032B6A23", "pci-usb-0:1"),
		plugged("", "pci-usb-0:1"),
		plugged("", "pci-usb-0:2"),
		plugged("0001", "pci-usb-0:3"), /* no number of its own: by its socket */
		plugged("0001", "pci-usb-0:4"),
		plugged("pci-usb-0:1", "x"), /* a serial number that looks like a socket */
		{.key = "/tmp/a", .is_static = true, .n_ttys = 1, .ttys = {{"/tmp/a", -1}}},
		{.key = "/tmp/b", .is_static = true, .n_ttys = 1, .ttys = {{"/tmp/b", -1}}},
		{.key = "h:1", .is_static = true, .is_socket = true, .n_ttys = 1},
		{.key = "h:2", .is_static = true, .is_socket = true, .n_ttys = 1},
		{.key = "h:3", .is_static = true, .is_socket = true, .policy.alias = "h:1"},
		{.key = "h:4", .is_static = true, .is_socket = true, .policy.alias = "mine"},
	};
	char names[ARRAY_SIZE(places)][STATE_KEY_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		name_of(&places[i], false, names[i]);
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(names[i], names[j]);
	}
}

static void test_7_twin(void **state)
{
	struct place p = plugged("E6614104032B6A22", "pci-usb-0:1");
	struct place q = plugged("E6614104032B6A22", "pci-usb-0:2");
	char first[STATE_KEY_SIZE], twin[STATE_KEY_SIZE], other[STATE_KEY_SIZE];

	name_of(&p, false, first);
	name_of(&q, true, twin);
	assert_string_not_equal(first, twin);
	name_of(&p, true, other);
	assert_string_not_equal(other, twin);
	/* the same twin in the same socket: the same again */
	name_of(&q, true, other);
	assert_string_equal(other, twin);
}

static void test_alias_follows_a_static_board(void **state)
{
	struct place p = {.key = "h:1", .is_static = true, .is_socket = true,
		.policy.alias = "mine"};
	char a[STATE_KEY_SIZE], b[STATE_KEY_SIZE];

	name_of(&p, false, a);
	snprintf(p.key, sizeof(p.key), "h:2");
	name_of(&p, false, b);
	assert_string_equal(a, b);
}

static void test_6_hostile(void **state)
{
	static const char *const strings[] = {"../../../etc", "......", "-rf------", "$(x)y z",
		"//////", "%n%n%n%n", "\xff\xff\xff\xff\xff\xff"};
	char a[STATE_KEY_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(strings); i++) {
		struct place p = plugged(strings[i], strings[i]);

		name_of(&p, false, a);
		name_of(&p, true, a);
		p = plugged("", strings[i]);
		name_of(&p, false, a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_of_a_usb_device),
		cmocka_unit_test(test_line_as_a_mount_makes_it),
		cmocka_unit_test(test_name_stays),
		cmocka_unit_test(test_7_names_differ),
		cmocka_unit_test(test_7_twin),
		cmocka_unit_test(test_alias_follows_a_static_board),
		cmocka_unit_test(test_6_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
