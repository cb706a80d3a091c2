/* SPDX-License-Identifier: MIT */
/* Boards that come and go, in a sysfs of umockdev's. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <umockdev.h>
#undef MIN /* glib has its own */
#undef MAX

#include "ports_rig.h"

#include <libudev.h>

#define BUS "/devices/pci0000:00/0000:00:14.0/usb1"

static UMockdevTestbed *bed;
static unsigned plugs;

/* --- boards ---------------------------------------------------------------------------- */

struct board {
	unsigned port;	    /* of the hub */
	unsigned id[2];	    /* 0: a Pico's */
	const char *serial; /* NULL: none */
	const char *product;
	const char *node;   /* "ttyACM", "ttyUSB" */
	unsigned tty;	    /* number of the first one */
	unsigned n_ttys;    /* 0: one */
	const char *more;   /* properties of the ttys, "E: ...\n" */
	unsigned unseen;    /* bit i: udev has not dealt with tty i yet */
};

#define KNOWN "E: ROMOUNT_BOARD=1\n"

static void put(const char *text)
{
	GError *error = NULL;

	if (!umockdev_testbed_add_from_string(bed, text, &error))
		fail_msg("%s", error->message);
}

static void plug_usb(const struct board *b)
{
	char text[1024], serial[256] = "";

	if (b->serial)
		snprintf(serial, sizeof(serial), "A: serial=%s\\n\n", b->serial);
	snprintf(text, sizeof(text),
		"P: " BUS "/1-%u\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_device\n"
		"A: idVendor=%04x\\n\nA: idProduct=%04x\\n\nA: product=%s\\n\n%s",
		b->port, b->id[0] ? b->id[0] : 0x2e8a, b->id[0] ? b->id[1] : 5,
		b->product ? b->product : "Board in FS mode", serial);
	put(text);
}

/* Its data interfaces lie between. */
static void plug_tty(const struct board *b, unsigned i)
{
	const char *node = b->node ? b->node : "ttyACM";
	char text[2048];

	snprintf(text, sizeof(text),
		"P: " BUS "/1-%u/1-%u:1.%u\nE: SUBSYSTEM=usb\nE: DEVTYPE=usb_interface\n"
		"A: bInterfaceNumber=%02x\\n\n",
		b->port, b->port, i * 2, i * 2);
	put(text);
	snprintf(text, sizeof(text),
		"P: " BUS "/1-%u/1-%u:1.%u/tty/%s%u\nE: SUBSYSTEM=tty\nE: DEVNAME=/dev/%s%u\n"
		"E: ID_PATH=pci-0000:00:14.0-usb-0:%u:1.%u\nE: ID_USB_INTERFACE_NUM=%02x\n"
		"E: %sINITIALIZED=%u\n%s",
		b->port, b->port, i * 2, node, b->tty + i, node, b->tty + i, b->port, i * 2,
		i * 2, b->unseen & 1u << i ? "NOT_" : "USEC_", ++plugs, b->more ? b->more : "");
	put(text);
}

static void plug(const struct board *b)
{
	plug_usb(b);
	for (unsigned i = 0; i < MAX(b->n_ttys, 1); i++)
		plug_tty(b, i);
}

static void pull(const char *syspath)
{
	umockdev_testbed_uevent(bed, syspath, "remove");
	umockdev_testbed_remove_device(bed, syspath);
}

static void unplug_tty(const struct board *b, unsigned i)
{
	char path[256];

	snprintf(path, sizeof(path), "/sys" BUS "/1-%u/1-%u:1.%u/tty/%s%u", b->port, b->port,
		i * 2, b->node ? b->node : "ttyACM", b->tty + i);
	pull(path);
	*strstr(path, "/tty/") = '\0';
	pull(path);
}

static void unplug(const struct board *b)
{
	char path[256];

	for (unsigned i = 0; i < MAX(b->n_ttys, 1); i++)
		unplug_tty(b, i);
	snprintf(path, sizeof(path), "/sys" BUS "/1-%u", b->port);
	pull(path);
}

static const struct board pico = {.port = 1, .serial = "E6614104032B6A22", .more = KNOWN};

/* --- libudev's moments ------------------------------------------------------------------- */

static const struct board *plugged_between; /* the first list of ttys, and all later */
static int lost; /* events that the monitor loses */

