/* SPDX-License-Identifier: MIT */
/* The map of a partition for a terminal: cells in rows, each with a letter for what is in it,
 * and a colour where there are colours. */
#include <inttypes.h>
#include <string.h>

#include "cli/memmap.h"
#include "cli/ui.h"

#define ROWS_MAX 24u  /* of cells; more would not fit on a screen */
#define CELLS_MIN 64u /* a partition of few blocks is drawn finer than its blocks */
#define LETTERS "abcdefghijklmnopqrstuvwxyz"
#define NAMED_MAX (sizeof(LETTERS) - 1)
#define LEGEND_MAX 12u

struct cell {
	uint64_t bytes[MEMMAP_KINDS];
	uint64_t most; /* bytes of the file that has most of it */
	size_t file;   /* that file's extent */
};

struct grid {
	const struct memmap *map;
	FILE *to;
	uint64_t cell_size;
	size_t columns, n;
	struct cell *cells;
	size_t named[NAMED_MAX]; /* extents of the files that have letters */
	size_t n_named;
	bool colours;
};

/* --- which cell has what -------------------------------------------------------------- */

/* A power of two of blocks a cell, or of cells a block. */
static void choose_size(struct grid *g, int columns)
{
	uint64_t size = g->map->size, block = g->map->erase_block;

	g->columns = columns >= 140 ? 128 : columns >= 76 ? 64 : columns >= 44 ? 32 : 16;
	g->cell_size = block && block <= size ? block : 4096;
	while (size / g->cell_size > (uint64_t)g->columns * ROWS_MAX)
		g->cell_size *= 2;
	while (size / g->cell_size < CELLS_MIN && g->cell_size > 256)
		g->cell_size /= 2;
	g->n = (size_t)((size + g->cell_size - 1) / g->cell_size);
}

static void spread(struct grid *g, size_t index)
{
	const struct memmap_extent *e = &g->map->list[index];
	uint64_t at = e->off, end = e->off + e->len;

	while (at < end) {
		struct cell *c = &g->cells[at / g->cell_size];
		uint64_t stop = MIN(end, (at / g->cell_size + 1) * g->cell_size);

		c->bytes[e->kind] += stop - at;
		if (e->kind == MEMMAP_FILE && stop - at > c->most) {
			c->most = stop - at;
			c->file = index;
		}
		at = stop;
	}
}

/* What was set aside, and the header, are seen however small they are; what is alive, where
 * it is more than a little of the cell. */
static enum memmap_kind kind_of(const struct grid *g, const struct cell *c)
{
	uint64_t alive = c->bytes[MEMMAP_FILE] + c->bytes[MEMMAP_ROOT] + c->bytes[MEMMAP_SLOT];
	unsigned from = MEMMAP_DEAD, to = MEMMAP_BAD;
	enum memmap_kind best;

	if (c->bytes[MEMMAP_BAD])
		return MEMMAP_BAD;
	if (c->bytes[MEMMAP_HEAD])
		return MEMMAP_HEAD;
	if (alive * 8 >= g->cell_size)
		from = MEMMAP_SLOT, to = MEMMAP_DEAD;
	best = (enum memmap_kind)from;
	for (unsigned i = from; i < to; i++)
		if (c->bytes[i] > c->bytes[best])
			best = (enum memmap_kind)i;
	return best;
}

/* --- how it looks ----------------------------------------------------------------------- */

static const char signs[MEMMAP_KINDS] = {
	[MEMMAP_HEAD] = 'H',
	[MEMMAP_SLOT] = '+',
	[MEMMAP_ROOT] = '=',
	[MEMMAP_FILE] = '#',
	[MEMMAP_DEAD] = ':',
	[MEMMAP_BLANK] = '.',
	[MEMMAP_UNKNOWN] = '-',
	[MEMMAP_BAD] = '!',
};

/* Backgrounds of 256 colours, with a black or white letter on them. */
static const char *const colours[MEMMAP_KINDS] = {
	[MEMMAP_HEAD] = "\033[48;5;214;30m",
	[MEMMAP_SLOT] = "\033[48;5;223;30m",
	[MEMMAP_ROOT] = "\033[48;5;220;30m",
	[MEMMAP_FILE] = "\033[48;5;66;97m",
	[MEMMAP_DEAD] = "\033[48;5;240;37m",
	[MEMMAP_BLANK] = "\033[48;5;234;38;5;240m",
	[MEMMAP_UNKNOWN] = "\033[48;5;236;38;5;245m",
	[MEMMAP_BAD] = "\033[48;5;160;97m",
};
static const char *const file_colours[] = {
	"\033[48;5;68;97m",
	"\033[48;5;71;97m",
	"\033[48;5;133;97m",
	"\033[48;5;37;97m",
	"\033[48;5;167;97m",
	"\033[48;5;101;97m",
};

