/* SPDX-License-Identifier: MIT */
#include "fuse/boardproc.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "fuse/boardproc_private.h"
#include "fuse/portmemo.h"
#include "util/io.h"

/* The port stays open this long after the last read. */
#define LINGER_MS 300u
#define BUSY_WAIT_MS 10000u
/* Between two attempts at a partition that is not answered for. */
#define RETRY_MIN_MS 2000u
#define RETRY_MAX_MS 240000u
#define STATE_ROOT "." /* the directory that was given */

static void end_if_done(struct boardproc *b);

/* --- the log: standard error, which the journal takes with its levels --- */

static void write_log(void *data, int level, const char *text)
{
	const struct boardproc *b = data;
	char line[800];
	char head[24] = "romount-board: ";
	int n;

	if (getenv("JOURNAL_STREAM"))
		snprintf(head, sizeof(head), "<%d>", level);
	n = snprintf(line, sizeof(line) - 1, "%s%s%s%s", head, b->o.name,
		b->o.name[0] ? ": " : "", text);

	n = MIN(n, (int)sizeof(line) - 2);
	line[n] = '\n';
	if (level <= LOG_INFO)
		(void)!io_write_full(STDERR_FILENO, line, (size_t)n + 1);
}

/* --- folders --- */

struct part *boardproc_part(struct boardproc *b, unsigned number, struct error *err)
{
	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].number == number)
			return &b->parts[i];
	(void)!error_set(err, -ENOENT, "%s has no partition rom%u that is known", b->o.name,
		number);
	return NULL;
}

/* romountd cannot see that somebody else has unmounted it. */
static void unmount(struct part *p)
{
	if (p->mounted && !p->b->ending)
		control_unmount(p->b->control, p->number);
	p->mounted = false;
}

static void on_changed(void *ctx)
{
	const struct part *p = ctx;

	boardproc_report(p->b);
}

static void on_served(void *ctx)
{
	const struct part *p = ctx;

	control_ready(p->b->control, p->number);
}

/* Unmounted, by whomever, or told to end. */
static void on_ended(void *ctx, int result)
{
	struct part *p = ctx;

	(void)result; /* the volume has told the log */
	volume_save_status(p->volume);
	if (!p->mounting && !volume_is_served(p->volume))
		unmount(p);
	p->ended = p->b->ending;
	boardproc_report(p->b);
	end_if_done(p->b);
}

static void on_mounted(void *ctx, int result, const char *text)
{
	struct part *p = ctx;

	p->mounting = sd_bus_slot_unref(p->mounting);
	error_clear(&p->err);
	if (result >= 0 && p->b->ending)
		close(result);
	else if (result >= 0)
		result = volume_serve(p->volume, result, &p->err);
	else
		(void)!error_set(&p->err, result, "the folder cannot be shown: %s", text);
	if (p->err.code) {
		log_to(&p->b->log, LOG_ERR, "rom%u: %s", p->number, p->err.text);
		unmount(p);
	}
	boardproc_report(p->b);
}

static void mount(struct part *p)
{
	int r;

	if (p->mounting || volume_is_served(p->volume))
		return;
	unmount(p);
	p->mounted = true;
	/* Who sees the folder shall find its size told. */
	boardproc_report_now(p->b);
	r = control_mount(p->b->control, p->number, on_mounted, p, &p->mounting);
	if (r < 0)
		on_mounted(p, r, strerror(-r));
}

/* --- attaching --- */

/* Behind another interface of the board there may be a REPL. */
static bool is_no_repl(int r)
{
	return r == -EPROTO || r == -ETIMEDOUT;
}

static bool is_port_away(int r)
{
	return r == -EBUSY || r == -ENODEV;
}

static void take_note(struct part *p, const char *text)
{
	snprintf(p->note, sizeof(p->note), "%s", text);
	p->note[strcspn(p->note, "\n")] = '\0';
	if (p->note[0])
		log_to(&p->b->log, LOG_NOTICE, "%s", p->note);
}

static void on_attached(void *ctx, int result, const char *text)
{
	struct part *p = ctx;
	struct boardproc *b = p->b;

	error_clear(&p->err);
	if (result == 0) {
		p->up = true;
		error_clear(&p->logged);
		take_note(p, text);
		if (b->ending)
			volume_end(p->volume, b->finish);
		else
			mount(p);
	} else {
		(void)!error_set(&p->err, result, "%s", text);
		if (result != -ENODATA && !b->ending && strcmp(text, p->logged.text) != 0)
			log_to(&b->log, LOG_ERR, "rom%u: %s", p->number, text);
		p->logged = p->err;
		volume_free(p->volume);
		p->volume = NULL;
	}
	boardproc_report(b);
	boardproc_order_delayed(b);
	end_if_done(b);
}

