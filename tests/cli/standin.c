/* SPDX-License-Identifier: MIT */
/* romountd's bus API and registry with nothing behind them: boards that are lines of text, and
 * orders that take ten steps of a timer. For the tests of the commands.
 *
 *	standin DIR [BOARD]...
 *
 * BOARD is NAME[,KEY=VALUE]...: port, state, roms, size, pending, files, error, and
 * fail=busy|gone|timeout|failed|hang for what becomes of its orders. DIR gets the private
 * socket, `orders` (a line for each), and flash.NAME.N, which holds what a partition holds.
 * Lines on standard input: "add BOARD", "remove NAME", "change NAME,KEY=VALUE..."; each is
 * answered by a line. It ends with its input. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "bus/names.h"
#include "daemon/api.h"
#include "util/io.h"

#define STEPS 10u
#define BLOCK 4096u
#define HEAD 64u
#define FILE_NAME "lib/<a>&.py"

struct standin {
	sd_event *event;
	struct registry *registry;
	struct api *api;
	sd_bus *bus; /* where replies of boards are made; leads nowhere */
	const char *dir;
	uint64_t step_usec;
};

static struct standin S;

struct running {
	struct board_order order;
	char board[BOARD_NAME_MAX + 1];
	unsigned step;
	sd_event_source *timer;
};

static void die(const char *what, int r)
{
	if (r >= 0)
		return;
	fprintf(stderr, "standin: %s: %s\n", what, strerror(-r));
	exit(1);
}

/* --- flash ------------------------------------------------------------------------------ */

static int open_flash(const char *board, unsigned n, uint64_t size)
{
	char path[512], blank[BLOCK];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/flash.%s.%u", S.dir, board, n);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	die(path, fd < 0 || fstat(fd, &st) < 0 ? -errno : 0);
	memset(blank, 0xFF, sizeof(blank));
	for (uint64_t at = (uint64_t)st.st_size; at < size; at += sizeof(blank))
		die(path, io_pwrite_full(fd, blank, MIN(sizeof(blank), size - at), (off_t)at));
	return fd;
}

static uint64_t copy(int from, int to)
{
	char buf[BLOCK];
	uint64_t at = 0;
	ssize_t n;

	while ((n = pread(from, buf, sizeof(buf), (off_t)at)) > 0) {
		die("copy", io_pwrite_full(to, buf, (size_t)n, (off_t)at));
		at += (uint64_t)n;
	}
	return at;
}

/* --- orders ------------------------------------------------------------------------------- */

static const char *const order_names[] = {
	[ORDER_SYNC] = "sync", [ORDER_SAVE] = "save", [ORDER_RESTORE] = "restore",
	[ORDER_VERIFY] = "verify", [ORDER_LAYOUT] = "layout", [ORDER_FORMAT] = "format",
	[ORDER_COMPACT] = "compact", [ORDER_ATTACH] = "attach", [ORDER_RELEASE] = "release",
	[ORDER_EJECT] = "eject"};

static void note(const char *board, const struct board_order *o, uint64_t bytes)
{
	char path[512];
	FILE *f;

	snprintf(path, sizeof(path), "%s/orders", S.dir);
	f = fopen(path, "ae");
	die(path, f ? 0 : -errno);
	fprintf(f, "%s %s %d flag=%d seconds=%u bytes=%" PRIu64 "\n", order_names[o->kind], board,
		(int)o->partition, o->flag, o->seconds, bytes);
	fclose(f);
}

static sd_bus_message *new_reply(void)
{
	sd_bus_message *m = NULL;

	die("reply", sd_bus_message_new_signal(S.bus, &m, "/", "a.b", "C"));
	return m;
}

static sd_bus_message *layout_of(const struct board_partition *p)
{
	sd_bus_message *m = new_reply();
	uint64_t files = p->size / 4, blank = p->size / 2;

	die("layout",
		sd_bus_message_append(m, "tta(ttss)", p->size, (uint64_t)BLOCK, 7, (uint64_t)0,
			(uint64_t)HEAD, "head", "",
			(uint64_t)HEAD, (uint64_t)(BLOCK - HEAD), "slot", "",
			(uint64_t)BLOCK, (uint64_t)BLOCK, "root", "",
			(uint64_t)(2 * BLOCK), files, "file", FILE_NAME,
			2 * BLOCK + files, (uint64_t)100, "file", "\033[31mred",
			2 * BLOCK + files + 100, blank - 2 * BLOCK - files - 100, "dead", "",
			blank, p->size - blank, "blank", ""));
	return m;
}

