/* SPDX-License-Identifier: MIT */
#include "libdev/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libdev/channel.h"
#include "libdev/checked.h"
#include "libdev/learn.h"
#include "libdev/repl.h"

#define ENTER_MS 3800u /* from the open port to the prompt, or to an error */
#define LEARN_MS 10000u /* then it is a board, and may be a slow one */
#define GIVE_BACK_MS 400u /* an open that failed gives back quickly: 5 s in all */
#define CLOSE_MS 4000u

struct dev_session {
	struct dev_transport *transport;
	struct repl *repl;
	struct dev_board_info info;
	struct board_caps caps;
	struct dev_channel *channel;
	struct dev_session_options options;
	int selected; /* partition that the channel works on; -1: none */
	bool unmounted;
	bool lost; /* the prompt is not where it should be */
};

struct board_target {
	struct dev_target base;
	struct dev_session *session;
	bool buffer;
};

/* --- targets ---------------------------------------------------------------------- */

static struct board_target *board_target_of(struct dev_target *t)
{
	return container_of(t, struct board_target, base);
}

static int note(struct dev_session *s, int r)
{
	if (r < 0)
		s->lost = true;
	return r;
}

/* A channel on this target's partition: the agent where the board bears it. */
static int make_channel(struct board_target *t, struct error *err)
{
	struct dev_session *s = t->session;
	int r = -EOPNOTSUPP;

	if (!s->options.no_agent)
		r = dev_channel_agent(s->repl, &s->info, &s->caps, &s->channel, err);
	if (r == 0)
		r = s->channel->ops->select(s->channel, &t->base.geometry, t->buffer, err);
	if (r != -EOPNOTSUPP)
		return r;
	log_to(s->options.log, LOG_DEBUG, "%s: statements instead of the agent",
		s->transport->name);
	dev_channel_free(s->channel);
	s->channel = NULL;
	r = dev_channel_statements(s->repl, &s->info, &s->caps, &s->channel, err);
	if (r < 0)
		return r;
	return s->channel->ops->select(s->channel, &t->base.geometry, t->buffer, err);
}

static int select_target(struct board_target *t, struct dev_channel **out, struct error *err)
{
	struct dev_session *s = t->session;
	int r = 0;

	if (s->lost)
		return error_set(err, -EIO,
			"%s: the session has failed before; open it again", s->transport->name);
	if (!s->channel)
		r = make_channel(t, err);
	else if (s->selected != (int)t->base.geometry.number)
		r = s->channel->ops->select(s->channel, &t->base.geometry, t->buffer, err);
	if (r < 0)
		return note(s, r);
	s->selected = (int)t->base.geometry.number;
	*out = s->channel;
	return 0;
}

/* VfsRom keeps pointers into flash from the mount on: nothing may read there any more. */
static int unmount(struct dev_session *s, struct error *err)
{
	static const char code[] =
		"import vfs\n"
		"try:vfs.umount('/rom')\n"
		"except OSError:pass\n";
	char out[128];
	struct repl_reply reply = {.out = out, .cap = sizeof(out)};
	int r;

	if (s->unmounted || !s->caps.umountable)
		return 0;
	r = checked_exec(s->repl, s->caps.checked, code, CHANNEL_REPLY_MS, &reply, err);
	if (r > 0)
		r = error_set(err, -EIO, "%s: /rom cannot be unmounted: %s",
			s->transport->name, reply.exception);
	if (r < 0)
		return note(s, r);
	s->unmounted = true;
	return 0;
}

/* The first write of a session: the partition is taken out of use. This needs the prompt,
 * so an agent that runs already is ended; the next operation starts it again. */
static int select_to_write(struct board_target *t, struct dev_channel **out,
	struct error *err)
{
	struct dev_session *s = t->session;
	int r;

	if (!s->unmounted && !s->lost) {
		r = s->channel ? s->channel->ops->leave(s->channel, err) : 0;
		if (r < 0)
			return note(s, r);
		r = unmount(s, err);
		if (r < 0)
			return r;
		s->unmounted = true;
	}
	return select_target(t, out, err);
}

static int board_read(
	struct dev_target *base, uint64_t off, void *buf, size_t len, struct error *err)
{
	struct board_target *t = board_target_of(base);
	struct dev_channel *c;
	int r = select_target(t, &c, err);

	return r < 0 ? r : note(t->session, c->ops->read(c, off, buf, len, err));
}

static int board_hash(struct dev_target *base, uint64_t off, uint64_t len, uint64_t step,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	struct board_target *t = board_target_of(base);
	struct dev_channel *c;
	int r = select_target(t, &c, err);

	return r < 0 ? r : note(t->session, c->ops->hash(c, off, len, step, out, err));
}

/* Of an erase or a program: flash that refuses is told apart from a line that is lost. */
static int wrote(struct board_target *t, const struct dev_channel *c, int r)
{
	if (r < 0)
		t->base.refused_at = c->refused_at;
	return note(t->session, r);
}

static int board_erase(
	struct dev_target *base, uint64_t off, uint64_t len, struct error *err)
{
	struct board_target *t = board_target_of(base);
	struct dev_channel *c;
	int r = select_to_write(t, &c, err);

	if (r < 0)
		return r;
	c->refused_at = DEV_NOT_REFUSED;
	return wrote(t, c, c->ops->erase(c, off, len, err));
}

static int board_program(
	struct dev_target *base, uint64_t off, const void *buf, size_t len, struct error *err)
{
	struct board_target *t = board_target_of(base);
	struct dev_channel *c;
	int r = select_to_write(t, &c, err);

	if (r < 0)
		return r;
	c->refused_at = DEV_NOT_REFUSED;
	return wrote(t, c, c->ops->program(c, off, buf, len, err));
}