static void attach_part(struct part *p, bool ask)
{
	struct boardproc *b = p->b;
	const struct volume_options options = {
		.attach = {
			.flash = {
				.link = b->link,
				.partition = p->number,
				.cancel_fd = b->cancel_fd,
				.busy_wait_ms = BUSY_WAIT_MS,
				.log = &b->log,
			},
			.state_dir = STATE_ROOT,
			.pack = &b->pack,
			.identity = b->o.identity,
			.only_memory = !ask,
		},
		.event = b->event,
		.worker = b->worker,
		.mountpoint = p->mountpoint,
		.uid = b->o.uid,
		.gid = b->o.gid,
		.quiet_ms = b->o.quiet_ms,
		.idle_ms = b->o.idle_ms,
		.verify_all = strcmp(b->o.verify, "everything") == 0,
		.changed = on_changed,
		.served = on_served,
		.ended = on_ended,
		.ctx = p,
	};
	int r = volume_new(&options, on_attached, p, &p->volume);

	if (r < 0)
		(void)!error_set(&p->err, r, "cannot start: %s", strerror(-r));
}

static void list_parts(struct boardproc *b)
{
	b->n_parts = b->board.n_partitions;
	for (unsigned i = 0; i < b->n_parts; i++) {
		struct part *p = &b->parts[i];

		*p = (struct part){.b = b, .number = b->board.partitions[i].number,
			.logged = p->logged};
		snprintf(p->mountpoint, sizeof(p->mountpoint), "%s/rom%u", b->o.directory,
			p->number);
	}
}

static bool has_volumes(const struct boardproc *b)
{
	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].volume)
			return true;
	return false;
}

bool boardproc_is_attaching(const struct boardproc *b)
{
	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].volume && !b->parts[i].up)
			return true;
	return b->looking;
}

bool boardproc_is_unsure(const struct boardproc *b)
{
	return boardproc_is_attaching(b) || !turn_has_come(b->turn);
}

/* --- the first look --- */

/* Each partition has a memo of its own, with all partitions in it. */
static bool recall_board(const struct boardproc *b, struct dev_board_info *out)
{
	struct portmemo memo;

	for (unsigned i = 0; i < DEV_PARTITIONS_MAX && b->o.identity[0]; i++) {
		if (portmemo_read(STATE_ROOT, b->o.identity, i, &memo) < 0)
			continue;
		*out = memo.board;
		return true;
	}
	return false;
}

static int ask_board(struct boardproc *b, struct dev_board_info *out, struct error *err)
{
	struct port *port = boardproc_port(b);
	int r = link_ask(b->link, out, err);

	while (is_no_repl(r)) {
		struct error ignored = {0};

		if (port_host_next(port, b->cancel_fd, &ignored) < 0)
			return r;
		error_clear(err);
		r = link_ask(b->link, out, err);
	}
	if (r == 0)
		port_host_keep(port);
	return r;
}

static void run_look(struct worker_job *job)
{
	struct boardproc *b = container_of(job, struct boardproc, look.job);
	struct look *l = &b->look;

	error_clear(&l->err);
	l->result = 0;
	link_stay(b->link);
	if (!l->known && !l->fresh)
		l->known = recall_board(b, &l->info);
	if (l->known || !l->ask)
		return;
	l->result = ask_board(b, &l->info, &l->err);
	l->known = l->result == 0;
	if (l->known && l->info.n_partitions == 0)
		(void)!dev_board_lacks(&l->info, 0, &l->err);
}

static void run_leave(struct worker_job *job)
{
	link_leave(container_of(job, struct boardproc, leave_job)->link);
}

static void stop_retry(struct boardproc *b)
{
	b->retry_timer = sd_event_source_disable_unref(b->retry_timer);
	if (b->link)
		port_unwatch(boardproc_port(b), &b->waker);
}

static int on_retry(sd_event_source *s, uint64_t us, void *data);

/* A board that does not answer is asked less and less often: each time stops its program. */
static void back_off(struct boardproc *b)
{
	int r;

	b->retry_ms = b->retry_ms ? MIN(b->retry_ms * 2, RETRY_MAX_MS) : RETRY_MIN_MS;
	b->retry_timer = sd_event_source_disable_unref(b->retry_timer);
	r = sd_event_add_time_relative(b->event, &b->retry_timer, CLOCK_MONOTONIC,
		(uint64_t)b->retry_ms * 1000, 0, on_retry, b);
	if (r < 0)
		log_to(&b->log, LOG_ERR, "no timer for the next attempt: %s", strerror(-r));
}