int __real_udev_enumerate_scan_devices(struct udev_enumerate *list);
int __wrap_udev_enumerate_scan_devices(struct udev_enumerate *list);
struct udev_device *__real_udev_monitor_receive_device(struct udev_monitor *monitor);
struct udev_device *__wrap_udev_monitor_receive_device(struct udev_monitor *monitor);
int __wrap_udev_device_get_is_initialized(struct udev_device *device);

/* umockdev has no udev database. */
int __wrap_udev_device_get_is_initialized(struct udev_device *device)
{
	return udev_device_get_property_value(device, "USEC_INITIALIZED") != NULL;
}

int __wrap_udev_enumerate_scan_devices(struct udev_enumerate *list)
{
	const struct board *b = plugged_between;
	int r = __real_udev_enumerate_scan_devices(list);

	plugged_between = NULL;
	if (b)
		plug(b); /* in no list any more: only who listens already hears of it */
	return r;
}

struct udev_device *__wrap_udev_monitor_receive_device(struct udev_monitor *monitor)
{
	struct udev_device *device = __real_udev_monitor_receive_device(monitor);

	if (!device || !lost)
		return device;
	for (; device; device = __real_udev_monitor_receive_device(monitor))
		udev_device_unref(device);
	lost = 0;
	errno = ENOBUFS;
	return NULL;
}

/* --- looking at nodes -------------------------------------------------------------------- */

static unsigned looks; /* of ours, at a node of a tty */

#define WATCH_PATH(call, args, ...)                                                      \
	int __real_##call(__VA_ARGS__);                                                  \
	int __wrap_##call(__VA_ARGS__);                                                  \
	int __wrap_##call(__VA_ARGS__)                                                   \
	{                                                                                \
		looks += !strncmp(path, "/dev/tty", 8);                                  \
		return __real_##call args;                                               \
	}
WATCH_PATH(stat, (path, st), const char *path, struct stat *st)
WATCH_PATH(lstat, (path, st), const char *path, struct stat *st)
WATCH_PATH(faccessat, (dir, path, mode, flags), int dir, const char *path, int mode, int flags)

/* --- tests ------------------------------------------------------------------------------- */

static struct ports_rig rig;

static int setup(void **state)
{
	bed = umockdev_testbed_new();
	put("P: /devices/pci0000:00/0000:00:14.0/usb1\nE: SUBSYSTEM=usb\n"
	    "E: DEVTYPE=usb_device\n");
	ports_rig_init(&rig, "");
	plugged_between = NULL;
	lost = 0;
	looks = 0;
	return 0;
}

static int teardown(void **state)
{
	ports_rig_free(&rig);
	g_object_unref(bed);
	return 0;
}

static void test_15_present_at_start(void **state)
{
	plug(&pico);
	ports_rig_start(&rig, true);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n");
	assert_string_equal(rig.last.serial, "E6614104032B6A22");
	assert_string_equal(rig.last.product, "Board in FS mode");
	assert_string_equal(rig.last.id_path, "pci-0000:00:14.0-usb-0:1");
	assert_int_equal(rig.last.vendor_id, 0x2e8a);
	assert_int_equal(rig.last.product_id, 5);
	assert_int_equal(rig.last.ttys[0].interface, 0);
	assert_false(rig.last.is_static || rig.last.is_socket);
}

static void test_15_plugged_during_start(void **state)
{
	plugged_between = &pico;
	ports_rig_start(&rig, true);
	assert_null(plugged_between);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n");
}

static void test_plug_and_unplug(void **state)
{
	ports_rig_start(&rig, true);
	expect_told(&rig, "");
	plug(&pico);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n");
	unplug(&pico);
	expect_told(&rig, "-usb/1-1\n");
}

static void test_replug_50_times(void **state)
{
	plug(&pico);
	ports_rig_start(&rig, true);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n");
	for (unsigned i = 0; i < 50; i++) {
		struct board next = pico;

		/* the loop runs only now and then: several plugs at once */
		unplug(&pico);
		for (unsigned n = i % 3; n > 0; n--) {
			plug(&next);
			unplug(&next);
		}
		plug(&next);
		expect_told(&rig, "-usb/1-1\n+usb/1-1 /dev/ttyACM0\n");
	}
}

