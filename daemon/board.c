/* SPDX-License-Identifier: MIT */
#include "daemon/board_private.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "bus/wire.h"
#include "util/clock.h"

#define USEC 1000000u
#define SPEAK_USEC (20u * USEC)
#define DETACH_USEC (5u * USEC) /* for the end of one whose board is gone */
#define BACKOFF_MIN_USEC (USEC / 2u)
#define BACKOFF_MAX_USEC (60u * USEC)
#define WELL_MS 60000u /* who lived so long begins anew with the shortest back-off */
#define RESTART_SECONDS 60u /* for what is staged, before it goes on otherwise */

/* --- telling --- */

void board_life_changed(struct board_life *l)
{
	registry_changed(l->env->registry, l->board);
	if (l->notes)
		notes_changed(l->notes);
}

void board_life_set_state(struct board_life *l, const char *state, const char *error)
{
	snprintf(l->board->state, sizeof(l->board->state), "%s", state);
	wire_copy_text(l->board->error, sizeof(l->board->error), error);
	board_life_changed(l);
}

void board_life_remember(struct board_life *l)
{
	const struct board *b = l->board;
	struct store_memo m = l->memo;
	struct error err = {0};

	wire_copy_text(m.name, sizeof(m.name), b->name);
	if (b->place.vendor_id || b->place.product_id)
		snprintf(m.usb, sizeof(m.usb), "%04x:%04x", b->place.vendor_id,
			b->place.product_id);
	if (b->present) {
		wire_copy_text(m.serial, sizeof(m.serial), b->place.serial);
		wire_copy_text(m.port, sizeof(m.port), b->place.ttys[0].node);
		wire_copy_text(m.id_path, sizeof(m.id_path), b->place.id_path);
	}
	if (b->machine[0]) {
		wire_copy_text(m.machine, sizeof(m.machine), b->machine);
		wire_copy_text(m.firmware, sizeof(m.firmware), b->firmware);
		wire_copy_text(m.unique_id, sizeof(m.unique_id), b->unique_id);
	}
	l->memo = m;
	if (store_write_memo(l->env->store, b->ident, &m, &err) < 0)
		log_to(l->env->log, LOG_WARNING, "%s: cannot remember it: %s", b->name, err.text);
}

bool board_life_is_released(const struct board_life *l)
{
	return strcmp(l->board->state, "released") == 0;
}

/* --- timers --- */

static void set_timer(struct board_life *l, uint64_t usec)
{
	int r = sd_event_source_set_time_relative(l->timer, usec);

	if (r >= 0)
		r = sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
	/* An armed time cannot be refused; without one nothing would ever end. */
	assert(r >= 0);
}

static void stop_timer(struct board_life *l)
{
	int r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);

	assert(r >= 0);
}

/* --- the process is gone, or shall go --- */

static void clear_process(struct board_life *l)
{
	struct board *b = l->board;
	unsigned i;

	stop_timer(l);
	l->gone = sd_event_source_disable_unref(l->gone);
	/* Mounts first: what reads there shall not wait any longer than it must. */
	if (l->dir)
		mount_dir_unmount_all(l->dir);
	grant_free(TAKE_PTR(l->grant));
	hostlink_free(TAKE_PTR(l->link));
	process_free(TAKE_PTR(l->process));
	l->killed = false;
	b->pid = 0;
	for (i = 0; i < b->n_partitions; i++) {
		struct board_partition *p = &b->partitions[i];

		p->mounted = p->was_ready = false;
		p->mount[0] = p->job[0] = '\0';
		p->done = p->total = 0;
		registry_partition_changed(l->env->registry, b, p);
	}
}

static bool is_wanted(const struct board_life *l)
{
	return l->board->present && !l->ejected && !l->ending;
}