/* Only when the port is closed: our own closing is none of those that are watched for. */
static void retry_later(struct boardproc *b)
{
	bool away = is_port_away(b->look.result) || is_no_repl(b->look.result);
	bool silent = false;

	if (b->released || b->ending || boardproc_is_attaching(b))
		return;
	for (unsigned i = 0; i < b->n_parts; i++) {
		away |= !b->parts[i].volume && is_port_away(b->parts[i].err.code);
		silent |= !b->parts[i].volume && is_no_repl(b->parts[i].err.code);
	}
	if (away)
		(void)!port_watch(boardproc_port(b), b->event, &b->waker);
	if (silent)
		back_off(b);
	else
		b->retry_ms = 0;
}

static void on_left(struct worker_job *job)
{
	struct boardproc *b = container_of(job, struct boardproc, leave_job);

	if (!job->dropped)
		retry_later(b);
	boardproc_report(b);
}

/* Whatever has to be asked is asked in one session. */
static void attach_all(struct boardproc *b)
{
	for (unsigned i = 0; i < b->n_parts; i++)
		if (!b->parts[i].volume)
			attach_part(&b->parts[i], b->look.ask);
	b->leave_job = (struct worker_job){.run = run_leave, .done = on_left};
	worker_submit(b->worker, &b->leave_job, false);
}

static void on_looked(struct worker_job *job)
{
	struct boardproc *b = container_of(job, struct boardproc, look.job);
	struct look *l = &b->look;

	b->looking = false;
	if (job->dropped || b->ending) {
		end_if_done(b);
		return;
	}
	if (l->result < 0) {
		if (strcmp(l->err.text, l->logged.text) != 0)
			log_to(&b->log, LOG_ERR, "%s", l->err.text);
		l->logged = l->err;
	} else if (l->known && !has_volumes(b)) {
		b->board = l->info;
		list_parts(b);
	}
	attach_all(b);
	boardproc_report(b);
	boardproc_order_delayed(b);
}

static void begin_look(struct boardproc *b, bool ask, bool fresh)
{
	if (!turn_has_come(b->turn) || boardproc_is_attaching(b) || b->ending)
		return;
	stop_retry(b);
	b->looking = true;
	b->look.ask = ask;
	b->look.fresh = fresh && !has_volumes(b);
	b->look.known = b->look.known && !b->look.fresh;
	b->look.job = (struct worker_job){.run = run_look, .done = on_looked};
	worker_submit(b->worker, &b->look.job, false);
	boardproc_report(b);
}

static void on_port_free(void *ctx)
{
	struct boardproc *b = ctx;

	begin_look(b, b->o.contact, false);
}

static int on_retry(sd_event_source *s, uint64_t us, void *data)
{
	struct boardproc *b = data;

	(void)s;
	(void)us;
	begin_look(b, b->o.contact, false);
	return 0;
}

/* --- taken and given back --- */

static void take_back(struct boardproc *b)
{
	b->release_timer = sd_event_source_disable_unref(b->release_timer);
	if (!b->released)
		return;
	b->released = false;
	link_allow(b->link);
	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].up)
			volume_kick(b->parts[i].volume);
}

static int on_release_timer(sd_event_source *s, uint64_t us, void *data)
{
	struct boardproc *b = data;

	(void)s;
	(void)us;
	take_back(b);
	begin_look(b, b->o.contact, false);
	return 0;
}

/* What the last look has found was of no use. */
static bool is_mistaken(const struct boardproc *b)
{
	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].err.code == -ENODATA)
			return false;
	return b->look.known;
}

static void attach_order(struct boardproc *b, sd_bus_message *call)
{
	b->o.contact = true;
	take_back(b);
	begin_look(b, true, is_mistaken(b));
	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].up)
			mount(&b->parts[i]);
	boardproc_answer(b, call, 0, NULL);
}

static void rest_all(const struct boardproc *b)
{
	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].volume)
			volume_rest(b->parts[i].volume);
}

static void run_release(struct worker_job *job)
{
	struct boardproc *b = container_of(job, struct boardproc, release_job);

	rest_all(b);
	link_leave(b->link);
}

static void on_released(struct worker_job *job)
{
	struct boardproc *b = container_of(job, struct boardproc, release_job);

	boardproc_answer(b, b->release_call, job->dropped ? -ECANCELED : 0, NULL);
	b->release_call = sd_bus_message_unref(b->release_call);
}

