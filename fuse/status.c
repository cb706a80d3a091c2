/* SPDX-License-Identifier: MIT */
#include "fuse/status.h"

#include <errno.h>
#include <string.h>

#define PREFIX "user.romount."

void status_state(struct view *v, char *out, size_t cap)
{
	struct committer_status s;

	committer_status(v->committer, &s);
	switch (s.state) {
	case COMMITTER_CLEAN:
		snprintf(out, cap, flash_is_stale(v->flash) ? "failed" : "on flash");
		break;
	case COMMITTER_STAGED:
		snprintf(out, cap, "staged");
		break;
	case COMMITTER_WRITING:
		snprintf(out, cap, "writing %u %%",
			s.total ? (unsigned)(s.done * 100 / s.total) : 0);
		break;
	case COMMITTER_FAILED:
		snprintf(out, cap, "failed");
		break;
	}
}

static int tell_state(struct view *v, const struct node *n, char *out, size_t cap)
{
	(void)n;
	status_state(v, out, cap);
	return 0;
}

/* Why what waits is not on flash, or why what the folder shows is no more what flash holds. */
static void status_error(struct view *v, char *out, size_t cap)
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

static int tell_image(struct view *v, const struct node *n, char *out, size_t cap)
{
	static const char *const words[] = {
		[ROMFS_VALID] = "valid",
		[ROMFS_BLANK] = "blank",
		[ROMFS_NOT_ROMFS] = "no ROMFS",
		[ROMFS_CORRUPT] = "corrupt",
	};
	const struct romfs_image *image = v->base->image;
	const char *why = image->why.text;

	(void)n;
	snprintf(out, cap, "%s%s%s", words[image->status], why[0] ? ": " : "", why);
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

void status_save(struct view *v)
{
	struct state_line lines[] = {
		{.key = "state"}, {.key = "error"}, {.key = "port"}, {.key = "mount"},
		{.key = "pid"}};
	struct committer_status s;

	committer_status(v->committer, &s);
	/* How far a commit is changes all the time; the attribute tells that. */
	if (s.state == COMMITTER_WRITING)
		snprintf(lines[0].value, sizeof(lines[0].value), "writing");
	else
		status_state(v, lines[0].value, sizeof(lines[0].value));
	status_error(v, lines[1].value, sizeof(lines[1].value));
	snprintf(lines[2].value, sizeof(lines[2].value), "%s", v->port);
	snprintf(lines[3].value, sizeof(lines[3].value), "%s", v->mountpoint);
	snprintf(lines[4].value, sizeof(lines[4].value), "%ld", (long)getpid());
	(void)!state_write_status(v->folder->dirfd, lines, ARRAY_SIZE(lines));
}
