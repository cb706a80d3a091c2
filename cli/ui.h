/* SPDX-License-Identifier: MIT */
/* Text for people: sizes, times, aligned tables, colours on a terminal. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "util/macros.h"

/* True where `f` is a terminal that wants colours: not with NO_COLOR set (no-color.org)
 * or TERM=dumb. What is written to memory is for stdout. */
bool ui_colours(FILE *f);

/* Columns of the terminal `f`, or what COLUMNS says, or 80. */
int ui_columns(FILE *f);

/* "4 KiB", "1.5 MiB", "300 B": exact where it can be said in three digits or so. */
const char *ui_size(char *buf, size_t cap, uint64_t bytes);
#define UI_SIZE(bytes) ui_size((char[24]){0}, 24, bytes)

/* Local time to the minute, "-" for ROMFS_NO_MTIME. */
const char *ui_time(char *buf, size_t cap, int64_t ns);
#define UI_TIME(ns) ui_time((char[32]){0}, 32, ns)

/* Text of a board, an image or a file name as a terminal may see it; NULL when memory is
 * short. The caller frees. */
char *ui_escape(const void *text, size_t len) must_check;

enum ui_style { UI_PLAIN, UI_BOLD, UI_DIM, UI_GOOD, UI_BAD, UI_DIRECTORY };

/* A table: cells are collected, columns are as wide as their widest cell. A cell must be
 * printable already (ui_escape). */
struct ui_table;

/* `columns` has one letter per column: 'l' or 'r' for its alignment. */
struct ui_table *ui_table_new(const char *columns);
void ui_table_free(struct ui_table *table);
DEFINE_CLEANUP(struct ui_table *, ui_table_free);
void ui_table_cell(struct ui_table *table, enum ui_style style, const char *fmt, ...)
	format_like(3, 4);
/* Prints each row after `indent` spaces. -ENOMEM where a cell was lost. */
must_check int ui_table_print(const struct ui_table *table, FILE *to, int indent);

/* Begins and ends a style on `to`; nothing where colours are not wanted. */
void ui_style(FILE *to, enum ui_style style);
