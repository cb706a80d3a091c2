/* SPDX-License-Identifier: MIT */
/* The map of a partition as a picture: true to scale, row by row, blocks as a grid over it. */
#include <inttypes.h>
#include <string.h>

#include "cli/memmap.h"
#include "cli/ui.h"

#define WIDTH 1024u /* of the map, in pixels */
#define LEFT 104u
#define TOP 64u
#define ROW 22u
#define GAP 4u
#define LINE 22u /* of text */
#define ROWS_MAX 32u
#define BLOCKS_DRAWN 128u /* in a row: more would be nothing but lines */
#define NAMED_MAX 12u /* as there are colours */

static const char *const kind_colours[MEMMAP_KINDS] = {
	[MEMMAP_HEAD] = "#e08a1e",
	[MEMMAP_SLOT] = "#f3dcb5",
	[MEMMAP_ROOT] = "#f2c230",
	[MEMMAP_FILE] = "#7f9aa6",
	[MEMMAP_DEAD] = "#b9b9b9",
	[MEMMAP_BLANK] = "#f7f7f5",
	[MEMMAP_UNKNOWN] = "#e6e6e2",
	[MEMMAP_BAD] = "#d03030",
};
static const char *const file_colours[NAMED_MAX] = {
	"#4c78a8", "#54a24b", "#b279a2", "#2a9d8f", "#e45756", "#9d755d", "#6a5acd", "#d67195",
	"#2f5d3a", "#8c564b", "#1f3b73", "#a0a636"};

struct picture {
	const struct memmap *map;
	FILE *to;
	uint64_t row_size; /* bytes */
	unsigned rows;
	size_t named[NAMED_MAX];
	size_t n_named;
};

static void put_text(FILE *to, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '&':
			fputs("&amp;", to);
			break;
		case '<':
			fputs("&lt;", to);
			break;
		case '>':
			fputs("&gt;", to);
			break;
		case '"':
			fputs("&quot;", to);
			break;
		default:
			fputc(*text, to);
		}
	}
}

static void choose_rows(struct picture *p)
{
	uint64_t size = p->map->size;

	p->row_size = 4096;
	while ((size + p->row_size - 1) / p->row_size > ROWS_MAX)
		p->row_size *= 2;
	/* A small partition has rows of its own size, not one long empty one. */
	while (p->row_size > size && p->row_size > 256)
		p->row_size /= 2;
	p->rows = (unsigned)((size + p->row_size - 1) / p->row_size);
}

static double x_of(const struct picture *p, uint64_t bytes)
{
	return (double)bytes * WIDTH / (double)p->row_size;
}

static unsigned y_of(unsigned row)
{
	return TOP + row * (ROW + GAP);
}

static const char *colour_of(const struct picture *p, size_t extent)
{
	const struct memmap_extent *e = &p->map->list[extent];

	for (size_t i = 0; i < p->n_named && e->kind == MEMMAP_FILE; i++)
		if (p->named[i] == extent)
			return file_colours[i];
	return kind_colours[e->kind];
}

static void put_tip(const struct picture *p, const struct memmap_extent *e)
{
	fputs("<title>", p->to);
	put_text(p->to, e->name ? e->name : memmap_kind_title(e->kind));
	fprintf(p->to, ": %" PRIu64 " bytes at 0x%06" PRIx64 "</title>", e->len, e->off);
}

static void put_extent(const struct picture *p, size_t extent)
{
	const struct memmap_extent *e = &p->map->list[extent];
	uint64_t at = e->off, end = e->off + e->len;

	if (at >= end)
		return;
	fprintf(p->to, "<g fill=\"%s\"%s>", colour_of(p, extent),
		e->kind == MEMMAP_FILE ? " class=\"file\"" : "");
	put_tip(p, e);
	while (at < end) {
		uint64_t row = at / p->row_size, stop = MIN(end, (row + 1) * p->row_size);

		fprintf(p->to, "<rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" height=\"%u\"/>",
			LEFT + x_of(p, at - row * p->row_size), y_of((unsigned)row),
			MAX(x_of(p, stop - at), 0.5), ROW);
		at = stop;
	}
	fputs("</g>\n", p->to);
}

