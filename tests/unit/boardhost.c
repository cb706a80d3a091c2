/* SPDX-License-Identifier: MIT */
/* romountd's side of the link to romount-board, for tests: starts it, opens ports and mounts
 * as it is asked, and does nothing by itself.
 *
 *   boardhost ROMOUNT-BOARD STATE-DIR MOUNT-DIR PORT...
 *
 * Lines on standard input are orders: `start KEY=VALUE...`, `call METHOD ARGUMENT...`
 * (files for descriptors), `raw HEX`, `close`, `quit`. Lines on standard output tell what
 * comes, with tabs between the words: `signal NAME KEY=VALUE...`, `host METHOD ...`,
 * `reply METHOD ...`, `error METHOD NAME TEXT`, `gone`. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>

#include "bus/names.h"
#include "fuse/portguard.h"
#include "fuse/portwait.h"
#include "libdev/tty.h"

struct host {
	sd_event *event;
	sd_bus *bus;
	int link; /* of the test, for `raw` */
	pid_t pid;
	const char *state, *mounts;
	char **ports;
	unsigned n_ports, port;
	struct portguard *guard;
	bool first; /* OpenPort */
	sd_bus_message *waiting;
	sd_event_source *watch, *timer;
};

static void say(const char *fmt, ...) format_like(1, 2);
static void say(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "boardhost: %s: %s\n", what, strerror(-r));
	exit(1);
}

/* --- what romount-board asks for --- */

static int refuse(sd_bus_message *m, const char *name, const char *text)
{
	return sd_bus_reply_method_errorf(m, name, "%s", text);
}

static int on_open(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct host *h = data;
	_cleanup_close_ int fd = -1;
	bool alone;

	(void)ret;
	portguard_enter(h->guard);
	fd = open(h->ports[h->port], O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	alone = portguard_alone(h->guard);
	say("host\tOpenPort\t%s\t%d", h->ports[h->port], fd >= 0);
	if (fd < 0)
		return refuse(m, errno == EBUSY ? BUS_ERROR_BUSY : BUS_ERROR_GONE,
			"the port cannot be opened");
	portguard_reset(h->guard);
	return sd_bus_reply_method_return(m, "hbs", fd, (int)alone, h->ports[h->port]);
}

static int on_close(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct host *h = data;

	(void)ret;
	portguard_leave(h->guard);
	say("host\tClosePort");
	return sd_bus_reply_method_return(m, NULL);
}

static int on_holder(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	const struct host *h = data;
	char holder[200] = "";

	(void)ret;
	(void)dev_tty_holder(h->ports[h->port], holder, sizeof(holder));
	say("host\tPortHolder\t%s", holder);
	return sd_bus_reply_method_return(m, "s", holder);
}

static void end_wait(struct host *h, bool came)
{
	if (h->waiting && came)
		(void)!sd_bus_reply_method_return(h->waiting, NULL);
	else if (h->waiting)
		(void)!refuse(h->waiting, BUS_ERROR_TIMEOUT, "nobody closed it");
	h->waiting = sd_bus_message_unref(h->waiting);
	h->watch = sd_event_source_disable_unref(h->watch);
	h->timer = sd_event_source_disable_unref(h->timer);
}

static int on_event(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct host *h = data;

	(void)s;
	(void)events;
	if (portwait_seen(fd, h->ports[h->port]))
		end_wait(h, true);
	return 0;
}

static int on_timeout(sd_event_source *s, uint64_t us, void *data)
{
	(void)s;
	(void)us;
	end_wait(data, false);
	return 0;
}

static int on_wait(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct host *h = data;
	uint64_t us;
	int fd = portwait_watch(h->ports[h->port]), r = sd_bus_message_read(m, "t", &us);

	(void)ret;
	say("host\tWaitPort");
	end_wait(h, true);
	if (r >= 0)
		r = fd < 0 ? fd
			   : sd_event_add_io(h->event, &h->watch, fd, EPOLLIN, on_event, h);
	if (r >= 0)
		r = sd_event_source_set_io_fd_own(h->watch, true);
	if (r >= 0)
		r = sd_event_add_time_relative(
			h->event, &h->timer, CLOCK_MONOTONIC, us, 0, on_timeout, h);
	h->waiting = sd_bus_message_ref(m);
	return r < 0 ? r : 1;
}

static void guard_port(struct host *h)
{
	portguard_free(h->guard);
	must(portguard_new(h->ports[h->port], &h->guard), "portguard");
}

static int on_next(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	struct host *h = data;

	(void)ret;
	say("host\tNextPort");
	if (h->port + 1 == h->n_ports)
		return refuse(m, BUS_ERROR_GONE, "there is no other");
	h->port++;
	guard_port(h);
	return sd_bus_reply_method_return(m, "s", h->ports[h->port]);
}

static int on_note(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	unsigned n = 0;

	(void)data;
	(void)ret;
	(void)!sd_bus_message_read(m, "u", &n);
	say("host\t%s\t%u", sd_bus_message_get_member(m), n);
	return sd_bus_reply_method_return(m, NULL);
}

/* fusermount3 sends the descriptor over a socket. */
static int receive_fd(int from)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *c;
	int fd = -1;

	if (recvmsg(from, &msg, MSG_CMSG_CLOEXEC) <= 0)
		return -EIO;
	c = CMSG_FIRSTHDR(&msg);
	if (!c || c->cmsg_type != SCM_RIGHTS)
		return -EIO;
	memcpy(&fd, CMSG_DATA(c), sizeof(fd));
	return fd;
}

