/* SPDX-License-Identifier: MIT */
/* Sessions with boards in every state that another tool, a program or a death left them in,
 * and with devices that are no boards. Each ends at the raw REPL or with a clear error. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <unistd.h>

#include <cmocka.h>

#include "libdev/known.h"
#include "libdev/repl.h"
#include "libdev/session.h"
#include "libdev/socket.h"
#include "tests/unit/fake_board.h"
#include "util/clock.h"

static struct fake_board board;

static int open_board(struct dev_session **s, struct error *err)
{
	struct dev_session_options options = {.cancel_fd = -1};

	memset(err, 0, sizeof(*err));
	return dev_session_open(board.port, &options, s, err);
}

/* The session opens, tells the truth, and gives the board back. */
static void expect_session(const struct fake_options *o)
{
	struct dev_session *s = NULL;
	const struct dev_board_info *i;
	struct error err;

	fake_start(&board, o);
	if (open_board(&s, &err) < 0)
		fail_msg("state %d: %s", o->state, err.text);
	i = dev_session_info(s);
	assert_string_equal(i->platform, "rp2");
	assert_string_equal(i->unique_id, "e66138935f6b8a2a");
	assert_string_equal(i->machine, "Fake ?[31mwith RP2040");
	assert_int_equal(i->mpy, 774);
	assert_int_equal(i->heap_free, 190000);
	assert_int_equal(i->n_partitions, 1);
	assert_int_equal(i->partitions[0].kind, DEV_TARGET_BLOCK);
	assert_int_equal(i->partitions[0].size, 65536);
	assert_int_equal(i->partitions[0].erase_block, 4096);
	assert_int_equal(i->partitions[0].write_unit, 256);
	assert_int_equal(i->partitions[0].address, 268959744);
	assert_false(i->has_deflate);
	assert_true(i->has_hashlib);
	assert_int_equal(i->has_raw_paste, o->raw_paste == 0);
	if (dev_session_close(s, &err) < 0)
		fail_msg("state %d: close: %s", o->state, err.text);
	fake_stop(&board);
	assert_int_equal(board.state, FAKE_FRIENDLY);
	assert_int_equal(board.soft_resets, 1);
	assert_int_equal(board.overruns, 0);
}

