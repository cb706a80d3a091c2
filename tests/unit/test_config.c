/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "daemon/config.h"
#include "util/io.h"

static char dir[200], file[300];
static char mistakes[65536];

static int setup(void **state)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/config.XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(file, sizeof(file), "%s/f", dir);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static int teardown(void **state)
{
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void put_bytes(const char *path, const void *bytes, size_t n)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, bytes, n), 0);
}

static void on_mistake(void *ctx, const char *text)
{
	size_t n = strlen(mistakes);

	assert_null(strpbrk(text, "\n\x1b"));
	/* the folder is another in each run */
	if (!strncmp(text, dir, strlen(dir)))
		text += strlen(dir) + 1;
	snprintf(mistakes + n, sizeof(mistakes) - n, "%s\n", text);
}

static struct config *load_from(const char *path, bool user_mode)
{
	struct error err = {0};
	struct config *c;

	mistakes[0] = '\0';
	if (config_load(path, user_mode, on_mistake, NULL, &c, &err) < 0)
		fail_msg("%s", err.text);
	return c;
}

static struct config *load(const char *text)
{
	put_bytes(file, text, strlen(text));
	return load_from(file, false);
}

/* What was understood of it; mistakes that are not expected fail. */
static struct config *load_well(const char *text)
{
	struct config *c = load(text);

	assert_string_equal(mistakes, "");
	return c;
}

static const struct config_subject pico = {.serial = "E661", .vendor_id = 0x2e8a,
	.product_id = 5, .id_path = "pci-0000:00:14.0-usb-0:1",
	.paths = (const char *const[]){"/dev/ttyACM0", "/dev/serial/by-id/usb-pico", NULL}};

static void test_defaults(void **state)
{
	_cleanup_(config_freep) struct config *c = load_well("");
	struct policy p;
	unsigned n;

	assert_false(config_policy(c, &pico, &p));
	assert_string_equal(p.alias, "");
	assert_string_equal(p.owner, "");
	assert_int_equal(p.contact, CONTACT_AUTO);
	assert_int_equal(p.interface, -1);
	assert_int_equal(p.quiet_ms, 1000);
	assert_int_equal(p.idle_ms, 10000);
	assert_int_equal(p.n_aligns, 0);
	assert_false(p.ignore || p.no_reset || p.verify_everything || p.baud);
	assert_null(config_mount_root(c));
	assert_null(config_state_root(c));
	assert_false(config_is_verbose(c));
	(void)config_statics(c, &n);
	assert_int_equal(n, 0);
}

static void test_every_setting(void **state)
{
	_cleanup_(config_freep) struct config *c = load_well(
		"\xef\xbb\xbf# a comment\r\n"
		"[daemon]\nmount-root = /srv/boards\nstate=/srv/state\nowner = root\nlog=debug\n"
		"; another\n\n"
		"  [ board   weather station ]   ; behind it\n"
		"\tmatch = usb:2E8A:0005   ; and here\n"
		"    match=serial:E661\n"
		"match: path:/dev/ttyACM*\n"
		"alias = weather\ncontact = manual\nreset = no\nquiet = 250\nidle = never\n"
		"verify = everything\nbaud = 230400\nalign = *.tflite=32\nalign = a b.bin=4096\n"
		"interface = 2\nowner = seat\nignore = yes");
	struct policy p;

	assert_string_equal(config_mount_root(c), "/srv/boards");
	assert_string_equal(config_state_root(c), "/srv/state");
	assert_true(config_is_verbose(c));
	assert_true(config_policy(c, &pico, &p));
	assert_string_equal(p.alias, "weather");
	assert_int_equal(p.contact, CONTACT_MANUAL);
	assert_true(p.no_reset && p.verify_everything && p.ignore);
	assert_int_equal(p.quiet_ms, 250);
	assert_int_equal(p.idle_ms, 0);
	assert_int_equal(p.baud, 230400);
	assert_int_equal(p.n_aligns, 2);
	assert_string_equal(p.aligns[0], "*.tflite=32");
	assert_string_equal(p.aligns[1], "a b.bin=4096");
	assert_int_equal(p.interface, 2);
	assert_string_equal(p.owner, "");
}