/* In front of all that waits: what runs ends well, then the port is closed. */
static void release_order(
	struct boardproc *b, const struct control_order *order, sd_bus_message *call)
{
	struct error err = {0};
	int r = b->release_call ? error_set(&err, -EBUSY, "%s is being released", b->o.name) : 0;

	b->release_timer = sd_event_source_disable_unref(b->release_timer);
	if (r == 0 && order->seconds)
		r = sd_event_add_time_relative(b->event, &b->release_timer, CLOCK_MONOTONIC,
			(uint64_t)order->seconds * 1000000, 0, on_release_timer, b);
	if (r < 0) {
		control_reply(call, r, &err);
		return;
	}
	b->released = true;
	stop_retry(b);
	link_forbid(b->link, "the board has been released; 'romount attach' takes it back");
	b->release_call = sd_bus_message_ref(call);
	b->release_job = (struct worker_job){.run = run_release, .done = on_released};
	worker_submit(b->worker, &b->release_job, true);
	boardproc_report(b);
}

/* --- the end --- */

static void end_if_done(struct boardproc *b)
{
	if (!b->ending || boardproc_is_attaching(b))
		return;
	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].up && !b->parts[i].ended)
			return;
	b->end_timer = sd_event_source_disable_unref(b->end_timer);
	if (b->end_call) {
		boardproc_report_now(b);
		control_reply(b->end_call, 0, NULL);
	}
	b->end_call = sd_bus_message_unref(b->end_call);
	(void)sd_event_exit(b->event, 0);
}

static void begin_end(struct boardproc *b, bool finish)
{
	if (b->ending)
		return;
	/* The last that is heard of us, where it is not waited for: also in the state directory. */
	boardproc_report_now(b);
	b->ending = true;
	b->finish = finish;
	b->release_timer = sd_event_source_disable_unref(b->release_timer);
	stop_retry(b);
	/* What runs has its session; nothing else begins. */
	if (b->link && !finish)
		link_forbid(b->link, "the board is being taken away");
	else if (b->link && b->released)
		link_allow(b->link);
	for (unsigned i = 0; i < b->n_parts; i++) {
		struct part *p = &b->parts[i];

		p->mounting = sd_bus_slot_unref(p->mounting);
		if (p->up)
			volume_end(p->volume, finish);
	}
	end_if_done(b);
}

static int on_end_timer(sd_event_source *s, uint64_t us, void *data)
{
	const struct boardproc *b = data;

	(void)s;
	(void)us;
	log_to(&b->log, LOG_WARNING, "what is not on flash now is kept");
	(void)!eventfd_write(b->cancel_fd, 1);
	return 0;
}

static void end_order(
	struct boardproc *b, const struct control_order *order, sd_bus_message *call)
{
	int r = b->ending ? -EALREADY
			  : sd_event_add_time_relative(b->event, &b->end_timer,
				    CLOCK_MONOTONIC, (uint64_t)order->seconds * 1000000,
				    0, on_end_timer, b);

	if (r < 0) {
		control_reply(call, r, NULL);
		return;
	}
	b->end_call = sd_bus_message_ref(call);
	begin_end(b, order->flag);
}

/* Nobody is there who could open the port or mount; what runs has its descriptor. */
static void on_gone(void *ctx)
{
	struct boardproc *b = ctx;

	if (b->link)
		port_host_hang_up(boardproc_port(b));
	begin_end(b, false);
}

static int on_term(sd_event_source *s, const struct signalfd_siginfo *si, void *data)
{
	(void)s;
	(void)si;
	begin_end(data, false);
	return 0;
}

/* --- the beginning --- */

static void worker_idle(void *ctx)
{
	rest_all(ctx);
}

static bool worker_wants_idle(void *ctx)
{
	const struct boardproc *b = ctx;

	for (unsigned i = 0; i < b->n_parts; i++)
		if (b->parts[i].volume && !volume_is_resting(b->parts[i].volume))
			return true;
	return false;
}

static int on_worker(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct boardproc *b = data;

	(void)s;
	(void)fd;
	(void)events;
	worker_dispatch(b->worker);
	return 0;
}

static int start_worker(struct boardproc *b)
{
	const struct worker_hooks hooks = {
		.idle = worker_idle,
		.wants_idle = worker_wants_idle,
		.ctx = b,
		.linger_ms = LINGER_MS,
	};
	int r = worker_new(&hooks, &b->worker);

	return r < 0 ? r
		     : sd_event_add_io(b->event, NULL, worker_event_fd(b->worker), EPOLLIN,
			       on_worker, b);
}

