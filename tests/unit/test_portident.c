/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "fuse/portident.h"
#include "util/io.h"

/* Linux gives /dev/null these numbers: a character device that is there. */
#define PORT "/dev/null"
#define DEVICE "dev/char/1:3"

static char sysfs[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int setup(void **state)
{
	snprintf(sysfs, sizeof(sysfs), "%s/sysfs.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR")
									   : "/tmp");
	return mkdtemp(sysfs) ? 0 : -1;
}

static int teardown(void **state)
{
	return nftw(sysfs, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_dir(const char *name)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", sysfs, name);
	assert_int_equal(io_make_dirs(path), 0);
}

static void put(const char *name, const char *text)
{
	char path[300];
	_cleanup_close_ int fd = -1;

	snprintf(path, sizeof(path), "%s/%s", sysfs, name);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
}

static void make_device(const char *interface)
{
	make_dir("devices/usb1/1-4/1-4:1.0/ttyUSB0");
	make_dir("devices/usb1/1-4/1-4:1.2");
	make_dir("dev/char");
	put("devices/usb1/1-4/idVendor", "2e8a\n");
	put("devices/usb1/1-4/idProduct", "0005\n");
	put("devices/usb1/1-4/serial", "e66164084319392a\n");
	put("devices/usb1/1-4/1-4:1.0/bInterfaceNumber", "00\n");
	put("devices/usb1/1-4/1-4:1.2/bInterfaceNumber", "02\n");
	make_dir(DEVICE);
	char path[300], target[300];
	snprintf(path, sizeof(path), "%s/" DEVICE "/device", sysfs);
	snprintf(target, sizeof(target), "../../../devices/usb1/1-4/%s", interface);
	assert_int_equal(symlink(target, path), 0);
}

static void expect(const char *want)
{
	char out[PORTIDENT_SIZE] = "";

	assert_int_equal(portident_of(sysfs, PORT, NULL, out), want ? 0 : -ENOENT);
	if (want)
		assert_string_equal(out, want);
}

static void test_cdc(void **state)
{
	make_device("1-4:1.2");
	expect("usb 2e8a:0005 if02 e66164084319392a");
}

/* One level deeper. */
static void test_usb_serial(void **state)
{
	make_device("1-4:1.0/ttyUSB0");
	expect("usb 2e8a:0005 if00 e66164084319392a");
}

static void test_no_identity(void **state)
{
	static const char *const serials[] = {"", "\n", "0001\n", "12345\n", " padded1\n",
		"padded1 \n", "with\ttab\n", "caf\xc3\xa9 caf\xc3\xa9\n", "\x1b[31mred\n"};
	char path[300];

	expect(NULL); /* no USB device: a pty, a port of the mainboard */
	make_device("1-4:1.0");
	for (size_t i = 0; i < ARRAY_SIZE(serials); i++) {
		put("devices/usb1/1-4/serial", serials[i]);
		expect(NULL);
	}
	put("devices/usb1/1-4/serial", "a serial 1\n");
	expect("usb 2e8a:0005 if00 a serial 1");
	put("devices/usb1/1-4/idProduct", "../5\n");
	expect(NULL);
	put("devices/usb1/1-4/idProduct", "0005\n");
	put("devices/usb1/1-4/1-4:1.0/bInterfaceNumber", "0\n");
	expect(NULL);
	snprintf(path, sizeof(path), "%s/devices/usb1/1-4/serial", sysfs);
	put("devices/usb1/1-4/1-4:1.0/bInterfaceNumber", "00\n");
	assert_int_equal(unlink(path), 0);
	expect(NULL);
}

/* As long as USB allows, and longer. */
static void test_long_serial(void **state)
{
	char serial[200], want[PORTIDENT_SIZE];

	make_device("1-4:1.0");
	memset(serial, 'x', sizeof(serial));
	serial[126] = '\0';
	put("devices/usb1/1-4/serial", serial);
	snprintf(want, sizeof(want), "usb 2e8a:0005 if00 %s", serial);
	expect(want);
	serial[126] = 'x';
	serial[127] = '\0';
	put("devices/usb1/1-4/serial", serial);
	expect(NULL);
}

static void test_names(void **state)
{
	static const char *const bad[] = {"", " a", "a ", "a\nkey b", "a\tb", "\x1b", "\xc3\xa9",
		"12345678901234567890123456789012345678901234567890123456789012345"};
	char out[PORTIDENT_SIZE];

	make_device("1-4:1.0");
	assert_int_equal(portident_of(sysfs, PORT, "left board", out), 0);
	assert_string_equal(out, "id left board");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(portident_of(sysfs, PORT, bad[i], out), -EINVAL);
}

static void test_no_port(void **state)
{
	char out[PORTIDENT_SIZE];

	make_device("1-4:1.0");
	assert_int_equal(portident_of(sysfs, "/no/such/port", NULL, out), -ENOENT);
	assert_int_equal(portident_of(sysfs, sysfs, NULL, out), -ENOENT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_cdc),
		TEST(test_usb_serial),
		TEST(test_no_identity),
		TEST(test_long_serial),
		TEST(test_names),
		TEST(test_no_port),
	};

	return cmocka_run_group_tests_name("portident", tests, NULL, NULL);
}
