/* SPDX-License-Identifier: MIT */
#include "config.h"

#include "ports_rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "util/io.h"

static void on_mistake(void *ctx, const char *text)
{
	struct ports_rig *rig = ctx;

	rig->n_mistakes++;
	print_message("%s\n", text);
}

struct config *ports_rig_config(struct ports_rig *rig, const char *text)
{
	char file[300];
	struct error err = {0};
	struct config *config;
	_cleanup_close_ int fd = -1;

	snprintf(file, sizeof(file), "%s/test.conf", rig->dir);
	fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(io_write_full(fd, text, strlen(text)), 0);
	if (config_load(file, false, on_mistake, rig, &config, &err) < 0)
		fail_msg("%s", err.text);
	assert_int_equal(rig->n_mistakes, 0);
	return config;
}

void ports_rig_init(struct ports_rig *rig, const char *config)
{
	const char *tmp = getenv("TMPDIR");

	memset(rig, 0, sizeof(*rig));
	snprintf(rig->dir, sizeof(rig->dir), "%s/ports.XXXXXX", tmp ? tmp : "/tmp");
	assert_non_null(mkdtemp(rig->dir));
	assert_true(sd_event_new(&rig->event) >= 0);
	rig->config = ports_rig_config(rig, config);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void ports_rig_free(struct ports_rig *rig)
{
	ports_free(rig->ports);
	config_free(rig->config);
	sd_event_unref(rig->event);
	assert_int_equal(nftw(rig->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void format_like(2, 3) note(struct ports_rig *rig, const char *fmt, ...)
{
	size_t n = strlen(rig->told);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(rig->told + n, sizeof(rig->told) - n, fmt, ap);
	va_end(ap);
}

static void on_added(void *ctx, const struct place *place)
{
	struct ports_rig *rig = ctx;

	memcpy(&rig->last, place, sizeof(*place));
	note(rig, "+%s ", place->key);
	for (unsigned i = 0; i < place->n_ttys; i++)
		note(rig, "%s%s", i ? "," : "", place->ttys[i].node);
	note(rig, "\n");
}

static void on_removed(void *ctx, const char *key)
{
	note(ctx, "-%s\n", key);
}

static void on_trouble(void *ctx, const char *text)
{
	note(ctx, "!%s\n", text);
}

void ports_rig_start(struct ports_rig *rig, bool udev)
{
	const struct ports_hooks hooks = {.added = on_added,
		.removed = on_removed, .trouble = on_trouble, .ctx = rig};
	struct error err = {0};

	if (ports_new(rig->event, rig->config, udev, &hooks, &rig->ports, &err) < 0)
		fail_msg("%s", err.text);
}

void ports_rig_reload(struct ports_rig *rig, const char *text)
{
	struct config *config = ports_rig_config(rig, text);

	ports_reload(rig->ports, config);
	config_free(rig->config);
	rig->config = config;
}

void ports_rig_expect(struct ports_rig *rig, const char *told, const char *file, int line)
{
	int r;

	do {
		r = sd_event_run(rig->event, 0);
	} while (r > 0);
	assert_int_equal(r, 0);
	if (strcmp(rig->told, told) != 0)
		print_message("%s:%d: told\n%s", file, line, rig->told);
	assert_string_equal(rig->told, told);
	rig->told[0] = '\0';
}
