/* SPDX-License-Identifier: MIT */
#include "libdev/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "libdev/channel.h"
#include "libdev/known.h"
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
	/* What the agent said of each when it was selected; NULL: nothing. */
	char *identities[DEV_PARTITIONS_MAX];
	unsigned targets; /* that were not freed: they refer to this */
	int proven; /* `info` is of an earlier session, and true of this partition; -1: own */
	bool entered; /* there was a prompt */
	bool lost; /* the prompt is not where it should be */
};

struct board_target {
	struct dev_target base;
	struct dev_session *session;
};

/* What stays for the sake of targets is that there is no session any more. */
static void hang_up(struct dev_session *s)
{
	dev_channel_free(s->channel);
	repl_free(s->repl);
	dev_transport_free(s->transport);
	s->channel = NULL;
	s->repl = NULL;
	s->transport = NULL;
}

static void forget_identities(struct dev_session *s)
{
	for (unsigned i = 0; i < DEV_PARTITIONS_MAX; i++) {
		free(s->identities[i]);
		s->identities[i] = NULL;
	}
}

static void session_free(struct dev_session *s)
{
	if (!s)
		return;
	hang_up(s);
	if (s->targets)
		return;
	forget_identities(s);
	free(s);
}
DEFINE_CLEANUP(struct dev_session *, session_free);

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

static int check_open(const struct dev_session *s, struct error *err)
{
	if (!s->transport)
		return error_set(err, -EIO, "the session with the board has been closed");
	if (s->lost)
		return error_set(err, -EIO,
			"%s: the session has failed before; open it again", s->transport->name);
	return 0;
}

static int use_statements(struct dev_session *s, struct error *err)
{
	log_to(s->options.log, LOG_DEBUG, "%s: statements instead of the agent",
		s->transport->name);
	dev_channel_free(s->channel);
	s->channel = NULL;
	return dev_channel_statements(s->repl, &s->info, &s->caps, &s->channel, err);
}

/* For dev_session_known, also when the channel has gone on to another partition. */
static int keep_identity(struct dev_session *s, unsigned number, struct error *err)
{
	const struct dev_channel_ops *ops = s->channel->ops;

	free(s->identities[number]);
	s->identities[number] = NULL;
	if (!ops->identity)
		return 0;
	s->identities[number] = strdup(ops->identity(s->channel));
	return s->identities[number] ? 0 : error_set(err, -ENOMEM, "out of memory");
}

/* The channel, on this partition: the agent where the board bears it. */
static int select_partition(struct dev_session *s, unsigned number, struct error *err)
{
	const struct dev_geometry *g = &s->info.partitions[s->caps.segments[number].index];
	bool buffer = s->caps.segments[number].buffer;
	int r = 0;

	s->selected = -1;
	if (!s->channel)
		r = s->options.no_agent
			    ? -EOPNOTSUPP
			    : dev_channel_agent(s->repl, &s->info, &s->caps,
				      s->options.silence_ms, &s->channel, err);
	if (r == 0)
		r = s->channel->ops->select(s->channel, g, buffer, err);
	if (r == -EOPNOTSUPP) {
		r = use_statements(s, err);
		if (r == 0)
			r = s->channel->ops->select(s->channel, g, buffer, err);
	}
	if (r == 0)
		r = keep_identity(s, number, err);
	if (r == 0)
		s->selected = (int)number;
	return r;
}

