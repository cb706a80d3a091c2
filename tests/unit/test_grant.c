/* SPDX-License-Identifier: MIT */
/* A board's port behind a name server that does not answer. */
#include "config.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-id128.h>

#include <cmocka.h>

#include "bus/names.h"
#include "daemon/grant.h"

#define WAIT_USEC (120u * 1000000u)

/* --- the name server --- */

static sem_t may_answer;
static sem_t has_answered;
static unsigned questions;

int __real_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
	struct addrinfo **out);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
	struct addrinfo **out);

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
	struct addrinfo **out)
{
	int r;

	__atomic_add_fetch(&questions, 1, __ATOMIC_SEQ_CST);
	while (sem_wait(&may_answer) < 0 && errno == EINTR)
		;
	r = __real_getaddrinfo(host, port, hints, out);
	sem_post(&has_answered);
	return r;
}

/* --- the board's process, and romountd --- */

struct rig {
	sd_event *event;
	sd_bus *host, *board;
	struct grant *grant;
	int listener;
	uint64_t wait_usec;
	unsigned answers, refused;
	char error[80], text[512], port[128];
};

static int on_open(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct rig *rig = data;
	struct error err = {0};
	int r = grant_open(rig->grant, m, 0, &err);

	return r < 0 ? sd_bus_error_setf(ret, BUS_ERROR_GONE, "%s", err.text) : 1;
}

static int on_close(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct rig *rig = data;
	struct error err = {0};

	return grant_close(rig->grant, m, &err);
}

