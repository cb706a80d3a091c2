/* SPDX-License-Identifier: MIT */
#include "libdev/known.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "util/text.h"

#define FIRST_LINE "romount-known 1"
#define LINE_MAX_BYTES 1024u

/* Every member is one line "KEY VALUE", in this order. */
enum field_type { TEXT, NUMBER, BOOL };

struct field {
	const char *key;
	enum field_type type;
	size_t offset, size;
	int64_t min, max;
};

#define FIELD_TEXT(key, member)                                                          \
	{key, TEXT, offsetof(struct dev_known, member),                                  \
		sizeof(((struct dev_known *)NULL)->member), 0, 0}
#define FIELD_NUMBER(key, member, min, max)                                              \
	{key, NUMBER, offsetof(struct dev_known, member),                                \
		sizeof(((struct dev_known *)NULL)->member), min, max}
#define FIELD_BOOL(key, member)                                                          \
	{key, BOOL, offsetof(struct dev_known, member), sizeof(bool), 0, 1}

static const struct field fields[] = {
	FIELD_NUMBER("number", number, 0, DEV_PARTITIONS_MAX - 1),
	FIELD_TEXT("identity", identity),
	FIELD_TEXT("firmware", info.firmware),
	FIELD_TEXT("implementation", info.implementation),
	FIELD_TEXT("machine", info.machine),
	FIELD_TEXT("platform", info.platform),
	FIELD_TEXT("unique-id", info.unique_id),
	FIELD_NUMBER("mpy", info.mpy, 0, UINT32_MAX),
	FIELD_NUMBER("heap", info.heap_free, 0, INT64_MAX / 10),
	FIELD_BOOL("deflate", info.has_deflate),
	FIELD_BOOL("hashlib", info.has_hashlib),
	FIELD_BOOL("binascii", info.has_binascii),
	FIELD_BOOL("stdin-buffer", info.has_stdin_buffer),
	FIELD_BOOL("raw-paste", info.has_raw_paste),
	FIELD_BOOL("rom-ioctl", info.has_rom_ioctl),
	FIELD_NUMBER("segments", info.segments, INT32_MIN, INT32_MAX),
	FIELD_BOOL("crc32", caps.crc32),
	FIELD_BOOL("base64", caps.base64),
	FIELD_BOOL("kbd-intr", caps.kbd_intr),
	FIELD_BOOL("umount", caps.umountable),
};

#define FACT(key, member)                                                                \
	{key, NUMBER, offsetof(struct quirk_facts, member),                              \
		sizeof(((struct quirk_facts *)NULL)->member), -INT64_MAX / 10,           \
		INT64_MAX / 10}
#define FACT_BOOL(key, member)                                                           \
	{key, BOOL, offsetof(struct quirk_facts, member), sizeof(bool), 0, 1}

/* Of each segment that is there. */
static const struct field facts[] = {
	FACT_BOOL("block", is_block),
	FACT("count", count),
	FACT("size", size),
	FACT("length", length),
	FACT("min-prepare", min_prepare),
	FACT("probe-range", probe_range),
	FACT("probe-empty", probe_empty),
	FACT_BOOL("has-address", has_address),
	{"address", NUMBER, offsetof(struct quirk_facts, address), sizeof(uint64_t), 0,
		INT64_MAX / 10},
};

/* --- writing ----------------------------------------------------------------------- */

/* Numbers are kept in members of 4 and 8 bytes; those of 4 that may be negative have limits
 * that say so. */
static int64_t load(const struct field *f, const void *at)
{
	if (f->type == BOOL)
		return *(const bool *)at;
	if (f->size == sizeof(int64_t))
		return *(const int64_t *)at;
	if (f->min < 0)
		return *(const int32_t *)at;
	return *(const uint32_t *)at;
}

static void store(const struct field *f, void *at, int64_t value)
{
	if (f->type == BOOL)
		*(bool *)at = value != 0;
	else if (f->size == sizeof(int64_t))
		*(int64_t *)at = value;
	else
		*(uint32_t *)at = (uint32_t)value;
}