static void test_two_interfaces_are_one_board(void **state)
{
	struct board two = {.port = 2, .serial = "A", .n_ttys = 2, .more = KNOWN};

	ports_rig_start(&rig, true);
	plug(&two);
	expect_told(&rig, "+usb/1-2 /dev/ttyACM0,/dev/ttyACM1\n");
	assert_int_equal(rig.last.ttys[1].interface, 2);
	unplug(&two);
	expect_told(&rig, "-usb/1-2\n");
	/* by rule the second one is the REPL's */
	two.more = KNOWN "E: ROMOUNT_INTERFACE=02\n";
	plug(&two);
	expect_told(&rig, "+usb/1-2 /dev/ttyACM1,/dev/ttyACM0\n");
	/* and what was configured comes before rules */
	ports_rig_reload(&rig, "[board two]\nmatch = serial:A\ninterface = 0\n");
	expect_told(&rig, "+usb/1-2 /dev/ttyACM0,/dev/ttyACM1\n");
}

static void test_a_board_is_told_when_all_of_it_is_there(void **state)
{
	const struct board two = {.port = 2, .serial = "A", .n_ttys = 2,
		.more = KNOWN "E: ROMOUNT_INTERFACE=02\n", .unseen = 2};
	const char *second = "/sys" BUS "/1-2/1-2:1.2/tty/ttyACM1";

	plug(&two);
	ports_rig_start(&rig, true);
	expect_told(&rig, "");
	umockdev_testbed_set_property(bed, second, "USEC_INITIALIZED", "77");
	umockdev_testbed_uevent(bed, second, "add");
	expect_told(&rig, "+usb/1-2 /dev/ttyACM1,/dev/ttyACM0\n");
	/* told again by 'udevadm trigger' */
	umockdev_testbed_uevent(bed, second, "add");
	umockdev_testbed_uevent(bed, second, "change");
	expect_told(&rig, "");
}

static void test_ttys_come_one_by_one(void **state)
{
	const struct board two = {.port = 2, .serial = "A", .n_ttys = 2, .more = KNOWN};

	ports_rig_start(&rig, true);
	plug_usb(&two);
	plug_tty(&two, 0);
	expect_told(&rig, "+usb/1-2 /dev/ttyACM0\n");
	plug_tty(&two, 1);
	expect_told(&rig, "+usb/1-2 /dev/ttyACM0,/dev/ttyACM1\n");
	unplug_tty(&two, 0);
	expect_told(&rig, "");
	unplug_tty(&two, 1);
	expect_told(&rig, "-usb/1-2\n");
}

static void test_7_same_serial_twice(void **state)
{
	struct board twin = pico;

	twin.port = 3;
	twin.tty = 1;
	plug(&pico);
	ports_rig_start(&rig, true);
	plug(&twin);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n+usb/1-3 /dev/ttyACM1\n");
	assert_string_equal(rig.last.serial, pico.serial);
	assert_string_equal(rig.last.id_path, "pci-0000:00:14.0-usb-0:3");
	unplug(&pico);
	expect_told(&rig, "-usb/1-1\n");
}

static void test_five_boards(void **state)
{
	struct board boards[5];
	char want[256] = "", serial[5][8];

	ports_rig_start(&rig, true);
	for (unsigned i = 0; i < 5; i++) {
		size_t n = strlen(want);

		snprintf(serial[i], sizeof(serial[i]), "S%u", i);
		boards[i] = (struct board){
			.port = i + 1, .serial = serial[i], .tty = i, .more = KNOWN};
		plug(&boards[i]);
		snprintf(want + n, sizeof(want) - n, "+usb/1-%u /dev/ttyACM%u\n", i + 1, i);
	}
	expect_told(&rig, want);
	unplug(&boards[2]);
	unplug(&boards[4]);
	expect_told(&rig, "-usb/1-3\n-usb/1-5\n");
	/* another board in that socket, with the number that has become free */
	boards[2].serial = "new";
	boards[2].tty = 4;
	plug(&boards[2]);
	expect_told(&rig, "+usb/1-3 /dev/ttyACM4\n");
	assert_string_equal(rig.last.serial, "new");
}

static const struct board bridge = {
	.port = 4, .id = {0x1a86, 0x7523}, .product = "USB Serial", .node = "ttyUSB"};

