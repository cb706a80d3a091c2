/* SPDX-License-Identifier: MIT */
/* A romount-board that a hostile board has taken over. Installed under that name in a directory
 * that ROMOUNT_LIBEXEC names; the environment's HOSTILE tells what it does. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include "bus/names.h"

#define LINK_FD 3
#define RED "\x1b[31m\n../../etc\xff"

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "hostile: %s: %s\n", what, strerror(-r));
	exit(4);
}

static void signal_board(sd_bus *bus, const char *state, const char *machine)
{
	must(sd_bus_emit_signal(bus, BUS_CONTROL_PATH, BUS_CONTROL, "Board", "a{sv}", 4, "state",
		     "s", state, "machine", "s", machine, "error", "s", "bad\x1b[2J\nnews",
		     "nobody-knows", "ax", 2, INT64_MIN, INT64_MAX),
		"Board");
}

static void signal_partition(sd_bus *bus, uint32_t number)
{
	must(sd_bus_emit_signal(bus, BUS_CONTROL_PATH, BUS_CONTROL, "Partition", "ua{sv}", number,
		     4, "size", "t", UINT64_MAX, "pending", "t", UINT64_MAX, "pending-files", "u",
		     UINT32_MAX, "state", "s", RED),
		"Partition");
}

static int ignore(sd_bus_message *m, void *data, sd_bus_error *error)
{
	(void)m;
	(void)data;
	(void)error;
	return 1;
}

/* What is answered does not matter: romountd must live. */
static void ask(sd_bus *bus, const char *method, const char *types, uint64_t value)
{
	sd_bus_message *m = NULL;

	must(sd_bus_message_new_method_call(bus, &m, NULL, BUS_HOST_PATH, BUS_HOST, method),
		method);
	if (strcmp(types, "t") == 0)
		must(sd_bus_message_append(m, "t", value), method);
	else if (strcmp(types, "u") == 0)
		must(sd_bus_message_append(m, "u", (uint32_t)value), method);
	else if (strcmp(types, "s") == 0)
		must(sd_bus_message_append(m, "s", &RED[6]), method);
	must(sd_bus_call_async(bus, NULL, m, ignore, NULL, 0), method);
	sd_bus_message_unref(m);
}

static void lie(sd_bus *bus)
{
	char *huge = malloc(70000);
	uint32_t i;

	if (!huge)
		exit(4);
	memset(huge, 'x', 69999);
	huge[69999] = '\0';
	signal_board(bus, "../../../root", "machine\x1b]0;owned\x07");
	signal_board(bus, "ready", huge);
	free(huge);
	for (i = 0; i < 300; i++)
		signal_partition(bus, i % 2 ? i : UINT32_MAX - i);
	for (i = 0; i < 30; i++) {
		ask(bus, "WaitPort", "t", UINT64_MAX);
		ask(bus, "OpenPort", "u", i);
		ask(bus, "Mount", "u", i % 3 ? i : UINT32_MAX);
		ask(bus, "Unmount", "u", i * 7);
		ask(bus, "Ready", "u", i);
		ask(bus, "KeepPort", "", 0);
		ask(bus, "PortHolder", "", 0);
		ask(bus, "ClosePort", "", 0);
		ask(bus, "NextPort", "", 0);
		ask(bus, "Mount", "", 0);
	}
	must(sd_bus_flush(bus), "flush");
}

static void wrong_types(sd_bus *bus)
{
	must(sd_bus_emit_signal(bus, BUS_CONTROL_PATH, BUS_CONTROL, "Board", "s", "no dict"),
		"Board");
	must(sd_bus_flush(bus), "flush");
}

static void flood(sd_bus *bus)
{
	for (;;) {
		for (uint32_t i = 0; i < 100; i++)
			signal_partition(bus, i % 4);
		if (sd_bus_flush(bus) < 0)
			exit(5);
	}
}

/* Asks without listening. */
static void deaf(sd_bus *bus)
{
	for (;;) {
		for (uint32_t i = 0; i < 100; i++)
			ask(bus, "PortHolder", "", 0);
		if (sd_bus_flush(bus) < 0)
			exit(5);
	}
}

/* One message that never seems to end. */
static void endless(sd_bus *bus)
{
	size_t size = 100 << 20;
	char *text = malloc(size + 1);

	if (!text)
		exit(4);
	memset(text, 'x', size);
	text[size] = '\0';
	signal_board(bus, "ready", text);
	if (sd_bus_flush(bus) < 0)
		exit(5);
}

static void misbehave(sd_bus *bus, const char *how)
{
	if (strcmp(how, "liar") == 0)
		lie(bus);
	else if (strcmp(how, "types") == 0)
		wrong_types(bus);
	else if (strcmp(how, "flood") == 0)
		flood(bus);
	else if (strcmp(how, "deaf") == 0)
		deaf(bus);
	else if (strcmp(how, "endless") == 0)
		endless(bus);
	else if (strcmp(how, "dead") == 0)
		abort();
}

static int on_start(sd_bus_message *m, void *data, sd_bus_error *error)
{
	sd_bus *bus = sd_bus_message_get_bus(m);

	(void)error;
	must(sd_bus_reply_method_return(m, ""), "Start");
	misbehave(bus, data);
	return 1;
}

static int refuse(sd_bus_message *m, void *data, sd_bus_error *error)
{
	(void)m;
	(void)data;
	return sd_bus_error_set(error, "not a \x1b name", RED);
}

static const sd_bus_vtable vtable[] = {
	SD_BUS_VTABLE_START(0),
	SD_BUS_METHOD("Start", "a{sv}h", "", on_start, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_METHOD("End", "bu", "", refuse, SD_BUS_VTABLE_UNPRIVILEGED),
	SD_BUS_VTABLE_END,
};

int main(void)
{
	const char *how = getenv("HOSTILE");
	sd_bus *bus = NULL;

	if (!how || strcmp(how, "quitter") == 0)
		return 3;
	if (strcmp(how, "nonsense") == 0) {
		static const char words[] =
			"\0AUTH NONSENSE\r\nBEGIN\r\nl\4\1\1\xff\xff\xff\x07";

		for (unsigned i = 0; i < 100; i++)
			(void)!write(LINK_FD, words, sizeof(words));
		pause();
	}
	must(sd_bus_new(&bus), "new");
	must(sd_bus_set_fd(bus, LINK_FD, LINK_FD), "fd");
	must(sd_bus_negotiate_fds(bus, 1), "fds");
	must(sd_bus_set_trusted(bus, 1), "trusted");
	must(sd_bus_start(bus), "start");
	must(sd_bus_add_object_vtable(bus, NULL, BUS_CONTROL_PATH, BUS_CONTROL, vtable,
		     (void *)(uintptr_t)how),
		"vtable");
	must(sd_bus_call_method_async(bus, NULL, NULL, BUS_HOST_PATH,
		     "org.freedesktop.DBus.Peer", "Ping", ignore, NULL, ""),
		"ping");
	for (;;) {
		int r = sd_bus_process(bus, NULL);

		must(r, "process");
		if (r == 0)
			must(sd_bus_wait(bus, UINT64_MAX), "wait");
	}
}
