/* SPDX-License-Identifier: MIT */
#include "cli/ui.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <wchar.h>

#include "libromfs/tree.h"
#include "util/text.h"

bool ui_colours(FILE *f)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	int fd = fileno(f);

	if (no && *no)
		return false;
	return isatty(fd < 0 ? STDOUT_FILENO : fd) && term && strcmp(term, "dumb") != 0;
}

int ui_columns(FILE *f)
{
	const char *set = getenv("COLUMNS");
	struct winsize size;
	long n = set ? strtol(set, NULL, 10) : 0;

	if (ioctl(fileno(f), TIOCGWINSZ, &size) == 0 && size.ws_col)
		return size.ws_col;
	return n >= 20 && n <= 1000 ? (int)n : 80;
}

const char *ui_size(char *buf, size_t cap, uint64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
	uint64_t unit = 1;
	size_t i = 0;

	while (i + 1 < ARRAY_SIZE(units) && bytes / unit >= 1024)
		unit *= 1024, i++;
	if (bytes % unit == 0)
		snprintf(buf, cap, "%" PRIu64 " %s", bytes / unit, units[i]);
	else
		snprintf(buf, cap, "%.1f %s", (double)bytes / (double)unit, units[i]);
	return buf;
}

const char *ui_time(char *buf, size_t cap, int64_t ns)
{
	/* Rounded down, also before 1970. */
	time_t t = (time_t)(ns / 1000000000 - (ns % 1000000000 < 0));
	struct tm tm;

	if (ns == ROMFS_NO_MTIME || !localtime_r(&t, &tm) ||
		strftime(buf, cap, "%Y-%m-%d %H:%M", &tm) == 0)
		snprintf(buf, cap, "-");
	return buf;
}

char *ui_escape(const void *text, size_t len)
{
	size_t need = text_escape(NULL, 0, text, len);
	char *out = malloc(need + 1);

	if (out)
		text_escape(out, need + 1, text, len);
	return out;
}

void ui_style(FILE *to, enum ui_style style)
{
	static const char *const codes[] = {
		[UI_PLAIN] = "\033[0m",
		[UI_BOLD] = "\033[1m",
		[UI_DIM] = "\033[2m",
		[UI_GOOD] = "\033[32m",
		[UI_BAD] = "\033[31m",
		[UI_DIRECTORY] = "\033[1;34m",
	};

	if (ui_colours(to))
		fputs(codes[style], to);
}

/* --- tables ------------------------------------------------------------------------- */

struct cell {
	char *text;
	int width;
	enum ui_style style;
};

struct ui_table {
	const char *columns;
	size_t n_columns;
	struct cell *cells;
	size_t n, cap;
	bool lost;
};

struct ui_table *ui_table_new(const char *columns)
{
	struct ui_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->columns = columns;
	table->n_columns = strlen(columns);
	return table;
}

void ui_table_free(struct ui_table *table)
{
	size_t i;

	if (!table)
		return;
	for (i = 0; i < table->n; i++)
		free(table->cells[i].text);
	free(table->cells);
	free(table);
}

/* Columns that a terminal needs for it; bytes where the locale cannot tell. */
static int text_width(const char *text)
{
	mbstate_t state = {0};
	wchar_t wide;
	size_t n;
	int width = 0, w;

	for (; *text; text += n) {
		n = mbrtowc(&wide, text, MB_CUR_MAX, &state);
		if (n == (size_t)-1 || n == (size_t)-2) {
			memset(&state, 0, sizeof(state));
			n = 1;
			w = 1;
		} else {
			w = wcwidth(wide);
		}
		width += w < 0 ? 1 : w;
	}
	return width;
}

void ui_table_cell(struct ui_table *table, enum ui_style style, const char *fmt, ...)
{
	struct cell *cell;
	va_list ap;

	if (table->n == table->cap) {
		size_t cap = table->cap ? table->cap * 2 : 64;
		struct cell *more = reallocarray(table->cells, cap, sizeof(*more));

		if (!more) {
			table->lost = true;
			return;
		}
		table->cells = more;
		table->cap = cap;
	}
	cell = &table->cells[table->n];
	va_start(ap, fmt);
	if (vasprintf(&cell->text, fmt, ap) < 0) {
		table->lost = true;
	} else {
		cell->width = text_width(cell->text);
		cell->style = style;
		table->n++;
	}
	va_end(ap);
}

static void print_cell(const struct cell *cell, FILE *to, bool right, int pad)
{
	if (right)
		fprintf(to, "%*s", pad, "");
	if (cell->style != UI_PLAIN)
		ui_style(to, cell->style);
	fputs(cell->text, to);
	if (cell->style != UI_PLAIN)
		ui_style(to, UI_PLAIN);
	if (!right)
		fprintf(to, "%*s", pad, "");
}

int ui_table_print(const struct ui_table *table, FILE *to, int indent)
{
	_cleanup_free_ int *widths = calloc(table->n_columns, sizeof(*widths));
	size_t i, column;

	if (table->lost || !widths)
		return -ENOMEM;
	for (i = 0; i < table->n; i++) {
		column = i % table->n_columns;
		widths[column] = MAX(widths[column], table->cells[i].width);
	}
	for (i = 0; i < table->n; i++) {
		const struct cell *cell = &table->cells[i];
		bool right, last;

		column = i % table->n_columns;
		right = table->columns[column] == 'r';
		last = column + 1 == table->n_columns;
		if (column == 0)
			fprintf(to, "%*s", indent, "");
		print_cell(cell, to, right,
			last && !right ? 0 : widths[column] - cell->width);
		fputs(last ? "\n" : "  ", to);
	}
	return 0;
}