static void back_off(struct board_life *l, const char *why)
{
	char text[200];

	if (l->phase == PHASE_RUNNING && clock_ms() - l->running_since >= WELL_MS)
		l->backoff_usec = 0;
	l->backoff_usec = l->backoff_usec ? MIN(l->backoff_usec * 2, BACKOFF_MAX_USEC)
					  : BACKOFF_MIN_USEC;
	snprintf(text, sizeof(text),
		"its process %s; it is started again in %u s, and nothing that was saved is "
		"lost",
		why, (unsigned)((l->backoff_usec + USEC - 1) / USEC));
	log_to(l->env->log, LOG_WARNING, "%s: %s", l->board->name, text);
	l->phase = PHASE_BACKOFF;
	set_timer(l, l->backoff_usec);
	board_life_set_state(l, "failed", text);
}

static void on_gone(struct board_life *l, const char *why)
{
	bool expected = l->phase == PHASE_ENDING || !is_wanted(l);

	/* That everything is on flash, and how much is not, may be what it said last. */
	if (l->link)
		hostlink_drain(l->link);
	clear_process(l);
	if (expected) {
		l->phase = PHASE_OFF;
		board_life_step(l);
	} else {
		back_off(l, why[0] ? why : "ended");
	}
}

static void on_process_gone(void *ctx, const char *why)
{
	struct board_life *l = ctx;

	/* Why it was killed says more than that it was. */
	on_gone(l, l->killed && l->gone_why[0] ? l->gone_why : why);
}

static int on_gone_later(sd_event_source *s, void *data)
{
	struct board_life *l = data;

	(void)s;
	on_gone(l, l->gone_why);
	return 0;
}

/* No process that could be waited for. Not right now: the link may be at work above us. */
static void be_gone_soon(struct board_life *l, const char *why)
{
	if (l->gone)
		return;
	snprintf(l->gone_why, sizeof(l->gone_why), "%s", why);
	if (sd_event_add_defer(l->env->event, &l->gone, on_gone_later, l) < 0)
		set_timer(l, 0);
}

/* Who cannot be killed, or does not even die, is left behind. */
static void kill_process(struct board_life *l, const char *why)
{
	if (!l->process || l->killed || process_kill(l->process) < 0) {
		be_gone_soon(l, why);
		return;
	}
	l->killed = true;
	snprintf(l->gone_why, sizeof(l->gone_why), "%s", why);
	set_timer(l, DETACH_USEC);
}

void board_life_lost(struct board_life *l, const char *why)
{
	log_to(l->env->log, LOG_WARNING, "%s: its process %s", l->board->name, why);
	kill_process(l, why);
}

void board_life_closed(struct board_life *l, const char *why)
{
	if (process_pid(l->process))
		set_timer(l, DETACH_USEC);
	else
		be_gone_soon(l, l->phase == PHASE_ENDING ? "" : why);
}

/* --- starting --- */

/* Who waits for that still has waited for nothing. */
static void not_ejected(struct board_life *l, const char *why)
{
	char text[200];

	snprintf(text, sizeof(text), "%s was not ejected: %s", l->board->name, why);
	board_life_answer_ejects(l, -ENODEV, wire_error_name(-ENODEV), text);
}

static void on_linked(void *ctx, int fd)
{
	struct board_life *l = ctx;
	struct error err = {0};

	stop_timer(l);
	l->board->pid = process_pid(l->process);
	l->running_since = clock_ms();
	l->phase = PHASE_RUNNING;
	if (board_link_open(l, fd, &err) < 0) {
		log_to(l->env->log, LOG_ERR, "%s: %s", l->board->name, err.text);
		kill_process(l, "could not be talked to");
		return;
	}
	board_life_changed(l);
}

static void start(struct board_life *l)
{
	const struct process_hooks hooks = {
		.linked = on_linked, .gone = on_process_gone, .ctx = l};
	struct board *b = l->board;
	struct error err = {0};

	not_ejected(l, "it was attached again meanwhile");
	l->env->owner(l->env->ctx, &b->place.policy, &b->owner, &b->group);
	if (process_start(l->env->launcher, &hooks, &l->process, &err) < 0) {
		log_to(l->env->log, LOG_ERR, "%s: %s", b->name, err.text);
		back_off(l, "could not be started");
		return;
	}
	l->phase = PHASE_STARTING;
	set_timer(l, SPEAK_USEC);
	board_life_set_state(l, "starting", "");
}

/* --- ending --- */

