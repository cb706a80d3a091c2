/* SPDX-License-Identifier: MIT */
/* The interfaces as they are installed, bus/NAME.xml, are those that romountd serves. With
 * WRITE_XML=DIR in the environment, the files are written there instead. */
#include "config.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/api_rig.h"

static const struct {
	const char *path, *interface;
} interfaces[] = {
	{BUS_ROOT, BUS_MANAGER},
	{BUS_BOARDS "/pico", BUS_BOARD},
	{BUS_BOARDS "/pico/rom0", BUS_PARTITION},
};

static const char head[] =
	"<!DOCTYPE node PUBLIC \"-//freedesktop//DTD D-BUS Object Introspection 1.0//EN\"\n"
	"\"https://www.freedesktop.org/standards/dbus/1.0/introspect.dtd\">\n"
	"<!-- SPDX-License-Identifier: MIT -->\n"
	"<!-- Described in org.romount1(5). -->\n"
	"<node>\n";

/* The file as it has to be: what is served of one interface, in the same words. */
static char *served(const char *path, const char *interface)
{
	_cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
	const char *xml, *begin, *end;
	char start[128], *text;
	sd_bus *client = rig_connect();

	m = rig_call_ok(
		client, path, "org.freedesktop.DBus.Introspectable", "Introspect", "");
	assert_true(sd_bus_message_read(m, "s", &xml) > 0);
	snprintf(start, sizeof(start), " <interface name=\"%s\">", interface);
	begin = strstr(xml, start);
	assert_non_null(begin);
	end = strstr(begin, "</interface>\n");
	assert_non_null(end);
	end += strlen("</interface>\n");
	assert_true(
		asprintf(&text, "%s%.*s</node>\n", head, (int)(end - begin), begin) > 0);
	sd_bus_close_unref(client);
	rig_settle();
	return text;
}

static void write_file(const char *dir, const char *interface, const char *text)
{
	_cleanup_fclose_ FILE *f = NULL;
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.xml", dir, interface);
	f = fopen(path, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
}

static void expect_file(const char *interface, const char *want)
{
	_cleanup_fclose_ FILE *f = NULL;
	const char *srcdir = getenv("SRCDIR");
	char path[512], text[16384];
	size_t len, at = 0, line = 1;

	snprintf(path, sizeof(path), "%s/bus/%s.xml", srcdir ? srcdir : ".", interface);
	f = fopen(path, "re");
	if (!f)
		fail_msg("%s: %s", path, strerror(errno));
	len = fread(text, 1, sizeof(text) - 1, f);
	text[len] = '\0';
	for (; text[at] && text[at] == want[at]; at++)
		line += text[at] == '\n';
	if (text[at] != want[at])
		fail_msg("%s: line %zu: \"%.60s\" is not what romountd serves: \"%.60s\"",
			path, line, text + at, want + at);
}

static void test_files_match(void **state)
{
	const char *dir = getenv("WRITE_XML");

	rig_setup(false);
	rig_add("pico", 0, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(interfaces); i++) {
		_cleanup_free_ char *text =
			served(interfaces[i].path, interfaces[i].interface);

		if (dir)
			write_file(dir, interfaces[i].interface, text);
		else
			expect_file(interfaces[i].interface, text);
	}
	rig_teardown();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files_match),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