static int mount_at(const char *path)
{
	char options[] = "default_permissions,nosuid,nodev,noexec,fsname=romount,subtype=romount";
	char program[] = "fusermount3", o[] = "-o", dashes[] = "--";
	char *argv[] = {program, o, options, dashes, strdup(path), NULL};
	int ends[2], fd, status;
	pid_t pid;

	must(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), "socketpair");
	pid = fork();
	must(pid, "fork");
	if (pid == 0) {
		char number[16];

		close(ends[1]);
		snprintf(number, sizeof(number), "%d", ends[0]);
		setenv("_FUSE_COMMFD", number, 1);
		execvp(program, argv);
		_exit(127);
	}
	close(ends[0]);
	fd = receive_fd(ends[1]);
	close(ends[1]);
	waitpid(pid, &status, 0);
	free(argv[4]);
	return fd;
}

static int on_mount(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	const struct host *h = data;
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	unsigned n;

	(void)ret;
	must(sd_bus_message_read(m, "u", &n), "Mount");
	snprintf(path, sizeof(path), "%s/rom%u", h->mounts, n);
	(void)!mkdir(path, 0755);
	fd = mount_at(path);
	say("host\tMount\t%u\t%d", n, fd >= 0);
	if (fd < 0)
		return refuse(m, BUS_ERROR_FAILED, "fusermount3 does not mount it");
	return sd_bus_reply_method_return(m, "h", fd);
}

#define METHOD(name, in, out, handler)                                                   \
	SD_BUS_METHOD(name, in, out, handler, SD_BUS_VTABLE_UNPRIVILEGED)

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	METHOD("OpenPort", "u", "hbs", on_open),
	METHOD("PortHolder", "", "s", on_holder),
	METHOD("ClosePort", "", "", on_close),
	METHOD("WaitPort", "t", "", on_wait),
	METHOD("NextPort", "", "s", on_next),
	METHOD("KeepPort", "", "", on_note),
	METHOD("Mount", "u", "h", on_mount),
	METHOD("Unmount", "u", "", on_note),
	METHOD("Ready", "u", "", on_note),
	SD_BUS_VTABLE_END,
};

/* --- what it tells --- */