static void test_14_unknown_is_left_alone(void **state)
{
	ports_rig_start(&rig, true);
	plug(&bridge);
	expect_told(&rig, "");
	ports_rig_reload(&rig, "[board other]\nmatch = usb:1a86:7522\n"
			       "[board]\nquiet = 5\n[board x]\nmatch = serial:1\n");
	expect_told(&rig, "");
	ports_rig_reload(&rig, "[board wemos]\nmatch = usb:1a86:7523\nalias = wemos\n");
	expect_told(&rig, "+usb/1-4 /dev/ttyUSB0\n");
	assert_string_equal(rig.last.policy.alias, "wemos");
	ports_rig_reload(&rig, "");
	expect_told(&rig, "-usb/1-4\n");
	/* where it is plugged in, and by a link of udev's */
	ports_rig_reload(&rig, "[board wemos]\nmatch = path:pci-*-usb-0:4\n");
	expect_told(&rig, "+usb/1-4 /dev/ttyUSB0\n");
	ports_rig_reload(&rig, "[board wemos]\nmatch = path:/dev/ttyUSB*\nquiet = 7\n");
	expect_told(&rig, "+usb/1-4 /dev/ttyUSB0\n");
	assert_int_equal(rig.last.policy.quiet_ms, 7);
	/* a rule that is installed later is told by a change */
	ports_rig_reload(&rig, "");
	expect_told(&rig, "-usb/1-4\n");
	umockdev_testbed_set_property(
		bed, "/sys" BUS "/1-4/1-4:1.0/tty/ttyUSB0", "ROMOUNT_BOARD", "1");
	umockdev_testbed_uevent(bed, "/sys" BUS "/1-4/1-4:1.0/tty/ttyUSB0", "change");
	expect_told(&rig, "+usb/1-4 /dev/ttyUSB0\n");
}

static void test_ignored(void **state)
{
	const struct board two = {.port = 2, .serial = "A", .n_ttys = 2, .more = KNOWN};

	plug(&two);
	ports_rig_start(&rig, true);
	expect_told(&rig, "+usb/1-2 /dev/ttyACM0,/dev/ttyACM1\n");
	ports_rig_reload(&rig, "[board x]\nmatch = path:/dev/ttyACM0\nignore = yes\n");
	expect_told(&rig, "+usb/1-2 /dev/ttyACM1\n");
	ports_rig_reload(&rig, "[board]\nignore = yes\n");
	expect_told(&rig, "-usb/1-2\n");
	ports_rig_reload(&rig, "[board]\nignore = yes\n[board x]\nmatch=serial:A\nignore = no\n");
	expect_told(&rig, "+usb/1-2 /dev/ttyACM0,/dev/ttyACM1\n");
}

static int count_events(int fd)
{
	char buf[4096] __attribute__((aligned(8)));
	ssize_t n = read(fd, buf, sizeof(buf));

	return n < 0 ? 0 : (int)n;
}

static void test_14_unknown_is_never_opened(void **state)
{
	_cleanup_free_ char *root = umockdev_testbed_get_root_dir(bed);
	_cleanup_close_ int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC), node = -1;
	char dev[300], path[320];

	snprintf(dev, sizeof(dev), "%s/dev", root);
	(void)mkdir(dev, 0755);
	snprintf(path, sizeof(path), "%s/ttyUSB0", dev);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_true(inotify_add_watch(fd, dev, IN_OPEN | IN_ACCESS | IN_MODIFY | IN_CLOSE) >= 0);
	plug(&bridge);
	plug(&pico);
	ports_rig_start(&rig, true);
	umockdev_testbed_uevent(bed, "/sys" BUS "/1-4/1-4:1.0/tty/ttyUSB0", "change");
	ports_rig_reload(&rig, "[board x]\nmatch = serial:none\n");
	unplug(&bridge);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n");
	assert_int_equal(looks, 0);
	assert_int_equal(count_events(fd), 0);
	/* the watch sees what it is there for */
	node = open("/dev/ttyUSB0", O_RDONLY | O_CLOEXEC);
	assert_true(node >= 0);
	assert_int_not_equal(count_events(fd), 0);
}

static void test_lost_events(void **state)
{
	struct board second = {.port = 2, .serial = "B", .tty = 1, .more = KNOWN};
	struct board third = {.port = 3, .serial = "C", .tty = 2, .more = KNOWN};

	plug(&pico);
	plug(&second);
	ports_rig_start(&rig, true);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n+usb/1-2 /dev/ttyACM1\n");
	/* one goes, one comes, one is plugged in anew; nothing of that is heard */
	unplug(&second);
	plug(&third);
	unplug(&pico);
	plug(&pico);
	lost = 1;
	expect_told(&rig, "-usb/1-2\n-usb/1-1\n+usb/1-1 /dev/ttyACM0\n+usb/1-3 /dev/ttyACM2\n");
	assert_int_equal(lost, 0);
}

