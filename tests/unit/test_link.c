/* SPDX-License-Identifier: MIT */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "fuse/link.h"
#include "libdev/known.h"

/* A port and a session of the test's own. */
static struct {
	unsigned opens, closes, sessions, ends;
	int open_result, session_result;
	bool alone, inside, lost;
	struct dev_board_info info;
	bool stopped;
} fake;

int __wrap_dev_session_open_on(struct dev_transport *t, const struct dev_session_options *o,
	struct dev_session **out, struct error *err);
int __wrap_dev_session_close(struct dev_session *s, struct error *err);
const struct dev_board_info *__wrap_dev_session_info(const struct dev_session *s);
int __wrap_dev_session_target(
	struct dev_session *s, unsigned number, struct dev_target **out, struct error *err);
int __wrap_dev_session_known(
	const struct dev_session *s, unsigned number, struct dev_known *out);
bool __wrap_dev_session_is_lost(const struct dev_session *s);

static int fake_open(struct port *p, unsigned baud, int cancel_fd, struct dev_transport **out,
	struct error *err)
{
	static struct dev_transport transport;

	assert_false(fake.inside);
	fake.inside = true;
	fake.opens++;
	*out = &transport;
	return fake.open_result < 0 ? error_set(err, fake.open_result, "somebody has it") : 0;
}

static void fake_closed(struct port *p)
{
	assert_true(fake.inside);
	fake.inside = false;
	fake.closes++;
}

static bool fake_alone(const struct port *p)
{
	return fake.alone;
}

static void fake_reset(struct port *p)
{
	assert_true(fake.inside);
	fake.alone = true;
}

static int fake_wait(struct port *p, int cancel_fd, deadline_t deadline)
{
	fake.open_result = 0;
	return 0;
}

static void fake_free(struct port *p)
{
}

static const struct port_ops ops = {.open = fake_open,
	.closed = fake_closed,
	.alone = fake_alone,
	.reset = fake_reset,
	.wait = fake_wait,
	.free = fake_free};

int __wrap_dev_session_open_on(struct dev_transport *t, const struct dev_session_options *o,
	struct dev_session **out, struct error *err)
{
	if (fake.session_result < 0)
		return error_set(err, fake.session_result, "no session");
	fake.sessions++;
	fake.lost = false;
	fake.stopped = o->keep_stopped;
	*out = (struct dev_session *)&fake;
	return 0;
}

int __wrap_dev_session_close(struct dev_session *s, struct error *err)
{
	fake.ends++;
	return 0;
}

const struct dev_board_info *__wrap_dev_session_info(const struct dev_session *s)
{
	return &fake.info;
}

int __wrap_dev_session_target(
	struct dev_session *s, unsigned number, struct dev_target **out, struct error *err)
{
	static struct dev_target targets[DEV_PARTITIONS_MAX];

	if (number >= 2)
		return error_set(err, -ENODEV, "no such partition");
	*out = &targets[number];
	return 0;
}

int __wrap_dev_session_known(
	const struct dev_session *s, unsigned number, struct dev_known *out)
{
	memset(out, 0, sizeof(*out));
	out->number = number;
	return 0;
}

bool __wrap_dev_session_is_lost(const struct dev_session *s)
{
	return fake.lost;
}

static int setup(void **state)
{
	static struct port port;
	static struct link *link;
	const struct link_options o = {.port = &port, .cancel_fd = -1, .busy_wait_ms = 1000};

	memset(&fake, 0, sizeof(fake));
	port = (struct port){.ops = &ops, .name = "port"};
	assert_int_equal(link_new(&o, &link), 0);
	*state = link;
	return 0;
}

static int teardown(void **state)
{
	link_free(*state);
	assert_int_equal(fake.sessions, fake.ends);
	assert_int_equal(fake.opens, fake.closes);
	return 0;
}

static int try_connect(struct link *l, unsigned partition)
{
	struct dev_target *t;
	struct error err = {0};
	int r = link_connect(l, partition, NULL, true, &t, &err);

	assert_true(r == 0 || err.text[0]);
	return r;
}

static void connect(struct link *l, unsigned partition)
{
	assert_int_equal(try_connect(l, partition), 0);
	assert_true(link_holds(l, partition));
}

static void test_one_session(void **state)
{
	struct link *l = *state;
	struct dev_known known;

	assert_null(link_board(l));
	connect(l, 0);
	connect(l, 1);
	connect(l, 0);
	assert_int_equal(fake.opens, 1);
	assert_ptr_equal(link_board(l), &fake.info);
	assert_int_equal(link_disconnect(l, 0, NULL), 0);
	assert_int_equal(fake.ends, 1); /* whoever waits for the port to be closed has it so */
	assert_false(link_holds(l, 1));
	assert_int_equal(link_disconnect(l, 1, NULL), 0);
	assert_int_equal(fake.ends, 1);
	assert_int_equal(link_known(l, 1, &known), 0); /* kept of both */
	assert_int_equal(known.number, 1);
	assert_int_equal(link_known(l, 2, &known), -ENODATA);
	connect(l, 1);
	assert_int_equal(link_disconnect(l, 0, NULL), 0); /* not its own */
	assert_true(link_holds(l, 1));
	assert_int_equal(fake.sessions, 2);
}