static int on_wait(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct rig *rig = data;
	struct error err = {0};

	return grant_wait(rig->grant, m, rig->wait_usec, &err);
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("OpenPort", "", "hbs", on_open, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("ClosePort", "", "", on_close, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("WaitPort", "", "", on_wait, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

static void no_matter(void *ctx, int interface)
{
}

static int on_answer(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct rig *rig = data;
	const sd_bus_error *e = sd_bus_message_get_error(m);
	const char *port = "";
	int fd, alone;

	rig->answers++;
	rig->refused += e && strcmp(e->name, BUS_ERROR_TIMEOUT) != 0;
	snprintf(rig->error, sizeof(rig->error), "%s", e ? e->name : "");
	snprintf(rig->text, sizeof(rig->text), "%s", e ? e->message : "");
	if (!e && sd_bus_message_has_signature(m, "hbs"))
		assert_true(sd_bus_message_read(m, "hbs", &fd, &alone, &port) >= 0);
	snprintf(rig->port, sizeof(rig->port), "%s", port);
	return 0;
}

static void ask(struct rig *rig, const char *method)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;

	assert_true(sd_bus_message_new_method_call(
			    rig->board, &m, NULL, "/", BUS_HOST, method) >= 0);
	assert_true(sd_bus_call_async(rig->board, NULL, m, on_answer, rig, WAIT_USEC) >= 0);
}

static void run_until(struct rig *rig, unsigned answers)
{
	while (rig->answers < answers)
		assert_true(sd_event_run(rig->event, WAIT_USEC) > 0);
}

static void connect_buses(struct rig *rig)
{
	sd_id128_t id;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_true(sd_id128_randomize(&id) >= 0);
	assert_true(sd_bus_new(&rig->host) >= 0 && sd_bus_new(&rig->board) >= 0);
	assert_true(sd_bus_set_fd(rig->host, ends[0], ends[0]) >= 0);
	assert_true(sd_bus_set_fd(rig->board, ends[1], ends[1]) >= 0);
	assert_true(sd_bus_set_server(rig->host, true, id) >= 0);
	assert_true(sd_bus_negotiate_fds(rig->host, true) >= 0);
	assert_true(sd_bus_negotiate_fds(rig->board, true) >= 0);
	assert_true(sd_bus_add_object_vtable(
			    rig->host, NULL, "/", BUS_HOST, vtable, rig) >= 0);
	assert_true(sd_bus_start(rig->host) >= 0 && sd_bus_start(rig->board) >= 0);
	assert_true(sd_bus_attach_event(rig->host, rig->event, 0) >= 0);
	assert_true(sd_bus_attach_event(rig->board, rig->event, 0) >= 0);
}

static void listen_here(struct rig *rig, char name[PLACE_TEXT])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);

	rig->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(rig->listener, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(rig->listener, 8), 0);
	assert_int_equal(getsockname(rig->listener, (struct sockaddr *)&a, &len), 0);
	snprintf(name, PLACE_TEXT, "127.0.0.1:%u", ntohs(a.sin_port));
}

static int setup(void **state)
{
	static struct rig rig;
	static struct place place;
	struct grant_options options = {
		.place = &place, .interface = -1, .kept = no_matter};

	memset(&rig, 0, sizeof(rig));
	rig.wait_usec = WAIT_USEC;
	place = (struct place){.is_socket = true, .is_static = true, .n_ttys = 1};
	place.policy.interface = place.ttys[0].interface = -1;
	listen_here(&rig, place.ttys[0].node);
	memcpy(place.key, place.ttys[0].node, sizeof(place.key));
	assert_true(sd_event_new(&rig.event) >= 0);
	connect_buses(&rig);
	options.event = rig.event;
	assert_int_equal(grant_new(&options, &rig.grant), 0);
	sem_init(&may_answer, 0, 0);
	sem_init(&has_answered, 0, 0);
	questions = 0;
	*state = &rig;
	return 0;
}

static int teardown(void **state)
{
	struct rig *rig = *state;

	grant_free(rig->grant);
	sd_bus_close_unref(rig->host);
	sd_bus_close_unref(rig->board);
	sd_event_unref(rig->event);
	close(rig->listener);
	return 0;
}

/* Lets the thread end, and what it brings be taken in. */
static void let_answer(struct rig *rig)
{
	sem_post(&may_answer);
	while (sem_wait(&has_answered) < 0 && errno == EINTR)
		;
	rig->answers = 0;
	sem_post(&may_answer); /* of the next question */
	do {
		unsigned n = rig->answers;

		ask(rig, "ClosePort");
		run_until(rig, n + 1);
		ask(rig, "OpenPort");
		run_until(rig, n + 2);
	} while (strstr(rig->text, "no name server"));
}

static void test_a_name_server_is_not_waited_for(void **state)
{
	struct rig *rig = *state;

	ask(rig, "OpenPort");
	run_until(rig, 1);
	assert_string_equal(rig->error, BUS_ERROR_GONE);
	assert_non_null(strstr(rig->text, "no name server"));
	/* however often it is tried, there is one thread that hangs */
	for (unsigned i = 0; i < 3; i++) {
		ask(rig, "ClosePort");
		ask(rig, "OpenPort");
		run_until(rig, 3 + 2 * i);
		assert_non_null(strstr(rig->text, "no name server"));
	}
	assert_true(questions <= 1); /* 0: a thread may begin late */
	let_answer(rig);
	assert_string_equal(rig->error, "");
	assert_non_null(strstr(rig->port, "127.0.0.1:"));
	assert_int_equal(questions, 2);
}

/* A process that has given up on its waits does not lose the next one. */
static void test_new_waits_are_answered(void **state)
{
	struct rig *rig = *state;
	struct place more = {.n_ttys = 2};

	for (unsigned i = 0; i < 12; i++)
		ask(rig, "WaitPort");
	run_until(rig, 4);
	snprintf(more.ttys[0].node, PLACE_TEXT, "%s", grant_node(rig->grant));
	snprintf(more.ttys[1].node, PLACE_TEXT, "another");
	grant_update(rig->grant, &more);
	run_until(rig, 12);
	assert_string_equal(rig->error, "");
	assert_int_equal(rig->refused, 0);
	/* and one that comes after the news hears of it at once */
	ask(rig, "WaitPort");
	run_until(rig, 13);
	assert_string_equal(rig->error, "");
}

static void use_ttys(struct rig *rig, struct place *place)
{
	struct grant_options options = {.event = rig->event, .place = place, .interface = 0,
		.kept = no_matter};

	grant_free(rig->grant);
	*place = (struct place){.n_ttys = 2,
		.ttys = {{.node = "/no-tty0", .interface = 0},
			{.node = "/no-tty1", .interface = 2}}};
	place->policy.interface = -1;
	assert_int_equal(grant_new(&options, &rig->grant), 0);
}

static void test_news_is_told_once(void **state)
{
	struct rig *rig = *state;
	struct place place;

	use_ttys(rig, &place);
	place.ttys[place.n_ttys++] = (struct place_tty){.node = "/no-tty2", .interface = 4};
	grant_update(rig->grant, &place);
	ask(rig, "WaitPort");
	run_until(rig, 1);
	assert_string_equal(rig->error, "");
	/* the next one waits until the port is gone */
	ask(rig, "WaitPort");
	ask(rig, "ClosePort");
	run_until(rig, 2);
	grant_free(TAKE_PTR(rig->grant));
	run_until(rig, 3);
	assert_int_equal(rig->refused, 1);
}

/* The driver of the interface with the REPL is bound anew, and its tty has another number. */
static void test_a_tty_that_is_gone_is_not_used(void **state)
{
	struct rig *rig = *state;
	struct place place;

	use_ttys(rig, &place);
	assert_string_equal(grant_node(rig->grant), "/no-tty0");
	place.ttys[0] = place.ttys[1];
	place.n_ttys = 1;
	grant_update(rig->grant, &place);
	assert_string_equal(grant_node(rig->grant), "/no-tty1");
	place.ttys[1] = (struct place_tty){.node = "/no-tty2", .interface = 0};
	place.n_ttys = 2;
	grant_update(rig->grant, &place);
	/* where the REPL should be is looked at when it is opened */
	ask(rig, "OpenPort");
	run_until(rig, 1);
	assert_string_equal(grant_node(rig->grant), "/no-tty2");
}

/* However many wait beside an attempt: of a connection, attempts are what counts. */
static void test_waits_do_not_count(void **state)
{
	struct rig *rig = *state;

	rig->wait_usec = 1500000; /* more than is waited behind the first failure */
	ask(rig, "OpenPort"); /* and the name server does not answer */
	for (unsigned i = 0; i < 3; i++)
		ask(rig, "WaitPort");
	run_until(rig, 3);
	assert_string_equal(rig->error, "");
	sem_post(&may_answer);
	run_until(rig, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_a_name_server_is_not_waited_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_new_waits_are_answered, setup, teardown),
		cmocka_unit_test_setup_teardown(test_news_is_told_once, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_a_tty_that_is_gone_is_not_used, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waits_do_not_count, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