static int board_try_program(
	struct dev_target *base, uint64_t off, const void *buf, size_t len, struct error *err)
{
	struct board_target *t = board_target_of(base);
	struct dev_channel *c;
	int r = select_to_write(t, &c, err);

	if (r < 0)
		return r;
	c->refused = false;
	r = c->ops->program(c, off, buf, len, err);
	if (r < 0 && c->refused) {
		error_clear(err);
		return 1;
	}
	return note(t->session, r);
}

/* rom_ioctl(5) answers -22 on every port of today, and block devices have nothing like it:
 * there is nothing to tell the board. */
static int board_finish(struct dev_target *base, struct error *err)
{
	struct dev_session *s = board_target_of(base)->session;

	if (s->lost)
		return error_set(err, -EIO, "%s: the session has failed", s->transport->name);
	return 0;
}

static void board_free(struct dev_target *base)
{
	free(board_target_of(base));
}

static const struct dev_target_ops board_ops = {
	.read = board_read,
	.hash = board_hash,
	.erase = board_erase,
	.program = board_program,
	.try_program = board_try_program,
	.finish = board_finish,
	.free = board_free,
};

static int no_partition(struct dev_session *s, unsigned number, struct error *err)
{
	const struct dev_board_info *i = &s->info;
	const char *what = i->machine[0] ? i->machine : "this board";

	if (!i->has_rom_ioctl)
		return error_set(err, -ENODEV,
			"this board has no ROM partitions: its firmware (%s %s, %s) is built "
			"without ROMFS; install one that has it (MicroPython 1.25 or later, for "
			"some boards a variant)", i->implementation, i->firmware, what);
	if (i->segments <= 0)
		return error_set(err, -ENODEV,
			"this board has no ROM partitions: its firmware (%s, %s) has ROMFS, but "
			"no flash is set aside for it (it answers %d)", i->firmware, what,
			i->segments);
	if (number >= (unsigned)i->segments || number >= DEV_PARTITIONS_MAX)
		return error_set(err, -ENODEV, "this board has no partition rom%u, but %d: "
			"the last is rom%d", number, i->segments, i->segments - 1);
	return error_set(err, -ENODEV, "%s", s->caps.segments[number].reason);
}

int dev_session_target(struct dev_session *s, unsigned number, struct dev_target **out,
	struct error *err)
{
	struct board_target *t;

	if (number >= DEV_PARTITIONS_MAX || !s->caps.segments[number].usable)
		return no_partition(s, number, err);
	t = calloc(1, sizeof(*t));
	if (!t)
		return error_set(err, -ENOMEM, "out of memory");
	t->base.ops = &board_ops;
	t->base.geometry = s->info.partitions[s->caps.segments[number].index];
	t->session = s;
	t->buffer = s->caps.segments[number].buffer;
	*out = &t->base;
	return 0;
}

/* --- sessions --------------------------------------------------------------------- */

static void session_free(struct dev_session *s)
{
	if (!s)
		return;
	dev_channel_free(s->channel);
	repl_free(s->repl);
	dev_transport_free(s->transport);
	free(s);
}
DEFINE_CLEANUP(struct dev_session *, session_free);

/* A session that did not come about. Where it was cancelled the board is well, but may be
 * anywhere between the first Ctrl-C and the middle of a statement. */
static void give_back(struct dev_session *s, bool cancelled)
{
	s->transport->finishing = true;
	(void)!repl_leave(s->repl, cancelled,
		deadline_in(cancelled ? CLOSE_MS : GIVE_BACK_MS), NULL);
}

int dev_session_open_on(struct dev_transport *transport,
	const struct dev_session_options *options, struct dev_session **out,
	struct error *err)
{
	_cleanup_(session_freep) struct dev_session *s = calloc(1, sizeof(*s));
	int r;

	if (!s) {
		dev_transport_free(transport);
		return error_set(err, -ENOMEM, "out of memory");
	}
	s->transport = transport;
	s->options = *options;
	s->selected = -1;
	s->repl = repl_new(transport, options->baud, options->log);
	if (!s->repl)
		return error_set(err, -ENOMEM, "out of memory");
	r = repl_enter(s->repl, deadline_in(ENTER_MS), err);
	if (r == 0)
		r = learn_board(s->repl, &s->info, &s->caps, deadline_in(LEARN_MS), err);
	if (r < 0) {
		give_back(s, r == -ECANCELED);
		return r;
	}
	*out = TAKE_PTR(s);
	return 0;
}

int dev_session_open(const char *port, const struct dev_session_options *options,
	struct dev_session **out, struct error *err)
{
	struct dev_tty_options tty = {.baud = options->baud, .cancel_fd = options->cancel_fd};
	struct dev_transport *transport;
	int r = dev_tty_open(port, &tty, &transport, err);

	return r < 0 ? r : dev_session_open_on(transport, options, out, err);
}

const struct dev_board_info *dev_session_info(const struct dev_session *s)
{
	return &s->info;
}

int dev_session_close(struct dev_session *s, struct error *err)
{
	int r = 0;

	if (!s)
		return 0;
	s->transport->finishing = true;
	if (s->channel && !s->lost && s->channel->ops->leave(s->channel, NULL) < 0)
		s->lost = true;
	r = repl_leave(s->repl, s->lost, deadline_in(CLOSE_MS), err);
	session_free(s);
	return r;
}

void dev_session_closep(struct dev_session **s)
{
	if (*s)
		dev_session_close(*s, NULL);
}

void dev_session_traffic(const struct dev_session *s, uint64_t *in, uint64_t *out)
{
	*in = s->transport->bytes_in;
	*out = s->transport->bytes_out;
}
