/* SPDX-License-Identifier: MIT */
#include "daemon/notes.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "bus/words.h"
#include "daemon/mountroot.h"
#include "daemon/textfile.h"

#define GAP_USEC 1000000u
#define TEXT_MAX 16384u

struct notes {
	sd_event *event;
	sd_event_source *timer; /* armed: a change waits, or one has just been written */
	const struct board *board;
	int dirfd;
	bool waits;
	bool had_folder; /* a partition's: who sees it looks here next */
	char *written[2]; /* as they stand there; NULL: not yet */
};

/* --- text --- */

struct text {
	char *out;
	size_t cap, used;
};

static void add(struct text *t, const char *fmt, ...) format_like(2, 3);
static void add(struct text *t, const char *fmt, ...)
{
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(t->out + t->used, t->cap - t->used, fmt, args);
	va_end(args);
	t->used = MIN(t->used + (size_t)MAX(n, 0), t->cap - 1);
}

static const char *size_text(uint64_t n, char out[24])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
	uint64_t unit = 1;
	unsigned u = 0;

	for (; n / unit >= 1024 && u + 1 < ARRAY_SIZE(units); u++)
		unit *= 1024;
	if (n % unit == 0)
		snprintf(out, 24, "%" PRIu64 " %s", n / unit, units[u]);
	else
		snprintf(out, 24, "%.1f %s", (double)n / (double)unit, units[u]);
	return out;
}

static void add_place(struct text *t, const struct board *b)
{
	const struct place *p = &b->place;

	if (!b->present) {
		add(t, "It is not plugged in.\n");
		return;
	}
	add(t, "Port:      %s\n", p->ttys[0].node);
	if (p->vendor_id || p->product_id)
		add(t, "USB:       %04x:%04x%s%s\n", p->vendor_id, p->product_id,
			p->product[0] ? " " : "", p->product);
	if (p->serial[0])
		add(t, "Serial:    %s\n", p->serial);
	if (p->id_path[0])
		add(t, "Socket:    %s\n", p->id_path);
}

static void add_partition(struct text *t, const struct board_partition *p)
{
	char size[24], used[24], left[24];

	if (!p->size || (p->used == 0 && p->free == 0)) {
		add(t, "  rom%u  not read yet\n", p->number);
		return;
	}
	add(t, "  rom%u  %s: %s used, %s free", p->number, size_text(p->size, size),
		size_text(p->used, used), size_text(p->free, left));
	if (p->kind[0])
		add(t, " (%s", p->kind);
	if (p->kind[0] && p->has_address)
		add(t, ", at 0x%" PRIx64, p->address);
	add(t, p->kind[0] ? ")\n" : "\n");
}

void notes_board_text(const struct board *b, char *out, size_t cap)
{
	struct text t = {.out = out, .cap = cap};

	out[0] = '\0';
	add(&t, "%s\n\n",
		b->machine[0]		 ? b->machine
			: b->place.product[0] ? b->place.product
					      : "A board that was not asked yet what it is");
	add(&t, "Name:      %s\n", b->name);
	if (b->firmware[0])
		add(&t, "Firmware:  %s\n", b->firmware);
	if (b->unique_id[0])
		add(&t, "Unique id: %s\n", b->unique_id);
	add_place(&t, b);
	if (b->n_partitions)
		add(&t, "\nROM partitions, each a folder here:\n");
	for (unsigned i = 0; i < b->n_partitions; i++)
		add_partition(&t, &b->partitions[i]);
	add(&t, "\nWhat you save in a folder is safe on this computer at once, and goes to the\n"
		"board's flash by itself; STATUS.txt tells how far it is, and 'romount sync %s'\n"
		"waits for it.\n\n"
		"romount wrote this file, and removes it when the board is gone.\n",
		b->name);
}

static void add_board_state(struct text *t, const struct board *b)
{
	static const struct {
		const char *state, *text;
	} texts[] = {
		{"absent", "is not plugged in. What is staged goes to it when it is back."},
		{"starting", "has just been plugged in."},
		{"asking", "is being asked what it is."},
		{"waiting", "was never asked what it is: 'romount attach' does that, and "
			    "stops its program for a moment."},
		{"ready", "is ready."},
		{"none", "has no ROM partitions: its firmware was built without them."},
		{"released", "is left alone, for other programs: 'romount attach' takes it "
			     "again."},
		{"failed", "cannot be used just now."},
	};

	add(t, "%s ", b->name);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		if (strcmp(texts[i].state, b->state) == 0)
			add(t, "%s", texts[i].text);
	add(t, "\n");
	if (b->error[0])
		add(t, "  %s\n", b->error);
}

