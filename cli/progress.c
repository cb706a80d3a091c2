/* SPDX-License-Identifier: MIT */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/ui.h"
#include "util/clock.h"

#define REDRAW_MS 80u
#define RATE_MS 500u	 /* rates are taken over at least so long */
#define BAR_MAX 40
#define STEP_PERCENT 25u /* between two plain lines */

struct progress {
	char *name;
	char doing[32];
	bool terminal, is_shown;
	uint64_t shown_ms;
	uint64_t done, total;
	/* Since when `rate_done` bytes are done, and the bytes a second until then. */
	uint64_t rate_ms, rate_done;
	double rate;
	unsigned next_percent;
};

struct progress *progress_new(const char *name)
{
	struct progress *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->name = strdup(name);
	p->terminal = isatty(STDERR_FILENO);
	return p;
}

void progress_free(struct progress *p)
{
	if (!p)
		return;
	if (p->is_shown)
		fputs("\r\033[K", stderr);
	fflush(stderr);
	free(p->name);
	free(p);
}

/* New rates count half: a stall is seen soon, a hiccup changes little. */
static void take_rate(struct progress *p, uint64_t done, uint64_t now)
{
	double fresh;

	if (done < p->rate_done || !p->rate_ms) {
		p->rate_ms = now;
		p->rate_done = done;
		return;
	}
	if (now - p->rate_ms < RATE_MS)
		return;
	fresh = (double)(done - p->rate_done) * 1000 / (double)(now - p->rate_ms);
	p->rate = p->rate > 0 ? (p->rate + fresh) / 2 : fresh;
	p->rate_ms = now;
	p->rate_done = done;
}

static unsigned percent(const struct progress *p)
{
	return p->total ? (unsigned)((double)MIN(p->done, p->total) * 100 / (double)p->total)
			: 0;
}

static void format_tail(const struct progress *p, char *out, size_t cap)
{
	uint64_t left;
	int n;

	if (!p->total) {
		snprintf(out, cap, "...");
		return;
	}
	n = snprintf(out, cap, "%3u %%  %s of %s", percent(p), UI_SIZE(p->done),
		UI_SIZE(p->total));
	if (p->rate < 1 || n < 0 || (size_t)n >= cap)
		return;
	left = (uint64_t)((double)(p->total - MIN(p->done, p->total)) / p->rate + 0.5);
	snprintf(out + n, cap - (size_t)n, "  %s/s  %" PRIu64 ":%02u left",
		UI_SIZE((uint64_t)p->rate), left / 60, (unsigned)(left % 60));
}

static void draw_bar(const struct progress *p, int width)
{
	int full = p->total ? (int)((double)MIN(p->done, p->total) * width / (double)p->total)
			    : 0;

	fputs(" [", stderr);
	ui_style(stderr, UI_GOOD);
	for (int i = 0; i < width; i++) {
		if (i == full)
			ui_style(stderr, UI_PLAIN);
		fputc(i < full ? '#' : '-', stderr);
	}
	ui_style(stderr, UI_PLAIN);
	fputs("] ", stderr);
}

static void draw(struct progress *p)
{
	int columns = ui_columns(stderr), bar;
	char head[160], tail[120];

	snprintf(head, sizeof(head), "%s: %s", p->name ? p->name : "", p->doing);
	format_tail(p, tail, sizeof(tail));
	bar = MIN(columns - (int)(strlen(head) + strlen(tail)) - 6, BAR_MAX);
	fprintf(stderr, "\r%.*s", MAX(columns - 1, 1), head);
	if (p->total && bar >= 5)
		draw_bar(p, bar);
	else
		fputc(' ', stderr);
	if ((int)(strlen(head) + strlen(tail)) + 2 < columns)
		fputs(tail, stderr);
	fputs("\033[K", stderr);
	fflush(stderr);
	p->is_shown = true;
}

static void print_line(struct progress *p)
{
	char tail[120];

	if (percent(p) < p->next_percent)
		return;
	p->next_percent = percent(p) / STEP_PERCENT * STEP_PERCENT + STEP_PERCENT;
	format_tail(p, tail, sizeof(tail));
	fprintf(stderr, "%s: %s %s\n", p->name ? p->name : "", p->doing, tail);
	fflush(stderr);
}

void progress_show(struct progress *p, const char *doing, uint64_t done, uint64_t total)
{
	uint64_t now = clock_ms();
	bool fresh;

	if (!p)
		return;
	fresh = strcmp(p->doing, doing) != 0 || (!p->total && total);
	if (fresh) {
		snprintf(p->doing, sizeof(p->doing), "%s", doing);
		p->rate = 0;
		p->rate_ms = 0;
		p->next_percent = 0;
	}
	p->done = done;
	p->total = total;
	take_rate(p, done, now);
	if (!p->terminal) {
		print_line(p);
	} else if (fresh || now - p->shown_ms >= REDRAW_MS || done >= total) {
		p->shown_ms = now;
		draw(p);
	}
}