static void test_lost(void **state)
{
	struct link *l = *state;

	connect(l, 0);
	connect(l, 1);
	fake.lost = true;
	connect(l, 1); /* another session */
	assert_int_equal(fake.sessions, 2);
	assert_int_equal(fake.ends, 1);
	assert_false(link_holds(l, 0));
	connect(l, 0);
	assert_int_equal(fake.sessions, 2);
	assert_int_equal(try_connect(l, 5), -ENODEV);
	fake.session_result = -EPROTO;
	assert_int_equal(try_connect(l, 0), -EPROTO);
	assert_null(link_board(l));
}

/* What was looked at is each partition's own. */
static void test_alone(void **state)
{
	struct link *l = *state;

	connect(l, 0);
	assert_false(link_alone(l, 0));
	link_vouch(l, 0);
	assert_true(link_alone(l, 0));
	assert_false(link_alone(l, 1));
	link_vouch(l, 1); /* without a session of its own: no */
	assert_false(link_alone(l, 1));
	link_disconnect(l, 0, NULL);
	connect(l, 1);
	assert_true(link_alone(l, 0)); /* nobody came */
	link_disconnect(l, 1, NULL);
	fake.alone = false;
	connect(l, 1);
	link_vouch(l, 1);
	assert_true(link_alone(l, 1));
	assert_false(link_alone(l, 0)); /* which the other could not look at */
	link_doubt(l, 1);
	assert_false(link_alone(l, 1));
}

static void test_busy_and_forbidden(void **state)
{
	struct link *l = *state;
	struct dev_target *t;
	struct error err = {0};

	fake.open_result = -EBUSY;
	assert_int_equal(link_connect(l, 0, NULL, false, &t, &err), -EBUSY);
	assert_int_equal(fake.opens, 1);
	connect(l, 0); /* waits until it is free */
	assert_int_equal(fake.opens, 3);
	link_forbid(l, "not now");
	connect(l, 1); /* what is open stays so */
	link_disconnect(l, 1, NULL);
	error_clear(&err);
	assert_int_equal(link_connect(l, 0, NULL, true, &t, &err), -EBUSY);
	assert_string_equal(err.text, "not now");
	assert_int_equal(fake.opens, 3);
	link_allow(l);
	connect(l, 0);
}

static void test_ask(void **state)
{
	struct link *l = *state;
	struct dev_board_info info = {0};
	struct error err = {0};

	fake.info.segments = 2;
	assert_int_equal(link_ask(l, &info, &err), 0);
	assert_int_equal(info.segments, 2);
	assert_int_equal(fake.ends, 1);
	assert_false(fake.stopped);
}

/* --- a port by its path --------------------------------------------------------------------- */

static void on_wake(void *ctx)
{
	++*(unsigned *)ctx;
}

/* What others do wakes, what we do ourselves does not. */
static void test_wakers(void **state)
{
	unsigned woken[2] = {0};
	struct port_waker w[2] = {{.wake = on_wake, .ctx = &woken[0]},
		{.wake = on_wake, .ctx = &woken[1]}};
	struct dev_transport *t;
	struct error err = {0};
	struct port *p;
	sd_event *event;
	int fd = open("link-port", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(port_path_new("link-port", &p), 0);
	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(port_watch(p, event, &w[0]), 0);
	assert_int_equal(port_watch(p, event, &w[1]), 0);
	assert_int_equal(port_watch(p, event, &w[1]), 0); /* is there already */
	assert_int_equal(p->ops->open(p, 0, -1, &t, &err), -ENOTTY); /* and closes it again */
	p->ops->closed(p);
	assert_true(sd_event_run(event, 0) >= 0);
	assert_true(sd_event_run(event, 0) >= 0);
	assert_int_equal(woken[0] + woken[1], 0);
	fd = open("link-port", O_RDWR | O_CLOEXEC);
	close(fd);
	assert_true(sd_event_run(event, 1000000) > 0);
	assert_int_equal(woken[0], 1);
	assert_int_equal(woken[1], 1);
	port_unwatch(p, &w[0]);
	fd = open("link-port", O_RDWR | O_CLOEXEC);
	close(fd);
	assert_true(sd_event_run(event, 1000000) > 0);
	assert_int_equal(woken[0], 1);
	assert_int_equal(woken[1], 2);
	port_unwatch(p, &w[1]);
	port_free(p);
	sd_event_unref(event);
	assert_int_equal(unlink("link-port"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_one_session, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
		cmocka_unit_test_setup_teardown(test_alone, setup, teardown),
		cmocka_unit_test_setup_teardown(test_busy_and_forbidden, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ask, setup, teardown),
		cmocka_unit_test(test_wakers),
	};

	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