static sd_bus_message *verified(uint64_t bytes)
{
	sd_bus_message *m = new_reply();

	die("verify", sd_bus_message_append(m, "t", bytes));
	return m;
}

static void set_state(struct board *b, const char *state)
{
	snprintf(b->state, sizeof(b->state), "%s", state);
	registry_changed(S.registry, b);
}

static void settle(struct board *b, struct board_partition *p)
{
	p->pending = p->pending_files = 0;
	snprintf(p->state, sizeof(p->state), "on flash");
	registry_partition_changed(S.registry, b, p);
}

/* What an order does at its end; the reply, or NULL. */
static sd_bus_message *carry_out_partition(
	struct board *b, struct board_partition *p, struct board_order *o)
{
	int flash = open_flash(b->name, p->number, p->size);
	sd_bus_message *reply = NULL;
	uint64_t bytes = 0;

	if (o->kind == ORDER_SAVE) {
		bytes = copy(flash, o->fd);
	} else if (o->kind == ORDER_FORMAT || o->kind == ORDER_RESTORE) {
		die("erase", ftruncate(flash, 0) < 0 ? -errno : 0);
		if (o->kind == ORDER_RESTORE)
			bytes = copy(o->fd, flash);
		close(open_flash(b->name, p->number, p->size));
		p->used = bytes;
		registry_partition_changed(S.registry, b, p);
	} else if (o->kind == ORDER_VERIFY) {
		reply = verified(p->used);
	} else if (o->kind == ORDER_LAYOUT) {
		reply = layout_of(p);
	} else if (o->kind == ORDER_SYNC) {
		settle(b, p);
	}
	close(flash);
	note(b->name, o, bytes);
	return reply;
}

static void carry_out_board(struct board *b, struct board_order *o)
{
	if (o->kind == ORDER_SYNC || o->kind == ORDER_EJECT)
		for (unsigned i = 0; i < b->n_partitions; i++)
			settle(b, &b->partitions[i]);
	if (o->kind == ORDER_ATTACH)
		set_state(b, "ready");
	else if (o->kind == ORDER_RELEASE)
		set_state(b, "released");
	else if (o->kind == ORDER_EJECT)
		set_state(b, "ejected");
	note(b->name, o, 0);
}

static const char *job_of(enum board_order_kind kind)
{
	switch (kind) {
	case ORDER_SYNC:
	case ORDER_EJECT:
		return "commit";
	case ORDER_LAYOUT:
	case ORDER_ATTACH:
	case ORDER_RELEASE:
		return "";
	default:
		return order_names[kind];
	}
}

static void show_step(struct board *b, struct running *r)
{
	for (unsigned i = 0; i < b->n_partitions; i++) {
		struct board_partition *p = &b->partitions[i];
		bool ends = r->step == STEPS;

		if (r->order.partition != BUS_ALL_PARTITIONS && r->order.partition != p->number)
			continue;
		snprintf(p->job, sizeof(p->job), "%s", ends ? "" : job_of(r->order.kind));
		p->total = ends ? 0 : p->size;
		p->done = ends ? 0 : p->size * r->step / STEPS;
		registry_partition_changed(S.registry, b, p);
	}
}

static void finish(struct running *r, struct board *b)
{
	struct board_partition *p =
		b && r->order.partition != BUS_ALL_PARTITIONS
			? registry_partition(b, r->order.partition)
			: NULL;
	sd_bus_message *reply = p ? carry_out_partition(b, p, &r->order) : NULL;

	if (b && !p)
		carry_out_board(b, &r->order);
	if (reply) {
		die("seal", sd_bus_message_seal(reply, 1, 0));
		die("rewind", sd_bus_message_rewind(reply, true));
	}
	if (b)
		r->order.done(r->order.ctx, 0, NULL, NULL, reply);
	else
		r->order.done(r->order.ctx, -ENODEV, BUS_ERROR_GONE,
			"the board was unplugged; what is staged is kept", NULL);
	sd_bus_message_unref(reply);
	if (r->order.fd >= 0)
		close(r->order.fd);
	sd_event_source_unref(r->timer);
	free(r);
}