static void add_job(struct text *t, const struct board_partition *p)
{
	add(t, "  %s", bus_job_verb(p->job));
	if (p->total)
		add(t, ": %u %%", (unsigned)((double)MIN(p->done, p->total) * 100 /
					     (double)p->total));
	add(t, "\n");
}

static void add_state(struct text *t, const struct board_partition *p)
{
	char pending[24];

	add(t, "\nrom%u", p->number);
	if (p->image[0] && strcmp(p->image, "valid") != 0)
		add(t, " (what is on flash: %s)", p->image);
	if (p->pending_files || p->pending)
		add(t, ": %u file%s (%s) not on flash yet, safe on this computer",
			p->pending_files, p->pending_files == 1 ? "" : "s",
			size_text(p->pending, pending));
	else if (p->state[0])
		add(t, ": %s", p->state);
	add(t, "\n");
	if (p->job[0])
		add_job(t, p);
	if (p->error[0])
		add(t, "  %s\n", p->error);
}

void notes_status_text(const struct board *b, char *out, size_t cap)
{
	struct text t = {.out = out, .cap = cap};

	out[0] = '\0';
	add_board_state(&t, b);
	for (unsigned i = 0; i < b->n_partitions; i++)
		add_state(&t, &b->partitions[i]);
}

/* --- files --- */

/* What cannot be written (a full disk) is written at the next change. */
static void write_one(struct notes *n, unsigned which, const char *name,
	void (*make)(const struct board *b, char *out, size_t cap))
{
	_cleanup_free_ char *text = malloc(TEXT_MAX);

	if (!text)
		return;
	make(n->board, text, TEXT_MAX);
	if (n->written[which] && strcmp(n->written[which], text) == 0)
		return;
	if (textfile_replace(n->dirfd, name, 0644, text) < 0)
		return;
	free(n->written[which]);
	n->written[which] = TAKE_PTR(text);
}

static void write_all(struct notes *n)
{
	n->waits = false;
	write_one(n, 0, MOUNT_BOARD_FILE, notes_board_text);
	write_one(n, 1, MOUNT_STATUS_FILE, notes_status_text);
}

static int on_time(sd_event_source *s, uint64_t usec, void *data)
{
	struct notes *n = data;

	(void)usec;
	if (!n->waits)
		return 0;
	write_all(n);
	if (sd_event_source_set_time_relative(s, GAP_USEC) < 0)
		return 0;
	(void)!sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
	return 0;
}

int notes_new(sd_event *event, const struct board *board, int dirfd, struct notes **out)
{
	struct notes *n = calloc(1, sizeof(*n));
	int r;

	if (!n)
		return -ENOMEM;
	*n = (struct notes){.event = event, .board = board, .dirfd = dirfd, .waits = true};
	/* At the end of this turn of the loop: several things change in one. */
	r = sd_event_add_time_relative(
		event, &n->timer, CLOCK_MONOTONIC, 0, 0, on_time, n);
	if (r < 0) {
		free(n);
		return r;
	}
	*out = n;
	return 0;
}

void notes_free(struct notes *n)
{
	if (!n)
		return;
	sd_event_source_disable_unref(n->timer);
	free(n->written[0]);
	free(n->written[1]);
	free(n);
}

static bool has_folder(const struct board *b)
{
	for (unsigned i = 0; i < b->n_partitions; i++)
		if (b->partitions[i].mount[0])
			return true;
	return false;
}

void notes_changed(struct notes *n)
{
	bool first_folder = !n->had_folder && has_folder(n->board);
	int enabled = SD_EVENT_OFF;

	if (n->waits && !first_folder)
		return;
	n->waits = true;
	n->had_folder |= first_folder;
	if (!first_folder &&
		(sd_event_source_get_enabled(n->timer, &enabled) < 0 || enabled != SD_EVENT_OFF))
		return; /* the gap is not over */
	if (sd_event_source_set_time_relative(n->timer, 0) >= 0)
		(void)!sd_event_source_set_enabled(n->timer, SD_EVENT_ONESHOT);
}