static void begin(const struct grid *g, const char *colour)
{
	if (g->colours)
		fputs(colour, g->to);
}

static void end(const struct grid *g)
{
	if (g->colours)
		fputs("\033[0m", g->to);
}

/* The index of its letter; NAMED_MAX: it has none. */
static size_t letter_of(const struct grid *g, size_t extent)
{
	size_t i = 0;

	while (i < g->n_named && g->named[i] != extent)
		i++;
	return i < g->n_named ? i : NAMED_MAX;
}

static void draw_file(const struct grid *g, size_t extent)
{
	size_t letter = letter_of(g, extent);
	bool named = letter < NAMED_MAX;

	begin(g, named ? file_colours[letter % ARRAY_SIZE(file_colours)] : colours[MEMMAP_FILE]);
	fputc(named ? LETTERS[letter] : signs[MEMMAP_FILE], g->to);
}

static void draw_kind(const struct grid *g, enum memmap_kind kind)
{
	begin(g, colours[kind]);
	fputc(signs[kind], g->to);
}

static void draw_rows(const struct grid *g)
{
	const struct memmap *m = g->map;
	uint64_t base = m->has_address ? m->address : 0;

	for (size_t i = 0; i < g->n; i++) {
		enum memmap_kind kind = kind_of(g, &g->cells[i]);

		if (i % g->columns == 0)
			fprintf(g->to, "  %08" PRIx64 "  ",
				base + i * g->cell_size);
		if (kind == MEMMAP_FILE)
			draw_file(g, g->cells[i].file);
		else
			draw_kind(g, kind);
		if (i % g->columns == g->columns - 1 || i == g->n - 1) {
			end(g);
			fputs("\n", g->to);
		}
	}
}

/* --- words ------------------------------------------------------------------------------ */

static void draw_title(const struct grid *g)
{
	const struct memmap *m = g->map;

	ui_style(g->to, UI_BOLD);
	fputs(m->title, g->to);
	ui_style(g->to, UI_PLAIN);
	fprintf(g->to, "  %s", UI_SIZE(m->size));
	if (m->has_address)
		fprintf(g->to, " at 0x%08" PRIx64, m->address);
	if (m->erase_block)
		fprintf(g->to, ", in %" PRIu64 " blocks of %s", m->size / m->erase_block,
			UI_SIZE(m->erase_block));
	fprintf(g->to, "; a cell is %s\n\n", UI_SIZE(g->cell_size));
}

static void draw_sums(const struct grid *g)
{
	struct memmap_sums sums;

	memmap_sum(g->map, &sums);
	fputs("\n", g->to);
	for (unsigned i = 0; i < MEMMAP_KINDS; i++) {
		const char *title = memmap_kind_title((enum memmap_kind)i);

		if (!sums.bytes[i])
			continue;
		fputs("  ", g->to);
		draw_kind(g, (enum memmap_kind)i);
		end(g);
		fprintf(g->to, "  %-15s %10s  %5.1f %%", title, UI_SIZE(sums.bytes[i]),
			100.0 * (double)sums.bytes[i] / (double)g->map->size);
		if (i == MEMMAP_FILE)
			fprintf(g->to, "  %u file%s", sums.files, sums.files == 1 ? "" : "s");
		fputs("\n", g->to);
	}
}

static void draw_files(const struct grid *g, int columns)
{
	struct memmap_sums sums;
	size_t shown = MIN(g->n_named, LEGEND_MAX);

	memmap_sum(g->map, &sums);
	if (!shown)
		return;
	fputs("\n", g->to);
	for (size_t i = 0; i < shown; i++) {
		const struct memmap_extent *e = &g->map->list[g->named[i]];

		fputs("  ", g->to);
		draw_file(g, g->named[i]);
		end(g);
		fprintf(g->to, "  %10s  %.*s\n", UI_SIZE(e->len), MAX(columns - 18, 20), e->name);
	}
	if (sums.files > shown)
		fprintf(g->to, "     %u more file%s\n", sums.files - (unsigned)shown,
			sums.files - shown == 1 ? "" : "s");
}

void memmap_print(const struct memmap *m, FILE *to, int columns)
{
	struct grid g = {.map = m, .to = to, .colours = ui_colours(to)};
	_cleanup_free_ struct cell *cells = NULL;

	choose_size(&g, columns);
	g.cells = cells = calloc(g.n + 1, sizeof(*cells));
	if (!cells)
		return;
	for (size_t i = 0; i < m->n; i++)
		spread(&g, i);
	g.n_named = memmap_biggest(m, g.named, NAMED_MAX);
	draw_title(&g);
	draw_rows(&g);
	draw_sums(&g);
	draw_files(&g, columns);
}
