/* SPDX-License-Identifier: MIT */
#include "fuse/portmemo.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "util/io.h"
#include "util/sha256.h"
#include "util/text.h"

#define FOLDER "ports"
#define FIRST_LINE "romount-port 1"
#define LAST_LINE "end"
#define KNOWN_LINE "known" /* libdev's own lines follow, to the end of the file */
#define TEXT_MAX 16384u
#define NAME_DIGITS 32u
#define NAME_SIZE (NAME_DIGITS + 1)
#define WRITE_UNIT_MAX 65536u
#define FLASH_MS_MAX 600000u

static void name_of(const char *identity, unsigned partition, char out[NAME_SIZE])
{
	char text[PORTIDENT_SIZE + 16];
	uint8_t digest[SHA256_SIZE];
	size_t i;

	snprintf(text, sizeof(text), "rom%u %s", partition, identity);
	sha256_of(text, strlen(text), digest);
	for (i = 0; i < NAME_DIGITS / 2; i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

/* --- text ------------------------------------------------------------------------------ */

/* The texts of a memo, in the order of their lines. */
struct field {
	const char *key;
	char *value;
	size_t cap;
	bool must; /* not empty */
};

#define FIELDS 7u

static void list_fields(struct portmemo *m, struct field out[FIELDS])
{
	struct dev_board_info *b = &m->board;
	const struct field fields[FIELDS] = {
		{"identity", m->identity, sizeof(m->identity), true},
		{"key", m->key, sizeof(m->key), true},
		{"unique-id", b->unique_id, sizeof(b->unique_id), false},
		{"machine", b->machine, sizeof(b->machine), false},
		{"firmware", b->firmware, sizeof(b->firmware), false},
		{"implementation", b->implementation, sizeof(b->implementation), false},
		{"platform", b->platform, sizeof(b->platform), false},
	};

	memcpy(out, fields, sizeof(fields));
}

/* Flags of a geometry, each with its letter; a dot where it is not set. */
static void put_geometry(FILE *f, const struct dev_geometry *g)
{
	fprintf(f, "partition %u %u %llu %u %u %c%c%c %u %llu %u %u\n", g->number,
		(unsigned)g->kind, (unsigned long long)g->size, g->erase_block, g->write_unit,
		g->no_erase ? 'n' : '.', g->prefix_erase ? 'p' : '.',
		g->has_address ? 'a' : '.', (unsigned)g->twice,
		g->has_address ? (unsigned long long)g->address : 0, g->erase_ms_max,
		g->program_ms_max);
}

static int make_text(const struct portmemo *memo, char **out, size_t *len)
{
	struct portmemo m = *memo;
	struct field fields[FIELDS];
	FILE *f = open_memstream(out, len);
	size_t i;
	int r;

	if (!f)
		return -ENOMEM;
	list_fields(&m, fields);
	fputs(FIRST_LINE "\n", f);
	for (i = 0; i < FIELDS; i++)
		fprintf(f, "%s %s\n", fields[i].key, fields[i].value);
	for (i = 0; i < m.board.n_partitions; i++)
		put_geometry(f, &m.board.partitions[i]);
	fputs(m.has_known ? KNOWN_LINE "\n" : LAST_LINE "\n", f);
	r = m.has_known ? dev_known_write(f, &m.known) : 0;
	if (fclose(f) == 0 && r == 0)
		return 0;
	free(*out);
	*out = NULL;
	return -ENOMEM;
}

/* --- strict parsing -------------------------------------------------------------------- */

/* The next line without its end; NULL where there is no whole one. */
static char *next_line(char **at)
{
	char *line = *at, *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*end = '\0';
	*at = end + 1;
	return line;
}

static bool take_field(char *line, const struct field *f)
{
	size_t n = strlen(f->key);
	char *value = line ? line + n + 1 : NULL;

	if (!line || strncmp(line, f->key, n) != 0 || line[n] != ' ' ||
		strlen(value) >= f->cap || (f->must && !*value))
		return false;
	memcpy(f->value, value, strlen(value) + 1);
	text_make_printable(f->value);
	return strcmp(f->value, value) == 0;
}

static bool take_number(char **at, uint64_t max, uint64_t *out)
{
	char *p = *at;
	uint64_t v = 0;

	if (!isdigit((unsigned char)*p) || (*p == '0' && isdigit((unsigned char)p[1])))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		if (v > (max - (uint64_t)(*p - '0')) / 10)
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	if (*p == ' ')
		p++;
	else if (*p)
		return false;
	*at = p;
	*out = v;
	return v <= max;
}

static bool take_u32(char **at, uint32_t min, uint32_t max, uint32_t *out)
{
	uint64_t v;

	if (!take_number(at, max, &v) || v < min)
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool take_flag(char **at, char letter, bool *out)
{
	*out = **at == letter;
	return *out || **at == '.' ? (*at)++, true : false;
}

static bool take_flags(char **at, struct dev_geometry *g)
{
	return take_flag(at, 'n', &g->no_erase) && take_flag(at, 'p', &g->prefix_erase) &&
		take_flag(at, 'a', &g->has_address) && *(*at)++ == ' ';
}

static bool makes_sense(const struct dev_geometry *g)
{
	return g->size > 0 && g->erase_block <= g->size && g->size % g->erase_block == 0 &&
		g->write_unit <= g->size && (g->has_address || g->address == 0);
}

static bool take_geometry(char *line, struct dev_geometry *g)
{
	static const char key[] = "partition ";
	uint32_t kind, twice;

	*g = (struct dev_geometry){0};
	if (strncmp(line, key, sizeof(key) - 1) != 0)
		return false;
	line += sizeof(key) - 1;
	if (!take_u32(&line, 0, DEV_PARTITIONS_MAX - 1, &g->number) ||
		!take_u32(&line, 0, DEV_TARGET_READONLY, &kind) ||
		!take_number(&line, DEV_SEGMENT_MAX, &g->size) ||
		!take_u32(&line, 1, DEV_SEGMENT_MAX, &g->erase_block) ||
		!take_u32(&line, 1, WRITE_UNIT_MAX, &g->write_unit) || !take_flags(&line, g) ||
		!take_u32(&line, 0, DEV_TWICE_YES, &twice) ||
		!take_number(&line, UINT64_MAX, &g->address) ||
		!take_u32(&line, 0, FLASH_MS_MAX, &g->erase_ms_max) ||
		!take_u32(&line, 0, FLASH_MS_MAX, &g->program_ms_max) || *line)
		return false;
	g->kind = (enum dev_target_kind)kind;
	g->twice = (enum dev_twice)twice;
	return makes_sense(g);
}

static bool take_known(char *text, struct portmemo *m)
{
	_cleanup_fclose_ FILE *f = *text ? fmemopen(text, strlen(text), "r") : NULL;

	m->has_known = f && dev_known_read(f, &m->known) == 0;
	return m->has_known;
}

/* In the order of their numbers, as a board's are learnt; then the end. */
static bool take_partitions(char **at, struct portmemo *m)
{
	struct dev_board_info *b = &m->board;
	char *line;

	for (b->n_partitions = 0; (line = next_line(at)); b->n_partitions++) {
		struct dev_geometry *g = &b->partitions[b->n_partitions];

		if (strcmp(line, LAST_LINE) == 0)
			return **at == '\0';
		if (strcmp(line, KNOWN_LINE) == 0)
			return take_known(*at, m);
		if (b->n_partitions == DEV_PARTITIONS_MAX || !take_geometry(line, g) ||
			(b->n_partitions && g->number <= g[-1].number))
			return false;
	}
	return false;
}

static int parse(char *text, struct portmemo *out)
{
	struct portmemo m = {0};
	struct field fields[FIELDS];
	char *line = next_line(&text);
	size_t i;

	if (!line || strcmp(line, FIRST_LINE) != 0)
		return -EUCLEAN;
	list_fields(&m, fields);
	for (i = 0; i < FIELDS; i++)
		if (!take_field(next_line(&text), &fields[i]))
			return -EUCLEAN;
	if (!take_partitions(&text, &m))
		return -EUCLEAN;
	*out = m;
	return 0;
}

/* --- files ----------------------------------------------------------------------------- */

/* -EUCLEAN for what is no file of ours. */
static int read_text(int dirfd, const char *name, char text[TEXT_MAX])
{
	_cleanup_close_ int fd =
		openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size >= (off_t)TEXT_MAX)
		return -EUCLEAN;
	r = io_pread_full(fd, text, (size_t)st.st_size, 0);
	text[st.st_size] = '\0';
	return r == 0 && strlen(text) != (size_t)st.st_size ? -EUCLEAN : r;
}

int portmemo_read(
	const char *root, const char *identity, unsigned partition, struct portmemo *out)
{
	_cleanup_close_ int dir = -1;
	char name[NAME_SIZE], text[TEXT_MAX];
	struct portmemo m;
	int r = state_open_folder(root, FOLDER, false, &dir, NULL);

	name_of(identity, partition, name);
	if (r == 0)
		r = read_text(dir, name, text);
	if (r == 0)
		r = parse(text, &m);
	if (r == 0 && strcmp(m.identity, identity) != 0)
		r = -EUCLEAN;
	if (r == 0)
		*out = m;
	return r;
}

int portmemo_write(const char *root, const struct portmemo *memo, unsigned partition,
	struct error *err)
{
	_cleanup_free_ char *text = NULL;
	_cleanup_close_ int dir = -1;
	char name[NAME_SIZE], old[TEXT_MAX];
	size_t len;
	int r = state_open_folder(root, FOLDER, true, &dir, err);

	if (r < 0)
		return r;
	name_of(memo->identity, partition, name);
	r = make_text(memo, &text, &len);
	if (r == 0 && read_text(dir, name, old) == 0 && strcmp(old, text) == 0)
		return 0;
	if (r == 0)
		r = io_replace_file(dir, name, text, len);
	return r < 0 ? error_set(err, r, "cannot note which board this is: %s", strerror(-r))
		     : 0;
}

void portmemo_drop(const char *root, const char *identity, unsigned partition)
{
	_cleanup_close_ int dir = -1;
	char name[NAME_SIZE];

	name_of(identity, partition, name);
	if (state_open_folder(root, FOLDER, false, &dir, NULL) == 0)
		(void)!unlinkat(dir, name, 0);
}

const struct dev_geometry *portmemo_partition(const struct portmemo *memo, unsigned number)
{
	for (unsigned i = 0; i < memo->board.n_partitions; i++)
		if (memo->board.partitions[i].number == number)
			return &memo->board.partitions[i];
	return NULL;
}