static int print_value(sd_bus_message *m)
{
	const char *contents, *text;
	char type;
	uint64_t t;
	int b, r = sd_bus_message_peek_type(m, &type, &contents);

	if (r >= 0)
		r = sd_bus_message_enter_container(m, 'v', contents);
	if (r < 0)
		return r;
	if (strcmp(contents, "s") == 0) {
		r = sd_bus_message_read(m, "s", &text);
		printf("%s", text);
	} else if (strcmp(contents, "t") == 0) {
		r = sd_bus_message_read(m, "t", &t);
		printf("%llu", (unsigned long long)t);
	} else {
		b = 0;
		r = sd_bus_message_read_basic(m, contents[0], &b);
		printf("%d", b);
	}
	return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int print_dict(sd_bus_message *m)
{
	const char *key;
	int r = sd_bus_message_enter_container(m, 'a', "{sv}");

	while (r >= 0 && (r = sd_bus_message_enter_container(m, 'e', "sv")) > 0) {
		must(sd_bus_message_read(m, "s", &key), "key");
		printf("\t%s=", key);
		r = print_value(m);
		if (r >= 0)
			r = sd_bus_message_exit_container(m);
	}
	return r;
}

static int on_signal(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	const char *name = sd_bus_message_get_member(m);
	unsigned n;

	(void)data;
	(void)ret;
	printf("signal\t%s", name);
	if (strcmp(name, "Partition") == 0) {
		must(sd_bus_message_read(m, "u", &n), "number");
		printf("\tnumber=%u", n);
	}
	must(print_dict(m), "signal");
	say("%s", "");
	return 0;
}

static int on_gone(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	(void)m;
	(void)data;
	(void)ret;
	say("gone");
	return 0;
}

static int on_reply(sd_bus_message *m, void *data, sd_bus_error *ret)
{
	_cleanup_free_ char *method = data;
	const sd_bus_error *e = sd_bus_message_get_error(m);
	uint64_t a, b;

	(void)ret;
	if (e)
		say("error\t%s\t%s\t%s", method, e->name, e->message);
	else if (sd_bus_message_has_signature(m, "t") && sd_bus_message_read(m, "t", &a) >= 0)
		say("reply\t%s\t%llu", method, (unsigned long long)a);
	else if (sd_bus_message_has_signature(m, "tta(ttss)") &&
		sd_bus_message_read(m, "tt", &a, &b) >= 0)
		say("reply\t%s\t%llu\t%llu", method, (unsigned long long)a,
			(unsigned long long)b);
	else
		say("reply\t%s", method);
	return 0;
}

/* --- orders --- */

static void send_call(struct host *h, sd_bus_message *m, const char *method)
{
	must(sd_bus_call_async(h->bus, NULL, m, on_reply, strdup(method), UINT64_MAX), method);
	sd_bus_message_unref(m);
}

static sd_bus_message *new_call(struct host *h, const char *method)
{
	sd_bus_message *m;

	must(sd_bus_message_new_method_call(
		     h->bus, &m, NULL, BUS_CONTROL_PATH, BUS_CONTROL, method),
		method);
	return m;
}

/* true and false are booleans, numbers u, the rest s; `aligns` is one of a list. */
static void append_option(sd_bus_message *m, const char *key, const char *value)
{
	bool flag = strcmp(value, "true") == 0;
	char *end;
	unsigned long n = strtoul(value, &end, 0);

	if (flag || strcmp(value, "false") == 0)
		must(sd_bus_message_append(m, "{sv}", key, "b", flag), key);
	else if (*value && !*end)
		must(sd_bus_message_append(m, "{sv}", key, "u", (unsigned)n), key);
	else if (strcmp(key, "aligns") == 0)
		must(sd_bus_message_append(m, "{sv}", key, "as", 1, value), key);
	else
		must(sd_bus_message_append(m, "{sv}", key, "s", value), key);
}

static void start(struct host *h, char *words)
{
	_cleanup_close_ int dir = open(h->state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	sd_bus_message *m = new_call(h, "Start");

	must(dir < 0 ? -errno : 0, h->state);
	must(sd_bus_message_open_container(m, 'a', "{sv}"), "Start");
	for (char *w = strtok(words, "\t"); w; w = strtok(NULL, "\t")) {
		char *value = strchr(w, '=');

		if (!value)
			continue;
		*value++ = '\0';
		append_option(m, w, value);
	}
	must(sd_bus_message_close_container(m), "Start");
	must(sd_bus_message_append(m, "h", dir), "Start");
	send_call(h, m, "Start");
}

/* Arguments: numbers, true, false, names of files. */
static void call(struct host *h, char *words)
{
	const char *method = strtok(words, "\t"), *w;
	sd_bus_message *m = new_call(h, method);

	while ((w = strtok(NULL, "\t"))) {
		if (w[0] == '/') {
			_cleanup_close_ int fd = open(w, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

			must(sd_bus_message_append(m, "h", fd), method);
		} else if (strcmp(w, "true") == 0 || strcmp(w, "false") == 0) {
			must(sd_bus_message_append(m, "b", w[0] == 't'), method);
		} else {
			must(sd_bus_message_append(m, "u", (unsigned)strtoul(w, NULL, 0)), method);
		}
	}
	send_call(h, m, method);
}

/* Bytes that are no message. */
static void raw(struct host *h, const char *hex)
{
	for (unsigned byte; sscanf(hex, "%2x", &byte) == 1; hex += 2) {
		unsigned char c = (unsigned char)byte;

		(void)!send(h->link, &c, 1, MSG_NOSIGNAL);
	}
}

static void hang_up(struct host *h)
{
	end_wait(h, false);
	sd_bus_close(h->bus);
	shutdown(h->link, SHUT_RDWR);
}

static int on_line(sd_event_source *s, int fd, uint32_t events, void *data)
{
	struct host *h = data;
	char line[4096];

	(void)s;
	(void)fd;
	(void)events;
	if (!fgets(line, sizeof(line), stdin))
		return sd_event_exit(h->event, 0);
	line[strcspn(line, "\n")] = '\0';
	if (strncmp(line, "start\t", 6) == 0)
		start(h, line + 6);
	else if (strncmp(line, "call\t", 5) == 0)
		call(h, line + 5);
	else if (strncmp(line, "raw\t", 4) == 0)
		raw(h, line + 4);
	else if (strcmp(line, "close") == 0)
		hang_up(h);
	else
		return sd_event_exit(h->event, 0);
	return 0;
}

static int on_child(sd_event_source *s, const siginfo_t *si, void *data)
{
	(void)s;
	(void)data;
	say("ended\t%s\t%d", si->si_code == CLD_EXITED ? "exit" : "signal", si->si_status);
	return 0;
}

/* --- the beginning --- */

static void start_program(struct host *h, char *program, int fd)
{
	char *argv[] = {program, NULL};

	h->pid = fork();
	must(h->pid, "fork");
	if (h->pid > 0) {
		close(fd);
		return;
	}
	if (fd == 3)
		(void)!fcntl(fd, F_SETFD, 0);
	else
		dup2(fd, 3);
	setenv("LISTEN_FDS", "1", 1);
	char pid[16];
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execv(program, argv);
	_exit(127);
}

static void open_bus(struct host *h, int fd)
{
	sd_id128_t id;

	must(sd_id128_randomize(&id), "id");
	must(sd_bus_new(&h->bus), "bus");
	must(sd_bus_set_fd(h->bus, fd, fd), "fd");
	must(sd_bus_set_server(h->bus, 1, id), "server");
	must(sd_bus_negotiate_fds(h->bus, 1), "fds");
	must(sd_bus_set_trusted(h->bus, 1), "trusted");
	must(sd_bus_start(h->bus), "start");
	must(sd_bus_attach_event(h->bus, h->event, 0), "attach");
	must(sd_bus_add_object_vtable(h->bus, NULL, BUS_HOST_PATH, BUS_HOST, vtable, h), "vtable");
	must(sd_bus_match_signal(h->bus, NULL, NULL, BUS_CONTROL_PATH, BUS_CONTROL, NULL,
		     on_signal, h),
		"match");
	must(sd_bus_match_signal(h->bus, NULL, NULL, "/org/freedesktop/DBus/Local",
		     "org.freedesktop.DBus.Local", "Disconnected", on_gone, h),
		"match");
}

int main(int argc, char **argv)
{
	struct host h = {0};
	int ends[2];
	sigset_t set;

	if (argc < 5)
		return 2;
	h.state = argv[2];
	h.mounts = argv[3];
	h.ports = argv + 4;
	h.n_ports = (unsigned)argc - 4;
	guard_port(&h);
	setvbuf(stdin, NULL, _IONBF, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	must(sd_event_new(&h.event), "event");
	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), "socketpair");
	start_program(&h, argv[1], ends[1]);
	h.link = ends[0];
	open_bus(&h, dup(ends[0]));
	must(sd_event_add_child(h.event, NULL, h.pid, WEXITED, on_child, &h), "child");
	must(sd_event_add_io(h.event, NULL, STDIN_FILENO, EPOLLIN, on_line, &h), "stdin");
	must(sd_event_loop(h.event), "loop");
	sd_bus_unref(h.bus);
	portguard_free(h.guard);
	sd_event_unref(h.event);
	return 0;
}