static void write_fields(FILE *out, const struct field *f, size_t n, const void *base)
{
	for (size_t i = 0; i < n; i++) {
		const char *at = (const char *)base + f[i].offset;

		if (f[i].type == TEXT)
			fprintf(out, "%s %s\n", f[i].key, at);
		else
			fprintf(out, "%s %" PRId64 "\n", f[i].key, load(&f[i], at));
	}
}

int dev_known_write(FILE *out, const struct dev_known *k)
{
	fprintf(out, FIRST_LINE "\n");
	write_fields(out, fields, ARRAY_SIZE(fields), k);
	for (unsigned n = 0; n < DEV_PARTITIONS_MAX; n++) {
		if (!k->caps.segments[n].present)
			continue;
		fprintf(out, "segment %u\nbuffer %d\n", n, k->caps.segments[n].buffer);
		write_fields(out, facts, ARRAY_SIZE(facts), &k->caps.segments[n].facts);
	}
	fprintf(out, "end\n");
	return fflush(out) == 0 && !ferror(out) ? 0 : -EIO;
}

/* --- reading ----------------------------------------------------------------------- */

struct reader {
	FILE *f;
	char line[LINE_MAX_BYTES];
};

/* The next line without its end; false where there is none, or none that is text. */
static bool next_line(struct reader *r)
{
	size_t len;

	if (!fgets(r->line, sizeof(r->line), r->f))
		return false;
	len = strlen(r->line);
	if (len == 0 || r->line[len - 1] != '\n')
		return false;
	r->line[len - 1] = '\0';
	return true;
}

/* What stands behind "KEY " in the next line, or NULL. */
static const char *value_of(struct reader *r, const char *key)
{
	size_t n = strlen(key);

	if (!next_line(r) || strncmp(r->line, key, n) != 0 || r->line[n] != ' ')
		return NULL;
	return r->line + n + 1;
}

static bool read_text(const char *value, char *out, size_t cap)
{
	char printable[LINE_MAX_BYTES];

	snprintf(printable, sizeof(printable), "%s", value);
	text_make_printable(printable);
	if (strlen(value) >= cap || strcmp(printable, value) != 0)
		return false;
	memcpy(out, value, strlen(value) + 1);
	return true;
}

static bool read_number(const char *value, int64_t min, int64_t max, int64_t *out)
{
	return learn_number(value, out) == 0 && *out >= min && *out <= max;
}

static bool read_fields(struct reader *r, const struct field *f, size_t n, void *base)
{
	for (size_t i = 0; i < n; i++) {
		char *at = (char *)base + f[i].offset;
		const char *value = value_of(r, f[i].key);
		int64_t number;

		if (!value)
			return false;
		if (f[i].type == TEXT && !read_text(value, at, f[i].size))
			return false;
		if (f[i].type == TEXT)
			continue;
		if (!read_number(value, f[i].min, f[i].max, &number))
			return false;
		store(&f[i], at, number);
	}
	return true;
}

/* Segments, in ascending order, and the end. */
static bool read_segments(struct reader *r, struct board_caps *caps)
{
	int64_t least = 0, n, buffer;
	const char *value;

	while (next_line(r)) {
		if (strcmp(r->line, "end") == 0)
			return fgetc(r->f) == EOF;
		if (strncmp(r->line, "segment ", 8) != 0 ||
			!read_number(r->line + 8, least, DEV_PARTITIONS_MAX - 1, &n))
			return false;
		least = n + 1;
		value = value_of(r, "buffer");
		if (!value || !read_number(value, 0, 1, &buffer))
			return false;
		caps->segments[n].present = true;
		caps->segments[n].buffer = buffer;
		caps->segments[n].facts.number = (unsigned)n;
		if (!read_fields(r, facts, ARRAY_SIZE(facts), &caps->segments[n].facts))
			return false;
	}
	return false;
}

int dev_known_read(FILE *f, struct dev_known *out)
{
	struct reader r = {.f = f};
	_cleanup_free_ struct dev_known *k = calloc(1, sizeof(*k));

	if (!k)
		return -ENOMEM;
	if (!next_line(&r) || strcmp(r.line, FIRST_LINE) != 0 ||
		!read_fields(&r, fields, ARRAY_SIZE(fields), k) ||
		!read_segments(&r, &k->caps) || !k->caps.segments[k->number].present)
		return -EINVAL;
	*out = *k;
	return 0;
}