static void on_port_used(void *ctx)
{
	boardproc_report(ctx);
}

static int make_link(struct boardproc *b)
{
	const struct port_host_options port = {
		.event = b->event,
		.bus = control_bus(b->control),
		.name = b->o.port,
		.used = on_port_used,
		.ctx = b,
	};
	struct link_options options = {
		.baud = b->o.baud,
		.cancel_fd = b->cancel_fd,
		.busy_wait_ms = BUSY_WAIT_MS,
		.keep_stopped = !b->o.reset,
		.statements = b->o.statements,
		.log = &b->log,
	};
	int r = port_host_new(&port, &options.port);

	return r < 0 ? r : link_new(&options, &b->link);
}

static int take_aligns(struct boardproc *b, struct error *err)
{
	int r = 0;

	b->pack = (struct romfs_pack_options){.aligns = b->aligns, .notes = true};
	for (unsigned i = 0; i < b->o.n_aligns && r == 0; i++) {
		r = romfs_align_parse(b->o.aligns[i], &b->aligns[i], err);
		b->pack.n_aligns += r == 0;
	}
	return r;
}

static void on_turn(void *ctx)
{
	struct boardproc *b = ctx;

	begin_look(b, b->o.contact, false);
}

static int on_start(void *ctx, const struct control_options *o, int dir, struct error *err)
{
	_cleanup_close_ int state = dir;
	struct boardproc *b = ctx;
	int r = fchdir(state) < 0 ? -errno : 0;

	if (r < 0)
		return error_set(err, r, "cannot use the state directory: %s", strerror(-r));
	b->o = *o;
	r = take_aligns(b, err);
	if (r < 0)
		return r;
	r = make_link(b);
	if (r == 0)
		r = start_worker(b);
	if (r == 0)
		r = turn_wait(b->event, on_turn, b, &b->turn);
	return r < 0 ? error_set(err, r, "cannot start: %s", strerror(-r)) : 0;
}

static void on_order(void *ctx, const struct control_order *order, sd_bus_message *call)
{
	struct boardproc *b = ctx;

	if (order->kind == CONTROL_END) {
		end_order(b, order, call);
	} else if (!b->worker || b->ending) {
		boardproc_refuse(order, call, -ENOTCONN);
	} else if (order->kind == CONTROL_ATTACH) {
		attach_order(b, call);
	} else if (order->kind == CONTROL_RELEASE) {
		release_order(b, order, call);
	} else if (order->kind == CONTROL_REFRESH) {
		boardproc_report_anew(b);
		control_reply(call, 0, NULL);
	} else {
		boardproc_order(b, order, call);
	}
}

static int start(struct boardproc *b, int fd)
{
	const struct control_hooks hooks = {
		.start = on_start, .order = on_order, .gone = on_gone, .ctx = b};
	int r = control_new(b->event, fd, &hooks, &b->control);

	if (r < 0)
		return r;
	b->log = (struct log_sink){.write = write_log, .data = b};
	b->waker = (struct port_waker){.wake = on_port_free, .ctx = b};
	b->cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (b->cancel_fd < 0)
		return -errno;
	/* A descriptor that came together with the end of the authentication would be refused:
	 * from this signal on romountd may send some. */
	boardproc_report(b);
	return sd_event_add_signal(b->event, NULL, SIGTERM, on_term, b);
}

static void stop(struct boardproc *b)
{
	if (b->link)
		port_host_hang_up(boardproc_port(b));
	worker_free(b->worker);
	for (unsigned i = 0; i < b->n_parts; i++) {
		sd_bus_slot_unref(b->parts[i].mounting);
		volume_free(b->parts[i].volume);
	}
	boardproc_order_free(b);
	boardproc_answer_free(b);
	boardproc_report_free(b);
	sd_event_source_disable_unref(b->release_timer);
	sd_event_source_disable_unref(b->end_timer);
	sd_bus_message_unref(b->release_call);
	sd_bus_message_unref(b->end_call);
	stop_retry(b);
	link_free(b->link);
	turn_free(b->turn);
	control_free(b->control);
	closep(&b->cancel_fd);
	free(b);
}

int boardproc_run(sd_event *event, int fd)
{
	struct boardproc *b = calloc(1, sizeof(*b));
	int r;

	if (!b) {
		close(fd);
		return -ENOMEM;
	}
	b->event = event;
	b->cancel_fd = -1;
	r = start(b, fd);
	if (r >= 0)
		r = sd_event_loop(event);
	stop(b);
	return MIN(r, 0);
}