static void test_every_state(void **state)
{
	static const struct fake_options all[] = {
		{.state = FAKE_FRIENDLY},
		{.state = FAKE_RAW},
		{.state = FAKE_PASTE},
		{.state = FAKE_RAW_PASTE},
		{.state = FAKE_PROGRAM},
		{.state = FAKE_PROGRAM, .prints = true},
		{.state = FAKE_PROGRAM, .ignored_ctrl_c = 1},
		{.state = FAKE_PROGRAM, .ignored_ctrl_c = 4, .prints = true},
		{.state = FAKE_FRIENDLY, .raw_paste = 1},
		{.state = FAKE_FRIENDLY, .raw_paste = 2},
		{.state = FAKE_AGENT},
		{.state = FAKE_BLOCKED, .blocked = 7},
		{.state = FAKE_BLOCKED, .blocked = 16384 + 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		struct fake_options o = all[i];

		o.rules = fake_rp2;
		expect_session(&o);
	}
}

static void expect_no_board(const struct fake_options *o, int code, const char *word)
{
	struct dev_session *s = NULL;
	struct error err;
	uint64_t start = clock_ms();
	int r;

	fake_start(&board, o);
	r = open_board(&s, &err);
	if (r != code || !strstr(err.text, word) || !strstr(err.text, board.port))
		fail_msg("state %d: %d \"%s\"", o->state, r, err.text);
	assert_null(s);
	/* Five seconds are promised; the rest is for a machine that does other things. */
	assert_true(clock_ms() - start < 10000);
	fake_stop(&board);
}

static void test_silence(void **state)
{
	expect_no_board(&(struct fake_options){.state = FAKE_SILENT}, -ETIMEDOUT, "nothing");
}

static void test_flood(void **state)
{
	expect_no_board(&(struct fake_options){.state = FAKE_FLOOD}, -EPROTO, "prompt");
}

/* A line on which grants of raw paste come without a gap, as fast as they are read. */
static ssize_t read_grants(
	struct dev_transport *t, void *buf, size_t cap, deadline_t deadline)
{
	static const char start[] = "R\x01\x20\x00";
	size_t n = MIN(cap, t->bytes_in ? cap : 4);

	(void)deadline;
	memset(buf, 0x01, n);
	if (t->bytes_in == 0)
		memcpy(buf, start, n);
	t->bytes_in += n;
	return (ssize_t)n;
}

static int write_nowhere(
	struct dev_transport *t, const void *buf, size_t len, deadline_t deadline)
{
	(void)buf;
	(void)deadline;
	t->bytes_out += len;
	return 0;
}

/* Where the host never gives up, the alarm ends this. */
static void test_flood_of_grants(void **state)
{
	static const struct dev_transport_ops ops = {
		.read = read_grants, .write = write_nowhere};
	struct dev_transport t = {.ops = &ops, .name = "a line"};
	_cleanup_(repl_freep) struct repl *r = repl_new(&t, 0, NULL);
	struct error err = {0};

	assert_non_null(r);
	alarm(60);
	assert_int_equal(repl_start(r, "pass", 4, deadline_in(100), &err), -EPROTO);
	alarm(0);
	assert_non_null(strstr(err.text, "a line: "));
}

static void test_modem(void **state)
{
	expect_no_board(&(struct fake_options){.state = FAKE_MODEM}, -EPROTO, "prompt");
}

static void test_half_prompt(void **state)
{
	expect_no_board(&(struct fake_options){.state = FAKE_HALF}, -EPROTO, "prompt");
}

static void test_forger(void **state)
{
	expect_no_board(&(struct fake_options){.state = FAKE_FORGER}, -EPROTO, "Python");
}

static void test_stubborn_program(void **state)
{
	expect_no_board(&(struct fake_options){.state = FAKE_PROGRAM, .ignored_ctrl_c = 100000,
				.prints = true}, -EPROTO, "Ctrl-C");
}

static void test_words_for_numbers(void **state)
{
	static const struct fake_rule heap[] = {
		{"P('heap'", "heap=9e9\r\n", NULL}, {NULL, NULL, NULL}};
	static const struct fake_rule huge[] = {
		{"M('deflate'", "segments=99999999999999999999\r\n", NULL}, {NULL, NULL, NULL}};
	static const struct fake_rule hex[] = {
		{"P('platform'", "mpy=0x306\r\n", NULL}, {NULL, NULL, NULL}};

	expect_no_board(&(struct fake_options){.rules = heap}, -EPROTO, "9e9");
	expect_no_board(&(struct fake_options){.rules = huge}, -EPROTO, "segments");
	expect_no_board(&(struct fake_options){.rules = hex}, -EPROTO, "0x306");
}

static void test_statement_that_raises(void **state)
{
	static const struct fake_rule rules[] = {
		{"P('heap'", "", "Traceback:\r\n  x\r\nRuntimeError: \x1b]0;evil\x07\r\n"},
		{NULL, NULL, NULL}};

	expect_no_board(&(struct fake_options){.rules = rules}, -EPROTO,
		"RuntimeError: ?]0;evil?");
}

static void test_early_eot(void **state)
{
	expect_no_board(&(struct fake_options){.rules = fake_rp2, .gives_up = 100}, -EPROTO,
		"MemoryError: full");
}

/* Lines that lie about a partition: it is left out with a reason, and the session is fine. */
static void test_bad_geometry(void **state)
{
	static const char *const lies[] = {
		"block=1\r\ncount=-3\r\nsize=4096\r\n", "block=1\r\ncount=1\r\nsize=0\r\n",
		"block=1\r\ncount=9000000\r\nsize=4096000\r\n", "block=0\r\nlength=0\r\n",
		"block=0\r\nlength=-1\r\n", "block=0\r\nlength=99999999999\r\n", "",
		"absent=-22\r\n",
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct fake_rule rules[] = {fake_rp2[0], fake_rp2[1], fake_rp2[2],
			{"n=0\n", lies[i], NULL}, {NULL, NULL, NULL}};
		struct dev_target *t = NULL;
		struct dev_session *s = NULL;
		struct error err;

		fake_start(&board, &(struct fake_options){.rules = rules});
		assert_int_equal(open_board(&s, &err), 0);
		assert_int_equal(dev_session_info(s)->n_partitions, 0);
		assert_int_equal(dev_session_target(s, 0, &t, &err), -ENODEV);
		assert_non_null(strstr(err.text, "rom0"));
		assert_null(t);
		assert_int_equal(dev_session_close(s, NULL), 0);
		fake_stop(&board);
	}
}

static void test_no_partitions(void **state)
{
	static const struct {
		const char *line, *word;
	} cases[] = {
		{"base64=1\r\n", "without ROMFS"},
		{"rom=1\r\nsegments=0\r\n", "answers 0"},
		{"rom=1\r\nsegments=-22\r\n", "answers -22"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fake_rule rules[] = {fake_rp2[0], fake_rp2[1],
			{"M('deflate'", cases[i].line, NULL}, {NULL, NULL, NULL}};
		struct dev_target *t = NULL;
		struct dev_session *s = NULL;
		struct error err;

		fake_start(&board, &(struct fake_options){.rules = rules});
		assert_int_equal(open_board(&s, &err), 0);
		assert_int_equal(dev_session_target(s, 0, &t, &err), -ENODEV);
		assert_non_null(strstr(err.text, "no ROM partitions"));
		assert_non_null(strstr(err.text, cases[i].word));
		assert_int_equal(dev_session_close(s, NULL), 0);
		fake_stop(&board);
		assert_int_equal(board.soft_resets, 1);
	}
}

static void test_unplug(void **state)
{
	struct dev_target *t = NULL;
	struct dev_session *s = NULL;
	struct error err;
	char buf[16];

	fake_start(&board, &(struct fake_options){.rules = fake_rp2});
	assert_int_equal(open_board(&s, &err), 0);
	assert_int_equal(dev_session_target(s, 0, &t, &err), 0);
	fake_unplug(&board);
	assert_int_equal(dev_target_read(t, 0, buf, sizeof(buf), &err), -ENODEV);
	assert_non_null(strstr(err.text, "gone"));
	dev_target_free(t);
	assert_int_equal(dev_session_close(s, NULL), -ENODEV);
}

static void test_cancel(void **state)
{
	int fd = eventfd(1, EFD_CLOEXEC);
	struct dev_session_options options = {.cancel_fd = fd};
	struct dev_session *s = NULL;
	struct error err = {0};

	fake_start(&board, &(struct fake_options){.state = FAKE_SILENT});
	assert_int_equal(dev_session_open(board.port, &options, &s, &err), -ECANCELED);
	assert_null(s);
	fake_stop(&board);
	close(fd);
}

/* The signal comes when Ctrl-C has gone out already: the program runs again all the same. */
static void test_cancel_gives_back(void **state)
{
	static const enum fake_state states[] = {
		FAKE_PROGRAM, FAKE_FRIENDLY, FAKE_RAW_PASTE, FAKE_AGENT};

	for (size_t i = 0; i < ARRAY_SIZE(states); i++) {
		int fd = eventfd(1, EFD_CLOEXEC);
		struct dev_session_options options = {.cancel_fd = fd};
		struct dev_session *s = NULL;
		struct error err = {0};

		fake_start(&board, &(struct fake_options){.state = states[i]});
		assert_int_equal(
			dev_session_open(board.port, &options, &s, &err), -ECANCELED);
		fake_stop(&board);
		close(fd);
		if (board.state != FAKE_FRIENDLY || board.soft_resets != 1)
			fail_msg("state %d: now %d, %u resets", (int)states[i],
				(int)board.state, board.soft_resets);
	}
}

/* --- boards that were there before ----------------------------------------------------- */

static struct dev_known known;

static int open_known(const struct dev_known *k, struct dev_session **s, struct error *err)
{
	struct dev_session_options options = {.cancel_fd = -1, .known = k};

	memset(err, 0, sizeof(*err));
	return dev_session_open(board.port, &options, s, err);
}

/* Uses the partition, and keeps what was learnt. */
static void use(struct dev_session *s)
{
	struct dev_target *t = NULL;
	struct error err = {0};
	char buf[16];

	assert_int_equal(dev_session_target(s, 0, &t, &err), 0);
	assert_int_equal(t->geometry.size, 65536);
	assert_int_equal(t->geometry.erase_block, 4096);
	assert_int_equal(dev_target_read(t, 0, buf, sizeof(buf), &err), 0);
	dev_target_free(t);
	assert_int_equal(dev_session_known(s, 0, &known), 0);
}

static void learn(void)
{
	struct dev_session *s = NULL;
	struct error err;

	fake_start(&board, &(struct fake_options){.rules = fake_rp2});
	assert_int_equal(open_board(&s, &err), 0);
	assert_int_equal(dev_session_known(s, 0, &known), -ENODATA);
	use(s);
	assert_int_equal(dev_session_close(s, &err), 0);
	fake_stop(&board);
}

static void test_known(void **state)
{
	struct dev_session *s = NULL;
	struct error err;

	learn();
	fake_start(&board, &(struct fake_options){.rules = fake_rp2});
	if (open_known(&known, &s, &err) < 0)
		fail_msg("%s", err.text);
	assert_string_equal(dev_session_info(s)->unique_id, "e66138935f6b8a2a");
	assert_int_equal(dev_session_info(s)->n_partitions, 1);
	use(s);
	assert_int_equal(dev_session_close(s, &err), 0);
	fake_stop(&board);
	assert_int_equal(board.statements, 1);
	assert_int_equal(board.soft_resets, 1);
}

/* What answers now has another identity: all is asked, and that is believed. */
static void test_known_is_another(void **state)
{
	struct fake_rule rules[] = {fake_rp2[0],
		{"P('heap'", "uid=00000000000000b2\r\nheap=190000\r\n", NULL}, fake_rp2[2],
		fake_rp2[3], {NULL, NULL, NULL}};
	struct dev_session *s = NULL;
	struct error err;

	learn();
	fake_start(&board, &(struct fake_options){.rules = rules, .identity = "another"});
	assert_int_equal(open_known(&known, &s, &err), 0);
	assert_string_equal(dev_session_info(s)->unique_id, "00000000000000b2");
	use(s);
	assert_string_equal(known.identity, "another");
	assert_int_equal(dev_session_close(s, &err), 0);
	fake_stop(&board);
}

/* Only the partition that it was learnt with is proven. */
static void test_known_other_partition(void **state)
{
	struct dev_target *t = NULL;
	struct dev_session *s = NULL;
	struct error err;

	learn();
	fake_start(&board, &(struct fake_options){.rules = fake_rp2});
	known.caps.segments[1] = known.caps.segments[0];
	known.caps.segments[1].facts.number = 1;
	assert_int_equal(open_known(&known, &s, &err), 0);
	assert_int_equal(dev_session_info(s)->n_partitions, 2);
	assert_int_equal(dev_session_target(s, 1, &t, &err), -ENODEV);
	assert_int_equal(dev_session_info(s)->n_partitions, 1);
	use(s);
	assert_int_equal(dev_session_close(s, &err), 0);
	fake_stop(&board);
}

static int read_back(const char *text, size_t len, struct dev_known *out)
{
	_cleanup_fclose_ FILE *f = fmemopen((void *)(uintptr_t)text, len, "r");

	return f ? dev_known_read(f, out) : -1;
}

/* As text and back it is the same; what is cut or damaged is refused. */
static void test_known_as_text(void **state)
{
	static struct dev_known back;
	_cleanup_free_ char *text = NULL, *bad = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	learn();
	assert_int_equal(dev_known_write(f, &known), 0);
	fclose(f);
	assert_int_equal(read_back(text, len, &back), 0);
	memset(known.info.partitions, 0, sizeof(known.info.partitions));
	known.info.n_partitions = 0;
	known.caps.checked = false;
	known.caps.segments[0].usable = false;
	assert_memory_equal(&back.info, &known.info, sizeof(known.info));
	assert_memory_equal(&back.caps, &known.caps, sizeof(known.caps));
	assert_string_equal(back.identity, known.identity);

	bad = malloc(len + 1);
	for (size_t i = 1; i < len; i++)
		if (read_back(text, i, &back) != -EINVAL)
			fail_msg("%zu of %zu bytes are enough", i, len);
	for (size_t i = 0; i < len; i++) {
		memcpy(bad, text, len);
		bad[i] = '\x1b';
		if (read_back(bad, len, &back) != -EINVAL)
			fail_msg("an escape at %zu is taken", i);
	}
	memcpy(bad, text, len);
	bad[len] = 'x';
	assert_int_equal(read_back(bad, len + 1, &back), -EINVAL);
}

static void test_hostile_known(void **state)
{
	static const char *const lies[][2] = {
		{"number 0", "number 8"}, {"number 0", "number -1"}, {"number 0", "number 1"},
		{"segment 0", "segment 9"}, {"mpy 774", "mpy x"},
		{"hashlib 1", "hashlib 2"}, {"crc32 1", "crc32 "}, {"count 16", "count 0x10"},
		{"heap 190000", "heap 99999999999999999999"}, {"end\n", "end\nend\n"},
		{"block 1", "blok 1"}, {"romount-known 1", "romount-known 2"},
	};
	static struct dev_known back;
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	learn();
	assert_int_equal(dev_known_write(f, &known), 0);
	fclose(f);
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		const char *at = strstr(text, lies[i][0]);
		char bad[4096];

		if (!at)
			fail_msg("no \"%s\"", lies[i][0]);
		snprintf(bad, sizeof(bad), "%.*s%s%s", (int)(at - text), text, lies[i][1],
			at + strlen(lies[i][0]));
		if (read_back(bad, strlen(bad), &back) != -EINVAL)
			fail_msg("\"%s\" is taken", lies[i][1]);
	}
}

static void test_ports(void **state)
{
	struct dev_tty_options options = {.cancel_fd = -1};
	struct dev_transport *t = NULL;
	struct error err = {0};
	int fd;

	assert_int_equal(dev_tty_open("/dev/ttyNoSuch", &options, &t, &err), -ENOENT);
	assert_non_null(strstr(err.text, "plugged in"));
	error_clear(&err);
	assert_int_equal(dev_tty_open("/dev/null", &options, &t, &err), -ENOTTY);
	error_clear(&err);
	fake_start(&board, &(struct fake_options){.state = FAKE_SILENT});
	options.baud = 12345;
	assert_int_equal(dev_tty_open(board.port, &options, &t, &err), -EINVAL);
	options.baud = 0;
	error_clear(&err);
	fd = open(board.port, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(dev_tty_open(board.port, &options, &t, &err), -EBUSY);
	assert_non_null(strstr(err.text, board.port));
	close(fd);
	assert_null(t);
	assert_int_equal(dev_tty_open(board.port, &options, &t, NULL), 0);
	dev_transport_free(t);
	fake_stop(&board);
}

/* A descriptor that somebody else has opened. */
static void test_adopted_tty(void **state)
{
	const struct dev_tty_options options = {.cancel_fd = -1};
	struct dev_transport *t = NULL;
	struct error err = {0};
	int fd, other;

	fake_start(&board, &(struct fake_options){.state = FAKE_SILENT});
	other = open(board.port, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	fd = open(board.port, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_int_equal(dev_transport_adopt(fd, "the port", &options, &t, &err), -EBUSY);
	assert_non_null(strstr(err.text, "the port"));
	assert_int_equal(fcntl(fd, F_GETFD), -1); /* taken in any case */
	close(other);
	error_clear(&err);
	fd = open(board.port, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_int_equal(dev_transport_adopt(fd, "the port", &options, &t, &err), 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	other = open(board.port, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), -1);
	close(other);
	dev_transport_free(t);
	fake_stop(&board);
}

static void test_socket(void **state)
{
	struct dev_tty_options options = {.cancel_fd = eventfd(0, EFD_CLOEXEC)};
	_cleanup_free_ char *much = calloc(1, 4u << 20);
	struct dev_transport *t = NULL;
	struct error err = {0};
	char buf[16];
	int ends[2];

	assert_int_equal(dev_socket_adopt(open("/dev/null", O_RDWR | O_CLOEXEC), "null",
				 &options, &t, &err),
		-ENOTSOCK);
	assert_non_null(strstr(err.text, "null"));
	error_clear(&err);
	assert_int_equal(dev_socket_adopt(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
				 "alone", &options, &t, &err),
		-ENOTCONN);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	error_clear(&err);
	assert_int_equal(dev_transport_adopt(ends[0], "board", &options, &t, &err), 0);
	assert_string_equal(t->name, "board");
	assert_int_equal(t->ops->write(t, "hello", 5, deadline_in(1000)), 0);
	assert_int_equal(read(ends[1], buf, sizeof(buf)), 5);
	assert_int_equal(write(ends[1], "old", 3), 3);
	t->ops->discard(t);
	assert_int_equal(t->ops->read(t, buf, sizeof(buf), deadline_in(0)), -ETIMEDOUT);
	assert_int_equal(write(ends[1], "new", 3), 3);
	assert_int_equal(t->ops->read(t, buf, sizeof(buf), deadline_in(1000)), 3);
	assert_memory_equal(buf, "new", 3);
	assert_int_equal(t->bytes_in, 3);
	assert_int_equal(t->ops->write(t, much, 4u << 20, deadline_in(0)), -ETIMEDOUT);
	assert_int_equal(eventfd_write(options.cancel_fd, 1), 0);
	assert_int_equal(t->ops->read(t, buf, sizeof(buf), DEADLINE_NONE), -ECANCELED);
	t->finishing = true;
	close(ends[1]);
	assert_int_equal(t->ops->read(t, buf, sizeof(buf), DEADLINE_NONE), -ENODEV);
	assert_int_equal(t->ops->write(t, "x", 1, deadline_in(1000)), -ENODEV); /* no SIGPIPE */
	dev_transport_free(t);
	close(options.cancel_fd);
}

/* The board waits at its prompt, with what its program had in memory. */
static void test_keep_stopped(void **state)
{
	const struct dev_session_options options = {.cancel_fd = -1, .keep_stopped = true};
	struct dev_session *s = NULL;
	struct dev_target *t = NULL;
	struct error err = {0};
	char buf[16];

	fake_start(&board, &(struct fake_options){.rules = fake_rp2, .state = FAKE_PROGRAM});
	assert_int_equal(dev_session_open(board.port, &options, &s, &err), 0);
	assert_int_equal(dev_session_target(s, 0, &t, &err), 0);
	assert_int_equal(dev_target_read(t, 0, buf, sizeof(buf), &err), 0);
	if (dev_session_close(s, &err) < 0)
		fail_msg("%s", err.text);
	/* A target that outlives its session says so. */
	assert_int_equal(dev_target_read(t, 0, buf, sizeof(buf), &err), -EIO);
	dev_target_free(t);
	fake_stop(&board);
	assert_int_equal(board.state, FAKE_FRIENDLY);
	assert_int_equal(board.soft_resets, 0);
}

static void test_holder(void **state)
{
	char name[200], want[32];
	int ready[2], go[2];
	char c;
	pid_t child;

	fake_start(&board, &(struct fake_options){.state = FAKE_SILENT});
	assert_false(dev_tty_holder(board.port, name, sizeof(name)));
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	child = fork();
	if (child == 0) {
		close(go[1]);
		_exit(write(ready[1], "", 1) == 1 && read(go[0], &c, 1) == 0 ? 0 : 1);
	}
	assert_int_equal(read(ready[0], &c, 1), 1);
	assert_true(dev_tty_holder(board.port, name, sizeof(name)));
	snprintf(want, sizeof(want), "(pid %d)", (int)child);
	assert_non_null(strstr(name, want));
	close(go[1]);
	close(go[0]);
	close(ready[0]);
	close(ready[1]);
	fake_stop(&board);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_state),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_flood_of_grants),
		cmocka_unit_test(test_modem),
		cmocka_unit_test(test_half_prompt),
		cmocka_unit_test(test_forger),
		cmocka_unit_test(test_stubborn_program),
		cmocka_unit_test(test_words_for_numbers),
		cmocka_unit_test(test_statement_that_raises),
		cmocka_unit_test(test_early_eot),
		cmocka_unit_test(test_bad_geometry),
		cmocka_unit_test(test_no_partitions),
		cmocka_unit_test(test_unplug),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_cancel_gives_back),
		cmocka_unit_test(test_known),
		cmocka_unit_test(test_known_is_another),
		cmocka_unit_test(test_known_other_partition),
		cmocka_unit_test(test_known_as_text),
		cmocka_unit_test(test_hostile_known),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_adopted_tty),
		cmocka_unit_test(test_socket),
		cmocka_unit_test(test_keep_stopped),
		cmocka_unit_test(test_holder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