static int select_target(struct board_target *t, struct dev_channel **out, struct error *err)
{
	struct dev_session *s = t->session;
	unsigned number = t->base.geometry.number;
	int r = 0;

	r = check_open(s, err);
	if (r < 0)
		return r;
	if (s->selected != (int)number)
		r = select_partition(s, number, err);
	if (r < 0)
		return note(s, r);
	*out = s->channel;
	return 0;
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

static int board_hash_list(struct dev_target *base, const struct dev_extent *v, size_t n,
	uint8_t (*out)[SHA256_SIZE], struct error *err)
{
	struct board_target *t = board_target_of(base);
	struct dev_channel *c;
	int r = select_target(t, &c, err);

	if (r == 0 && c->ops->hash_list)
		return note(t->session, c->ops->hash_list(c, v, n, out, err));
	for (size_t i = 0; i < n && r == 0; i++)
		r = note(t->session,
			c->ops->hash(c, v[i].off, v[i].len, v[i].len, out + i, err));
	return r;
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
	int r = select_target(t, &c, err);

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
	int r = select_target(t, &c, err);

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
	int r = select_target(t, &c, err);

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
	const struct dev_session *s = board_target_of(base)->session;

	return check_open(s, err);
}

static void board_free(struct dev_target *base)
{
	struct board_target *t = board_target_of(base);

	t->session->targets--;
	if (!t->session->transport)
		session_free(t->session);
	free(t);
}

static const struct dev_target_ops board_ops = {
	.read = board_read,
	.hash = board_hash,
	.hash_list = board_hash_list,
	.erase = board_erase,
	.program = board_program,
	.try_program = board_try_program,
	.finish = board_finish,
	.free = board_free,
};

int dev_board_lacks(const struct dev_board_info *i, unsigned number, struct error *err)
{
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
	return error_set(err, -ENODEV, "rom%u of this board (%s) cannot be used", number, what);
}

static int no_partition(struct dev_session *s, unsigned number, struct error *err)
{
	bool exists = s->info.has_rom_ioctl && s->info.segments > 0 &&
		number < DEV_PARTITIONS_MAX && number < (unsigned)s->info.segments;

	return exists ? error_set(err, -ENODEV, "%s", s->caps.segments[number].reason)
		      : dev_board_lacks(&s->info, number, err);
}

/* What an earlier session knew is proven of one partition only. */
static int learn_anew(struct dev_session *s, struct error *err)
{
	int r = s->channel ? s->channel->ops->leave(s->channel, err) : 0;

	dev_channel_free(s->channel);
	s->channel = NULL;
	s->selected = s->proven = -1;
	forget_identities(s);
	return r < 0 ? r : learn_board(s->repl, &s->info, &s->caps, deadline_in(LEARN_MS), err);
}

int dev_session_target(struct dev_session *s, unsigned number, struct dev_target **out,
	struct error *err)
{
	struct board_target *t;
	int r = 0;

	if (s->proven >= 0 && s->proven != (int)number && !s->lost)
		r = learn_anew(s, err);
	if (r < 0)
		return note(s, r);
	if (number >= DEV_PARTITIONS_MAX || !s->caps.segments[number].usable)
		return no_partition(s, number, err);
	t = calloc(1, sizeof(*t));
	if (!t)
		return error_set(err, -ENOMEM, "out of memory");
	t->base.ops = &board_ops;
	t->base.geometry = s->info.partitions[s->caps.segments[number].index];
	t->session = s;
	s->targets++;
	*out = &t->base;
	return 0;
}

/* --- sessions --------------------------------------------------------------------- */

/* A session that did not come about. Where it was cancelled the board is well, but may be
 * anywhere between the first Ctrl-C and the middle of a statement. */
static void give_back(struct dev_session *s, bool lost)
{
	s->transport->finishing = true;
	(void)!repl_leave(
		s->repl, lost, deadline_in(lost ? CLOSE_MS : GIVE_BACK_MS), NULL);
}

/* Starts the agent by what is known of the board: 1 where it is the one, 0 where it has to
 * be asked. */
static int recognise(struct dev_session *s, const struct dev_known *k, struct error *err)
{
	int r;

	if (!k || s->options.no_agent)
		return 0;
	s->info = k->info;
	s->caps = k->caps;
	learn_partitions(&s->info, &s->caps);
	if (!s->caps.segments[k->number].usable)
		return 0;
	r = select_partition(s, k->number, err);
	if (r < 0)
		return r;
	if (!s->channel->ops->identity ||
		strcmp(s->channel->ops->identity(s->channel), k->identity) != 0)
		return 0;
	s->proven = (int)k->number;
	return 1;
}

static int get_ready(struct dev_session *s, const struct dev_known *k, struct error *err)
{
	int r;

	dev_channel_free(s->channel);
	s->channel = NULL;
	r = repl_enter(s->repl, deadline_in(ENTER_MS), err);
	s->entered = s->entered || r == 0;
	if (r == 0)
		r = recognise(s, k, err);
	return r == 0 ? learn_anew(s, err) : MIN(r, 0);
}

/* A board that has just come back from something, or takes bytes that somebody else sent,
 * may be at the prompt and then not do what it is told: once. */
static bool is_passing(int r)
{
	return r == -ETIMEDOUT || r == -EPROTO || r == -EIO;
}

int dev_session_open_on(struct dev_transport *transport,
	const struct dev_session_options *options, struct dev_session **out,
	struct error *err)
{
	_cleanup_(session_freep) struct dev_session *s = calloc(1, sizeof(*s));
	struct error first = {0};
	int r;

	if (!s) {
		dev_transport_free(transport);
		return error_set(err, -ENOMEM, "out of memory");
	}
	s->transport = transport;
	s->options = *options;
	s->options.known = NULL;
	s->selected = s->proven = -1;
	s->repl = repl_new(transport, options->baud, options->log);
	if (!s->repl)
		return error_set(err, -ENOMEM, "out of memory");
	r = get_ready(s, options->known, &first);
	if (is_passing(r) && s->entered) {
		log_to(options->log, LOG_DEBUG, "%s; once more", first.text);
		error_clear(&first);
		r = get_ready(s, NULL, &first);
	}
	if (r < 0) {
		give_back(s, r == -ECANCELED || s->channel);
		return error_set(err, r, "%s", first.text);
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

int dev_session_known(const struct dev_session *s, unsigned number, struct dev_known *out)
{
	if (number >= DEV_PARTITIONS_MAX || !s->identities[number])
		return -ENODATA;
	memset(out, 0, sizeof(*out));
	out->number = number;
	snprintf(out->identity, sizeof(out->identity), "%s", s->identities[number]);
	out->info = s->info;
	out->caps = s->caps;
	return 0;
}

bool dev_session_is_lost(const struct dev_session *s)
{
	return s->lost;
}

int dev_session_close(struct dev_session *s, struct error *err)
{
	int r = 0;

	if (!s)
		return 0;
	s->transport->finishing = true;
	if (s->channel && !s->lost && s->channel->ops->quit)
		s->channel->ops->quit(s->channel);
	r = s->options.keep_stopped
		    ? repl_leave_stopped(s->repl, s->lost, deadline_in(CLOSE_MS), err)
		    : repl_leave(s->repl, s->lost, deadline_in(CLOSE_MS), err);
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