static void ask_to_end(struct board_life *l, bool finish, unsigned seconds, board_done_fn done,
	void *ctx)
{
	sd_bus_message *m = NULL;
	int r = hostlink_prepare(l->link, "End", &m);

	if (r >= 0)
		r = sd_bus_message_append(m, "bu", (int)finish, (uint32_t)seconds);
	if (r < 0)
		sd_bus_message_unref(m);
	else
		r = hostlink_call(l->link, m, UINT64_MAX, done, ctx);
	if (r < 0) {
		done(ctx, r, wire_error_name(r), "the board's process cannot be asked to end",
			NULL);
		kill_process(l, "cannot be asked to end");
	}
}

static void nobody_asked(
	void *ctx, int result, const char *error_name, const char *text, sd_bus_message *reply)
{
	struct board_life *l = ctx;

	(void)error_name;
	(void)reply;
	/* -ENODEV is its way to go without a word. */
	if (result < 0 && result != -ENODEV)
		log_to(l->env->log, LOG_WARNING, "%s: %s", l->board->name, text);
}

void board_life_begin_end(struct board_life *l, bool finish, unsigned seconds,
	board_done_fn done, void *ctx)
{
	l->phase = PHASE_ENDING;
	if (l->dir)
		mount_dir_unmount_all(l->dir);
	if (!done) {
		done = nobody_asked;
		ctx = l;
	}
	if (l->link) {
		set_timer(l, finish ? seconds * (uint64_t)USEC + DETACH_USEC : DETACH_USEC);
		ask_to_end(l, finish, seconds, done, ctx);
		return;
	}
	kill_process(l, "");
	done(ctx, 0, NULL, "", NULL);
}

/* --- what is next --- */

static void rest_absent(struct board_life *l)
{
	struct board *b = l->board;
	struct board staged = {0};
	_cleanup_close_ int fd = -1;
	unsigned i;

	if (store_open_board(l->env->store, b->ident, false, &fd, NULL) == 0)
		store_read_staged(fd, &staged);
	for (i = b->n_partitions; i-- > 0;)
		if (!registry_partition(&staged, b->partitions[i].number))
			registry_remove_partition(
				l->env->registry, b, b->partitions[i].number);
	for (i = 0; i < staged.n_partitions; i++) {
		struct board_partition *p =
			registry_partition(b, staged.partitions[i].number);

		if (!p) {
			/* There is room: the others have just gone. */
			(void)!registry_add_partition(
				l->env->registry, b, &staged.partitions[i]);
			continue;
		}
		*p = staged.partitions[i];
		registry_partition_changed(l->env->registry, b, p);
	}
	board_life_set_state(l, "absent", "");
}

/* Its process has gone without a last word: what still waits is on the disk. */
static void rest_ejected(struct board_life *l)
{
	struct board *b = l->board;
	struct board staged = {0};
	_cleanup_close_ int fd = -1;
	char text[200] = "";
	unsigned waiting = 0;

	if (store_open_board(l->env->store, b->ident, false, &fd, NULL) == 0)
		store_read_staged(fd, &staged);
	for (unsigned i = 0; i < b->n_partitions; i++) {
		struct board_partition *p = &b->partitions[i];
		const struct board_partition *s = registry_partition(&staged, p->number);

		if (p->pending == 0 && p->pending_files == 0)
			continue;
		p->pending = s ? s->pending : 0;
		p->pending_files = s ? s->pending_files : 0;
		waiting += p->pending_files ? p->pending_files : p->pending > 0;
		if (!s) {
			snprintf(p->state, sizeof(p->state), "on flash");
			p->error[0] = '\0';
		}
		registry_partition_changed(l->env->registry, b, p);
	}
	board_life_set_state(l, "ejected", "");
	if (waiting)
		snprintf(text, sizeof(text),
			"%s was let go, but %u file%s wait%s for it, safe on this computer: "
			"'romount attach %s' writes what waits",
			b->name, waiting, waiting == 1 ? "" : "s", waiting == 1 ? "s" : "",
			b->name);
	board_life_answer_ejects(
		l, waiting ? -EIO : 0, waiting ? wire_error_name(-EIO) : NULL, text);
}