static void test_matches(void **state)
{
	static const struct {
		const char *match;
		bool holds;
	} cases[] = {
		{"match = usb:2e8a:0005", true},
		{"match = usb:2e8a:0006", false},
		{"match = serial:E661", true},
		{"match = serial:E66", false},
		{"match = serial:e661", false},
		{"match = path:/dev/ttyACM0", true},
		{"match = path:/dev/tty*", true},
		{"match = path:/dev/*", true},
		{"match = path:/dev/serial/by-id/*pico*", true},
		{"match = path:/*pico", false}, /* '*' is no '/' */
		{"match = path:pci-*-usb-0:1", true},
		{"match = path:pci-*-usb-0:2", false},
		{"match = alias:pump", false},
		{"match = usb:2e8a:0005\nmatch = serial:E661", true},
		{"match = usb:2e8a:0005\nmatch = serial:other", false},
		{"tty = /dev/ttyACM0", true},
		{"tty = /dev/ttyACM1", false},
		{"socket = localhost:2217", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(config_freep) struct config *c = NULL;
		char text[200];
		struct policy p;

		snprintf(text, sizeof(text), "[board x]\n%s\nquiet = 7\n", cases[i].match);
		print_message("%s\n", cases[i].match);
		c = load_well(text);
		assert_int_equal(config_policy(c, &pico, &p), cases[i].holds);
		assert_int_equal(p.quiet_ms, cases[i].holds ? 7 : 1000);
	}
}

static void test_precedence(void **state)
{
	_cleanup_(config_freep) struct config *c = load_well(
		"[daemon]\nowner = root\n"
		"[board a]\nmatch = usb:2e8a:0005\nquiet = 1\nalias = pump\nalign = *.a=4\n"
		"[board b]\nmatch = serial:E661\nquiet = 2\n"
		"[board no]\nmatch = serial:other\nquiet = 3\nidle = 3\n"
		"[board c]\nmatch = alias:pump\nbaud = 9600\nalign = *.c=8\n"
		"[board]\nquiet = 4\nidle = 4\nverify = everything\nalign = *.z=2\n");
	const struct config_subject other = {.alias = "mine"};
	struct policy p;

	assert_true(config_policy(c, &pico, &p));
	assert_int_equal(p.quiet_ms, 2);   /* the last that matches */
	assert_int_equal(p.idle_ms, 4000); /* [board], wherever it stands */
	assert_int_equal(p.baud, 9600);	   /* by the alias that another section gave */
	assert_true(p.verify_everything);
	assert_string_equal(p.owner, "root");
	assert_int_equal(p.n_aligns, 3);
	assert_string_equal(p.aligns[0], "*.z=2");
	assert_string_equal(p.aligns[1], "*.a=4");
	assert_string_equal(p.aligns[2], "*.c=8");

	assert_false(config_policy(c, &other, &p));
	assert_int_equal(p.quiet_ms, 4);
	assert_string_equal(p.alias, "mine");
}

static void test_equal_policies_are_equal_bytes(void **state)
{
	_cleanup_(config_freep) struct config *c = load_well(
		"[board a]\nmatch = usb:2e8a:0005\nalias = a-long-alias\nalign = *.long-one=4\n"
		"[board b]\nmatch = serial:E661\nalias = b\n");
	struct policy a, b;

	memset(&a, 0xaa, sizeof(a));
	memset(&b, 0x55, sizeof(b));
	assert_true(config_policy(c, &pico, &a));
	assert_true(config_policy(c, &pico, &b));
	assert_memory_equal(&a, &b, sizeof(a));
	assert_string_equal(a.alias, "b");
}

/* Each line of the file, and what is said of it; NULL: nothing. */
struct line {
	const char *text, *mistake;
};

static void check_mistakes(const struct line *lines, size_t n)
{
	char text[16384] = "", want[16384] = "";
	_cleanup_(config_freep) struct config *c = NULL;

	for (size_t i = 0; i < n; i++) {
		size_t t = strlen(text), w = strlen(want);

		snprintf(text + t, sizeof(text) - t, "%s\n", lines[i].text);
		if (lines[i].mistake)
			snprintf(want + w, sizeof(want) - w, "f:%zu: %s\n", i + 1,
				lines[i].mistake);
	}
	c = load(text);
	assert_string_equal(mistakes, want);
}

static void test_mistakes_name_their_line(void **state)
{
	static const struct line lines[] = {
		{"quiet = 1", "quiet: it stands before the first [section]"},
		{"# fine", NULL},
		{"[deamon]", "unknown section [deamon]: there are [daemon], [board] and "
			     "[board NAME]"},
		{"whatever = is passed over here", NULL},
		{"[daemon]", NULL},
		{"mount-root = boards", "mount-root: 'boards' is no absolute path"},
		{"log = loud", "log: 'loud' is none of info, debug"},
		{"colour = red", "colour: [daemon] has no such setting"},
		{"owner = nobody-has-this-name",
			"owner: there is no user 'nobody-has-this-name' on this system"},
		{"", NULL},
		{"[board]", NULL},
		{"nonsense", "this is neither a [section] nor KEY=VALUE"},
		{"quiet = fast", "quiet: 'fast' is no number from 0 to 3600000"},
		{"quiet = 3600001", "quiet: '3600001' is no number from 0 to 3600000"},
		{"quiet = -1", "quiet: '-1' is no number from 0 to 3600000"},
		{"quiet = 99999999999999999999",
			"quiet: '99999999999999999999' is no number from 0 to 3600000"},
		{"quiet = 5", NULL},
		{"quiet = 6", "quiet: it is set in this section already"},
		{"idle = 0", "idle: '0' is neither 'never' nor a number of seconds from 1 to "
			     "86400"},
		{"reset = maybe", "reset: 'maybe' is none of yes, no"},
		{"contact = sometimes", "contact: 'sometimes' is none of auto, manual, never"},
		{"verify = all", "verify: 'all' is none of written, everything"},
		{"baud = 12", "baud: '12' is no number from 300 to 4000000"},
		{"interface = 256", "interface: '256' is no number from 0 to 255"},
		{"align = *.bin=3", "align: alignment \"*.bin=3\": the number of bytes must be a "
				    "power of two from 1 to 65536"},
		{"align = *.bin", "align: \"*.bin\" is no alignment: write PATTERN=BYTES, for "
				  "example \"*.tflite=32\""},
		{"alias = all", "alias: all boards cannot have the same name"},
		{"match = serial:1",
			"match: [board] is for all boards: write it below [board NAME]"},
		{"tty = /dev/ttyS0",
			"tty: [board] is for all boards: write it below [board NAME]"},
		{"fast = yes", "fast: [board] has no such setting"},
		{"a \x1b[2J b = 1", "there is a control character in this line"},
		{"[board", "'[board' has no ']' at its end"},
		{"match = passed:over", NULL},
		{"[board x] y", "'y' stands behind the section's name"},
		{"match = serial:1", NULL},
		{"alias = a/b", "alias: 'a/b' cannot be the name of a folder here: use up to 64 "
				"letters, digits, '.', '_' and '-', the first a letter or a digit"},
		{"ignore = ja", "ignore: 'ja' is none of yes, no"},
	};

	check_mistakes(lines, ARRAY_SIZE(lines));
}

static void test_mistakes_of_a_section(void **state)
{
	static const struct {
		const char *text, *mistakes;
	} cases[] = {
		{"[board x]\nquiet = 1\n",
			"f:1: [board x] names no board: give it match=, tty= or socket=\n"},
		{"\n[board x]\n[board]\n",
			"f:2: [board x] names no board: give it match=, tty= or socket=\n"},
		{"[board x]\nmatch = usb:2e8a\nmatch = serial:1\n",
			"f:2: match: 'usb:2e8a' is no USB id: write usb:VID:PID, four hexadecimal "
			"digits each, such as usb:2e8a:0005\n"
			"f:1: [board x] is left out: which board it means is not clear\n"},
		{"[board x]\nmatch = name:y\n",
			"f:2: match: 'name:y' matches nothing: write alias:NAME, serial:NUMBER, "
			"usb:VID:PID or path:PATTERN\n"
			"f:1: [board x] is left out: which board it means is not clear\n"},
		{"[board x]\ntty = ttyS0\n",
			"f:2: tty: 'ttyS0' is no absolute path of at most 127 bytes, such as "
			"/dev/ttyS0\n"
			"f:1: [board x] is left out: which board it means is not clear\n"},
		{"[board x]\nsocket = host\n",
			"f:2: socket: 'host' is no HOST:PORT, such as localhost:2217 or "
			"[::1]:2217\n"
			"f:1: [board x] is left out: which board it means is not clear\n"},
		{"[board x]\ntty = /dev/a\nsocket = h:1\n",
			"f:1: [board x] has tty= and socket=: a board is at one of them\n"},
		{"[board x]\ntty = /dev/a\n[board y]\ntty = /dev/a\n",
			"f:3: [board y]: the board at /dev/a is that of another section already\n"},
		{"[board two words]\ntty = /dev/a\n",
			"f:1: [board two words]: 'two words' cannot be the name of a folder here: "
			"use up to 64 letters, digits, '.', '_' and '-', the first a letter or a "
			"digit; or set alias=\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		_cleanup_(config_freep) struct config *c = load(cases[i].text);
		struct policy p;

		assert_string_equal(mistakes, cases[i].mistakes);
		/* a section that is not clear must hold for nobody */
		assert_false(config_policy(c, &pico, &p));
		assert_int_equal(p.quiet_ms, 1000);
	}
}

static void test_the_rest_still_works(void **state)
{
	_cleanup_(config_freep) struct config *c = load(
		"[board x]\nmatch = serial:E661\nquiet = quick\nnonsense\nidle = 5\n"
		"[what]\nquiet = 9\n[board]\nverify = everything\n");
	struct policy p;

	assert_string_equal(mistakes, "f:3: quiet: 'quick' is no number from 0 to 3600000\n"
				      "f:4: this is neither a [section] nor KEY=VALUE\n"
				      "f:6: unknown section [what]: there are [daemon], [board] "
				      "and [board NAME]\n");
	assert_true(config_policy(c, &pico, &p));
	assert_int_equal(p.quiet_ms, 1000);
	assert_int_equal(p.idle_ms, 5000);
	assert_true(p.verify_everything);
}

static void test_6_hostile_bytes(void **state)
{
	const char *text = getenv("SEED");
	unsigned seed = text ? (unsigned)strtoul(text, NULL, 0) : (unsigned)getpid();
	static const char *const pieces[] = {"[board x]\n", "[", "]", "=", "\n", "match = ",
		"serial:E661", "align = ", "\x1b[2J", "\xff", ";", "#", " ", "tty = /", "socket"};
	char endless[2000];

	print_message("SEED=%u\n", seed);
	srand(seed);
	memset(endless, 'x', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	for (unsigned i = 0; i < 3000; i++) {
		_cleanup_(config_freep) struct config *c = NULL;
		char bytes[4096] = "";
		size_t n = 0;
		struct policy p;

		for (unsigned k = (unsigned)rand() % 20; k > 0; k--) {
			const char *piece = pieces[(size_t)rand() % ARRAY_SIZE(pieces)];

			if (rand() % 30 == 0)
				piece = endless + rand() % (int)sizeof(endless);
			n += (size_t)snprintf(bytes + n, sizeof(bytes) - n, "%s", piece);
			n = MIN(n, sizeof(bytes) - 1);
			if (rand() % 10 == 0)
				bytes[n] = (char)(rand() % 256), n = MIN(n + 1, sizeof(bytes) - 1);
		}
		put_bytes(file, bytes, n);
		c = load_from(file, false); /* mistakes have no control character: on_mistake */
		(void)config_policy(c, &pico, &p);
	}
}

static void test_long_and_last_lines(void **state)
{
	char text[1000];
	_cleanup_(config_freep) struct config *c = NULL;
	struct policy p;

	snprintf(text, sizeof(text), "[board]\nquiet = %0500d\nidle = 7", 5);
	c = load(text);
	assert_string_equal(mistakes, "f:2: this line is longer than 198 bytes\n");
	(void)config_policy(c, &pico, &p);
	assert_int_equal(p.idle_ms, 7000);
}

static void test_too_large_or_missing(void **state)
{
	_cleanup_free_ char *bytes = calloc(1, 2 << 20);
	struct error err = {0};
	struct config *c;

	memset(bytes, '\n', 2 << 20);
	put_bytes(file, bytes, 2 << 20);
	assert_int_equal(config_load(file, false, on_mistake, NULL, &c, &err), -EFBIG);
	assert_non_null(strstr(err.text, "larger than 1024 KiB"));
	error_clear(&err);
	assert_int_equal(unlink(file), 0);
	assert_int_equal(config_load(file, false, on_mistake, NULL, &c, &err), -ENOENT);
	assert_non_null(strstr(err.text, file));
	error_clear(&err);
	assert_int_equal(config_load(dir, false, on_mistake, NULL, &c, &err), -EISDIR);
}

static void put_usual(const char *name, const char *text)
{
	char path[600];

	snprintf(path, sizeof(path), "%s/romount/%s", dir, name);
	put_bytes(path, text, strlen(text));
}

static void test_usual_files(void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	char path[600];
	struct policy p;

	assert_int_equal(setenv("XDG_CONFIG_HOME", dir, 1), 0);
	assert_int_equal(setenv("HOME", "/home/me", 1), 0);
	/* none of them there */
	c = load_from(NULL, true);
	assert_string_equal(mistakes, "");
	config_free(c);
	snprintf(path, sizeof(path), "%s/romount/romount.d", dir);
	assert_int_equal(io_make_dirs(path), 0);
	put_usual("romount.conf", "[daemon]\nmount-root = ~/Pico\n[board]\nquiet = 1\nidle = 1\n");
	put_usual("romount.d/20-b.conf", "[board]\nquiet = 3\n\nnonsense\n");
	put_usual("romount.d/10-a.conf", "bad\n[board]\nquiet = 2\nbaud = 9600\n");
	put_usual("romount.d/30.conf.bak", "[board]\nquiet = 4\n");
	put_usual("romount.d/.hidden.conf", "[board]\nquiet = 5\n");
	snprintf(path, sizeof(path), "%s/romount/romount.d/15.conf", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	c = load_from(NULL, true);
	assert_string_equal(mistakes,
		"romount/romount.d/10-a.conf:1: this is neither a [section] nor KEY=VALUE\n"
		"romount/romount.d/15.conf: cannot be read: Is a directory\n"
		"romount/romount.d/20-b.conf:4: this is neither a [section] nor KEY=VALUE\n");
	(void)config_policy(c, &pico, &p);
	assert_int_equal(p.quiet_ms, 3);
	assert_int_equal(p.idle_ms, 1000);
	assert_int_equal(p.baud, 9600);
	assert_string_equal(config_mount_root(c), "/home/me/Pico");
}

/* The sample that is installed, and what it shows when its examples are taken. */
static void test_sample(void **state)
{
	const char *top = getenv("SRCDIR");
	char path[600], line[300], all[8192] = "";
	FILE *f;

	if (!top)
		skip();
	snprintf(path, sizeof(path), "%s/daemon/romount.conf", top);
	config_free(load_from(path, false));
	assert_string_equal(mistakes, "");
	f = fopen(path, "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s",
			line[0] == '#' && line[1] != ' ' ? line + 1 : line);
	assert_int_equal(fclose(f), 0);
	assert_non_null(strstr(all, "\nquiet = 1000\n"));
	config_free(load_well(all));
}

static void test_statics(void **state)
{
	_cleanup_(config_freep) struct config *c = load_well(
		"[board sim]\ntty = /tmp/board\nbaud = 9600\nquiet = 7\n"
		"[board Q emu]\nsocket = [::1]:2217\nalias = qemu\n"
		"[board more]\nmatch = alias:sim\nidle = 7\n");
	const struct config_subject sim = {
		.alias = "sim", .paths = (const char *const[]){"/tmp/board", NULL}};
	const struct config_static *boards;
	struct policy p;
	unsigned n;

	boards = config_statics(c, &n);
	assert_int_equal(n, 2);
	assert_string_equal(boards[0].tty, "/tmp/board");
	assert_string_equal(boards[0].socket, "");
	assert_string_equal(boards[0].alias, "sim");
	assert_int_equal(boards[0].baud, 9600);
	assert_string_equal(boards[1].socket, "[::1]:2217");
	assert_string_equal(boards[1].alias, "qemu");
	assert_true(config_policy(c, &sim, &p));
	assert_string_equal(p.alias, "sim");
	assert_int_equal(p.quiet_ms, 7);
	assert_int_equal(p.idle_ms, 7000);
}

static void test_command_line(void **state)
{
	static const char *const bad[] = {"", "/dev/ttyS0", "tty=", "tty=x", "alias=a",
		"tty=/dev/a,socket=h:1", "tty=/dev/a,", "tty=/dev/a,speed=1", "tty=/dev/a,baud=x",
		"socket=h", "socket=:1", "socket=h:0", "socket=h:65536", "socket=::1:5",
		"socket=-h:1", "tty=/dev/a,alias=../x", "tty=/dev/a,alias="};
	struct config_static board;
	struct error err = {0};

	assert_int_equal(config_parse_static(
				 "tty=/dev/pts/3,alias=sim,baud=9600", &board, &err), 0);
	assert_string_equal(board.tty, "/dev/pts/3");
	assert_string_equal(board.alias, "sim");
	assert_int_equal(board.baud, 9600);
	assert_int_equal(config_parse_static("socket=localhost:2217", &board, &err), 0);
	assert_string_equal(board.socket, "localhost:2217");
	assert_string_equal(board.tty, "");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		error_clear(&err);
		print_message("%s\n", bad[i]);
		assert_int_equal(config_parse_static(bad[i], &board, &err), -EINVAL);
		assert_string_not_equal(err.text, "");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(defaults),
		TEST(every_setting),
		TEST(matches),
		TEST(precedence),
		TEST(equal_policies_are_equal_bytes),
		TEST(mistakes_name_their_line),
		TEST(mistakes_of_a_section),
		TEST(the_rest_still_works),
		TEST(6_hostile_bytes),
		TEST(long_and_last_lines),
		TEST(too_large_or_missing),
		TEST(usual_files),
		TEST(sample),
		TEST(statics),
		TEST(command_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
