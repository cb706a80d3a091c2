/* SPDX-License-Identifier: MIT */
#include "fuse/status.h"

#include <errno.h>
#include <string.h>

#define PREFIX "user.romount."

static const char *state_word(const struct view *v, const struct committer_status *s)
{
	switch (s->state) {
	case COMMITTER_STAGED:
		return "staged";
	case COMMITTER_WRITING:
		return "writing";
	case COMMITTER_FAILED:
		return "failed";
	default:
		return flash_is_stale(v->flash) ? "failed" : "on flash";
	}
}

void status_state(const struct view *v, char *out, size_t cap)
{
	struct committer_status s;

	committer_status(v->committer, &s);
	if (s.state == COMMITTER_WRITING)
		snprintf(out, cap, "writing %u %%",
			s.total ? (unsigned)(s.done * 100 / s.total) : 0);
	else
		snprintf(out, cap, "%s", state_word(v, &s));
}

static int tell_state(struct view *v, const struct node *n, char *out, size_t cap)
{
	(void)n;
	status_state(v, out, cap);
	return 0;
}

/* Why what waits is not on flash, or why what the folder shows is no more what flash holds. */
static void status_error(const struct view *v, char *out, size_t cap)
{
	struct committer_status s;
	struct error stale = {0};

	committer_status(v->committer, &s);
	if (!s.error[0] && flash_is_stale(v->flash))
		(void)!flash_stale_error(v->flash, &stale);
	snprintf(out, cap, "%s", s.error[0] ? s.error : stale.text);
}

static int tell_error(struct view *v, const struct node *n, char *out, size_t cap)
{
	(void)n;
	status_error(v, out, cap);
	return 0;
}

static const char *image_word(const struct view *v)
{
	static const char *const words[] = {
		[ROMFS_VALID] = "valid",
		[ROMFS_BLANK] = "blank",
		[ROMFS_NOT_ROMFS] = "no ROMFS",
		[ROMFS_CORRUPT] = "corrupt",
	};

	return words[v->base->image->status];
}

static int tell_image(struct view *v, const struct node *n, char *out, size_t cap)
{
	const char *why = v->base->image->why.text;

	(void)n;
	snprintf(out, cap, "%s%s%s", image_word(v), why[0] ? ": " : "", why);
	return 0;
}

static int tell_partition(struct view *v, const struct node *n, char *out, size_t cap)
{
	(void)n;
	snprintf(out, cap, "rom%u", flash_geometry(v->flash)->number);
	return 0;
}

static int tell_port(struct view *v, const struct node *n, char *out, size_t cap)
{
	(void)n;
	snprintf(out, cap, "%s", v->port);
	return 0;
}

static int tell_board(struct view *v, const struct node *n, char *out, size_t cap)
{
	const struct dev_board_info *info = flash_board(v->flash);

	(void)n;
	snprintf(out, cap, "%s", info ? info->machine : "");
	return 0;
}

static int tell_firmware(struct view *v, const struct node *n, char *out, size_t cap)
{
	const struct dev_board_info *info = flash_board(v->flash);

	(void)n;
	snprintf(out, cap, "%s", info ? info->firmware : "");
	return 0;
}

static int tell_offset(struct view *v, const struct node *n, char *out, size_t cap)
{
	(void)v;
	if (n->content.kind != CONTENT_BASE || n->dirty)
		return -ENODATA;
	snprintf(out, cap, "0x%llx", (unsigned long long)n->content.off);
	return 0;
}

static int tell_address(struct view *v, const struct node *n, char *out, size_t cap)
{
	const struct dev_geometry *g = flash_geometry(v->flash);

	if (!g->has_address || n->content.kind != CONTENT_BASE || n->dirty)
		return -ENODATA;
	snprintf(out, cap, "0x%llx", (unsigned long long)(g->address + n->content.off));
	return 0;
}

static const struct attribute {
	const char *name;
	int (*tell)(struct view *v, const struct node *n, char *out, size_t cap);
	bool of_file;
} attributes[] = {
	{PREFIX "state", tell_state, false},
	{PREFIX "error", tell_error, false},
	{PREFIX "image", tell_image, false},
	{PREFIX "partition", tell_partition, false},
	{PREFIX "port", tell_port, false},
	{PREFIX "board", tell_board, false},
	{PREFIX "firmware", tell_firmware, false},
	{PREFIX "offset", tell_offset, true},
	{PREFIX "address", tell_address, true},
};

int status_attribute(
	struct view *v, const struct node *n, const char *name, char *value, size_t cap)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(attributes); i++) {
		int r;

		if (strcmp(attributes[i].name, name) != 0)
			continue;
		r = attributes[i].tell(v, n, value, cap);
		return r < 0 ? r : (int)strlen(value);
	}
	return -ENODATA;
}

size_t status_attribute_names(char *out, size_t cap)
{
	size_t used = 0, i;

	for (i = 0; i < ARRAY_SIZE(attributes); i++) {
		size_t len = strlen(attributes[i].name) + 1;

		if (attributes[i].of_file || used + len > cap)
			continue;
		memcpy(out + used, attributes[i].name, len);
		used += len;
	}
	return used;
}

static void count_pending(const struct folder *f, struct status_summary *out)
{
	const struct node *root = node_root(f->nodes);

	for (const struct node *n = root; n; n = node_next(root, n)) {
		if (n->junk || n->type != ROMFS_FILE ||
			(n->content.kind != CONTENT_LOG && !n->dirty))
			continue;
		out->pending += n->size;
		out->pending_files++;
	}
	if (!out->pending_files && folder_is_staged(f))
		out->pending_files = 1;
}

void status_summarise(const struct view *v, struct status_summary *out)
{
	struct committer_status s;

	committer_status(v->committer, &s);
	*out = (struct status_summary){
		.state = state_word(v, &s),
		.image = image_word(v),
		.size = v->folder->geometry.size,
		.free = folder_available(v->folder),
	};
	out->used = out->size - MIN(out->size, out->free);
	status_error(v, out->error, sizeof(out->error));
	count_pending(v->folder, out);
}

static void put_number(struct state_line *line, uint64_t value)
{
	snprintf(line->value, sizeof(line->value), "%llu", (unsigned long long)value);
}

/* How far a commit is changes all the time; the attribute tells that. */
void status_save(struct view *v)
{
	struct state_line lines[] = {
		{.key = "state"}, {.key = "error"}, {.key = "port"}, {.key = "mount"},
		{.key = "pid"}, {.key = "size"}, {.key = "used"}, {.key = "free"},
		{.key = "pending"}, {.key = "pending-files"}};
	struct status_summary s;

	status_summarise(v, &s);
	snprintf(lines[0].value, sizeof(lines[0].value), "%s", s.state);
	snprintf(lines[1].value, sizeof(lines[1].value), "%s", s.error);
	snprintf(lines[2].value, sizeof(lines[2].value), "%s", v->port);
	snprintf(lines[3].value, sizeof(lines[3].value), "%s", v->mountpoint);
	put_number(&lines[4], (uint64_t)getpid());
	put_number(&lines[5], s.size);
	put_number(&lines[6], s.used);
	put_number(&lines[7], s.free);
	put_number(&lines[8], s.pending);
	put_number(&lines[9], s.pending_files);
	(void)!state_write_status(v->folder->dirfd, lines, ARRAY_SIZE(lines));
}