static void leave_dir(struct board_life *l)
{
	notes_free(TAKE_PTR(l->notes));
	mount_dir_release(TAKE_PTR(l->dir));
	l->board->directory[0] = '\0';
}

static void rest(struct board_life *l)
{
	leave_dir(l);
	if (!l->board->present)
		rest_absent(l);
	else if (l->ejected)
		rest_ejected(l);
	not_ejected(l, "it has gone meanwhile; what was saved is kept");
	l->env->at_rest(l->env->ctx, l->board);
}

static void take_dir(struct board_life *l, struct mount_dir *dir)
{
	struct board *b = l->board;

	assert(!l->dir);
	l->dir = dir;
	snprintf(b->directory, sizeof(b->directory), "%s", mount_dir_path(l->dir));
	if (notes_new(l->env->event, b, mount_dir_fd(l->dir), &l->notes) < 0)
		log_to(l->env->log, LOG_WARNING, "%s: no %s: out of memory", b->name,
			MOUNT_STATUS_FILE);
}

int board_life_attach(struct board_life *l, struct error *err)
{
	struct mount_dir *dir;
	int r;

	if (!l->memo.attached) {
		l->memo.attached = true;
		board_life_remember(l);
	}
	if (l->ejected && l->phase != PHASE_ENDING) {
		r = mount_dir_claim(l->env->mounts, l->board->name, &dir, err);
		if (r < 0)
			return r;
		take_dir(l, dir);
	}
	l->ejected = false;
	if (l->phase == PHASE_BACKOFF) {
		stop_timer(l);
		l->phase = PHASE_OFF;
	}
	board_life_step(l);
	return 0;
}

void board_life_step(struct board_life *l)
{
	bool wanted = is_wanted(l);

	switch (l->phase) {
	case PHASE_OFF:
		if (wanted)
			start(l);
		else
			rest(l); /* may be freed */
		break;
	case PHASE_BACKOFF:
		if (!wanted) {
			stop_timer(l);
			l->phase = PHASE_OFF;
			rest(l);
		}
		break;
	case PHASE_STARTING:
	case PHASE_RUNNING:
		if (!wanted)
			board_life_begin_end(l, false, 0, NULL, NULL);
		break;
	case PHASE_ENDING: /* goes on when it is over */
		break;
	}
}

static int on_timer(sd_event_source *s, uint64_t usec, void *data)
{
	struct board_life *l = data;

	(void)s;
	(void)usec;
	switch (l->phase) {
	case PHASE_BACKOFF:
		l->phase = PHASE_OFF;
		board_life_step(l);
		break;
	case PHASE_STARTING:
		board_life_lost(l, "does not speak");
		break;
	case PHASE_ENDING:
		board_life_lost(l, "does not end");
		break;
	case PHASE_RUNNING:
		board_life_lost(l, "does not end");
		break;
	case PHASE_OFF:
		break;
	}
	return 0;
}

/* --- from outside --- */

static void life_free(struct board_life *l)
{
	if (!l)
		return;
	sd_event_source_disable_unref(l->timer);
	sd_event_source_disable_unref(l->gone);
	grant_free(l->grant);
	hostlink_free(l->link);
	board_life_answer_ejects(l, -ENODEV, wire_error_name(-ENODEV), "the board has gone");
	process_free(l->process);
	notes_free(l->notes);
	mount_dir_release(l->dir);
	free(l);
}