static int on_step(sd_event_source *s, uint64_t usec, void *data)
{
	struct running *r = data;
	struct board *b = registry_find(S.registry, r->board);

	if (r->step < STEPS)
		r->step++;
	if (b)
		show_step(b, r);
	if (!b || r->step == STEPS) {
		finish(r, b);
		return 0;
	}
	die("timer", sd_event_source_set_time_relative(s, S.step_usec));
	die("timer", sd_event_source_set_enabled(s, SD_EVENT_ONESHOT));
	return 0;
}

/* `ident` says what becomes of the board's orders. */
static int refuse(const struct board *b, struct error *err)
{
	static const struct {
		const char *how;
		int code;
		const char *text;
	} ways[] = {
		{"busy", -EBUSY, "picocom (pid 4711) has the port: end it, or wait"},
		{"gone", -ENODEV, "the board was unplugged"},
		{"timeout", -ETIMEDOUT, "the board does not answer"},
		{"failed", -EIO, "flash could not be written at 0x1000"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++)
		if (!strcmp(ways[i].how, b->ident))
			return error_set(err, ways[i].code, "%s", ways[i].text);
	return 0;
}

int board_order(struct board *b, const struct board_order *order, struct error *err)
{
	struct running *r;
	int code = refuse(b, err);

	if (code < 0)
		return code;
	r = calloc(1, sizeof(*r));
	if (!r)
		return -ENOMEM;
	r->order = *order;
	if (order->fd >= 0)
		r->order.fd = fcntl(order->fd, F_DUPFD_CLOEXEC, 3);
	snprintf(r->board, sizeof(r->board), "%s", b->name);
	show_step(b, r);
	if (!strcmp(b->ident, "hang")) /* never answered; never freed either */
		return 0;
	die("timer", sd_event_add_time_relative(S.event, &r->timer, CLOCK_MONOTONIC, S.step_usec,
			     1, on_step, r));
	return 0;
}

/* --- boards as text --------------------------------------------------------------------- */

static void set_number(struct board *b, const char *key, uint64_t n)
{
	if (!strcmp(key, "roms"))
		b->n_partitions = (unsigned)n;
	for (unsigned i = 0; i < b->n_partitions; i++) {
		struct board_partition *p = &b->partitions[i];

		if (!strcmp(key, "size"))
			p->size = n;
		else if (!strcmp(key, "pending"))
			p->pending = n;
		else if (!strcmp(key, "files"))
			p->pending_files = (unsigned)n;
	}
}

static void set(struct board *b, const char *key, const char *value)
{
	uint64_t n = strtoull(value, NULL, 0);

	if (!strcmp(key, "port")) {
		b->place.n_ttys = *value != 0;
		snprintf(b->place.ttys[0].node, sizeof(b->place.ttys[0].node), "%s", value);
	} else if (!strcmp(key, "state")) {
		snprintf(b->state, sizeof(b->state), "%s", value);
		b->present = strcmp(value, "absent") != 0;
	} else if (!strcmp(key, "fail")) {
		snprintf(b->ident, sizeof(b->ident), "%s", value);
	} else if (!strcmp(key, "error")) {
		snprintf(b->error, sizeof(b->error), "%s", value);
	} else {
		set_number(b, key, n);
	}
	for (unsigned i = 0; i < b->n_partitions && !strcmp(key, "pending"); i++)
		snprintf(b->partitions[i].state, sizeof(b->partitions[i].state), "%s",
			n ? "staged" : "on flash");
}

static void set_all(struct board *b, char *text)
{
	char *save, *word = strtok_r(text, ",", &save);

	while ((word = strtok_r(NULL, ",", &save))) {
		char *value = strchr(word, '=');

		if (value) {
			*value = '\0';
			set(b, word, value + 1);
		}
	}
}

/* Their folders are really there, so that paths in them mean something. */
static void make_folders(struct board *b)
{
	snprintf(b->directory, sizeof(b->directory), "%s/mnt/%s", S.dir, b->name);
	for (unsigned i = 0; i < b->n_partitions; i++) {
		struct board_partition *p = &b->partitions[i];

		snprintf(p->mount, sizeof(p->mount), "%s/rom%u", b->directory, p->number);
		die(p->mount, io_make_dirs(p->mount));
		p->mounted = b->present;
		p->used = MIN(p->size, 5 * BLOCK);
		p->free = p->size - p->used;
	}
}

static void add_board(char *text)
{
	struct board b = {.n_partitions = 1, .present = true, .state = "ready"}, *made;

	for (unsigned i = 0; i < BOARD_PARTITIONS_MAX; i++)
		b.partitions[i] = (struct board_partition){.number = i,
			.size = 1 << 20,
			.erase_block = BLOCK,
			.write_unit = 256,
			.has_address = true,
			.address = 0x10200000 + i * 0x100000,
			.state = "on flash",
			.kind = "erase by block"};
	snprintf(b.name, sizeof(b.name), "%.*s", (int)strcspn(text, ","), text);
	b.owner = getuid();
	snprintf(b.machine, sizeof(b.machine), "Stand-in board");
	snprintf(b.firmware, sizeof(b.firmware), "1.26.0");
	set_all(&b, text);
	make_folders(&b);
	die(b.name, registry_add(S.registry, &b, &made));
}

static void change_board(char *text)
{
	char name[BOARD_NAME_MAX + 1];
	struct board *b;

	snprintf(name, sizeof(name), "%.*s", (int)strcspn(text, ","), text);
	b = registry_find(S.registry, name);
	die(name, b ? 0 : -ENOENT);
	set_all(b, text);
	registry_changed(S.registry, b);
}

/* --- the whole ---------------------------------------------------------------------------- */

static int on_input(sd_event_source *s, int fd, uint32_t events, void *data)
{
	char line[1024], *text = line;

	if (!fgets(line, sizeof(line), stdin))
		return sd_event_exit(S.event, 0);
	line[strcspn(line, "\n")] = '\0';
	text += strcspn(line, " ");
	if (*text)
		*text++ = '\0';
	if (!strcmp(line, "add"))
		add_board(text);
	else if (!strcmp(line, "change"))
		change_board(text);
	else if (!strcmp(line, "remove"))
		registry_remove(S.registry, registry_find(S.registry, text));
	printf("%s\n", line);
	fflush(stdout);
	return 0;
}

static int add_static(void *ctx, const struct config_static *board, struct error *err)
{
	char text[512];

	if (!strcmp(board->alias, "refused"))
		return error_set(err, -EINVAL, "this one is refused");
	snprintf(text, sizeof(text), "%s,port=%s", board->alias[0] ? board->alias : "added",
		board->tty[0] ? board->tty : board->socket);
	add_board(text);
	return 0;
}

static int reload(void *ctx, struct error *err)
{
	return 0;
}

static void make_bus(void)
{
	int fds[2];

	die("socketpair",
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0 ? -errno
											     : 0);
	die("bus", sd_bus_new(&S.bus));
	die("bus", sd_bus_set_fd(S.bus, fds[0], fds[0]));
	die("bus", sd_bus_start(S.bus));
}

int main(int argc, char **argv)
{
	const char *ms = getenv("STANDIN_STEP_MS"), *bus = getenv("STANDIN_BUS");
	struct api_options options = {.user_mode = !bus, .no_bus = !bus};
	struct error err = {0};
	char path[256];

	die("usage: standin DIR [BOARD]...", argc < 2 ? -EINVAL : 0);
	S.dir = argv[1];
	S.step_usec = 1000 * strtoull(ms ? ms : "5", NULL, 10);
	snprintf(path, sizeof(path), "%s/socket", S.dir);
	/* Line by line: what has been read ahead would wake nobody. */
	setvbuf(stdin, NULL, _IONBF, 0);
	die("loop", sd_event_new(&S.event));
	make_bus();
	die("registry", registry_new(&S.registry));
	options.event = S.event;
	options.registry = S.registry;
	options.mount_root = options.state_root = S.dir;
	options.socket = path;
	options.add_board = add_static;
	options.reload = reload;
	if (api_new(&options, &S.api, &err) < 0) {
		fprintf(stderr, "standin: %s\n", err.text);
		return 1;
	}
	for (int i = 2; i < argc; i++)
		add_board(argv[i]);
	die("input", sd_event_add_io(S.event, NULL, STDIN_FILENO, EPOLLIN, on_input, NULL));
	puts("ready");
	fflush(stdout);
	die("loop", sd_event_loop(S.event));
	api_free(S.api);
	registry_free(S.registry);
	sd_bus_close_unref(S.bus);
	sd_event_unref(S.event);
	return 0;
}