static void put_row_frame(const struct picture *p, unsigned row)
{
	const struct memmap *m = p->map;
	uint64_t off = row * p->row_size, len = MIN(p->row_size, m->size - off);
	uint64_t block = m->erase_block;

	fprintf(p->to,
		"<text class=\"at\" x=\"%u\" y=\"%u\">0x%0*" PRIx64 "</text>", LEFT - 10,
		y_of(row) + 15, m->has_address ? 8 : 6, (m->has_address ? m->address : 0) + off);
	if (block && p->row_size / block <= BLOCKS_DRAWN) {
		fputs("<path class=\"grid\" d=\"", p->to);
		for (uint64_t at = block - off % block; at < len; at += block)
			fprintf(p->to, "M%.2f %uv%u", LEFT + x_of(p, at), y_of(row), ROW);
		fputs("\"/>", p->to);
	}
	fprintf(p->to, "<rect class=\"frame\" x=\"%u\" y=\"%u\" width=\"%.2f\" height=\"%u\"/>\n",
		LEFT, y_of(row), x_of(p, len), ROW);
}

static void put_legend_line(const struct picture *p, unsigned x, unsigned y, const char *colour,
	uint64_t bytes, const char *text)
{
	fprintf(p->to,
		"<rect class=\"frame\" x=\"%u\" y=\"%u\" width=\"14\" height=\"14\" "
		"style=\"fill:%s\"/><text class=\"size\" x=\"%u\" y=\"%u\">%s</text>"
		"<text x=\"%u\" y=\"%u\">",
		x, y - 12, colour, x + 100, y, UI_SIZE(bytes), x + 112, y);
	put_text(p->to, text);
	fputs("</text>\n", p->to);
}

static void put_legend(const struct picture *p, const struct memmap_sums *sums)
{
	const struct memmap *m = p->map;
	unsigned y = y_of(p->rows) + LINE, files_y = y;
	char line[96];

	for (unsigned i = 0; i < MEMMAP_KINDS; i++) {
		if (!sums->bytes[i])
			continue;
		snprintf(line, sizeof(line), "%s, %.1f %%", memmap_kind_title((enum memmap_kind)i),
			100.0 * (double)sums->bytes[i] / (double)m->size);
		put_legend_line(p, LEFT, y, kind_colours[i], sums->bytes[i], line);
		y += LINE;
	}
	for (size_t i = 0; i < p->n_named; i++) {
		const struct memmap_extent *e = &m->list[p->named[i]];

		put_legend_line(p, LEFT + 380, files_y, colour_of(p, p->named[i]), e->len, e->name);
		files_y += LINE;
	}
	if (sums->files > p->n_named)
		fprintf(p->to, "<text x=\"%u\" y=\"%u\">%zu more files</text>\n", LEFT + 492,
			files_y, sums->files - p->n_named);
}

static unsigned legend_lines(const struct picture *p, const struct memmap_sums *sums)
{
	unsigned kinds = 0, files = (unsigned)p->n_named + (sums->files > p->n_named);

	for (unsigned i = 0; i < MEMMAP_KINDS; i++)
		kinds += sums->bytes[i] != 0;
	return MAX(kinds, files);
}

static void put_head(const struct picture *p, unsigned height)
{
	const struct memmap *m = p->map;

	fprintf(p->to,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %u %u\" width=\"%u\" "
		"height=\"%u\">\n"
		"<style>text{font:13px sans-serif;fill:#222}.title{font:bold 18px sans-serif}"
		".at{font:12px monospace;text-anchor:end;fill:#666}.size{text-anchor:end}"
		".file{stroke:#fff;stroke-width:.8}.frame{fill:none;stroke:#888}"
		".grid{stroke:#000;stroke-opacity:.14}</style>\n"
		"<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n"
		"<text class=\"title\" x=\"%u\" y=\"30\">",
		LEFT + WIDTH + 24, height, LEFT + WIDTH + 24, height, LEFT);
	put_text(p->to, m->title);
	fprintf(p->to, "</text>\n<text x=\"%u\" y=\"50\">%s", LEFT, UI_SIZE(m->size));
	if (m->has_address)
		fprintf(p->to, " at 0x%08" PRIx64, m->address);
	if (m->erase_block)
		fprintf(p->to, ", in %" PRIu64 " blocks of %s", m->size / m->erase_block,
			UI_SIZE(m->erase_block));
	fprintf(p->to, "; a row is %s</text>\n", UI_SIZE(p->row_size));
}

void memmap_print_svg(const struct memmap *m, FILE *to)
{
	struct picture p = {.map = m, .to = to};
	struct memmap_sums sums;

	memmap_sum(m, &sums);
	choose_rows(&p);
	p.n_named = memmap_biggest(m, p.named, NAMED_MAX);
	put_head(&p, y_of(p.rows) + (legend_lines(&p, &sums) + 1) * LINE);
	for (size_t i = 0; i < m->n; i++)
		put_extent(&p, i);
	for (unsigned row = 0; row < p.rows; row++)
		put_row_frame(&p, row);
	put_legend(&p, &sums);
	fputs("</svg>\n", to);
}