int board_new(const struct board_env *env, const char *ident, const struct store_memo *memo,
	const char *name, struct board **out, struct error *err)
{
	struct board_life *l = calloc(1, sizeof(*l));
	_cleanup_free_ struct board *values = calloc(1, sizeof(*values));
	_cleanup_close_ int fd = -1;
	int r = l && values ? 0 : -ENOMEM;

	if (r == 0)
		r = sd_event_add_time_relative(
			env->event, &l->timer, CLOCK_MONOTONIC, 0, 0, on_timer, l);
	if (r >= 0)
		r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
	if (r >= 0) {
		l->env = env;
		l->memo = *memo;
		snprintf(values->name, sizeof(values->name), "%s", name);
		snprintf(values->ident, sizeof(values->ident), "%s", ident);
		snprintf(values->state, sizeof(values->state), "absent");
		memcpy(values->machine, memo->machine, sizeof(values->machine));
		memcpy(values->firmware, memo->firmware, sizeof(values->firmware));
		memcpy(values->unique_id, memo->unique_id, sizeof(values->unique_id));
		values->life = l;
		if (store_open_board(env->store, ident, false, &fd, NULL) == 0)
			store_read_staged(fd, values);
		env->owner(env->ctx, &values->place.policy, &values->owner, &values->group);
		r = registry_add(env->registry, values, &l->board);
	}
	if (r < 0) {
		life_free(l);
		return error_set(err, r, "cannot take up %s: %s", name, strerror(-r));
	}
	*out = l->board;
	return 0;
}

void board_free(struct board *b)
{
	struct registry *registry = b->life->env->registry;

	life_free(b->life);
	registry_remove(registry, b);
}

/* With another policy, or for another owner. */
static void restart(struct board_life *l)
{
	if (l->phase == PHASE_STARTING || l->phase == PHASE_RUNNING)
		board_life_begin_end(l, true, RESTART_SECONDS, NULL, NULL);
	else
		board_life_step(l);
}

static void change_owner(struct board_life *l, uid_t uid, gid_t gid)
{
	struct board *b = l->board;

	switch (l->phase) {
	case PHASE_OFF:
	case PHASE_BACKOFF:
		b->owner = uid;
		b->group = gid;
		board_life_changed(l);
		break;
	case PHASE_STARTING:
	case PHASE_RUNNING:
		/* Another program has the port, maybe in the middle of something. */
		if (!board_life_is_released(l))
			restart(l);
		break;
	case PHASE_ENDING: /* the next start asks whose it is */
		break;
	}
}

void board_check_owner(struct board *b)
{
	struct board_life *l = b->life;
	uid_t uid = b->owner;
	gid_t gid = b->group;

	if (!b->present)
		return;
	l->env->owner(l->env->ctx, &b->place.policy, &uid, &gid);
	if (uid != b->owner || gid != b->group)
		change_owner(l, uid, gid);
}

void board_plug(struct board *b, const struct place *place, struct mount_dir *dir)
{
	struct board_life *l = b->life;
	bool policy = memcmp(&b->place.policy, &place->policy, sizeof(place->policy)) != 0;
	bool was_present = b->present;

	b->place = *place;
	b->present = true;
	if (dir)
		take_dir(l, dir);
	if (!was_present) {
		l->ejected = false;
		l->backoff_usec = 0;
		log_to(l->env->log, LOG_INFO, "%s: plugged in at %s", b->name,
			place->ttys[0].node);
		board_life_remember(l);
	}
	board_life_changed(l);
	if (was_present && policy)
		restart(l);
	else
		board_life_step(l);
}

void board_unplug(struct board *b)
{
	struct board_life *l = b->life;

	log_to(l->env->log, LOG_INFO, "%s: unplugged", b->name);
	b->present = false;
	memset(&b->place, 0, sizeof(b->place));
	l->ejected = false;
	board_life_changed(l);
	if (l->phase == PHASE_ENDING) /* finishing: there is nothing to finish with any more */
		board_life_begin_end(l, false, 0, NULL, NULL);
	else
		board_life_step(l);
}

void board_end(struct board *b, unsigned seconds)
{
	struct board_life *l = b->life;

	l->ending = true;
	if (l->phase == PHASE_STARTING || l->phase == PHASE_RUNNING)
		board_life_begin_end(l, true, seconds, NULL, NULL);
	else
		board_life_step(l);
}

void board_kill(struct board *b)
{
	struct board_life *l = b->life;

	l->ending = true;
	if (l->process)
		kill_process(l, "");
}

void board_identify(struct board *b, const char *line)
{
	wire_copy_text(b->life->memo.identity, sizeof(b->life->memo.identity), line);
}

bool board_has_dir(const struct board *b)
{
	return b->life->dir != NULL;
}

bool board_is_off(const struct board *b)
{
	return b->life->phase == PHASE_OFF;
}