static void test_6_hostile_strings(void **state)
{
	struct board b = {.port = 1, .more = KNOWN};

	ports_rig_start(&rig, true);
	plug_usb(&b);
	umockdev_testbed_set_attribute(
		bed, "/sys" BUS "/1-1", "product", "a\x1b]0;x\x07\xff%s/../$(reboot)");
	umockdev_testbed_set_attribute(bed, "/sys" BUS "/1-1", "serial", "1\x1b[2J");
	plug_tty(&b, 0);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n");
	assert_string_equal(rig.last.product, "a?]0;x??%s/../$(reboot)");
	/* shown as text it would be the serial number of another board, too */
	assert_string_equal(rig.last.serial, "");
	unplug(&b);
	b.serial = "0123456789012345678901234567890123456789012345678901234567890123456789"
		   "0123456789012345678901234567890123456789012345678901234567890123456789";
	plug(&b);
	expect_told(&rig, "-usb/1-1\n+usb/1-1 /dev/ttyACM0\n");
	assert_string_equal(rig.last.serial, "");
}

static void test_named_tty_is_no_other_board(void **state)
{
	struct config_static board = {.tty = "/dev/ttyACM0", .alias = "mine"};
	struct error err = {0};

	plug(&pico);
	ports_rig_start(&rig, true);
	expect_told(&rig, "+usb/1-1 /dev/ttyACM0\n");
	/* the node itself is not there, so that it waits; but udev's place is no more */
	assert_int_equal(ports_add_static(rig.ports, &board, &err), 0);
	expect_told(&rig, "-usb/1-1\n");
}

/* /dev/tty1 and the like are not at any device. */
static void test_14_consoles_are_no_ports(void **state)
{
	put("P: /devices/virtual/tty/tty1\nE: SUBSYSTEM=tty\nE: DEVNAME=/dev/tty1\n"
	    "E: USEC_INITIALIZED=1\n");
	put("P: /devices/platform/serial8250\nE: SUBSYSTEM=platform\n");
	put("P: /devices/platform/serial8250/tty/ttyS0\nE: SUBSYSTEM=tty\n"
	    "E: DEVNAME=/dev/ttyS0\nE: USEC_INITIALIZED=2\n");
	ports_rig_start(&rig, true);
	expect_told(&rig, "");
	ports_rig_reload(&rig, "[board x]\nmatch = path:/dev/tty*\nbaud = 9600\n");
	expect_told(&rig, "+tty/ttyS0 /dev/ttyS0\n");
	assert_int_equal(rig.last.policy.baud, 9600);
	assert_int_equal(rig.last.vendor_id, 0);
	assert_int_equal(rig.last.ttys[0].interface, -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

/* The sysfs of a process is umockdev's only with its library before all others, which the
 * sanitizers want to be. */
static int start_again(char **argv)
{
	const char *asan = getenv("ASAN_OPTIONS");
	char options[400];

	snprintf(options, sizeof(options), "%s%sverify_asan_link_order=0", asan ? asan : "",
		asan ? ":" : "");
	setenv("ASAN_OPTIONS", options, 1);
	setenv("LD_PRELOAD", "libumockdev-preload.so.0", 1);
	execv("/proc/self/exe", argv);
	perror("cannot start again with libumockdev-preload.so.0");
	return 1;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(15_present_at_start),
		TEST(15_plugged_during_start),
		TEST(plug_and_unplug),
		TEST(replug_50_times),
		TEST(two_interfaces_are_one_board),
		TEST(a_board_is_told_when_all_of_it_is_there),
		TEST(ttys_come_one_by_one),
		TEST(7_same_serial_twice),
		TEST(five_boards),
		TEST(14_unknown_is_left_alone),
		TEST(ignored),
		TEST(14_unknown_is_never_opened),
		TEST(14_consoles_are_no_ports),
		TEST(lost_events),
		TEST(6_hostile_strings),
		TEST(named_tty_is_no_other_board),
	};

	if (!strstr(getenv("LD_PRELOAD") ? getenv("LD_PRELOAD") : "", "umockdev"))
		return start_again(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
